package stores

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/window"
)

// This file is the contract between the state of tasks and a cold tier: where
// windows are kept that are closed and leave the warm tier, the task's own
// database, when they have been there for long enough.
//
// # Who calls what
//
// A goroutine of the instance's own, never a task's, writes the closed windows
// of each task from committed state, batch by batch, and queries read. A window
// that is closed changes no more, so that it does not matter how often, by whom
// and in which order it is written. How far the windows of a task have been
// written is a mark, kept by the tier itself in the transaction of the rows that
// it stands for: if the tier loses its latest transactions, as one does that is
// restored from a backup, the mark goes back too, and what the warm tier still
// has is written again. A task deletes nothing that the mark does not cover.

// Cold is a cold tier. Its methods may be called by several goroutines, and by
// several processes at once. An error says that nothing is known of the outcome:
// the same call may be made again.
type Cold interface {
	// Mark returns how far a lane has been written: all its windows whose place
	// is before order are there. It has the mark be no greater than atMost, for good:
	// later windows may be open again. Without a mark order is window.MinTime. A lane
	// whose Log is new takes the place of those of the same task with other logs,
	// whose rows may be overwritten from now on.
	Mark(ctx context.Context, l ColdLane, atMost int64) (order int64, err error)

	// Write stores rows and moves the mark, all or nothing. A row that is there
	// is overwritten unless it is newer: of a later log, or of a later position
	// in the same one. A write never takes the mark back.
	Write(ctx context.Context, b ColdBatch) error

	// Read returns up to q.Limit rows in the order of q, with all that Write was
	// given but their Item.
	Read(ctx context.Context, q ColdQuery) ([]ColdRow, error)

	// Health returns nil if the tier can be reached.
	Health(ctx context.Context) error
}

// ErrCold is wrapped by the errors about a cold tier that cannot be used as it
// is: of another version, or without the rights that it takes.
var ErrCold = errors.New("stores: the cold tier cannot be used")

// ColdStore names a store in a cold tier.
type ColdStore struct {
	Application, Name string
	// Layout is that of the store: windows of another size are other windows,
	// though they may begin together.
	Layout string
	// Table is where the rows go; nil for the tier's own table, as JSON.
	Table *ColdTable
}

// ColdLane is the part of a store that one task has.
type ColdLane struct {
	Store     ColdStore
	Partition int32
	// Log tells apart changelogs that had the same name: a topic that is made
	// anew counts from 0 again.
	Log string
}

// ColdBatch is what one Write stores.
type ColdBatch struct {
	Lane ColdLane
	Rows []ColdRow
	// Position is the offset of the changelog up to which the state is known of
	// which the rows are.
	Position int64
	// Mark is the lane's mark with these rows; window.MinTime leaves it.
	Mark int64
}

// ColdRow is one closed window.
type ColdRow struct {
	// Key is encoded.
	Key    []byte
	Window window.Window
	// Value is the aggregate as its codec wrote it: Read returns the very bytes.
	Value []byte
	// Time is the greatest event time in Value, in Unix milliseconds.
	Time int64
	// Sequence is how many results were sent of the window before the last one.
	Sequence  int64
	Partition int32
	// Item is key and value decoded, for the columns that people read. Only Write
	// is given it.
	Item Item
}

// ColdPlace is a row's place in the order of a query. The partition comes last.
type ColdPlace struct {
	Key       []byte
	Window    window.Window
	Partition int32
}

// ColdQuery asks for the windows of some tasks that start in [From, To).
type ColdQuery struct {
	Store      ColdStore
	Partitions []int32
	// Key is an encoded key; nil for all.
	Key      []byte
	From, To int64
	// ByKey orders rows by key, start and end; otherwise by start and key.
	ByKey bool
	// After is the place behind which the page begins, or nil.
	After *ColdPlace
	Limit int
}

// ColdTable is a table of an application's own: its columns say what the
// application knows about the values of a store.
type ColdTable struct {
	// Name is that of the table: up to 54 lower case letters, digits and underscores,
	// no digit first. The tier makes others that begin with it.
	Name string
	// Migrations has the files, in the manner of goose, that make the table and
	// what belongs to it, such as views; nil if somebody else makes it.
	Migrations fs.FS
	// Columns are filled beside those that each table has.
	Columns []ColdColumn
}

// ColdColumn is a column of a ColdTable.
type ColdColumn struct {
	Name string
	// Value returns what the column holds of a window: an int64, a float64, a
	// string, a bool, or nil for null. NaN and infinities stand as null.
	Value func(Item) any
}

var tableRule = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,53}$`)

// Check returns what is wrong with the name of a table or column, or nil.
func (t *ColdTable) Check() error {
	if !tableRule.MatchString(t.Name) {
		return fmt.Errorf("%w: table %q: use up to 54 lower case letters, digits and underscores, and no digit first", ErrCold, t.Name)
	}
	if slices.Contains([]string{"windows", "lanes", "schema", "schema_version", "epochs"}, t.Name) {
		return fmt.Errorf("%w: table %q: the tier has one of that name itself: use another", ErrCold, t.Name)
	}
	seen := map[string]bool{"": true}
	for _, c := range t.Columns {
		if seen[c.Name] || strings.Contains(c.Name, "\x00") {
			return fmt.Errorf("%w: table %q: column %q: give each column a name of its own", ErrCold, t.Name, c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// SameColumns reports whether o has the same columns, in the same order.
func (t *ColdTable) SameColumns(o *ColdTable) bool {
	return slices.EqualFunc(t.Columns, o.Columns, func(a, b ColdColumn) bool { return a.Name == b.Name })
}

// TierConfig says which tiers the windows of a store have.
type TierConfig struct {
	// Cold is set if windows go to the cold tier before they are deleted.
	Cold bool
	// Table is where they go there; nil for the tier's own.
	Table *ColdTable
}
