package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/changelog/objectstore"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/streams"
)

// errCheckpoints means that some are damaged.
var errCheckpoints = errors.New("checkpoints are damaged")

func checkpointsFlag() cli.Flag {
	return &cli.StringFlag{Name: "checkpoints", Usage: "`URL` where copies of the state are kept: s3://BUCKET/PREFIX?region=REGION, or file:///FOLDER", DefaultText: "none"}
}

func (p *program) checkpointCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:      "checkpoint",
		Usage:     "list, verify, restore or prune the copies of the state",
		ArgsUsage: "list|verify|restore|prune",
		Description: "Checkpoints are copies of the tasks' state in an object store: see docs/state.md. list prints one a line, the\n" +
			"newest of each task first; verify reads their files and compares them with their hashes; restore puts the\n" +
			"newest of each task into the state folder of an instance that does not run, where there is none; prune removes\n" +
			"those behind the newest. Without --execute the last two only say what they would do.",
		Flags: []cli.Flag{
			configFlag(), applicationFlag(), stateFlag(), checkpointsFlag(),
			&cli.StringFlag{Name: "task", Usage: "only those of task `ID`, such as 0_3", DefaultText: "all"},
			&cli.BoolFlag{Name: "execute", Usage: "restore, prune: do it"},
		},
		Action: p.checkpoint,
	}, 1, 1)
}

// checkpointsOf returns the URL of the checkpoints that a file asks for, or "".
func checkpointsOf(file *config.Config, log *slog.Logger) (string, error) {
	c := &file.Checkpointing
	switch wanted := c.URL.IsSet || c.Storage.IsSet || c.Interval.IsSet; {
	case wanted && file.State.HotOnly.Value:
		log.Warn("checkpointing is set, and with state.hot_only all state is in memory: no checkpoints are made")
		return "", nil
	case wanted && !c.URL.IsSet && !c.Storage.IsSet:
		log.Warn("checkpointing.interval_seconds is set, and no checkpointing.storage or url: no checkpoints are made")
	}
	scheme := map[string]string{config.StorageS3: "s3://", config.StorageLocal: "file://"}[c.Storage.Value]
	switch {
	case !c.URL.IsSet && c.Storage.IsSet:
		return "", usagef("checkpointing.storage is %s, and nothing says where: set checkpointing.url, --checkpoints or MILLRACE_CHECKPOINTS to a URL such as %s",
			c.Storage.Value, map[string]string{config.StorageS3: "s3://BUCKET/PREFIX?region=REGION", config.StorageLocal: "file:///FOLDER"}[c.Storage.Value])
	case !c.URL.IsSet:
		return "", nil
	case !strings.HasPrefix(c.URL.Value, scheme):
		return "", usagef("checkpointing.storage is %s, and the URL of the checkpoints begins with another word than %s", c.Storage.Value, scheme)
	}
	if err := objectstore.Check(c.URL.Value); err != nil {
		return "", usagef("checkpointing.url, or --checkpoints: %w", err)
	}
	return c.URL.Value, nil
}

// openCheckpoints opens the store of checkpoints, if there is to be one, for an
// instance.
func (s *settings) openCheckpoints(ctx context.Context) (closeStore func(), err error) {
	if s.checkpoints == "" {
		return func() {}, nil
	}
	store, err := objectstore.Open(ctx, s.checkpoints)
	if err != nil {
		return nil, err
	}
	s.streams.Checkpoints.Store = store
	s.streams.Logger.Info("checkpoints are kept", "at", store.String())
	return func() {
		if err := store.Close(); err != nil {
			s.streams.Logger.Warn("closing the store of checkpoints", "error", err)
		}
	}, nil
}

// copies are the checkpoints that a command is about.
type copies struct {
	*changelog.Checkpoints
	p        *program
	settings *settings
	found    []changelog.Checkpoint
	execute  bool
}

