package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// answerOf finds a request on the page of queries, and the answer below it.
var answerOf = regexp.MustCompile("(?s)`GET (/[^`]+)`[^`#]*\n```json\n([^`]*)```")

func TestThePageOfQueriesShowsRealAnswers(t *testing.T) {
	text := page(t, "docs/queries.md")
	_, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=conv").wait(exitOK)
	p, url := serving(t, brokers, "--state", t.TempDir(), "--commit=50ms")
	p.err.await(t, `"state":"(running)"`)

	shown := answerOf.FindAllStringSubmatch(text, -1)
	if len(shown) < 4 {
		t.Fatalf("%d answers are shown", len(shown))
	}
	for _, m := range shown {
		path, query, _ := strings.Cut(m[1], "?")
		if strings.Contains(query, "from=") {
			query = "limit=1" // of whatever time
		}
		var want any
		if err := json.Unmarshal([]byte(m[2]), &want); err != nil {
			t.Errorf("%s: %v", m[1], err)
			continue
		}
		late := time.After(patienceOfTests)
		for {
			var got any
			if err := json.Unmarshal([]byte(get(t, url+path+"?"+query, http.StatusOK)), &got); err != nil {
				t.Fatal(err)
			}
			missing := absent(want, got, "")
			if missing == "" {
				break
			}
			select {
			case <-late:
				t.Fatalf("%s has no %s: %v", m[1], missing, got)
			case <-time.After(20 * time.Millisecond): // nothing is committed yet
			}
		}
	}

	var document struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal([]byte(get(t, url+"/v1/openapi.json", http.StatusOK)), &document); err != nil {
		t.Fatal(err)
	}
	named := strings.NewReplacer("model-stats", "{store}", "chat-large", "{key}", "?", "`").Replace(text)
	for path, methods := range document.Paths {
		for method := range methods {
			if request := strings.ToUpper(method) + " " + path; !strings.Contains(named, "`"+request+"`") {
				t.Errorf("the page has no %s", request)
			}
		}
	}
}

// absent returns the first field of want that got lacks; of lists it looks at
// the first items.
func absent(want, got any, at string) string {
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for name, inner := range w {
			if _, ok := g[name]; !ok {
				return at + "." + name
			}
			if missing := absent(inner, g[name], at+"."+name); missing != "" {
				return missing
			}
		}
	case []any:
		g, _ := got.([]any)
		switch {
		case len(w) > 0 && len(g) == 0:
			return at + "[0]"
		case len(w) > 0:
			return absent(w[0], g[0], at+"[0]")
		}
	}
	return ""
}

func TestThePageOfQueriesHasEachCode(t *testing.T) {
	text := section(t, page(t, "docs/queries.md"), "Errors")
	codes := regexp.MustCompile(`(?m)^\tCode\w+ += "(\w+)"`).FindAllStringSubmatch(page(t, "query/errors.go"), -1)
	if len(codes) == 0 {
		t.Fatal("there are no codes")
	}
	for _, m := range codes {
		if !strings.Contains(text, "`"+m[1]+"`") {
			t.Errorf("the page has no code %s", m[1])
		}
	}
}
