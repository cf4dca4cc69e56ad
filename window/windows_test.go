package window

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWindowsValidate(t *testing.T) {
	tests := []struct {
		name     string
		windows  Windows
		mistakes []string
	}{
		{"plain", Tumbling(5 * time.Minute), nil},
		{"everything", Tumbling(time.Hour).AllowedLateness(time.Minute).Offset(-15 * time.Minute).Retention(24 * time.Hour), nil},
		{"smallest", Tumbling(time.Millisecond), nil},
		{"largest", Tumbling(1<<63 - 1 - 775807).AllowedLateness(1<<63 - 1 - 775807), nil},
		{"retention just enough", Tumbling(time.Minute).AllowedLateness(time.Second).Retention(61 * time.Second), nil},
		{"set in the other order", Tumbling(time.Minute).Retention(61 * time.Second).AllowedLateness(time.Second), nil},
		{"zero value", Windows{}, []string{"window size 0s"}},
		{"negative size", Tumbling(-time.Second), []string{"window size -1s"}},
		{"too fine", Tumbling(1500 * time.Microsecond), []string{"window size 1.5ms: want whole"}},
		{"offset of a size", Tumbling(time.Minute).Offset(time.Minute), []string{"offset 1m0s"}},
		{"offset of minus a size", Tumbling(time.Minute).Offset(-time.Minute), []string{"offset -1m0s"}},
		{"retention one short", Tumbling(time.Minute).AllowedLateness(time.Second).Retention(61*time.Second - time.Millisecond), []string{"retention 1m0.999s"}},
		{"negative retention", Tumbling(time.Minute).Retention(-1 * time.Second), []string{"retention -1s"}},
		{
			"all at once",
			Tumbling(0).AllowedLateness(-time.Second).Offset(time.Microsecond).Retention(-time.Second),
			[]string{"window size 0s", "allowed lateness -1s", "offset 1µs", "retention -1s"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { checkMistakes(t, test.windows.Validate(), test.mistakes) })
	}
}

func TestValidateEachKind(t *testing.T) {
	for name, test := range map[string]struct {
		windows  Windows
		mistakes []string
	}{
		"hopping":            {Hopping(time.Minute).Every(time.Second).Offset(-999 * time.Millisecond), nil},
		"hopping as long":    {Hopping(time.Minute).Every(time.Minute), nil},
		"hopping how":        {Hopping(time.Minute), []string{"advance 0s: set it with Every"}},
		"hopping too far":    {Hopping(time.Minute).Every(61 * time.Second), []string{"advance 1m1s: set it with Every"}},
		"hopping too dense":  {Hopping(time.Hour).Every(time.Millisecond), []string{"more than 100000 windows"}},
		"hopping offset":     {Hopping(time.Minute).Every(time.Second).Offset(time.Second), []string{"offset 1s: want less than the advance 1s"}},
		"every of tumbling":  {Tumbling(time.Minute).Every(time.Second), []string{"Every and SeparateWindows belong to hopping"}},
		"sliding":            {Sliding(time.Second).AllowedLateness(time.Second), nil},
		"sliding of nothing": {Sliding(0), []string{"time difference 0s"}},
		"sliding offset":     {Sliding(time.Second).Offset(1e6), []string{"sliding windows have none"}},
		"session":            {Session(time.Second).AtMost(time.Hour).Retention(time.Minute), nil},
		"session of nothing": {Session(0).AtMost(-time.Second), []string{"session gap 0s", "greatest length -1s"}},
		"at most tumbling":   {Tumbling(1e6).AtMost(time.Second), []string{"AtMost belongs to sessions"}},
		"calendar":           {Calendar(Week, "Australia/Lord_Howe").Retention(time.Hour), nil},
		"calendar of what":   {Calendar(9, "Mars/Olympus"), []string{"calendar unit 9", `time zone "Mars/Olympus"`}},
		"calendar offset":    {Calendar(Day, "UTC").Offset(time.Hour), []string{"offset 1h0m0s: calendar windows have none"}},
		"count":              {Count(10), nil},
		"count of nothing":   {Count(0).AllowedLateness(time.Second).Retention(time.Hour), []string{"0 events", "allowed lateness 1s", "retention 1h"}},
	} {
		t.Run(name, func(t *testing.T) { checkMistakes(t, test.windows.Validate(), test.mistakes) })
	}
}

// TestLayouts: what must not be read as each other has different names, and
// settings that may change are not in them.
func TestLayouts(t *testing.T) {
	seen := map[string]Windows{}
	hop := Hopping(time.Minute)
	for _, w := range []Windows{
		Tumbling(time.Minute), Tumbling(time.Minute).Offset(1e6), hop.Every(time.Second), hop.Every(time.Second).SeparateWindows(),
		hop.Every(7 * time.Second), hop.Every(time.Second).Offset(1e6), Sliding(time.Minute), Session(time.Minute),
		Session(time.Minute).AtMost(time.Hour), Calendar(Day, "UTC"), Calendar(Hour, "UTC"), Calendar(Day, "Europe/Berlin"), Count(3), Count(4),
	} {
		if other, taken := seen[w.Layout()]; taken {
			t.Errorf("%v and %v have one layout, %q", w, other, w.Layout())
		}
		seen[w.Layout()] = w
		if w.AllowedLateness(time.Hour).Retention(48*time.Hour).Layout() != w.Layout() {
			t.Errorf("%v: lateness or retention change the layout", w)
		}
	}
	for w, want := range map[Windows]string{
		hop.Every(time.Second).SeparateWindows(): "hopping 1m0s every 1s, separate",
		Sliding(time.Minute):                     "sliding 1m0s",
		Session(time.Minute).AtMost(time.Hour):   "session 1m0s, at most 1h0m0s",
		Calendar(Month, "UTC").Retention(1e9):    "calendar month UTC, retention 1s",
		Count(12):                                "count 12",
	} {
		if w.String() != want {
			t.Errorf("String() = %q, want %q", w, want)
		}
	}
}

// checkMistakes checks that err tells exactly the mistakes, in any order.
func checkMistakes(t *testing.T, err error, mistakes []string) {
	t.Helper()
	if len(mistakes) == 0 {
		if err != nil {
			t.Fatalf("got %v, want no mistake", err)
		}
		return
	}
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(mistakes) {
		t.Errorf("got %d mistakes, want %d:\n%v", len(lines), len(mistakes), err)
	}
	for _, m := range mistakes {
		if !strings.Contains(err.Error(), m) {
			t.Errorf("mistake %q is missing in:\n%v", m, err)
		}
	}
}

func TestWindowsSettings(t *testing.T) {
	w := Tumbling(5 * time.Minute).AllowedLateness(2 * time.Minute)
	if got, want := w.String(), "tumbling 5m0s, lateness 2m0s"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got := w.RetentionMillis(); got != 420_000 {
		t.Errorf("default retention %d, want size and lateness, 420000", got)
	}
	longer := w.Retention(time.Hour).Offset(time.Minute)
	if got, want := longer.String(), "tumbling 5m0s, lateness 2m0s, offset 1m0s, retention 1h0m0s"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got := longer.RetentionMillis(); got != 3_600_000 {
		t.Errorf("retention %d, want 3600000", got)
	}
	if w.RetentionMillis() != 420_000 || w.OffsetMillis() != 0 {
		t.Error("a setting changed the value it was called on")
	}
	if got := w.Retention(time.Minute).RetentionMillis(); got != 420_000 {
		t.Errorf("retention %d below size and lateness would delete an open window", got)
	}
	if w.NeedsMerge() {
		t.Error("tumbling windows need no merge")
	}
}

func TestStrategyValidate(t *testing.T) {
	checkMistakes(t, Strategy{}.Validate(), nil)
	checkMistakes(t, BoundedDelay(time.Minute).IdleAfter(time.Minute).MaxAhead(time.Second).Validate(), nil)
	checkMistakes(t, BoundedDelay(-1).IdleAfter(-time.Second).MaxAhead(0).Validate(),
		[]string{"watermark delay -1ns", "idle time-out -1s", "largest distance ahead of the clock 0s"})
	got := BoundedDelay(2 * time.Minute).IdleAfter(5 * time.Minute).String()
	if want := "delay 2m0s, idle after 5m0s"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got := BoundedDelay(0).MaxAheadMillis(); got != 3_600_000 {
		t.Errorf("default MaxAhead %d ms, want an hour", got)
	}
}

func TestEmitValidate(t *testing.T) {
	checkMistakes(t, Emit{}.Validate(), nil)
	checkMistakes(t, OnTime().Early(time.Second).Late(EachCommit).Validate(), nil)
	checkMistakes(t, OnClose().Validate(), nil)
	checkMistakes(t, OnTime().Early(0).Late(9).Validate(), []string{"early results every 0s", "late policy 9"})
	checkMistakes(t, OnClose().Early(time.Second).Late(NoLate).Validate(), []string{"leave out Early", "leave out Late"})
	checkMistakes(t, OnTime().EarlyEachCommit().EarlyAfter(3).Validate(), nil)
	checkMistakes(t, OnTime().EarlyEachCommit().Early(time.Second).Validate(), []string{"both every 1s and each commit"})
	checkMistakes(t, OnClose().EarlyEachCommit().Validate(), []string{"leave out EarlyEachCommit"})
	checkMistakes(t, OnTime().EarlyAfter(0).Retracting().Validate(), []string{"early results after 0 events"})
	checkMistakes(t, OnClose().EarlyAfter(3).Discarding().Validate(), []string{"leave out EarlyAfter", "leave out Discarding"})
	checkMistakes(t, OnUpdate().Retracting().Validate(), nil)
	checkMistakes(t, OnUpdate().Early(time.Second).EarlyAfter(2).Late(NoLate).Validate(), []string{"leave out Early,", "leave out EarlyAfter", "leave out Late"})
	if (Emit{}) != OnTime() {
		t.Error("the zero value is not OnTime")
	}
	for e, want := range map[Emit]string{
		OnClose():                            "on close",
		OnUpdate():                           "on update",
		OnUpdate().Discarding():              "on update, discarding",
		OnTime():                             "on time, late each_update",
		OnTime().Early(30 * time.Second):     "on time, early each 30s, late each_update",
		OnTime().Late(NoLate):                "on time, late no_late",
		OnTime().Early(1e9).Late(EachCommit): "on time, early each 1s, late each_commit",
		OnTime().EarlyEachCommit():           "on time, early each_commit, late each_update",
		OnTime().EarlyAfter(9).Retracting():  "on time, early after 9, late each_update, retracting",
		OnTime().Discarding():                "on time, late each_update, discarding",
	} {
		if got := e.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

func TestPaneKindText(t *testing.T) {
	for kind, want := range map[PaneKind]string{NoPane: "", EarlyPane: "early", OnTimePane: "on_time", LatePane: "late"} {
		text, err := kind.MarshalText()
		if string(text) != want || err != nil || kind.String() != want {
			t.Errorf("MarshalText() = %q, %v and String() = %q, want %q", text, err, kind, want)
		}
		var back PaneKind
		if err := back.UnmarshalText(text); err != nil || back != kind {
			t.Errorf("UnmarshalText(%q) = %v, %v, want %v", text, back, err, kind)
		}
	}
	k := LatePane
	if err := k.UnmarshalText([]byte("On_time")); err == nil || k != LatePane {
		t.Errorf("UnmarshalText of an unknown kind gave %v and error %v", k, err)
	}
	if text, err := PaneKind(4).MarshalText(); err == nil {
		t.Errorf("MarshalText of an unknown kind gave %q", text)
	}
	if got := PaneKind(4).String(); got != "PaneKind(4)" {
		t.Errorf("String() of an unknown kind = %q", got)
	}
}
