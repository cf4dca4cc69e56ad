package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/millrace/millrace/stores"
)

// DefaultTTL is how long a result stays that is not written again.
const DefaultTTL = time.Hour

// ErrConfig is wrapped by every mistake in a Config.
var ErrConfig = errors.New("redis: invalid configuration")

// Config says which Redis, and how.
type Config struct {
	// URL is redis://[user@]host:port[/database], or rediss:// over TLS. It holds no
	// password.
	URL string
	// Password is empty for none.
	Password string
	// Application is the first part of the keys' names.
	Application string
	// TTL is how long a result stays after its last write. Default: DefaultTTL.
	TTL time.Duration
}

// String hides the password.
func (c Config) String() string {
	return fmt.Sprintf("%s application %s ttl %v", c.URL, c.Application, c.TTL)
}

// GoString hides the password from %#v too.
func (c Config) GoString() string { return "redis.Config{" + c.String() + "}" }

// Limits of a connection.
const (
	dialTimeout = 2 * time.Second
	// silence is how long Redis may not answer before the connection is given up.
	silence = 3 * time.Second
	// mostFields is how many fields a hash gets; a result with more is one field.
	mostFields = 3000
)

//go:embed write.lua
var script string

// Replica writes results to Redis. It connects at the first Write, and again when
// the connection is lost.
type Replica struct {
	option rueidis.ClientOption
	prefix string
	ttl    string
	write  *rueidis.Lua

	mu     sync.Mutex // guards what follows; not held while connecting
	client rueidis.Client
	closed bool
}

// Open checks a configuration. It does not connect: Redis may be away.
func Open(c Config) (*Replica, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the URL cannot be read", ErrConfig) // the error would quote it
	case u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.RawQuery != "":
		return nil, fmt.Errorf("%w: want a URL like redis://host:6379/0, or rediss:// for TLS", ErrConfig)
	}
	if _, has := u.User.Password(); has {
		return nil, fmt.Errorf("%w: a password does not belong into the URL, which is shown in logs", ErrConfig)
	}
	if c.Application == "" || strings.ContainsAny(c.Application, "{}") {
		return nil, fmt.Errorf("%w: application %q: it is part of the keys' names", ErrConfig, c.Application)
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < time.Millisecond {
		return nil, fmt.Errorf("%w: ttl %v: want at least 1ms", ErrConfig, c.TTL)
	}
	option, err := rueidis.ParseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	option.Username, option.Password = u.User.Username(), c.Password
	option.ClientName = "millrace"
	option.DisableCache = true // nothing is read
	option.DisableRetry = true // the caller tries again
	option.ClientSetInfo = rueidis.DisableClientSetInfo
	option.Dialer.Timeout, option.ConnWriteTimeout = dialTimeout, silence
	return &Replica{
		option: option, prefix: "millrace:{" + c.Application + ":", ttl: strconv.FormatInt(c.TTL.Milliseconds(), 10),
		write: rueidis.NewLuaScript(script),
	}, nil
}

// connect returns the client, and makes it if there is none.
func (r *Replica) connect() (rueidis.Client, error) {
	r.mu.Lock()
	client, closed := r.client, r.closed
	r.mu.Unlock()
	if closed {
		return nil, stores.ErrClosed
	}
	if client != nil {
		return client, nil
	}
	client, err := rueidis.NewClient(r.option)
	if err != nil {
		return nil, fmt.Errorf("redis %s: %w", strings.Join(r.option.InitAddress, ","), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = client
	return client, nil
}

// Write implements stores.Replica.
func (r *Replica) Write(ctx context.Context, results []stores.Result) (stores.Outcome, error) {
	var out stores.Outcome
	client, err := r.connect()
	if err != nil {
		return out, err
	}
	exec := make([]rueidis.LuaExec, len(results))
	for i := range results {
		exec[i] = r.command(&results[i])
	}
	for _, reply := range r.write.ExecMulti(ctx, client, exec...) {
		written, err := reply.AsInt64()
		switch {
		case err == nil && written == 0:
			out.Stale++
		case err == nil:
		case isOthers(err):
			out.Refused++
			out.Err = err
		default:
			return stores.Outcome{}, fmt.Errorf("redis %s: %w", strings.Join(r.option.InitAddress, ","), err)
		}
	}
	return out, nil
}

// isOthers reports whether err says that a key is of another type than ours.
func isOthers(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && saysOthers(e.Error())
}

// saysOthers looks for the code anywhere: up to Redis 6 the error of a command in a
// script comes inside of one of the script.
func saysOthers(text string) bool { return strings.Contains(text, "WRONGTYPE ") }

// command returns the arguments of the script for a result.
func (r *Replica) command(result *stores.Result) rueidis.LuaExec {
	latest := r.prefix + result.Store + ":" + string(result.Key) + "}"
	e := rueidis.LuaExec{Keys: []string{latest}}
	start, end, gone := "", "", "0"
	if result.Windowed {
		start, end = strconv.FormatInt(result.Start, 10), strconv.FormatInt(result.End, 10)
		e.Keys = append(e.Keys, latest+":"+start, latest+":windows")
	}
	if result.Value == nil {
		gone = "1"
	}
	e.Args = []string{result.Version.Log, strconv.FormatInt(result.Version.Position, 10), r.ttl, gone, start, end}
	e.Args = appendFields(e.Args, result.Value)
	return e
}

// Close implements stores.Replica.
func (r *Replica) Close() error {
	r.mu.Lock()
	client := r.client
	r.client, r.closed = nil, true
	r.mu.Unlock()
	if client != nil {
		client.Close()
	}
	return nil
}
