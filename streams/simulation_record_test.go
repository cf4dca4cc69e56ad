package streams

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Variables that have what the simulation ran written down.
const (
	recordVariable = "MILLRACE_SIM_RECORD" // the CSV file; none by default
	commitVariable = "MILLRACE_SIM_COMMIT" // of the code that runs
)

// record is the file that says which seeds have run. A row stands for seeds in
// succession of one day, commit and guarantee; each bunch that ends extends the
// last one, or adds one. So a long run may be stopped at any time, and the next
// goes on behind it.
type record struct {
	path string // empty for no record
	row  recordRow
	rows []recordRow
}

// recordRow is a line of the file.
type recordRow struct {
	date, commit string
	from, seeds  uint64
	guarantee    Guarantee
	failed       uint64
}

var recordHead = []string{"date", "commit", "from", "seeds", "guarantee", "failed"}

// openRecord reads the record that the environment names.
func openRecord(t testing.TB, g Guarantee) *record {
	t.Helper()
	r := &record{path: os.Getenv(recordVariable)}
	r.row = recordRow{date: time.Now().UTC().Format(time.DateOnly), commit: os.Getenv(commitVariable), guarantee: g}
	if r.path == "" {
		return r
	}
	r.read(t)
	return r
}

func (r *record) read(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || len(lines) == 0 || !slices.Equal(lines[0], recordHead) {
		t.Fatalf("%s: want columns %v: %v", r.path, recordHead, err)
	}
	for i, line := range lines[1:] {
		row := recordRow{date: line[0], commit: line[1], guarantee: Guarantee(line[4])}
		for column, to := range map[int]*uint64{2: &row.from, 3: &row.seeds, 5: &row.failed} {
			if *to, err = strconv.ParseUint(line[column], 10, 64); err != nil {
				t.Fatalf("%s:%d: %s: %v", r.path, i+2, recordHead[column], err)
			}
		}
		r.rows = append(r.rows, row)
	}
}

// next returns the first seed behind all that have run under the guarantee.
func (r *record) next() uint64 {
	next := uint64(1)
	for _, row := range r.rows {
		if row.guarantee == r.row.guarantee {
			next = max(next, row.from+row.seeds)
		}
	}
	return next
}

// add writes down what came of some seeds.
func (r *record) add(t testing.TB, from, seeds, failed uint64) {
	t.Helper()
	if r.path == "" {
		return
	}
	added := r.row
	added.from, added.seeds, added.failed = from, seeds, failed
	i := slices.IndexFunc(r.rows, func(row recordRow) bool {
		return row.date == added.date && row.commit == added.commit && row.guarantee == added.guarantee && row.from+row.seeds == from
	})
	if i >= 0 {
		r.rows[i].seeds += seeds
		r.rows[i].failed += failed
	} else {
		r.rows = append(r.rows, added)
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(recordHead) // Error says it
	for _, row := range r.rows {
		_ = w.Write([]string{
			row.date, row.commit, strconv.FormatUint(row.from, 10), strconv.FormatUint(row.seeds, 10),
			string(row.guarantee), strconv.FormatUint(row.failed, 10),
		})
	}
	w.Flush()
	if err := w.Error(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheRecordGoesOn(t *testing.T) {
	path := t.TempDir() + "/simulation.csv"
	t.Setenv(recordVariable, path)
	t.Setenv(commitVariable, "c1")
	r := openRecord(t, AtLeastOnce)
	if n := r.next(); n != 1 {
		t.Errorf("an empty record goes on at %d", n)
	}
	r.add(t, 1, 25, 0)
	r.add(t, 26, 25, 2) // extends the row
	once := openRecord(t, ExactlyOnce)
	if n := once.next(); n != 1 {
		t.Errorf("exactly once goes on at %d, and none has run", n)
	}
	once.add(t, 1, 10, 0)
	t.Setenv(commitVariable, "c2")
	r = openRecord(t, AtLeastOnce)
	if n := r.next(); n != 51 {
		t.Errorf("goes on at %d, want 51", n)
	}
	r.add(t, 51, 5, 0)
	day := time.Now().UTC().Format(time.DateOnly)
	want := "date,commit,from,seeds,guarantee,failed\n" +
		day + ",c1,1,50,at-least-once,2\n" + day + ",c1,1,10,exactly-once,0\n" + day + ",c2,51,5,at-least-once,0\n"
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want && r.row.date == day {
		t.Errorf("the record is\n%swant\n%s", got, want)
	}
}
