// Package redisstore keeps sessions and revocations in Redis or Valkey, for
// services of several processes: on one server, with Sentinel, or in a cluster.
//
//	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
//	db, err := redisstore.New(client)
//	list, err := revoke.New(db.Revocations())
//	...
//	go list.Run(ctx)
//	sessions, err := session.New(key, db.Sessions(), session.WithRevocations(list))
//
// It needs Redis 6.2 or later, or Valkey. Every step is one Lua script whose keys are
// declared and lie in one slot. Nothing has to be set up.
//
// # What the server must be told
//
// Redis is a cache unless it is told otherwise. What the store promises it keeps
// only as well as the server does:
//
//   - maxmemory-policy noeviction. Any other policy may throw the log of revocations
//     away, and then a process that starts later accepts tokens that were revoked:
//     it fails open, and nobody is told. Sessions that are thrown away log their users
//     out. With noeviction a full server refuses to write, an outage: 503.
//   - appendonly yes and appendfsync always, for what was acknowledged to be there
//     after a crash. With appendfsync everysec, a second or two of it may be lost, and
//     without appendonly everything since the last snapshot, or everything.
//   - Replication is asynchronous: a failover may lose writes that were acknowledged,
//     also with appendfsync always. WAIT is not used, and would only make it
//     rarer. What users see then: a user who has just logged in must do so again; a session that was
//     just refreshed goes on; a logout is undone, though the processes that had read its revocation go on
//     refusing its tokens until they restart. min-replicas-to-write bounds how much that
//     can be.
//
// Every process reads the whole log again after the server restarted, another one took
// over, or the log was emptied (FLUSHALL), replaced or put back from a backup. So no
// process misses an entry that came in the place of a lost one. What the log lost stays
// lost for processes that start later: revoke it again.
//
// Rows expire by the clock of the server, a day after the session did or up to a week
// later, so that it may be off by less than a day.
//
// # Outages
//
// Errors of the server and the network are errors of the stores, and so is an answer
// that is not what was asked for: nothing is guessed. Each call returns at the deadline of
// its context; what it asked for may happen still, except a refresh. With ContextTimeoutEnabled in
// the client's options, which is how it should be, go-redis sees to that. Without, each
// call costs a goroutine that does, and its connection is in use until the
// client's ReadTimeout. A context that never ends leaves a call to the time-outs and
// retries of the client, some 12 seconds by default, and so does, with
// ContextTimeoutEnabled, one that is cancelled before its deadline. A script that the
// client sends again, because the first answer was lost, is known for the same one.
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

// DefaultPrefix is what the names of all keys begin with.
const DefaultPrefix = "jwtauth:"

// maxPrefix is the most bytes that a prefix may have.
const maxPrefix = 128

// DB is a pair of stores on one server or cluster. It is safe for concurrent use.
type DB struct {
	client redis.UniversalClient
	prefix string
	timely bool // the client obeys deadlines
}

type config struct {
	prefix string
}

// Option configures [New].
type Option func(*config) error

// WithPrefix sets what the names of all keys begin with: "jwtauth:" unless set. Stores
// with different prefixes have nothing in common. It is 1 to 128 printable characters
// of ASCII without spaces and braces, which are what cluster slots go by.
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

// New returns the stores that a client reaches: one of redis.NewClient,
// NewFailoverClient or NewClusterClient. It sends nothing: an outage shows at the
// first call. The client stays the caller's, who closes it.
//
// A redis.Ring is refused: it looks for keys on another server while one is down, where
// nothing was revoked and nobody is logged in. Everything is asked of masters, also by
// a cluster client that may read from replicas (ReadOnly, RouteByLatency). A server
// that is a replica is an error to read from, too, since what it has may be old; and so
// is one that has lost its own, where it has min-replicas-to-write.
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

// micros are times in microseconds since 1970, of the years 1 to 9999: what lies beyond
// would come back as another time.
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

// later is a > b for whole numbers in decimal. Lua's own numbers are exact up to 2^53
// only, which is the year 2255 in microseconds.
const later = `
local function later(a, b)
	local minus = b:sub(1, 1) == '-'
	if (a:sub(1, 1) == '-') ~= minus then return minus end
	if minus then a, b = b:sub(2), a:sub(2) end
	if #a ~= #b then return #a > #b end
	return a > b
end
`

// run runs a script, and returns when ctx ends if that is earlier. A client without
// ContextTimeoutEnabled waits longer: it runs the script in a goroutine, which ends
// with the client's time-outs, and of which there is one for each connection of its pool
// at most that is waiting for the server.
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
		err = ctx.Err() // and not the time-out that go-redis makes of it
	}
	if err != nil {
		return nil, fmt.Errorf("redisstore: %s: %w", what, err)
	}
	return value, nil
}

// abandon returns when ctx ends, whether do has ended or not.
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

// decide runs a script that answers yes or no.
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

// list runs a script that answers with an array.
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

// texts are the strings of an array, if it has so many and nothing else.
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
