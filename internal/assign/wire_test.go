package assign

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The golden vectors hold every field. They never change: members of several
// releases are in one group during an upgrade.
const (
	goldenSubscription = "0103" + // version, newest
		"00112233445566778899aabbccddeeff" +
		"14" + "687474703a2f2f31302e302e302e373a38303830" + // http://10.0.0.7:8080
		"03" + "722d31" + // r-1
		"04" + "61623132" + // ab12
		"05" + "312e322e30" + // 1.2.0
		"04" + "08" + // 4 workers, generation 7
		"02" + "00" + "03" + "000001" + "01" + "01" + "ac02" + // 0_0 0_1 0_3, 2_300
		"01" + "01" + "02" + "0500" + "e907" + "00" + // 1_5, 1_6: lags 1000 and unknown
		"00"
	goldenAssignment = "0102" + "8827" + // version, common, 5000 members
		"0a" + "687474703a2f2f6c3a31" + // http://l:1
		"01" + "00" + "02" + "0000" + // 0_0 0_1
		"01" + "03" + "01" + "09" + // 3_9
		"00" + "00"
)

func goldenSub() Subscription {
	return Subscription{
		Newest:      3,
		Process:     ProcessID{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
		Endpoint:    "http://10.0.0.7:8080",
		Rack:        "r-1",
		Topology:    "ab12",
		Application: "1.2.0",
		Workers:     4,
		Generation:  7,
		Owned:       []Task{{0, 0}, {0, 1}, {0, 3}, {2, 300}},
		State:       []TaskState{{Task{1, 5}, 1000}, {Task{1, 6}, LagUnknown}},
	}
}

func goldenAssign() Assignment {
	return Assignment{Common: 2, Members: 5000, Leader: "http://l:1", Active: []Task{{0, 0}, {0, 1}}, Standby: []Task{{3, 9}}}
}

func TestGoldenSubscription(t *testing.T) {
	want := goldenSub()
	if got := hex.EncodeToString(want.Append(nil)); got != goldenSubscription {
		t.Errorf("encoded\n%s, want\n%s", got, goldenSubscription)
	}
	b, _ := hex.DecodeString(goldenSubscription)
	if got, err := DecodeSubscription(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, want)
	}
	if got := want.Process.String(); got != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("process id %s", got)
	}
}

func TestGoldenAssignment(t *testing.T) {
	want := goldenAssign()
	if got := hex.EncodeToString(want.Append(nil)); got != goldenAssignment {
		t.Errorf("encoded\n%s, want\n%s", got, goldenAssignment)
	}
	b, _ := hex.DecodeString(goldenAssignment)
	if got, err := DecodeAssignment(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, want)
	}
}

func drawTask(t *rapid.T) Task {
	return Task{
		Sub:       rapid.OneOf(rapid.Int32Range(0, 4), rapid.Int32Range(0, math.MaxInt32)).Draw(t, "sub"),
		Partition: rapid.OneOf(rapid.Int32Range(0, 40), rapid.Int32Range(0, math.MaxInt32)).Draw(t, "partition"),
	}
}

// drawTaskList returns sorted tasks without repeats, nil if there are none.
func drawTaskList(t *rapid.T) []Task {
	tasks := rapid.SliceOfDistinct(rapid.Custom(drawTask), rapid.ID[Task]).Draw(t, "tasks")
	slices.SortFunc(tasks, Task.Compare)
	return slices.Clip(append([]Task(nil), tasks...))
}

func drawSubscription(t *rapid.T) Subscription {
	s := Subscription{
		Newest:      rapid.Uint8Min(Version).Draw(t, "newest"),
		Endpoint:    rapid.String().Draw(t, "endpoint"),
		Rack:        rapid.String().Draw(t, "rack"),
		Topology:    rapid.String().Draw(t, "topology"),
		Application: rapid.String().Draw(t, "application"),
		Workers:     rapid.Int32Min(1).Draw(t, "workers"),
		Generation:  rapid.Int32Min(NoGeneration).Draw(t, "generation"),
	}
	copy(s.Process[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "process"))
	return s
}

func TestSubscriptionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawSubscription(t)
		want.Owned = drawTaskList(t)
		for _, task := range drawTaskList(t) {
			want.State = append(want.State, TaskState{Task: task, Lag: rapid.Int64Min(LagUnknown).Draw(t, "lag")})
		}
		b := want.Append([]byte("prefix"))
		got, err := DecodeSubscription(b[len("prefix"):])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded %+v, %v, want %+v", got, err, want)
		}
		for n := range len(b) - len("prefix") {
			if _, err := DecodeSubscription(b[len("prefix"):][:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
	})
}

func TestAssignmentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Assignment{
			Common:  rapid.Uint8Min(Version).Draw(t, "common"),
			Members: rapid.Int32Min(0).Draw(t, "members"),
			Leader:  rapid.String().Draw(t, "leader"),
			Active:  drawTaskList(t),
			Standby: drawTaskList(t),
			Warmup:  drawTaskList(t),
		}
		b := want.Append(nil)
		got, err := DecodeAssignment(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded %+v, %v, want %+v", got, err, want)
		}
		for n := range b {
			if _, err := DecodeAssignment(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
	})
}

