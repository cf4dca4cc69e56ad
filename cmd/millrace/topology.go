package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/topology"
)

func (p *program) topologyCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "topology",
		Usage: "print the topology that run would run",
		Description: "text is the form of Kafka Streams, which its viewers read; dot is for Graphviz, mermaid for Markdown.\n" +
			"No cluster is asked.",
		Flags: []cli.Flag{
			configFlag(), applicationFlag(), sourcesFlag(),
			&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT`: " + strings.Join(formats[:], ", ")},
		},
		Action: p.topology,
	}, 0, 0)
}

var formats = [...]string{"text", "dot", "mermaid", "json"}

func (p *program) topology(c *cli.Context) error {
	format := c.String("format")
	if !slices.Contains(formats[:], format) {
		return usagef("--format %q: want %s", format, strings.Join(formats[:], ", "))
	}
	s, err := p.settings(c, p.logger(slog.LevelError))
	if err != nil {
		return err
	}
	t, err := s.topology()
	if err != nil {
		return err
	}
	text, err := describe(t, format)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, strings.TrimRight(text, "\n"))
	return err
}

func describe(t *topology.Topology, format string) (string, error) {
	switch format {
	case "dot":
		return t.DOT(), nil
	case "mermaid":
		return t.Mermaid(), nil
	case "json":
		b, err := t.JSON()
		return string(b), err
	}
	return t.Describe(), nil
}
