package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/cupwriter"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/streams"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// errUsage is wrapped by the errors about command lines and configurations.
var errUsage = errors.New("usage")

// usageError is a mistake of the caller. Its text stands alone: errUsage is for
// errors.Is.
type usageError struct{ err error }

func (e usageError) Error() string   { return e.err.Error() }
func (e usageError) Unwrap() []error { return []error{errUsage, e.err} }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// program is what the commands share: the edges of the process.
type program struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
	// orders come from signals; nil for none.
	orders <-chan order
	// fromEnv are the variables that have set flags of the command.
	fromEnv []string
}

// run runs a command line, whose first word is the program's name, until it is
// done or ctx ends, and returns the exit code. Several may run at once.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) int {
	return (&program{in: stdin, out: stdout, err: stderr, env: env}).run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	stderr := p.err
	app := p.app()
	err := app.RunContext(ctx, reorder(app, args))
	code := exitCode(err)
	if code != exitOK {
		for mistake := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "millrace: %s\n", strings.TrimRight(mistake, "\n"))
		}
		if code == exitUsage {
			p.blameEnvironment(stderr)
			fmt.Fprintf(stderr, "Run '%s --help' for what is allowed.\n", strings.Join(commandOf(app, args), " "))
		}
	}
	return code
}

// exitCode returns the code for what a command returned.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	for _, usage := range []error{errUsage, streams.ErrInvalidConfig, trace.ErrOptions, trace.ErrUnknown} {
		if errors.Is(err, usage) {
			return exitUsage
		}
	}
	if _, ok := errors.AsType[config.Errors](err); ok {
		return exitUsage
	}
	return exitFailure
}

func (p *program) app() *cli.App {
	return &cli.App{
		Name:     "millrace",
		HelpName: "millrace",
		Usage:    "stream processing with state in Pebble and Kafka",
		Description: "Begin with 'millrace demo', which needs nothing else. 'millrace COMMAND --help' has the flags of a command.\n" +
			"Each flag can also be set in the environment: --commit by MILLRACE_COMMIT. A flag goes before the\n" +
			"environment, that before the file of --config, that before the default.\n" +
			"Results go to standard output, logs to standard error. Exit codes: 0 done or stopped by a signal,\n" +
			"1 failed, 2 wrong usage or configuration.",
		Commands: []*cli.Command{
			p.demoCommand(), p.runCommand(), p.replayCommand(), p.topologyCommand(), p.queryCommand(), p.resetCommand(),
			p.topicsCommand(), p.dlqCommand(), p.checkpointCommand(), p.backfillCommand(), p.benchCommand(), p.versionCommand(), p.helpCommand(),
		},
		Flags:          []cli.Flag{versionFlag(), helpFlag()},
		Writer:         p.out,
		ErrWriter:      p.err,
		HideVersion:    true,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   onUsageError,
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("version"):
				return p.printVersion(c)
			case !c.Args().Present():
				return cli.ShowAppHelp(c)
			}
			return usagef("there is no command %q; there are %s", c.Args().First(), strings.Join(commandNames(c.App), ", "))
		},
	}
}

func commandNames(app *cli.App) []string {
	var names []string
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	return names
}

// command finishes a command that takes from least to most arguments.
func (p *program) command(c *cli.Command, least, most int) *cli.Command {
	action := c.Action
	for _, f := range c.Flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true // none is set by default
		}
	}
	c.HideHelp = true
	c.Flags = append(c.Flags, helpFlag())
	c.OnUsageError = onUsageError
	c.Before = p.fromEnvironment
	c.Action = func(ctx *cli.Context) error {
		switch n := ctx.NArg(); {
		case n > most && most == 0:
			return usagef("%s takes no arguments, got %q", c.Name, ctx.Args().First())
		case n < least || n > most:
			return usagef("%s wants %s, got %d arguments", c.Name, c.ArgsUsage, n)
		}
		return action(ctx)
	}
	return c
}

func helpFlag() cli.Flag {
	return &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help", DisableDefaultText: true}
}

func (p *program) helpCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:      "help",
		Usage:     "show what there is, or the flags of a command",
		ArgsUsage: "[COMMAND]",
		Action: func(c *cli.Context) error {
			words := append([]string{c.App.Name}, c.Args().Slice()...)
			return p.app().RunContext(c.Context, append(words, "--help"))
		},
	}, 0, 1)
}

