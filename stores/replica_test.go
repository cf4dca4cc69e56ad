package stores_test

import (
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
)

// TestVersionsFollowTheChangelogs: positions grow with any changelog, and those of
// a changelog that was made anew do not compare.
func TestVersionsFollowTheChangelogs(t *testing.T) {
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, name := range []string{"a", "b"} {
		if _, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, string]{Name: name, Key: codec.String, Value: codec.String}); err != nil {
			t.Fatal(err)
		}
		db.SetLogID(name, "first")
	}
	at := func(a, b int64) stores.Version {
		t.Helper()
		c, err := db.Collect()
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Commit(c, map[string]int64{"a": a, "b": b}, 0); err != nil {
			t.Fatal(err)
		}
		return db.Version()
	}
	one, two := at(5, 1), at(5, 2)
	if !one.Before(two) || two.Before(one) || one.Before(one) {
		t.Errorf("%+v and %+v are not in order", one, two)
	}
	db.SetLogID("b", "second")
	anew := at(5, 0)
	if anew.Before(two) || two.Before(anew) {
		t.Errorf("%+v compares with %+v of another log", anew, two)
	}
}

func TestResultsAreKnownByStoreKeyAndWindow(t *testing.T) {
	ids := map[string]bool{}
	for _, r := range []stores.Result{
		{Store: "a", Key: []byte("k")}, {Store: "ak"}, {Store: "a", Key: []byte("k"), Windowed: true},
		{Store: "a", Key: []byte("k"), Windowed: true, Start: 1}, {Store: "b", Key: []byte("k")},
	} {
		ids[string(r.AppendID(nil))] = true
	}
	if len(ids) != 5 {
		t.Errorf("five results have %d ids", len(ids))
	}
}