func (p *program) checkpoint(c *cli.Context) error {
	action := map[string]func(*copies, context.Context) error{
		"list": (*copies).list, "verify": (*copies).verify, "restore": (*copies).restore, "prune": (*copies).prune,
	}[c.Args().First()]
	if action == nil {
		return usagef("checkpoint %q: want list, verify, restore or prune", c.Args().First())
	}
	s, err := p.settings(c, p.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	if s.checkpoints == "" {
		return usagef("nothing says where the checkpoints are: use --checkpoints URL, MILLRACE_CHECKPOINTS, or checkpointing.url in the file of --config")
	}
	t, err := s.topology()
	if err != nil {
		return err
	}
	s.streams.Application = s.group(t)
	closeStore, err := s.openCheckpoints(c.Context)
	if err != nil {
		return err
	}
	defer closeStore()
	all := &copies{p: p, settings: s, execute: c.Bool("execute"), Checkpoints: changelog.NewCheckpoints(changelog.CheckpointConfig{
		Store: s.streams.Checkpoints.Store, Application: s.streams.Application, Keep: s.streams.Checkpoints.Keep,
	})}
	if all.found, err = all.List(c.Context, c.String("task")); err != nil {
		return err
	}
	if len(all.found) == 0 {
		_, err := fmt.Fprintf(p.out, "There are no checkpoints of application %s.\n", s.streams.Application)
		return err
	}
	return action(all, c.Context)
}

// tasks yields the checkpoints task by task, the newest first.
func (c *copies) tasks(do func(task string, made []changelog.Checkpoint) error) error {
	var errs []error
	for from := 0; from < len(c.found); {
		to := from
		for to < len(c.found) && c.found[to].Task == c.found[from].Task {
			to++
		}
		errs = append(errs, do(c.found[from].Task, c.found[from:to]))
		from = to
	}
	return errors.Join(errs...)
}

// sizeOf writes a size for people.
func sizeOf(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func (c *copies) list(ctx context.Context) error {
	w := tabwriter.NewWriter(c.p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TASK\tMADE\tPOSITION\tFILES\tSIZE\tSTORES")
	for _, made := range c.found {
		line := fmt.Sprintf("%s\t%s\t%d\t", made.Task, made.Created.UTC().Format(time.RFC3339), made.Position)
		m, err := c.Read(ctx, made)
		switch {
		case c.gone(ctx, made, err):
			fmt.Fprintf(w, "%s%s\t\t\n", line, removedMeanwhile)
		case errors.Is(err, changelog.ErrDamaged):
			fmt.Fprintf(w, "%sdamaged\t\t\n", line)
		case errors.Is(err, changelog.ErrNewer):
			fmt.Fprintf(w, "%sof a newer program\t\t\n", line)
		case err != nil:
			return err
		default:
			stores := make([]string, len(m.Stores))
			for i, s := range m.Stores {
				stores[i] = fmt.Sprintf("%s@%d", s.Name, s.Next)
			}
			fmt.Fprintf(w, "%s%d\t%s\t%s\n", line, len(m.Files), sizeOf(m.Bytes()), strings.Join(stores, " "))
		}
	}
	return w.Flush()
}

// removedMeanwhile is said of a checkpoint that the instance which makes them has
// removed since they were listed: that is no damage.
const removedMeanwhile = "removed meanwhile"

// gone reports whether what was missing is so because the checkpoint was removed:
// its manifest goes first.
func (c *copies) gone(ctx context.Context, made changelog.Checkpoint, err error) bool {
	if !errors.Is(err, changelog.ErrNoBlob) {
		return false
	}
	_, err = c.Read(ctx, made)
	return errors.Is(err, changelog.ErrNoBlob)
}

func (c *copies) verify(ctx context.Context) error {
	w := tabwriter.NewWriter(c.p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TASK\tMADE\tPOSITION\tSIZE\tRESULT")
	damaged := 0
	for _, made := range c.found {
		size, result := "", "whole"
		m, err := c.Read(ctx, made)
		if err == nil {
			size = sizeOf(m.Bytes())
			err = c.Verify(ctx, m)
		}
		switch {
		case c.gone(ctx, made, err):
			result = removedMeanwhile
		case errors.Is(err, changelog.ErrDamaged), errors.Is(err, changelog.ErrNewer):
			result = err.Error()
			damaged++
		case err != nil:
			return errors.Join(w.Flush(), err)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", made.Task, made.Created.UTC().Format(time.RFC3339), made.Position, size, result)
	}
	if err := w.Flush(); err != nil || damaged == 0 {
		return err
	}
	return fmt.Errorf("%w: %d of %d; a restore goes to the one before", errCheckpoints, damaged, len(c.found))
}

// restore puts the newest checkpoints that are whole into the state folder.
func (c *copies) restore(ctx context.Context) error {
	dir := filepath.Join(c.settings.streams.StateDir, c.settings.streams.Application)
	if c.settings.streams.StateDir == "" {
		return usagef("nothing says where the state is to go: use --state DIR, MILLRACE_STATE, or state.dir in the file of --config")
	}
	var folder *streams.StateFolder // none if there is nothing, and nothing is to be made
	if _, err := os.Stat(dir); err == nil || c.execute {
		if folder, err = streams.OpenStateFolder(dir); err != nil {
			return err
		}
		defer folder.Close()
	}
	err := c.tasks(func(task string, all []changelog.Checkpoint) error {
		there := false
		if folder != nil {
			var err error
			if there, err = folder.Has(task); err != nil {
				return err
			}
		}
		if there {
			_, err := fmt.Fprintf(c.p.out, "%s  is in %s already: left alone\n", task, dir)
			return err
		}
		for _, made := range all {
			m, err := c.Read(ctx, made)
			if err == nil && c.execute {
				err = folder.Restore(ctx, c.Checkpoints, m)
			}
			if errors.Is(err, changelog.ErrDamaged) || errors.Is(err, changelog.ErrNewer) {
				fmt.Fprintf(c.p.out, "%s  %s cannot be used: %v\n", task, made.Created.UTC().Format(time.RFC3339), err)
				continue
			}
			if err != nil {
				return err
			}
			verb := "would be restored"
			if c.execute {
				verb = "was restored"
			}
			_, err = fmt.Fprintf(c.p.out, "%s  %s, %s, %s to %s\n", task, made.Created.UTC().Format(time.RFC3339), sizeOf(m.Bytes()), verb, dir)
			return err
		}
		return fmt.Errorf("task %s: %w: none is whole", task, errCheckpoints)
	})
	return c.remind(err, "restored")
}

func (c *copies) prune(ctx context.Context) error {
	err := c.tasks(func(task string, all []changelog.Checkpoint) error {
		gone, err := c.Prune(ctx, task, !c.execute)
		if err != nil {
			return err
		}
		verb := "would be removed"
		if c.execute {
			verb = "were removed"
		}
		_, err = fmt.Fprintf(c.p.out, "%s  %d of %d checkpoints, and %d files of %s that nothing refers to, %s\n",
			task, len(gone.Checkpoints), len(all), gone.Files, sizeOf(gone.Bytes), verb)
		return err
	})
	return c.remind(err, "removed")
}

// remind says that nothing was done, if that is so.
func (c *copies) remind(err error, verb string) error {
	if err != nil || c.execute {
		return err
	}
	_, err = fmt.Fprintf(c.p.out, "Nothing was %s. To do it, run this again with --execute.\n", verb)
	return err
}