// onUsageError words a mistake of package flag, which writes one hyphen and does
// not say what a flag takes.
func onUsageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return usagef("there is no flag --%s", strings.TrimLeft(name, "-"))
	}
	if m := invalidValue.FindStringSubmatch(text); m != nil && c.Command != nil {
		for _, f := range c.Command.Flags {
			if slices.Contains(f.Names(), m[2]) {
				return usagef("--%s %s: want %s", m[2], m[1], wanted(f))
			}
		}
	}
	return usagef("%s", strings.Replace(text, ": -", ": --", 1))
}

// invalidValue finds the value, in quotes, and the flag in a message of package
// flag.
var invalidValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-+([a-z-]+): `)

// wanted says what a flag takes.
func wanted(f cli.Flag) string {
	switch f.(type) {
	case *cli.BoolFlag:
		return "true or false"
	case *cli.DurationFlag:
		return "a duration such as 500ms or 2m"
	case *cli.Float64Flag:
		return "a number"
	case *cli.IntFlag, *cli.Int64Flag, *cli.Uint64Flag:
		return "a whole number"
	}
	return "another value"
}

// blameEnvironment names the variables that took part, which the user may have
// set elsewhere and forgotten. Their values may be private.
func (p *program) blameEnvironment(w io.Writer) {
	if len(p.fromEnv) > 0 {
		fmt.Fprintf(w, "Flags were set by the environment: %s.\n", strings.Join(p.fromEnv, ", "))
	}
}

// variableOf returns the variable that stands for a flag.
func variableOf(flag string) string {
	return "MILLRACE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that the command line does not set from
// variables. The library would ask the process's own environment.
func (p *program) fromEnvironment(c *cli.Context) error {
	var errs []error
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if c.IsSet(name) || name == "help" {
			continue
		}
		variable := variableOf(name)
		value, ok := p.env(variable)
		if !ok || value == "" {
			continue
		}
		if err := c.Set(name, value); err != nil {
			errs = append(errs, usagef("the variable %s is %q: want %s", variable, value, wanted(f)))
		}
		p.fromEnv = append(p.fromEnv, variable)
	}
	return errors.Join(errs...)
}

// reorder puts the flags of a command before its arguments, so that both may
// come in any order; the library stops at the first argument.
func reorder(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	i := slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.Name == args[1] })
	if i < 0 {
		return args
	}
	var alone []string // flags without a value
	for _, f := range app.Commands[i].Flags {
		if _, ok := f.(*cli.BoolFlag); ok {
			alone = append(alone, f.Names()...)
		}
	}
	flags, rest := slices.Clone(args[:2]), []string{}
	for words := args[2:]; len(words) > 0; words = words[1:] {
		word := words[0]
		switch {
		case word == "--":
			rest, words = append(rest, words[1:]...), words[:1]
		case len(word) < 2 || word[0] != '-':
			rest = append(rest, word)
		default:
			flags = append(flags, word)
			if name := strings.TrimLeft(word, "-"); strings.Contains(name, "=") || slices.Contains(alone, name) {
				continue
			}
			if len(words) == 1 {
				return flags // what follows would be taken for its value
			}
			words = words[1:]
			flags = append(flags, words[0])
		}
	}
	return append(append(flags, "--"), rest...)
}

// commandOf returns the words of a command line up to its command.
func commandOf(app *cli.App, args []string) []string {
	if len(args) > 1 && slices.Contains(commandNames(app), args[1]) {
		return []string{app.Name, args[1]}
	}
	return []string{app.Name}
}

// logger returns the logger of a command: text on a terminal, else JSON. What
// has a text for people, as durations and tasks have, is that text in both.
func (p *program) logger(level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if s, ok := a.Value.Any().(fmt.Stringer); ok && a.Value.Kind() != slog.KindTime {
			a.Value = slog.StringValue(s.String())
		}
		return a
	}}
	if isTerminal(p.err) {
		return slog.New(slog.NewTextHandler(p.err, options))
	}
	return slog.New(slog.NewJSONHandler(p.err, options))
}

// isTerminal says whether what is written is seen by a person at once.
func isTerminal(w io.Writer) bool { return cupwriter.New(w, false).IsTerminal() }
