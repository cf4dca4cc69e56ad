package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/stores"
)

// DefaultRetention is how long rows stay unless Config.Retention says otherwise.
const DefaultRetention = 90 * 24 * time.Hour

// MaxKey is how many bytes of an encoded key are kept at most. Keys stand in indexes
// with the names of application and store, and PostgreSQL takes no entry of an index
// that is longer than 2,704 bytes.
const MaxKey = 2000

// leastConnections is how many making a table takes at a time: one holds the lock.
const leastConnections = 3

// Config says where the database is. URL must be set; for everything else the
// zero value is a working default.
type Config struct {
	// URL names the database as libpq does: postgres://user@host:5432/name, with
	// parameters such as sslmode behind a question mark.
	URL string
	// Password goes before the one in URL.
	Password string
	// Schema is the PostgreSQL schema of all tables. Default: millrace.
	Schema string
	// Retention is how long a window stays after it has started; whole days.
	// Negative: for good. Default: DefaultRetention.
	Retention time.Duration
	// Connections is how many connections there are at most; at least 3. Default: 8.
	Connections int32

	// Clock is the wall clock. Default: time.Now.
	Clock func() time.Time
	// Logger receives a line when tables are made and days are dropped, and for the
	// first row that is left out. Default: slog.Default().
	Logger *slog.Logger
}

// Tier is a cold tier on PostgreSQL. Its methods may be called by several
// goroutines at once.
type Tier struct {
	cfg  Config
	pool *pgxpool.Pool
	log  *slog.Logger

	// ready holds the one token of whoever makes tables and days; the maps are its.
	ready  chan struct{}
	tables map[string]*table
	known  atomic.Pointer[map[string]*table] // a copy, for those who only look

	old, foreign, long       atomic.Int64
	cancel                   context.CancelFunc
	done                     chan struct{}
	saidOld, saidF, saidLong atomic.Bool
}

var schemaRule = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// ErrConfig is wrapped by the mistakes in a Config.
var ErrConfig = errors.New("postgres: invalid configuration")

// Open returns a tier. It reaches for no server: one that is not there yet is
// found by the calls. The caller closes the tier. Errors never show a password.
func Open(cfg Config) (*Tier, error) {
	cfg.Schema = cmp.Or(cfg.Schema, "millrace")
	cfg.Retention = cmp.Or(cfg.Retention, DefaultRetention)
	cfg.Connections = cmp.Or(cfg.Connections, 8)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	switch {
	case !schemaRule.MatchString(cfg.Schema):
		return nil, fmt.Errorf("%w: schema %q: use lower case letters, digits and underscores", ErrConfig, cfg.Schema)
	case cfg.Retention > 0 && cfg.Retention < day:
		return nil, fmt.Errorf("%w: retention %v: use at least a day, or a negative one for none", ErrConfig, cfg.Retention)
	case cfg.Connections < leastConnections:
		return nil, fmt.Errorf("%w: %d connections: use at least %d", ErrConfig, cfg.Connections, leastConnections)
	}
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if cfg.URL == "" || err != nil {
		// pgx hides the password of a URL that it can read, and quotes others.
		return nil, fmt.Errorf("%w: the URL of the database cannot be read: use postgres://user@host:5432/name", ErrConfig)
	}
	if cfg.Password != "" {
		pc.ConnConfig.Password = cfg.Password
	}
	pc.MaxConns = cfg.Connections
	pc.ConnConfig.ConnectTimeout = cmp.Or(pc.ConnConfig.ConnectTimeout, 10*time.Second)
	pc.ConnConfig.RuntimeParams["search_path"] = cfg.Schema
	pc.ConnConfig.RuntimeParams["timezone"] = "UTC"
	pc.ConnConfig.RuntimeParams["application_name"] = cmp.Or(pc.ConnConfig.RuntimeParams["application_name"], "millrace")
	// What a statement does may change with a migration of another instance.
	pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	ctx, cancel := context.WithCancel(context.Background())
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	t := &Tier{
		cfg: cfg, pool: pool, log: cfg.Logger, ready: make(chan struct{}, 1), tables: map[string]*table{},
		cancel: cancel, done: make(chan struct{}),
	}
	t.known.Store(&map[string]*table{})
	go t.maintain(ctx)
	return t, nil
}

// Close ends what is under way and closes all connections.
func (t *Tier) Close() {
	t.cancel()
	<-t.done
	t.pool.Close()
}

// Health returns nil if the server answers.
func (t *Tier) Health(ctx context.Context) error { return t.pool.Ping(ctx) }

// Skipped returns how many rows were left out because they were older than the
// retention, how many because their windows lie outside of the years 1 to 9999,
// and how many because their keys are longer than MaxKey.
func (t *Tier) Skipped() (old, outside, long int64) {
	return t.old.Load(), t.foreign.Load(), t.long.Load()
}

// Mark does what stores.Cold says.
func (t *Tier) Mark(ctx context.Context, l stores.ColdLane, atMost int64) (order int64, err error) {
	if _, err := t.table(ctx, l.Store.Table); err != nil {
		return 0, err
	}
	const ask = `INSERT INTO lanes (application, store, partition, layout, log, mark) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (application, store, partition, layout, log) DO UPDATE SET mark = least(lanes.mark, $7) RETURNING mark`
	err = t.pool.QueryRow(ctx, ask, append(laneArgs(l), unmarked, atMost)...).Scan(&order)
	return order, failed("mark", err)
}

func laneArgs(l stores.ColdLane) []any {
	return []any{l.Store.Application, l.Store.Name, l.Partition, l.Store.Layout, l.Log}
}

// failed says what was under way.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("postgres: %s: %w", what, err)
}

// String hides what may hold a password.
func (c Config) String() string {
	return fmt.Sprintf("schema %q, retention %v, URL and password hidden", c.Schema, c.Retention)
}

// GoString hides the same from %#v.
func (c Config) GoString() string { return "postgres.Config{" + c.String() + "}" }
