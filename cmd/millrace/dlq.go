package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/streams"
)

func (p *program) dlqCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:      "dlq",
		Usage:     "list, show or replay dead letters",
		ArgsUsage: "list|show|replay",
		Description: "Dead letters are records that could not be handled, kept with the error in <application>-dlq when the\n" +
			"policy --on-error dead-letter was in force. list prints one a line, show all of one (--partition, --offset),\n" +
			"replay sends those that were not replayed yet back to the topic and partition that they were read from, and\n" +
			"marks them; without --execute it only lists what it would send. Mend the code or the data's reader first.",
		Flags: []cli.Flag{
			configFlag(), brokersFlag(), applicationFlag(),
			&cli.IntFlag{Name: "partition", Usage: "only partition `N` of the dead-letter topic", DefaultText: "all"},
			&cli.Int64Flag{Name: "offset", Usage: "only letters from offset `N` on; show: this one", DefaultText: "the start"},
			&cli.StringFlag{Name: "from", Usage: "only records of this `TIME` (RFC 3339 or Unix ms) and later"},
			&cli.StringFlag{Name: "node", Usage: "only those that node `NAME` failed on"},
			&cli.StringFlag{Name: "topic", Usage: "only those that were read from topic `NAME`"},
			&cli.StringFlag{Name: "error", Usage: "only those with `TEXT` in the error's type or message"},
			&cli.IntFlag{Name: "limit", Value: 100, Usage: "at most `N` letters"},
			&cli.BoolFlag{Name: "again", Usage: "replay: also those that were replayed before"},
			&cli.BoolFlag{Name: "execute", Usage: "replay: send them"},
		},
		Action: p.dlq,
	}, 1, 1)
}

func (p *program) dlq(c *cli.Context) error {
	filter, err := letterFilter(c)
	if err != nil {
		return err
	}
	action := map[string]func(*cli.Context, *streams.DeadLetters, streams.DeadLetterFilter) error{
		"list": p.listLetters, "show": p.showLetter, "replay": p.replayLetters,
	}[c.Args().First()]
	if action == nil {
		return usagef("dlq %q: want list, show or replay", c.Args().First())
	}
	s, err := p.settings(c, p.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	if err := s.needBrokers(); err != nil {
		return err
	}
	t, err := s.topology()
	if err != nil {
		return err
	}
	s.streams.Application = s.group(t)
	d, err := streams.OpenDeadLetters(c.Context, s.streams)
	if err != nil {
		return err
	}
	defer d.Close()
	return action(c, d, filter)
}

// letterFilter reads the flags that choose letters.
func letterFilter(c *cli.Context) (f streams.DeadLetterFilter, err error) {
	var errs []error
	f.Node, f.Topic, f.Error = c.String("node"), c.String("topic"), c.String("error")
	if c.IsSet("partition") {
		n := int32(c.Int("partition"))
		f.Partition = &n
		if c.Int("partition") < 0 {
			errs = append(errs, usagef("--partition %d: want 0 or more", c.Int("partition")))
		}
	}
	if c.IsSet("offset") {
		n := c.Int64("offset")
		f.Offset = &n
		if n < 0 || f.Partition == nil {
			errs = append(errs, usagef("--offset %d: want 0 or more, and --partition with it", n))
		}
	}
	if c.IsSet("from") {
		if f.From, err = parseTime(c.String("from")); err != nil {
			errs = append(errs, usagef("--from: %w", err))
		}
	}
	if c.Int("limit") < 1 {
		errs = append(errs, usagef("--limit %d: want at least 1", c.Int("limit")))
	}
	return f, errors.Join(errs...)
}

// parseTime reads RFC 3339 or Unix milliseconds.
func parseTime(text string) (time.Time, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("%q: want RFC 3339, such as 2026-01-02T15:04:05Z, or Unix milliseconds", text)
	}
	return t, nil
}

// letters returns those that the filter chooses, up to --limit; more says that
// there are others.
func letters(c *cli.Context, d *streams.DeadLetters, f streams.DeadLetterFilter) (chosen []streams.DeadLetter, more bool, err error) {
	err = d.List(c.Context, f, func(l streams.DeadLetter) bool {
		if more = len(chosen) == c.Int("limit"); !more {
			chosen = append(chosen, l)
		}
		return !more
	})
	return chosen, more, err
}

