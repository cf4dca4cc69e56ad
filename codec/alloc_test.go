//go:build !race

package codec

import "testing"

// The race detector makes pools forget on purpose; without it the record path
// allocates nothing.
func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 256)
	points, p := Msgpack[point](), point{X: 1 << 40, S: "a string of some length"}
	encoded, err := points.Append(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("gpt-4o-mini")
	for name, f := range map[string]func() error{
		"String.Append":  func() error { _, err := String.Append(buf, "gpt-4o-mini"); return err },
		"String.Decode":  func() error { _, err := String.Decode(text); return err },
		"Int64.Append":   func() error { _, err := Int64.Append(buf, 7); return err },
		"UUID.Append":    func() error { _, err := UUIDText.Append(buf, [16]byte{1}); return err },
		"Msgpack.Append": func() error { _, err := points.Append(buf, p); return err },
		"Msgpack.Decode": func() error { _, err := points.Decode(encoded); return err },
		"window key":     func() error { AppendWindowKey(buf, text, 1, 2); return nil },
		"partition":      func() error { Partition(text, 6); return nil },
	} {
		if n := testing.AllocsPerRun(200, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}
