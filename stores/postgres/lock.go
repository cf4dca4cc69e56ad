package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// migrationLock and retentionLock are the keys of advisory locks, with the hash of
// the schema as their second part.
const migrationLock, retentionLock = 0x6d696c6c, 0x6d696c72

// unlockTimeout is how long giving a lock back may take.
const unlockTimeout = 5 * time.Second

// session is a connection that holds a lock.
type session interface {
	Exec(ctx context.Context, statement string, args ...any) (pgconn.CommandTag, error)
	Close(ctx context.Context) error
}

// unlock gives a lock back, also when ctx is over. A session that does not answer is
// closed, which gives back all its locks.
func unlock(ctx context.Context, s session, lock int, schema string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	if _, err := s.Exec(ctx, "SELECT pg_advisory_unlock($1, hashtext($2))", lock, schema); err != nil {
		_ = s.Close(ctx) // what is wrong with it is told by what was done under the lock
	}
}
