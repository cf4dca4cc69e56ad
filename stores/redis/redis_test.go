package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/stores"
)

func TestFields(t *testing.T) {
	for _, c := range []struct {
		value string
		want  []string
	}{
		{`{"count":3,"error_rate":0.5,"pane":"on_time","final":true}`, []string{"count", "3", "error_rate", "0.5", "pane", "on_time", "final", "true"}},
		{`{"latency_ms":{"p50":12.5,"p95":null}}`, []string{"latency_ms.p50", "12.5"}},
		{`{"big":9007199254740993,"text":"a\"é\n","list":[1,{"b":2}]}`, []string{"big", "9007199254740993", "text", "a\"é\n", "list", `[1,{"b":2}]`}},
		{`{"@log":"x","a":1}`, []string{"a", "1"}},
		{`{}`, nil},
		{`[1,2]`, []string{"value", "[1,2]"}},
		{`{"cut":`, []string{"value", `{"cut":`}},
		{`{"a":{"b":`, []string{"value", `{"a":{"b":`}},
		{`{} {}`, []string{"value", "{} {}"}},
		{"\x81\xa1a\x01", []string{"value", "\x81\xa1a\x01"}},
		{"", []string{"value", ""}},
	} {
		if got := appendFields(nil, []byte(c.value)); !slices.Equal(got, c.want) {
			t.Errorf("%s: fields %q, want %q", c.value, got, c.want)
		}
	}
	var wide strings.Builder
	for i := range mostFields + 1 {
		fmt.Fprintf(&wide, `,"f%d":1`, i)
	}
	object := "{" + wide.String()[1:] + "}"
	if got := appendFields(nil, []byte(object)); len(got) != 2 || got[1] != object {
		t.Errorf("an object of %d members became %d texts, want the one field value", mostFields+1, len(got))
	}
}

func TestKeysLieInOneSlot(t *testing.T) {
	r, err := Open(Config{URL: "redis://127.0.0.1:1", Application: "app"})
	if err != nil {
		t.Fatal(err)
	}
	e := r.command(&stores.Result{Store: "s", Key: []byte("k}1"), Windowed: true, Start: -5, End: 5})
	want := []string{"millrace:{app:s:k}1}", "millrace:{app:s:k}1}:-5", "millrace:{app:s:k}1}:windows"}
	if !slices.Equal(e.Keys, want) {
		t.Errorf("keys %q, want %q", e.Keys, want)
	}
	if e := r.command(&stores.Result{Store: "s"}); len(e.Keys) != 1 || e.Keys[0] != "millrace:{app:s:}" {
		t.Errorf("without a window: keys %q", e.Keys)
	}
}

// TestAKeyOfAnotherTypeIsKnownByItsError, as Redis 7 has it and as Redis 6 does.
func TestAKeyOfAnotherTypeIsKnownByItsError(t *testing.T) {
	for text, want := range map[string]bool{
		"WRONGTYPE Operation against a key holding the wrong kind of value script: 9b3c":                                                true,
		"ERR Error running script (call to f_9b3c): @user_script:7: WRONGTYPE Operation against a key holding the wrong kind of value ": true,
		"OOM command not allowed when used memory > 'maxmemory'.":                                                                       false,
	} {
		if saysOthers(text) != want {
			t.Errorf("%s: want %t", text, want)
		}
	}
}

func TestMistakesAreToldWithoutSecrets(t *testing.T) {
	for _, url := range []string{
		"", "http://host:1", "redis://", "redis://u:hush@host", "redis://host:6379/0?db=1", "redis://host/many", "redis://u:hush@ho st", "unix:///tmp/hush",
	} {
		_, err := Open(Config{URL: url, Application: "app", Password: "hush"})
		if !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", url, err)
		}
	}
	c := Config{URL: "redis://host", Password: "hush", Application: "app"}
	if shown := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(shown, "hush") {
		t.Errorf("the password shows: %s", shown)
	}
}
