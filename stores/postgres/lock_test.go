package postgres

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// silent is a session whose server does not answer.
type silent struct{ closed bool }

func (s *silent) Exec(ctx context.Context, _ string, _ ...any) (pgconn.CommandTag, error) {
	<-ctx.Done()
	return pgconn.CommandTag{}, ctx.Err()
}

func (s *silent) Close(context.Context) error {
	s.closed = true
	return nil
}

// TestALockIsGivenBackInTime: after a server that does not answer was waited for,
// the session is closed.
func TestALockIsGivenBackInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began, s := time.Now(), &silent{}
		unlock(ctx, s, migrationLock, "millrace")
		if took := time.Since(began); took != unlockTimeout || !s.closed {
			t.Errorf("it took %v, closed %t", took, s.closed)
		}
	})
}

// TestNamesAreQuoted in the statements that hold them.
func TestNamesAreQuoted(t *testing.T) {
	if got := quoted("order", `a"b`); got != `"order", "a""b"` {
		t.Error(got)
	}
}
