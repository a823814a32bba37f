// Package redisstore keeps sessions and revocations in Redis or Valkey, for services of
// several processes. It supports a single server, Sentinel and clusters.
//
//	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
//	db, err := redisstore.New(client)
//	if err != nil {
//		log.Fatal(err)
//	}
//	list, err := revoke.New(db.Revocations())
//	if err != nil {
//		log.Fatal(err)
//	}
//	go list.Run(ctx)
//	sessions, err := session.New(key, db.Sessions(), session.WithRevocations(list))
//
// Most programs need only [New], [DB.Sessions], [DB.Revocations] and, at the start,
// [DB.Check].
//
// It needs Redis 6.2 or later, or Valkey, and no set-up. Every step is one Lua script. The
// keys of a script are declared, and are in one slot of a cluster.
//
// # Settings of the server
//
// By default Redis may lose data. The stores keep their promises only as well as the
// server does:
//   - maxmemory-policy must be noeviction. Any other policy may evict the log of
//     revocations. A process that starts later then accepts revoked tokens: this fails
//     open, and without any error. Evicted sessions log their users out. With noeviction
//     a full server rejects writes, which is an outage: 503.
//   - appendonly must be yes and appendfsync always, so that acknowledged writes survive
//     a crash. With appendfsync everysec, a crash may lose the writes of a second or two.
//     Without appendonly, it may lose all writes since the last snapshot, or all data.
//   - Replication is asynchronous, so a failover may lose acknowledged writes, even with
//     appendfsync always. WAIT would only make such losses rarer, and is not used. If a
//     login is lost, the user must log in again. If a refresh is lost, the session goes
//     on. If a logout is lost, the session is live again, but processes that have read
//     its revocation reject its tokens until they restart. min-replicas-to-write limits
//     how much can be lost.
//
// If the server restarts, another one takes over, or the log is emptied (FLUSHALL),
// replaced or restored, every process reads the whole log again. So no process misses a
// new entry that has the number of a lost one. But processes that start later never see
// the lost entries: revoke those tokens again.
//
// Rows expire by the server's clock, between one and eight days after their session, so
// [session.Manager.Run] is not needed. The server's clock must be right to within a day.
// Otherwise live sessions may be deleted.
//
// # Outages
//
// The stores return an error if the server or the network fails, or if a response is
// unexpected. Each call returns at the deadline of its context. The server may still do
// what the call asked for afterwards, except for a refresh.
//
// Set ContextTimeoutEnabled in the client's options. Then go-redis ends calls at their
// deadline. If a context is cancelled before its deadline, the call goes on until the
// deadline or the client's timeouts. Without the option, each call runs its script in a
// goroutine, which may go on after the deadline and use its connection until the client's
// ReadTimeout. A call whose context has no deadline ends when the client's timeouts and
// retries are used up, after about 12 seconds by default.
//
// If a response is lost, go-redis sends the script again. A session still changes only
// once. A revocation may then be in the log twice, which is harmless.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// DefaultPrefix is the default prefix of all keys.
const DefaultPrefix = "jwtauth:"

// maxPrefix is the longest prefix, in bytes.
const maxPrefix = 128

// DB has the stores of sessions and of revocations on one server or cluster. It is safe for
// concurrent use.
type DB struct {
	client redis.UniversalClient
	prefix string
	timely bool // whether the client itself ends calls at their deadline
}

type config struct {
	prefix string
}

// Option configures [New].
type Option func(*config) error

// WithPrefix sets the prefix of all keys: 1 to 128 printable ASCII characters without
// spaces, and without braces, which select a cluster's slots. The default is "jwtauth:".
// Stores with different prefixes share nothing.
func WithPrefix(prefix string) Option {
	return func(c *config) error {
		c.prefix = prefix
		if prefix == "" || len(prefix) > maxPrefix {
			return fmt.Errorf("WithPrefix: it has %d bytes, and must have 1 to %d", len(prefix), maxPrefix)
		}
		if strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }) {
			return fmt.Errorf("WithPrefix(%q): it must be printable ASCII without spaces and braces", prefix)
		}
		return nil
	}
}

