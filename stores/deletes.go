package stores

import (
	"fmt"

	"github.com/millrace/millrace/internal/delimited"
)

// Under DeletesDeferred a delete is in no log between the commit that covers the
// input that asked for it and the next one. A crash in between would undo it,
// and no replay would repeat it. A task therefore keeps the deletes that wait
// along with its input offset, and repeats them when it starts from there.
// Expiry needs none of this: it follows from the watermark.

// AppendDeletes appends an encoding of the deletes, of single keys, that the
// next Collect leaves out. It appends nothing if there are none. The task calls
// it before Collect and stores the result with the input offset that it is
// about to commit.
func (db *DB) AppendDeletes(dst []byte) []byte {
	if db.deletes == DeletesWithCommit {
		return dst
	}
	for _, s := range db.stores {
		for key := range s.waiting() {
			dst = delimited.Append(dst, s.info().name)
			dst = delimited.Append(dst, key)
		}
	}
	return dst
}

// Redelete deletes again what AppendDeletes has encoded. The task calls it after
// a restore with what it stored with the input offset that it starts from. The
// deletes go out with the next commit. What stores deleted that are no longer
// there is left out.
func (db *DB) Redelete(b []byte) error {
	for len(b) > 0 {
		name, rest, ok := delimited.Cut(b)
		if !ok {
			return fmt.Errorf("%w: list of deletes", ErrCorrupt)
		}
		key, rest, ok := delimited.Cut(rest)
		if !ok {
			return fmt.Errorf("%w: list of deletes", ErrCorrupt)
		}
		b = rest
		s := db.byName[string(name)]
		if s == nil {
			continue
		}
		if err := s.redelete(key); err != nil {
			return s.info().wrap(err)
		}
	}
	return nil
}
