package kafka

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"
)

func TestWhatARequestFoundBeforeTheLastTurnIsNoNews(t *testing.T) {
	var log bytes.Buffer
	o := &outage{logger: slog.New(slog.NewTextHandler(&log, nil))}
	lines := func() int { return bytes.Count(log.Bytes(), []byte("\n")) }
	before := time.Now().Add(-time.Second)
	later := func() time.Time { return time.Now().Add(time.Hour) }

	o.noAnswer(before, nil, errors.New("refused"))
	o.answered(before) // it was on its way when the outage began
	o.noAnswer(later(), nil, errors.New("refused"))
	if n := lines(); n != 1 {
		t.Errorf("an outage is told %d times:\n%s", n, &log)
	}
	o.answered(later())
	o.noAnswer(before, nil, errors.New("refused")) // it had waited for long
	o.answered(later())
	if n := lines(); n != 2 {
		t.Errorf("an outage and its end are told in %d lines:\n%s", n, &log)
	}
	o.noAnswer(later(), nil, errors.New("refused"))
	if n := lines(); n != 3 {
		t.Errorf("the next outage is not told:\n%s", &log)
	}
}
