package stores

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestTablesAreWrittenInLargePieces, whole and in order, however they are handed over.
func TestTablesAreWrittenInLargePieces(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 0))
		writes := 0
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWrite {
				writes++
			}
			return nil
		}))
		under, err := fs.Create("table", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f := &bufferedFile{File: under}
		var want []byte
		for range 500 {
			size := random.IntN(8 << 10)
			if random.IntN(50) == 0 {
				size = random.IntN(4 * writeBytes)
			}
			piece := bytes.Repeat([]byte{byte(random.Uint32())}, size)
			want = append(want, piece...)
			if n, err := f.Write(piece); n != size || err != nil {
				t.Fatalf("wrote %d of %d: %v", n, size, err)
			}
		}
		if most := 3*len(want)/writeBytes + 2; writes > most {
			t.Errorf("seed %d: %d writes of %d bytes, want at most %d", seed, writes, len(want), most)
		}
		if seed%2 == 0 {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			expectContent(t, fs, want)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		expectContent(t, fs, want)
	}
}

func expectContent(t *testing.T, fs vfs.FS, want []byte) {
	t.Helper()
	f, err := fs.Open("table")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes are in the file, want the %d written: %v", len(got), len(want), err)
	}
}
