package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Holding is what Hold measures: the memory of a process whose state is larger
// than its budget.
type Holding struct {
	Settings
	// Events over Keys are the load; each key is a window that stays open.
	Events, Keys int64
	Seed         uint64
	// Grown is how many bytes the state is to take on disk before For begins, which
	// is how long the process goes on from there.
	Grown int64
	For   time.Duration
	// Log is told how it goes.
	Log io.Writer `json:"-"`
}

// Held is what Hold has found.
type Held struct {
	Holding
	Machine machine
	Report  Report
	Samples []MemorySample
	// GrownAfter is when the state had grown, in seconds from the start.
	GrownAfter float64
}

// MemorySample is what the process took at a moment.
type MemorySample struct {
	Seconds float64
	// Resident is the process's resident memory, State what its folder holds on
	// disk, both in bytes.
	Resident, State int64
}

// Hold runs millrace over a load until its state has grown, and for a while longer,
// and looks at its memory each second. A load that ends before is an error. It needs
// /proc.
func Hold(ctx context.Context, h Holding) (*Held, error) {
	h.Settings = h.withDefaults()
	f, err := openField(ctx, h.Settings)
	if err != nil {
		return nil, err
	}
	defer f.close()
	input := fmt.Sprintf("hold-%d", time.Now().UnixMilli())
	if err := Generate(ctx, f.client, input, FixedPartitions, oneWindow(h.Events, h.Keys, h.Seed)); err != nil {
		return nil, err
	}
	fmt.Fprintf(h.Log, "%d events are written\n", h.Events)
	e := entry{Work: aggregation(), contender: Millrace, input: input, application: input, live: true}
	held := &Held{Holding: h, Machine: thisMachine()}
	if err := f.watch(ctx, e, held); err != nil {
		return nil, err
	}
	return held, errors.Join(f.clear(ctx, e), f.client.DeleteTopic(ctx, input))
}

// watch runs an entry, samples its memory, and stops it when its time is over.
func (f *field) watch(ctx context.Context, e entry, held *Held) error {
	p, err := begin(f.command(ctx, e))
	if err != nil {
		return err
	}
	stop, over := context.WithCancel(ctx)
	defer over()
	go func() {
		defer over()
		f.sample(stop, p.cmd.Process.Pid, filepath.Join(f.dir, "state", e.application), held)
	}()
	if held.Report, err = p.until(stop); err != nil {
		return err
	}
	if held.Report.Records >= held.Events {
		return fmt.Errorf("bench: the load has ended before the state was of %d MiB for %v: give it more events", held.Grown>>20, held.For)
	}
	return ctx.Err()
}

// sample looks at a process each second until ctx ends, or until the time is over.
func (f *field) sample(ctx context.Context, pid int, state string, held *Held) {
	began := time.Now()
	var grown time.Time
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-tick.C:
			s := MemorySample{Seconds: at.Sub(began).Seconds(), Resident: residentOf(pid), State: sizeOf(state)}
			held.Samples = append(held.Samples, s)
			if n := len(held.Samples); n%30 == 0 {
				fmt.Fprintf(held.Log, "%4.0f s: %d MiB resident, %d MiB of state\n", s.Seconds, s.Resident>>20, s.State>>20)
			}
			switch {
			case !grown.IsZero() && at.Sub(grown) >= held.For:
				return
			case grown.IsZero() && s.State >= held.Grown:
				grown, held.GrownAfter = at, s.Seconds
			}
		}
	}
}

// residentOf returns the resident memory of a process, 0 if that cannot be read.
func residentOf(pid int) int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// sizeOf returns the bytes of a folder's files. Those that go meanwhile do not
// count.
func sizeOf(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// Save keeps what was found in a file.
func (h *Held) Save(path string) error { return save(path, h) }
