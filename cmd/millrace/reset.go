package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/streams"
)

func (p *program) resetCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "reset",
		Usage: "forget what the application has processed, so that it begins anew",
		Description: "Deletes the group's positions, the application's changelog and repartition topics, and the local state.\n" +
			"Inputs and results stay, so the next run reads all inputs again and sends its results once more.\n" +
			"Without --execute it only lists what would be deleted. All instances must be stopped. Local state of\n" +
			"other machines is recognised as outdated when they start.",
		Flags: []cli.Flag{
			configFlag(), brokersFlag(), applicationFlag(), stateFlag(), sourcesFlag(),
			&cli.BoolFlag{Name: "execute", Usage: "delete; there is no way back"},
		},
		Action: p.reset,
	}, 0, 0)
}

func (p *program) reset(c *cli.Context) error {
	log := p.logger(slog.LevelWarn)
	a, _, err := p.admin(c, log)
	if err != nil {
		return err
	}
	defer a.Close()
	r, err := a.FindReset(c.Context)
	if err != nil {
		return err
	}
	if r.Empty() {
		_, err := fmt.Fprintf(p.out, "There is nothing to reset of application %s.\n", r.Application)
		return err
	}
	if !c.Bool("execute") {
		p.printReset("would be deleted", r)
		if err := r.Refusal(); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.out, "Nothing was deleted. To delete it, run this again with --execute.")
		return err
	}
	if err := r.Refusal(); err != nil {
		return err
	}
	p.printReset("is being deleted", r)
	if err := a.Reset(c.Context, r); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, "Done.")
	return err
}

func (p *program) printReset(verb string, r *streams.Reset) {
	fmt.Fprintf(p.out, "Of application %s this %s:\n", r.Application, verb)
	for _, topic := range slices.Sorted(maps.Keys(r.Positions)) {
		fmt.Fprintf(p.out, "  position   %s, %d partitions\n", topic, len(r.Positions[topic]))
	}
	for _, topic := range r.Topics {
		fmt.Fprintf(p.out, "  topic      %s\n", topic)
	}
	if r.StateDir != "" {
		fmt.Fprintf(p.out, "  folder     %s\n", r.StateDir)
	}
}
