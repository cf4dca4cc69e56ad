package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const traceEvents = 28_185

func TestDemoAccountsForTheWholeTrace(t *testing.T) {
	for _, args := range [][]string{{"--speed", "max"}, {"--speed=max", "--instances=2"}, {"--speed=3600", "--instances=3"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			p := start(t, append([]string{"demo", "--http=127.0.0.1:0", "--data=" + dir}, args...)...).wait(exitOK)
			if p.lastLine() != equal(traceEvents) {
				t.Errorf("the last line is %q", p.lastLine())
			}
			if sum := sumOfRows(t, p.out.String()); sum != traceEvents {
				t.Errorf("the rows hold %d requests", sum)
			}
			p.wants("28,185 requests", "made up by a model", "CC-BY 4.0", "/v1/stores", "/metrics", dir)
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is still there", dir)
			}
		})
	}
}

// sumOfRows adds up the requests of the rows of a demo.
func sumOfRows(t *testing.T, out string) int {
	t.Helper()
	sum := 0
	for _, row := range regexp.MustCompile(`(?m)^\S+ +\d{4}-\d\d-\d\d \d\d:\d\d–\d\d:\d\d +(\d+) .*%`).FindAllStringSubmatch(out, -1) {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// account reads the numbers of a last line, and whether it says equal.
func accountOf(t *testing.T, line string) (events, final, dropped, open int) {
	t.Helper()
	n, err := fmt.Sscanf(line, "%d events in = %d in final windows + %d dropped + %d open; direct computation: equal",
		&events, &final, &dropped, &open)
	if err != nil || n != 4 || !strings.HasSuffix(line, ": equal") {
		t.Fatalf("the last line is %q", line)
	}
	return events, final, dropped, open
}

func TestDemoThatIsStoppedSaysWhatIsOpen(t *testing.T) {
	t.Run("by --for", func(t *testing.T) {
		p := start(t, "demo", "--http=127.0.0.1:0", "--speed=600", "--for=2s").wait(exitOK)
		events, final, dropped, open := accountOf(t, p.lastLine())
		if open == 0 || dropped != 0 || final+open != events || events >= traceEvents {
			t.Errorf("%s", p.lastLine())
		}
	})
	t.Run("by a signal", func(t *testing.T) {
		p := start(t, "demo", "--http=127.0.0.1:0")
		p.out.await(t, "(REQUESTS)")
		p.stop()
		p.wait(exitOK)
		if events, final, _, open := accountOf(t, p.lastLine()); events != final+open || events >= traceEvents {
			t.Errorf("%s", p.lastLine())
		}
	})
}

func TestDemoAnswersQueriesWhileItRuns(t *testing.T) {
	p := start(t, "demo", "--http=127.0.0.1:0", "--speed=240", "--instances=2")
	url := p.out.await(t, `(http://[0-9.:]+)/v1/stores`)
	late := time.After(patienceOfTests)
	for {
		q := start(t, "query", "--http", url, "model-stats", "chat-small")
		<-q.ended
		if q.code == exitOK && strings.Contains(q.out.String(), `"chat-small"`) {
			break
		}
		select {
		case <-p.ended:
			t.Fatalf("the demo has ended: %s", q.err)
		case <-late:
			t.Fatalf("no answer: %s", q.err)
		default:
		}
	}
	p.stop()
	p.wait(exitOK)
}

func TestDemoKeepsItsDataIfAsked(t *testing.T) {
	dir := t.TempDir()
	start(t, "demo", "--http=127.0.0.1:0", "--speed=max", "--data", dir, "--keep").wait(exitOK).wants("The data stays in " + dir)
	for _, name := range []string{"kafka", "state"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	start(t, "demo", "--http=127.0.0.1:0", "--speed=max", "--data", dir).wait(exitUsage).wants(dir+" is not empty", "--data")
}

func TestDemoTakesAnotherPortUnlessOneIsAskedFor(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	start(t, "demo", "--speed=max", "--http", ln.Addr().String()).wait(exitFailure).wants(ln.Addr().String(), "another port")

	// The usual port may be free or taken on this machine: either will do.
	if taken, err := net.Listen("tcp", defaultHTTP); err == nil {
		defer taken.Close()
	}
	p := start(t, "demo", "--speed=max").wait(exitOK)
	if strings.Contains(p.out.String(), "http://"+defaultHTTP+"/") {
		t.Errorf("it answers at a port that is taken:\n%s", p.out)
	}
}
