//go:build unix

package bench

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// endless is a script that says when it runs, and does until it is told to stop.
const endless = "echo runs >&3; while :; do sleep 0.02; done"

// TestAProgramRunsUntilItIsTold: what it reports then counts. One that ends by
// itself, or badly, is an error with what it has said.
func TestAProgramRunsUntilItIsTold(t *testing.T) {
	for _, c := range []struct{ name, script, says string }{
		{"one that reports", `trap 'echo "{\"records\":7}"; exit 0' TERM; ` + endless, ""},
		{"one that fails", `trap 'echo sorry >&2; exit 3' TERM; ` + endless, "exit status 3: sorry"},
		{"one that reports nothing", `trap 'exit 0' TERM; ` + endless, "is no report"},
		{"one that ends", "echo sorry >&2; exec 3>&-", "it has ended while it was to go on: sorry"},
		{"one that ends badly", "echo sorry >&2; exec 3>&-; exit 3", "exit status 3: sorry"},
	} {
		running, runs, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer running.Close()
		cmd := exec.Command("sh", "-c", c.script)
		cmd.ExtraFiles = []*os.File{runs}
		p, err := begin(cmd)
		if err != nil {
			t.Fatal(err)
		}
		runs.Close()
		ctx, stop := context.WithCancel(t.Context())
		if n, _ := running.Read(make([]byte, 1)); n > 0 {
			stop() // else it ends by itself
		}
		r, err := p.until(ctx)
		stop()
		switch {
		case c.says == "" && (err != nil || r.Records != 7):
			t.Errorf("%s: %+v, %v", c.name, r, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
