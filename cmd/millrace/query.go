package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/stores"
)

func (p *program) queryCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:      "query",
		Usage:     "ask running instances for what is in a store",
		ArgsUsage: "STORE [KEY]",
		Description: "Any instance can be asked: it asks the others. On a terminal the answer is a table, elsewhere one JSON\n" +
			"object a line. --from and --to bound the windows by time, or the keys of a store without windows; --to is\n" +
			"exclusive. For example: millrace query model-stats chat-large --from 2026-01-02T15:00:00Z",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "http", Value: "http://" + defaultHTTP, Usage: "`URL` of an instance"},
			&cli.StringFlag{Name: "from", Usage: "first `TIME` (RFC 3339 or Unix ms) or key"},
			&cli.StringFlag{Name: "to", Usage: "`TIME` or key to stop before"},
			&cli.IntFlag{Name: "limit", Value: 100, Usage: "print at most `N` entries"},
		},
		Action: p.query,
	}, 1, 2)
}

// queryTimeout bounds one request; an instance answers within 5 s.
const queryTimeout = 15 * time.Second

// asker asks an instance.
type asker struct {
	base   string
	client *http.Client
}

func (p *program) query(c *cli.Context) error {
	base := c.String("http")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if err := checkURL("--http", base); err != nil {
		return err
	}
	limit := c.Int("limit")
	if limit < 1 {
		return usagef("--limit %d: want at least 1", limit)
	}
	a := &asker{base: strings.TrimSuffix(base, "/"), client: &http.Client{Timeout: queryTimeout}}
	defer a.client.CloseIdleConnections()
	entries, err := a.entries(c.Context, c.Args().Slice(), span(c), limit)
	if err != nil {
		return err
	}
	return p.printEntries(entries)
}

// span are the parameters of a scan.
func span(c *cli.Context) url.Values {
	v := url.Values{}
	for _, name := range []string{"from", "to"} {
		if c.IsSet(name) {
			v.Set(name, c.String(name))
		}
	}
	return v
}

// entries asks for what args (a store, perhaps a key) name, page by page.
func (a *asker) entries(ctx context.Context, args []string, params url.Values, limit int) ([]query.Entry, error) {
	path, single, err := a.path(ctx, args)
	if err != nil {
		return nil, err
	}
	if single {
		var answer query.KeyValue
		if err := a.get(ctx, path, nil, &answer); err != nil {
			return nil, err
		}
		return []query.Entry{answer.Entry}, nil
	}
	const pageLimit = 1000
	var all []query.Entry
	for {
		params.Set("limit", strconv.Itoa(min(limit-len(all), pageLimit)))
		var page query.Page
		if err := a.get(ctx, path, params, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || len(all) >= limit {
			return all, nil
		}
		params.Set("cursor", page.Next)
	}
}

// path returns the path of a scan, or of a single entry, which depends on the
// kind of the store.
func (a *asker) path(ctx context.Context, args []string) (path string, single bool, err error) {
	var list query.StoreList
	if err := a.get(ctx, "/v1/stores", nil, &list); err != nil {
		return "", false, err
	}
	store := "/v1/stores/" + url.PathEscape(args[0])
	var names []string
	for _, s := range list.Stores {
		names = append(names, s.Name)
		if s.Name != args[0] {
			continue
		}
		windowed := s.Kind == stores.WindowedKind
		switch {
		case windowed && len(args) == 1:
			return store + "/windows", false, nil
		case windowed:
			return store + "/keys/" + url.PathEscape(args[1]) + "/windows", false, nil
		case len(args) == 1:
			return store + "/keys", false, nil
		}
		return store + "/keys/" + url.PathEscape(args[1]), true, nil
	}
	return "", false, fmt.Errorf("there is no store %q; %s has %s", args[0], list.Application, strings.Join(names, ", "))
}

// get asks for JSON.
func (a *asker) get(ctx context.Context, path string, params url.Values, answer any) error {
	target := a.base + path
	if len(params) > 0 {
		target += "?" + params.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("no instance answers at %s: %w; say where one does with --http", a.base, err)
	}
	defer resp.Body.Close()
	const most = 16 << 20
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if resp.StatusCode != http.StatusOK {
		var failed struct{ Error query.Error }
		if json.Unmarshal(body, &failed) != nil || failed.Error.Code == "" {
			return fmt.Errorf("%s: %s", target, resp.Status)
		}
		if resp.StatusCode == http.StatusBadRequest {
			return usageError{&failed.Error}
		}
		return &failed.Error
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("%s answers what is no answer of millrace: %w", target, err)
	}
	return nil
}

// printEntries prints a table on a terminal, else a JSON object a line.
func (p *program) printEntries(entries []query.Entry) error {
	if !isTerminal(p.out) {
		enc := json.NewEncoder(p.out)
		for _, e := range entries {
			e.Position = nil
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	return writeTable(p.out, entries)
}

func writeTable(out io.Writer, entries []query.Entry) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(entries) > 0 && entries[0].Window != nil {
		fmt.Fprintln(w, "KEY\tFROM\tTO\tFINAL\tVALUE")
	} else {
		fmt.Fprintln(w, "KEY\tVALUE")
	}
	for _, e := range entries {
		fmt.Fprintf(w, "%s\t", text(e.Key))
		if e.Window != nil {
			final := "no"
			if e.Final {
				final = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t", e.Window.StartTime, e.Window.EndTime, final)
		}
		fmt.Fprintf(w, "%s\n", text(e.Value))
	}
	fmt.Fprintf(w, "%d entries\n", len(entries))
	return w.Flush()
}

// text is JSON for people: a string without its quotes.
func text(raw json.RawMessage) string {
	s := string(raw)
	_ = json.Unmarshal(raw, &s) // what is no string stays as it is
	return printable(s)
}

// printable escapes what a terminal would obey rather than show: keys and values
// are whoever's wrote them.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