// TestAppendSorts gives lists with repeats, out of order, and expects neither
// the bytes nor the caller's lists to show it.
func TestAppendSorts(t *testing.T) {
	s := Subscription{
		Owned: []Task{{1, 0}, {0, 5}, {1, 0}, {0, 2}},
		State: []TaskState{{Task{3, 1}, LagUnknown}, {Task{2, 0}, 9}, {Task{3, 1}, 4}},
	}
	got, err := DecodeSubscription(s.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := []Task{{0, 2}, {0, 5}, {1, 0}}; !slices.Equal(got.Owned, want) {
		t.Errorf("owned %v, want %v", got.Owned, want)
	}
	if want := []TaskState{{Task{2, 0}, 9}, {Task{3, 1}, 4}}; !slices.Equal(got.State, want) {
		t.Errorf("state %v, want %v", got.State, want)
	}
	if got.Newest != Version || got.Workers != 1 {
		t.Errorf("newest %d and %d workers, want %d and 1", got.Newest, got.Workers, Version)
	}
	if s.Owned[0] != (Task{1, 0}) || s.State[0].Lag != LagUnknown {
		t.Error("the caller's lists were sorted")
	}
}

func TestNewerVersionIsATypedError(t *testing.T) {
	b := goldenSub().Append(nil)
	b[0], b[1] = Version+1, Version+1
	_, err := DecodeSubscription(b)
	var version *VersionError
	if !errors.As(err, &version) || version.Got != Version+1 || !errors.Is(err, ErrVersion) || errors.Is(err, ErrMalformed) {
		t.Errorf("subscription: %v", err)
	}
	if _, err := DecodeAssignment(b); !errors.Is(err, ErrVersion) {
		t.Errorf("assignment: %v", err)
	}
}

// TestTaggedFieldsAreSkipped adds what a later release of the same version may.
func TestTaggedFieldsAreSkipped(t *testing.T) {
	tagged := "02" + "05" + "03" + "aabbcc" + "ffffffffffffffffff01" + "00"
	b, _ := hex.DecodeString(strings.TrimSuffix(goldenSubscription, "00") + tagged)
	if got, err := DecodeSubscription(b); err != nil || !reflect.DeepEqual(got, goldenSub()) {
		t.Errorf("subscription: %+v, %v", got, err)
	}
	b, _ = hex.DecodeString(strings.TrimSuffix(goldenAssignment, "00") + tagged)
	if got, err := DecodeAssignment(b); err != nil || !reflect.DeepEqual(got, goldenAssign()) {
		t.Errorf("assignment: %+v, %v", got, err)
	}
}

func TestMalformedNamesTheField(t *testing.T) {
	head := "0101" + "0164" + "00" // one sub-topology follows
	for _, c := range []struct{ name, bytes, want string }{
		{"empty", "", "version"},
		{"version 0", "0001", "version 0"},
		{"reads less than it writes", "0100", "version 1 by a sender that reads up to 0"},
		{"left over", goldenAssignment + "00", "1 bytes are left over"},
		{"length beyond the end", "0101" + "01" + "ffffffff0f", "leader"},
		{"number too large", "0101" + "ffffffffff0f", "members"},
		{"number of eleven bytes", "0101" + "ffffffffffffffffffff01", "members"},
		{"sub-topology without partitions", "0101" + "01" + "00" + "01" + "00" + "00" + "000000", "without partitions"},
		{"partition beyond 2^31-1", "0101" + "01" + "00" + "01" + "00" + "02" + "ffffffff07" + "00" + "0000", "active tasks"},
		{"tag without a value", strings.TrimSuffix(goldenAssignment, "00") + "0105", "tagged"},
		{"garbage", head + "ff", "malformed"},
	} {
		b, err := hex.DecodeString(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		_, err = DecodeAssignment(b)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
}

// FuzzDecode looks for a panic, and for bytes that decode and do not survive
// another round.
func FuzzDecode(f *testing.F) {
	f.Add(goldenSub().Append(nil))
	f.Add(goldenAssign().Append(nil))
	f.Add(Subscription{Producers: 2, Remembers: []Producers{{Count: 3}}}.Append(nil))
	f.Add(Assignment{Remember: []Producers{{First: 1, Count: 3}}, Abort: []Producers{{Count: 1}}}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeSubscription(b); err == nil {
			s.Workers = max(s.Workers, 1)
			again, err := DecodeSubscription(s.Append(nil))
			if err != nil || !reflect.DeepEqual(s, again) {
				t.Errorf("%+v became %+v, %v", s, again, err)
			}
			Plan([]Member{{ID: "a", Subscription: s}, {ID: "b"}}, s.Owned, Policy{Standbys: 1, Warmups: 1})
		} else if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
			t.Errorf("an error of neither kind: %v", err)
		}
		if a, err := DecodeAssignment(b); err == nil {
			again, err := DecodeAssignment(a.Append(nil))
			if err != nil || !reflect.DeepEqual(a, again) {
				t.Errorf("%+v became %+v, %v", a, again, err)
			}
		} else if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
			t.Errorf("an error of neither kind: %v", err)
		}
	})
}