// New returns the stores on the server or cluster of a client, which is made by
// redis.NewClient, NewFailoverClient or NewClusterClient. New sends nothing, so an outage
// shows only at the first call. The caller closes the client.
//
// New rejects a redis.Ring: while a server is down, a Ring looks for keys on another one,
// where nothing was revoked. All commands go to masters, even with a cluster client that
// may read from replicas (ReadOnly, RouteByLatency). The stores return an error if the
// server is a replica, since its data may be old, or a master with fewer replicas than
// min-replicas-to-write.
func New(client redis.UniversalClient, opts ...Option) (*DB, error) {
	var errs []error
	missing := errors.New("the client is nil; give it one, such as redis.NewClient(&redis.Options{Addr: \"127.0.0.1:6379\", ContextTimeoutEnabled: true})")
	timely := false
	switch c := client.(type) {
	case nil:
		errs = append(errs, missing)
	case *redis.Client:
		if c == nil {
			errs = append(errs, missing)
		} else {
			timely = c.Options().ContextTimeoutEnabled
		}
	case *redis.ClusterClient:
		if c == nil {
			errs = append(errs, missing)
		} else {
			timely = c.Options().ContextTimeoutEnabled
		}
	case *redis.Ring:
		errs = append(errs, errors.New("the client is a redis.Ring, which forgets what a server that is down was told; give it a redis.Client or redis.ClusterClient"))
	}
	c := config{prefix: DefaultPrefix}
	for _, opt := range opts {
		if opt == nil {
			errs = append(errs, errors.New("an option is nil"))
			continue
		}
		errs = append(errs, opt(&c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	return &DB{client: client, prefix: c.prefix, timely: timely}, nil
}

// Sessions returns the store of sessions.
func (db *DB) Sessions() session.Store { return sessions{db} }

// Revocations returns the log of revocations.
func (db *DB) Revocations() revoke.Store { return newRevocations(db) }

// micros returns times in microseconds since 1970. A time outside of the years 1 to 9999 is
// an error, since it could be read back as another time.
func micros(times ...time.Time) ([]string, error) {
	all := make([]string, len(times))
	for i, t := range times {
		if year := t.UTC().Year(); year < 1 || year > 9999 {
			return nil, fmt.Errorf("the time %v is not of the years 1 to 9999", t)
		}
		all[i] = strconv.FormatInt(t.UnixMicro(), 10)
	}
	return all, nil
}

// later is a Lua function that reports whether the integer a is greater than b. Both are
// decimal strings, since Lua's numbers are exact only up to 2^53. For microseconds since
// 1970, that is the year 2255.
const later = `
local function later(a, b)
	local minus = b:sub(1, 1) == '-'
	if (a:sub(1, 1) == '-') ~= minus then return minus end
	if minus then a, b = b:sub(2), a:sub(2) end
	if #a ~= #b then return #a > #b end
	return a > b
end
`

// run runs a script, and returns at the latest at the deadline of ctx. If the client has no
// ContextTimeoutEnabled, run calls the script in a goroutine, which ends at the client's
// timeouts. After ctx has ended, at most one such goroutine for each connection of the
// client's pool still waits for the server.
func (db *DB) run(ctx context.Context, what string, script *redis.Script, keys []string, args ...any) (value any, err error) {
	do := func() (any, error) { return script.Run(ctx, db.client, keys, args...).Result() }
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case db.timely || ctx.Done() == nil:
		value, err = do()
	default:
		value, err = abandon(ctx, do)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // instead of go-redis's timeout error
	}
	if err != nil {
		return nil, fmt.Errorf("redisstore: %s: %w", what, err)
	}
	return value, nil
}

// abandon calls do in a goroutine, and returns when do returns or ctx ends, whichever is
// first.
func abandon(ctx context.Context, do func() (any, error)) (any, error) {
	type answer struct {
		value any
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := do()
		answers <- answer{value, err}
	}()
	select {
	case got := <-answers:
		return got.value, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// decide runs a script that returns 0 or 1, and reports whether it returned 1.
func (db *DB) decide(ctx context.Context, what string, script *redis.Script, keys []string, args ...any) (bool, error) {
	value, err := db.run(ctx, what, script, keys, args...)
	if err != nil {
		return false, err
	}
	switch value {
	case int64(0):
		return false, nil
	case int64(1):
		return true, nil
	}
	return false, unexpected(what, value)
}

// list runs a script that returns an array, and returns the elements.
func (db *DB) list(ctx context.Context, what string, script *redis.Script, keys []string, args ...any) ([]any, error) {
	value, err := db.run(ctx, what, script, keys, args...)
	if err != nil {
		return nil, err
	}
	all, ok := value.([]any)
	if !ok {
		return nil, unexpected(what, value)
	}
	return all, nil
}

func unexpected(what string, value any) error {
	return fmt.Errorf("redisstore: %s: the server's answer is a %T of another shape than was asked for", what, value)
}

// texts returns the elements of an array, and reports whether it has n elements that are
// all strings.
func texts(value any, n int) ([]string, bool) {
	all, ok := value.([]any)
	if !ok || len(all) != n {
		return nil, false
	}
	strs := make([]string, n)
	for i, v := range all {
		if strs[i], ok = v.(string); !ok {
			return nil, false
		}
	}
	return strs, true
}
