package codec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/codec"
)

func TestStreamsKeysGolden(t *testing.T) {
	key := []byte("k")
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"window":        {codec.AppendWindowKey(nil, key, 60_000, 0), "6b" + "000000000000ea60" + "00000000"},
		"window seq":    {codec.AppendWindowKey(nil, key, 60_000, 7), "6b" + "000000000000ea60" + "00000007"},
		"session":       {codec.AppendSessionKey(nil, key, 1000, 5000), "6b" + "0000000000001388" + "00000000000003e8"},
		"time windowed": {codec.AppendTimeWindowedKey(nil, key, 60_000), "6b" + "000000000000ea60"},
		"appended":      {codec.AppendTimeWindowedKey([]byte("x"), key, -1), "78" + "6b" + "ffffffffffffffff"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestStreamsKeysRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		key := rapid.SliceOf(rapid.Byte()).Draw(r, "key")
		a, b := rapid.Int64().Draw(r, "a"), rapid.Int64().Draw(r, "b")
		seq := rapid.Int32().Draw(r, "seq")
		k, start, s, err := codec.SplitWindowKey(codec.AppendWindowKey(nil, key, a, seq))
		if !bytes.Equal(k, key) || start != a || s != seq || err != nil {
			r.Errorf("window key: %x, %d, %d, %v", k, start, s, err)
		}
		k, start, end, err := codec.SplitSessionKey(codec.AppendSessionKey(nil, key, a, b))
		if !bytes.Equal(k, key) || start != a || end != b || err != nil {
			r.Errorf("session key: %x, %d, %d, %v", k, start, end, err)
		}
		k, start, err = codec.SplitTimeWindowedKey(codec.AppendTimeWindowedKey(nil, key, a))
		if !bytes.Equal(k, key) || start != a || err != nil {
			r.Errorf("windowed key: %x, %d, %v", k, start, err)
		}
	})
}

func TestStreamsKeysTooShort(t *testing.T) {
	_, _, _, window := codec.SplitWindowKey(make([]byte, 11))
	_, _, _, session := codec.SplitSessionKey(make([]byte, 15))
	_, _, timed := codec.SplitTimeWindowedKey(make([]byte, 7))
	for _, err := range []error{window, session, timed} {
		if !errors.Is(err, codec.ErrDecode) {
			t.Errorf("got %v, want ErrDecode", err)
		}
	}
	// A key that has room to grow must not write over the window behind it.
	b := codec.AppendWindowKey(nil, []byte("k"), 60_000, 0)
	key, _, _, err := codec.SplitWindowKey(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(key, "xxxx"...)
	if _, start, _, _ := codec.SplitWindowKey(b); start != 60_000 {
		t.Errorf("appending to the key changed the start to %d", start)
	}
}

func TestOffsetMetadataGolden(t *testing.T) {
	for text, m := range map[string]codec.OffsetMetadata{
		"AgAAAAAAAAPo": {Time: 1000},
		"Av//////////": {Time: -1},
		"AgAAAAAAAAPoAAAAAQAAAAVzdG9yZQAAAAAAAOpg": {Time: 1000, Processors: map[string]int64{"store": 60_000}},
	} {
		if got := m.Encode(); got != text {
			t.Errorf("Encode(%+v) = %s, want %s", m, got, text)
		}
		got, err := codec.DecodeOffsetMetadata(text)
		if err != nil || got.Time != m.Time || !maps.Equal(got.Processors, m.Processors) {
			t.Errorf("DecodeOffsetMetadata(%s) = %+v, %v, want %+v", text, got, err, m)
		}
	}
	if m, err := codec.DecodeOffsetMetadata("AQAAAAAAAAPo"); m.Time != 1000 || err != nil {
		t.Errorf("version 1: %+v, %v", m, err)
	}
	if m, err := codec.DecodeOffsetMetadata(""); m.Time != -1 || err != nil {
		t.Errorf("no metadata: %+v, %v", m, err)
	}
	for _, bad := range []string{
		"plain words", "AA==", "AwAAAAAAAAPo", "AgAAAAAAAAPoAAAA", "AQAAAAAAAAPoAAAAAA==",
		"AgAAAAAAAAPoAAAAAg==", "AgAAAAAAAAPoAAAAAf////8=", "AgAAAAAAAAPoAAAAAAA=",
	} {
		if m, err := codec.DecodeOffsetMetadata(bad); !errors.Is(err, codec.ErrDecode) || m.Time != -1 || m.Processors != nil {
			t.Errorf("DecodeOffsetMetadata(%q) = %+v, %v, want the unknown time and ErrDecode", bad, m, err)
		}
	}
}

func FuzzDecodeOffsetMetadata(f *testing.F) {
	f.Add("AgAAAAAAAAPoAAAAAQAAAAVzdG9yZQAAAAAAAOpg")
	f.Add("AQAAAAAAAAPo")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := codec.DecodeOffsetMetadata(s)
		if err != nil {
			return
		}
		again, err := codec.DecodeOffsetMetadata(m.Encode())
		if err != nil || again.Time != m.Time || !maps.Equal(again.Processors, m.Processors) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

// TestMurmur2 has the constants of Kafka's own UtilsTest.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string":                       -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107, "": 275646681,
	} {
		if got := codec.Murmur2([]byte(key)); got != want {
			t.Errorf("Murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartition(t *testing.T) {
	for key, want := range map[string]int32{"21": 0, "foobar": 0, "a-little-bit-long-string": 2, "abc": 3} {
		if got := codec.Partition([]byte(key), 6); got != want {
			t.Errorf("Partition(%q, 6) = %d, want %d", key, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.Int32Range(math.MinInt32, math.MaxInt32).Draw(r, "n")
		p := codec.Partition(rapid.SliceOf(rapid.Byte()).Draw(r, "key"), n)
		if p < 0 || p >= max(n, 1) {
			r.Fatalf("partition %d of %d", p, n)
		}
	})
}
