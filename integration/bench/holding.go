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
	// Log is told how it goes.
	Log io.Writer `json:"-"`
}

// Held is what Hold has found.
type Held struct {
	Holding
	Machine machine
	Report  Report
	Samples []MemorySample
}

// MemorySample is what the process took at a moment.
type MemorySample struct {
	Seconds float64
	// Resident is the process's resident memory, State what its folder holds on
	// disk, both in bytes.
	Resident, State int64
}

// Hold runs millrace over a load and looks at its memory each second. It needs
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
	e := entry{Work: aggregation(), contender: Millrace, input: input, application: input}
	held := &Held{Holding: h, Machine: thisMachine()}
	if err := f.watch(ctx, e, held); err != nil {
		return nil, err
	}
	return held, errors.Join(f.clear(ctx, e), f.client.DeleteTopic(ctx, input))
}

// watch runs an entry and samples its memory until it ends.
func (f *field) watch(ctx context.Context, e entry, held *Held) error {
	p, err := begin(f.command(ctx, e))
	if err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	state := filepath.Join(f.dir, "state", e.application)
	for {
		select {
		case err := <-p.ended:
			held.Report, err = p.report(err)
			return err
		case at := <-tick.C:
			s := MemorySample{Seconds: at.Sub(began).Seconds(), Resident: residentOf(p.cmd.Process.Pid), State: sizeOf(state)}
			held.Samples = append(held.Samples, s)
			if n := len(held.Samples); n%30 == 0 {
				fmt.Fprintf(held.Log, "%4.0f s: %d MiB resident, %d MiB of state\n", s.Seconds, s.Resident>>20, s.State>>20)
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
