package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed data/azure_llm_code.csv.gz data/azure_llm_conv.csv.gz
var files embed.FS

// Service is the service that a request was sent to.
type Service uint8

// The two services of the trace.
const (
	CodeService Service = iota
	ConversationService
)

// Row is one request of a trace.
type Row struct {
	// At is when it came, in Unix milliseconds.
	At int64
	// ContextTokens and GeneratedTokens are what the model read and wrote.
	ContextTokens, GeneratedTokens int64
	Service                        Service
}

// Name chooses among the traces of this package.
type Name string

// The traces: 8,819 rows, 19,366 rows, and both of them merged by time.
const (
	Code Name = "code"
	Conv Name = "conv"
	Both Name = "both"
)

// Errors of this package.
var (
	// ErrUnknown means that there is no trace of that name.
	ErrUnknown = errors.New("trace: unknown trace")
	// ErrFormat means that a file is not of the trace's form.
	ErrFormat = errors.New("trace: wrong format")
	// ErrOptions means that a Generator cannot do what it is asked for.
	ErrOptions = errors.New("trace: wrong option")
)

// Load returns the rows of a trace of this package, by rising time.
func Load(name Name) ([]Row, error) {
	switch name {
	case Code:
		return load("data/azure_llm_code.csv.gz", CodeService)
	case Conv:
		return load("data/azure_llm_conv.csv.gz", ConversationService)
	case Both:
		code, err := Load(Code)
		if err != nil {
			return nil, err
		}
		conv, err := Load(Conv)
		if err != nil {
			return nil, err
		}
		rows := append(code, conv...)
		slices.SortStableFunc(rows, byTime)
		return rows, nil
	}
	return nil, fmt.Errorf("%w %q: want %q, %q or %q", ErrUnknown, name, Code, Conv, Both)
}

func load(path string, service Service) ([]Row, error) {
	packed, err := files.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("trace: %s: %w", path, err)
	}
	return ReadCSV(r, path, service)
}

// ReadCSV reads rows of the form "2023-11-16 18:17:03.9799600,4808,10" behind
// one line of headings, and returns them by rising time. Times are taken for
// UTC. Errors name the file, which serves for nothing else, and the line.
func ReadCSV(r io.Reader, file string, service Service) ([]Row, error) {
	var rows []Row
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if n == 1 || text == "" {
			continue
		}
		row, err := parseRow(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %s:%d: %w", ErrFormat, file, n, err)
		}
		row.Service = service
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("trace: reading %s: %w", file, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w: %s: no rows behind the headings", ErrFormat, file)
	}
	slices.SortStableFunc(rows, byTime)
	return rows, nil
}

func parseRow(text string) (Row, error) {
	at, tokens, _ := strings.Cut(text, ",")
	read, written, ok := strings.Cut(tokens, ",")
	if !ok {
		return Row{}, fmt.Errorf("%.80q: want time,context tokens,generated tokens", text)
	}
	t, err := time.ParseInLocation(time.DateTime, at, time.UTC)
	if err != nil {
		return Row{}, err
	}
	row := Row{At: t.UnixMilli()}
	for _, c := range []struct {
		text string
		to   *int64
	}{{read, &row.ContextTokens}, {written, &row.GeneratedTokens}} {
		n, err := strconv.ParseUint(c.text, 10, 32)
		if err != nil {
			return Row{}, fmt.Errorf("tokens %.40q: want a whole number below 2^32", c.text)
		}
		*c.to = int64(n)
	}
	return row, nil
}

func byTime(a, b Row) int { return int(min(max(a.At-b.At, -1), 1)) }