// letterLine is a letter as JSON. Keys and values that are no text are in base 64.
type letterLine struct {
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Time      string       `json:"time"`
	Topic     string       `json:"topic"`
	At        string       `json:"at"`
	Node      string       `json:"node,omitempty"`
	Exception string       `json:"exception"`
	Message   string       `json:"message"`
	Replayed  string       `json:"replayed,omitempty"`
	Key       *string      `json:"key,omitempty"`
	KeyBytes  []byte       `json:"key_base64,omitempty"`
	Value     *string      `json:"value,omitempty"`
	Bytes     []byte       `json:"value_base64,omitempty"`
	Headers   []headerLine `json:"headers,omitempty"`
	Stack     string       `json:"stack,omitempty"`
}

type headerLine struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// line returns what list prints, or with all of it what show does.
func line(l *streams.DeadLetter, all bool) letterLine {
	out := letterLine{
		Partition: l.Partition, Offset: l.Offset, Time: l.Time.UTC().Format(time.RFC3339Nano), Topic: l.Source.Topic, At: l.Source.String(),
		Node: l.Node, Exception: l.Exception, Message: l.Message,
	}
	if !l.Replayed.IsZero() {
		out.Replayed = l.Replayed.UTC().Format(time.RFC3339Nano)
	}
	out.Key, out.KeyBytes = readable(l.Key)
	if all {
		out.Value, out.Bytes = readable(l.Value)
		for _, h := range l.Headers {
			out.Headers = append(out.Headers, headerLine{h.Key, string(h.Value)})
		}
		out.Stack = l.Stack
	}
	return out
}

// readable returns bytes as text if they are that; null as neither.
func readable(b []byte) (text *string, raw []byte) {
	if b == nil {
		return nil, nil
	}
	if s := string(b); utf8.ValidString(s) {
		return &s, nil
	}
	return nil, b
}

func (p *program) listLetters(c *cli.Context, d *streams.DeadLetters, f streams.DeadLetterFilter) error {
	chosen, more, err := letters(c, d, f)
	if err != nil {
		return err
	}
	if err := p.printLetters(chosen); err != nil || !more {
		return err
	}
	_, err = fmt.Fprintf(p.err, "There are more; raise --limit %d, or go on with --partition and --offset.\n", c.Int("limit"))
	return err
}

// printLetters prints a table on a terminal, else a JSON object a line.
func (p *program) printLetters(all []streams.DeadLetter) error {
	if !isTerminal(p.out) {
		enc := json.NewEncoder(p.out)
		for i := range all {
			if err := enc.Encode(line(&all[i], false)); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LETTER\tREAD FROM\tTIME\tNODE\tREPLAYED\tERROR")
	for i := range all {
		l := line(&all[i], false)
		replayed := "no"
		if l.Replayed != "" {
			replayed = l.Replayed
		}
		fmt.Fprintf(w, "%d@%d\t%s\t%s\t%s\t%s\t%.120s\n", l.Partition, l.Offset, printable(l.At), l.Time, printable(l.Node), replayed, printable(l.Message))
	}
	fmt.Fprintf(w, "%d letters\n", len(all))
	return w.Flush()
}

// errNoLetter means that there is no dead letter where one was asked for.
var errNoLetter = errors.New("there is no such dead letter")

func (p *program) showLetter(c *cli.Context, d *streams.DeadLetters, f streams.DeadLetterFilter) error {
	if f.Partition == nil || f.Offset == nil {
		return usagef("dlq show wants --partition and --offset of a letter, as dlq list prints them")
	}
	var found *streams.DeadLetter
	err := d.List(c.Context, f, func(l streams.DeadLetter) bool {
		if l.Offset == *f.Offset {
			found = &l
		}
		return false
	})
	if err != nil {
		return err
	}
	if found == nil {
		return fmt.Errorf("%w: %s, partition %d, offset %d; 'millrace dlq list' shows those there are", errNoLetter, d.Topic(), *f.Partition, *f.Offset)
	}
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	return enc.Encode(line(found, true))
}

func (p *program) replayLetters(c *cli.Context, d *streams.DeadLetters, f streams.DeadLetterFilter) error {
	f.Pending = !c.Bool("again")
	chosen, more, err := letters(c, d, f)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		_, err := fmt.Fprintf(p.out, "There is nothing to replay in %s.\n", d.Topic())
		return err
	}
	if !c.Bool("execute") {
		if err := p.printLetters(chosen); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.err, "Nothing was sent. To send these %d back, run this again with --execute.%s\n", len(chosen), rest(more))
		return err
	}
	bar := p.progress("letters", int64(len(chosen)))
	err = d.Replay(c.Context, chosen, func(n int) { bar.set(int64(n)) })
	bar.close()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%d letters were sent back.%s\n", len(chosen), rest(more))
	return err
}

// rest says that there are more letters than --limit.
func rest(more bool) string {
	if more {
		return " There are more; run it once more, or raise --limit."
	}
	return ""
}
