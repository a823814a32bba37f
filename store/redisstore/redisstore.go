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
// It needs Redis 6.2 or later, or Valkey. Every step is one Lua script, whose keys are
// declared and are in one slot. No set-up is needed.
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
//     a crash. With appendfsync everysec a second or two may be lost. Without appendonly
//     everything since the last snapshot may be lost, or everything.
//   - Replication is asynchronous, so a failover may lose acknowledged writes, even with
//     appendfsync always. WAIT would only make that rarer, and is not used. A user who
//     has just logged in must then log in again. A session that was just refreshed goes
//     on. A logout is undone, although processes that had read its revocation still
//     reject its tokens until they restart. min-replicas-to-write limits how much can be
//     lost.
//
// If the server restarts, another one takes over, or the log is emptied (FLUSHALL),
// replaced or restored, every process reads the whole log again. So no process misses an
// entry that took the place of a lost one. Processes that start later do not have the
// lost entries: revoke again.
//
// Rows expire by the server's clock, between one and eight days after their session, so
// [session.Manager.Run] is not needed. That clock must be right to within a day. Otherwise
// live sessions may be deleted.
//
// # Outages
//
// Errors of the server and the network, and unexpected responses, are errors of the
// stores. Each call returns at the deadline of its context. What it asked for may still
// happen afterwards, except for a refresh.
//
// Set ContextTimeoutEnabled in the client's options. Then go-redis ends calls at their
// deadline. Without it, each call runs its script in a goroutine, which may go on after
// the deadline and use its connection until the client's ReadTimeout. A call whose context
// has no deadline ends at the client's timeouts and retries, after about 12 seconds by
// default. With ContextTimeoutEnabled, so does a call whose context is cancelled before
// its deadline.
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

// DB has the two stores of one server or cluster. It is safe for concurrent use.
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

// New returns the stores that a client reaches: one of redis.NewClient, NewFailoverClient
// or NewClusterClient. It sends nothing, so an outage shows at the first call. The caller
// closes the client.
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

// micros returns times in microseconds since 1970. Times outside of the years 1 to 9999,
// which would come back as other times, are errors.
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

// later compares a > b for whole decimal numbers. Lua's own numbers are exact only up to
// 2^53, which is the year 2255 in microseconds.
const later = `
local function later(a, b)
	local minus = b:sub(1, 1) == '-'
	if (a:sub(1, 1) == '-') ~= minus then return minus end
	if minus then a, b = b:sub(2), a:sub(2) end
	if #a ~= #b then return #a > #b end
	return a > b
end
`

// run runs a script, and returns at the latest when ctx ends. If the client has no
// ContextTimeoutEnabled, it runs the script in a goroutine, which ends at the client's
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

// abandon calls do, and returns when do or ctx ends, whichever is first.
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

// decide runs a script that returns yes or no.
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

// list runs a script that returns an array.
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

// texts returns the strings of an array, if it consists of n strings.
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
