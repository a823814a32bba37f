//go:build unix

package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/redisstore"
)

const day = 24 * time.Hour

func sessionOf(subject string) session.Session {
	now := time.Now().UTC().Truncate(time.Second)
	return session.Session{
		ID: rand.Text(), Subject: subject, Generation: 1, Created: now, Rotated: now, IdleExpires: now.Add(day), MaxExpires: now.Add(2 * day), Label: "a browser",
	}
}

func after(s session.Session) session.Session {
	s.Prev = s.Generation
	s.Generation++
	s.Rotated, s.IdleExpires = s.Rotated.Add(time.Minute), s.IdleExpires.Add(time.Hour)
	s.Given = s.Rotated
	return s
}

func token(id string) revoke.Entry {
	return revoke.Entry{Kind: revoke.Token, Issuer: "https://api.example.com", ID: id, Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)}
}

// readAll reads a log from a cursor to its end. It returns the IDs of the entries, and the
// last cursor.
func readAll(t *testing.T, log revoke.Store, cursor string) (ids []string, end string) {
	t.Helper()
	for {
		page, err := log.Since(t.Context(), cursor, 100_000)
		require.NoError(t, err)
		for _, e := range page.Entries {
			ids = append(ids, e.ID)
		}
		cursor = page.Cursor
		if !page.More {
			return ids, cursor
		}
	}
}

func is(t *testing.T, store session.Store, want session.Session) {
	t.Helper()
	got, found, err := store.Get(t.Context(), want.Subject, want.ID)
	require.NoError(t, err)
	require.True(t, found)
	want.ClockAhead, got.ClockAhead = 0, 0
	require.Equal(t, want, got)
}

// calls returns, by name, calls of all methods that send a command. s is a session that the
// store holds, and cursor is a cursor of its log.
func calls(db *redisstore.DB, s session.Session, cursor string) map[string]func(ctx context.Context) error {
	sessions, log := db.Sessions(), db.Revocations()
	return map[string]func(ctx context.Context) error{
		"Create":  func(ctx context.Context) error { return sessions.Create(ctx, sessionOf("alice")) },
		"Get":     func(ctx context.Context) error { _, _, err := sessions.Get(ctx, s.Subject, s.ID); return err },
		"Advance": func(ctx context.Context) error { _, err := sessions.Advance(ctx, s, after(s), s.Rotated); return err },
		"Revoke": func(ctx context.Context) error {
			_, err := sessions.Revoke(ctx, s.Subject, s.ID, "logout", s.Rotated)
			return err
		},
		"List":   func(ctx context.Context) error { _, err := sessions.List(ctx, s.Subject, s.Rotated); return err },
		"Append": func(ctx context.Context) error { return log.Append(ctx, token("another")) },
		"Since":  func(ctx context.Context) error { _, err := log.Since(ctx, cursor, 10); return err },
		"Purge":  func(ctx context.Context) error { return log.Purge(ctx, time.Now()) },
	}
}

func TestNew(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	prefix := func(p string) []redisstore.Option { return []redisstore.Option{redisstore.WithPrefix(p)} }
	for _, c := range []struct {
		name   string
		client redis.UniversalClient
		opts   []redisstore.Option
		says   string
	}{
		{"no client", nil, nil, "redis.NewClient"},
		{"no client, with a type", (*redis.Client)(nil), nil, "redis.NewClient"},
		{"no cluster client", (*redis.ClusterClient)(nil), nil, "redis.NewClient"},
		{"a ring", ring, nil, "redis.ClusterClient"},
		{"an option that is nil", client, []redisstore.Option{nil}, "an option is nil"},
		{"an empty prefix", client, prefix(""), "1 to 128"},
		{"a prefix that is too long", client, prefix(strings.Repeat("x", 129)), "1 to 128"},
		{"a prefix with a brace", client, prefix("a{b"), "braces"},
		{"a prefix with the other brace", client, prefix("a}b"), "braces"},
		{"a prefix with a space", client, prefix("a b"), "spaces"},
		{"a prefix with a NUL", client, prefix("a\x00"), "printable"},
		{"a prefix that is not ASCII", client, prefix("\u00e1"), "printable"},
	} {
		_, err := redisstore.New(c.client, c.opts...)
		require.ErrorContains(t, err, c.says, c.name)
		require.ErrorContains(t, err, "redisstore: ", c.name)
	}
	_, err := redisstore.New(client, redisstore.WithPrefix(strings.Repeat("x", 128)))
	require.NoError(t, err)
}

func TestPrefixesAreApart(t *testing.T) {
	client := newServer(t).client(t)
	var all []*redisstore.DB
	prefixes := []string{redisstore.DefaultPrefix, "a", "a:", "a:b:", "log", "jwtauth"}
	s := sessionOf("alice")
	for i, prefix := range prefixes {
		db := open(t, client, redisstore.WithPrefix(prefix))
		all = append(all, db)
		_, found, err := db.Sessions().Get(t.Context(), s.Subject, s.ID)
		require.NoError(t, err)
		require.False(t, found, prefix)
		s.Label = prefix
		require.NoError(t, db.Sessions().Create(t.Context(), s))
		require.NoError(t, db.Revocations().Append(t.Context(), token(fmt.Sprint(i))))
	}
	for i, db := range all {
		s.Label = prefixes[i]
		is(t, db.Sessions(), s)
		ids, _ := readAll(t, db.Revocations(), "")
		require.Equal(t, []string{fmt.Sprint(i)}, ids)
	}
	is(t, open(t, client).Sessions(), func() session.Session { s.Label = redisstore.DefaultPrefix; return s }())
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 4*len(prefixes))
}

// A list that follows the log goes on after FLUSHALL, and reads the entries of the new log.
func TestAFlushedLogIsReadAgain(t *testing.T) {
	client := newServer(t).client(t)
	store := apart(t, client).Revocations()
	list, err := revoke.New(store, revoke.WithInterval(5*time.Millisecond))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- list.Run(ctx) }()
	defer func() { cancel(); <-running }()

	const issuer = "https://api.example.com"
	revoked := func(id string) bool {
		now := time.Now()
		hit, err := list.Revoked(t.Context(), jwtauth.Claims{Issuer: issuer, ID: id, IssuedAt: now, ExpiresAt: now.Add(time.Hour)})
		return err == nil && hit
	}
	for i := range 20 {
		old, fresh := fmt.Sprint("old ", i), fmt.Sprint("new ", i)
		require.NoError(t, store.Append(t.Context(), token(old)))
		require.Eventually(t, func() bool { return revoked(old) }, time.Minute, time.Millisecond, old)
		_, cursor := readAll(t, store, "")
		require.NoError(t, client.FlushAll(t.Context()).Err())
		if i%2 == 0 {
			ids, _ := readAll(t, store, cursor)
			require.Empty(t, ids, "an emptied log must have no entries")
		}
		require.NoError(t, store.Append(t.Context(), token(fresh)))
		require.Eventually(t, func() bool { return revoked(fresh) }, time.Minute, time.Millisecond, fresh)
		ids, end := readAll(t, store, cursor)
		require.Equal(t, []string{fresh}, ids)
		require.NotEqual(t, strings.Split(cursor, "/")[0], strings.Split(end, "/")[0], "the log has a new identity")
	}
}

func TestALogThatLostAKeyIsAnother(t *testing.T) {
	client := newServer(t).client(t)
	store := open(t, client, redisstore.WithPrefix("p:")).Revocations()
	const identity, entries = "p:{p:log}:identity", "p:{p:log}:entries"
	for _, id := range []string{"a", "b", "c"} {
		require.NoError(t, store.Append(t.Context(), token(id)))
	}
	_, cursor := readAll(t, store, "")
	require.NoError(t, client.Del(t.Context(), identity).Err())
	ids, cursor := readAll(t, store, cursor)
	require.Equal(t, []string{"a", "b", "c"}, ids, "Since must read the whole log again")
	ids, cursor = readAll(t, store, cursor)
	require.Empty(t, ids, "Since must read the whole log only once")
	require.NoError(t, client.Del(t.Context(), identity).Err())
	require.NoError(t, store.Append(t.Context(), token("d")))
	ids, cursor = readAll(t, store, cursor)
	require.Equal(t, []string{"a", "b", "c", "d"}, ids)

	require.NoError(t, client.Del(t.Context(), entries).Err())
	ids, _ = readAll(t, store, cursor)
	require.Empty(t, ids)
	require.NoError(t, store.Append(t.Context(), token("e")))
	// This cursor is of the lost log. Its number is smaller than that of the new entry, as it
	// would be after the server's clock was set forward.
	ids, _ = readAll(t, store, strings.Split(cursor, "/")[0]+"/1-0")
	require.Equal(t, []string{"e"}, ids)
	ids, cursor = readAll(t, store, cursor)
	require.Equal(t, []string{"e"}, ids)

	// After an older copy of the log was restored, the cursor is past the end of the log.
	dump, err := client.Dump(t.Context(), entries).Result()
	require.NoError(t, err)
	require.NoError(t, store.Append(t.Context(), token("f")))
	_, cursor = readAll(t, store, cursor)
	require.NoError(t, client.RestoreReplace(t.Context(), entries, 0, dump).Err())
	ids, _ = readAll(t, store, cursor)
	require.Equal(t, []string{"e"}, ids)
}

// A server that lost the end of the log may give the same numbers to other entries before
// a list reads again.
func TestSince_OfAServerThatMayHaveLostTheEndOfTheLogReadsAllAgain(t *testing.T) {
	const entries = "p:{p:log}:entries"
	at := func(id, jti string) *redis.XAddArgs { // returns an entry with a given number
		return &redis.XAddArgs{Stream: entries, ID: id, Values: []any{"kind", 1, "iss", "", "id", jti, "epoch", 0, "exp", time.Now().Add(time.Hour).UnixMicro()}}
	}
	for name, lose := range map[string]func(t *testing.T, s *server) *redis.Client{
		"it was killed": func(t *testing.T, s *server) *redis.Client {
			s.kill()
			s.start(t)
			return s.client(t)
		},
		"another took over": func(t *testing.T, s *server) *redis.Client {
			host, port, err := net.SplitHostPort(s.addr)
			require.NoError(t, err)
			replica := newServer(t)
			client := replica.client(t)
			require.NoError(t, client.ReplicaOf(t.Context(), host, port).Err())
			require.Eventually(t, func() bool {
				info, err := client.Info(t.Context(), "replication").Result()
				return err == nil && strings.Contains(info, "master_link_status:up")
			}, patience, 10*time.Millisecond)
			// Make the replica a master without the last entry, as if the entry had not
			// reached the replica.
			require.NoError(t, client.ReplicaOf(t.Context(), "no", "one").Err())
			require.NoError(t, client.XDel(t.Context(), entries, "200-0").Err())
			require.NoError(t, client.Do(t.Context(), "XSETID", entries, "100-0").Err())
			s.kill()
			return client
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			client := s.client(t)
			log := open(t, client, redisstore.WithPrefix("p:")).Revocations()
			require.NoError(t, client.XAdd(t.Context(), at("100-0", "kept")).Err())
			_, err := log.Since(t.Context(), "", 10) // gives the log an identity
			require.NoError(t, err)
			require.NoError(t, client.Save(t.Context()).Err())
			require.NoError(t, client.XAdd(t.Context(), at("200-0", "lost")).Err())
			page, err := log.Since(t.Context(), "", 10)
			require.NoError(t, err)
			require.Equal(t, []string{"kept", "lost"}, jtis(page))
			again, err := log.Since(t.Context(), page.Cursor, 10)
			require.NoError(t, err)
			require.Empty(t, jtis(again), "before the loss, Since must not read the log again")

			client = lose(t, s)
			log = open(t, client, redisstore.WithPrefix("p:")).Revocations()
			require.NoError(t, client.XAdd(t.Context(), at("150-0", "before the cursor")).Err())
			require.NoError(t, client.XAdd(t.Context(), at("250-0", "after the cursor")).Err())
			page, err = log.Since(t.Context(), page.Cursor, 10)
			require.NoError(t, err)
			require.Contains(t, jtis(page), "before the cursor")
			require.Contains(t, jtis(page), "after the cursor")
			again, err = log.Since(t.Context(), page.Cursor, 10)
			require.NoError(t, err)
			require.Empty(t, jtis(again))
		})
	}
}

func jtis(page revoke.Page) (all []string) {
	for _, e := range page.Entries {
		all = append(all, e.ID)
	}
	return all
}

func TestWhatWasAcknowledgedOutlivesACrash(t *testing.T) {
	s := newServer(t, "--appendonly", "yes", "--appendfsync", "always")
	client := s.client(t, func(o *redis.Options) { o.MaxRetries = -1 })
	db := apart(t, client)
	require.NoError(t, db.Revocations().Append(t.Context(), token("first")))
	_, cursor := readAll(t, db.Revocations(), "")
	revoked := []string{"first"}
	for round := range 3 {
		var mu sync.Mutex
		var advanced, ended []session.Session
		var writing sync.WaitGroup
		for w := range 8 {
			writing.Go(func() {
				for n := 0; ; n++ {
					id := fmt.Sprintf("round %d, writer %d, %d", round, w, n)
					row := sessionOf(fmt.Sprint("subject ", w))
					if db.Revocations().Append(t.Context(), token(id)) != nil {
						return
					}
					mu.Lock()
					revoked = append(revoked, id)
					mu.Unlock()
					if db.Sessions().Create(t.Context(), row) != nil {
						return
					}
					if done, err := db.Sessions().Advance(t.Context(), row, after(row), row.Rotated); err != nil || !assert.True(t, done) {
						return
					}
					row = after(row)
					mu.Lock()
					advanced = append(advanced, row)
					mu.Unlock()
					other := sessionOf(row.Subject)
					if db.Sessions().Create(t.Context(), other) != nil {
						return
					}
					if done, err := db.Sessions().Revoke(t.Context(), other.Subject, other.ID, "logout", other.Rotated); err != nil || !assert.True(t, done) {
						return
					}
					other.RevokedAt, other.Reason = other.Rotated, "logout"
					mu.Lock()
					ended = append(ended, other)
					mu.Unlock()
				}
			})
		}
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(ended) >= 8
		}, time.Minute, 10*time.Millisecond, "the writers must end 8 sessions")
		s.kill()
		writing.Wait()
		s.start(t)
		for _, row := range append(advanced, ended...) {
			is(t, db.Sessions(), row)
		}
		var ids []string
		ids, cursor = readAll(t, db.Revocations(), cursor)
		require.Subset(t, ids, revoked, "Since must read the whole log again, since a server that restarts may have lost entries")
		require.LessOrEqual(t, len(ids), len(revoked)+8*(round+1), "besides these, the log may have only the entries that were being written")
	}
}

// When a stopped server continues, it runs the commands that were sent to it meanwhile.
func TestAdvance_OfAServerThatStoodStillChangesNothing(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		t.Run(fmt.Sprint("ContextTimeoutEnabled ", enabled), func(t *testing.T) {
			s := newServer(t)
			client := s.client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = enabled })
			jwtauthtest.TestHeldStep(t, apart(t, client).Sessions(), func(t *testing.T, _ session.Session) func() {
				s.signal(t, syscall.SIGSTOP)
				return func() { s.signal(t, syscall.SIGCONT) }
			})
		})
	}
}

// Rows of earlier versions have no Prev and no Given.
func TestGet_OfARowOfAnEarlierVersion(t *testing.T) {
	s := newServer(t)
	client := s.client(t)
	db := apart(t, client)
	row := sessionOf("alice")
	row.Generation = 5
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	keys, err := client.Keys(t.Context(), "*:s:*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.NoError(t, client.HDel(t.Context(), keys[0], "prev", "given").Err())
	row.Prev, row.Given = 0, time.Unix(0, 0).UTC()
	is(t, db.Sessions(), row)
	all, err := db.Sessions().List(t.Context(), "alice", row.Rotated)
	require.NoError(t, err)
	require.Equal(t, []session.Session{row}, all)
	done, err := db.Sessions().Advance(t.Context(), row, after(row), row.Rotated)
	require.NoError(t, err)
	require.True(t, done)
	is(t, db.Sessions(), after(row))
}

func TestAServerThatHangsIsAnErrorInTime(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		t.Run(fmt.Sprint("ContextTimeoutEnabled ", enabled), func(t *testing.T) {
			s := newServer(t)
			client := s.client(t, func(o *redis.Options) { o.ContextTimeoutEnabled, o.ReadTimeout = enabled, 2*time.Minute })
			db := apart(t, client)
			row := sessionOf("alice")
			require.NoError(t, db.Sessions().Create(t.Context(), row))
			require.NoError(t, db.Revocations().Append(t.Context(), token("a")))
			_, cursor := readAll(t, db.Revocations(), "")
			before := runtime.NumGoroutine()
			s.signal(t, syscall.SIGSTOP)
			for name, call := range calls(db, row, cursor) {
				const wait, most = 200 * time.Millisecond, time.Minute
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				err := call(ctx)
				cancel()
				assert.ErrorIs(t, err, context.DeadlineExceeded, name)
				require.Less(t, time.Since(begun), most, name)

				if enabled {
					continue // go-redis ignores the end of a context before its deadline
				}
				begun = time.Now()
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(wait, cancel)
				err = call(ctx)
				assert.ErrorIs(t, err, context.Canceled, name)
				require.Less(t, time.Since(begun), most, name)
			}
			s.signal(t, syscall.SIGCONT)
			// Some of the calls may have taken effect.
			require.Eventually(t, func() bool {
				_, found, err := db.Sessions().Get(t.Context(), row.Subject, row.ID)
				return found && err == nil
			}, time.Minute, 10*time.Millisecond, "the store must work again")
			require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, time.Minute, 10*time.Millisecond, "the goroutines of the calls must end")
		})
	}
}

func TestContextsThatNeverEndAreLeftToTheClient(t *testing.T) {
	s := newServer(t)
	client := s.client(t, func(o *redis.Options) { o.ReadTimeout, o.MaxRetries = 200*time.Millisecond, -1 })
	db := apart(t, client)
	s.signal(t, syscall.SIGSTOP)
	_, _, err := db.Sessions().Get(context.Background(), "alice", "a")
	require.Error(t, err)
}

func TestOutagesAreErrors(t *testing.T) {
	s := newServer(t)
	client := s.client(t, func(o *redis.Options) { o.MaxRetries = -1 })
	db := apart(t, client)
	row := sessionOf("alice")
	all := calls(db, row, "")
	s.kill()
	for name, call := range all {
		require.ErrorContains(t, call(t.Context()), "redisstore: ", name)
	}

	// This server has no memory left for writes, but can still be read.
	s = newServer(t)
	client = s.client(t)
	db = apart(t, client)
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	require.NoError(t, db.Revocations().Append(t.Context(), token("a")))
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	all = calls(db, row, "")
	for _, name := range []string{"Create", "Advance", "Revoke", "Append"} {
		require.ErrorContains(t, all[name](t.Context()), "OOM", name)
	}
	for _, name := range []string{"Get", "List", "Since", "Purge"} {
		require.NoError(t, all[name](t.Context()), name)
	}
	is(t, db.Sessions(), row)
	ids, err := client.Keys(t.Context(), "*:ids").Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, client.ZCard(t.Context(), ids[0]).Val(), "Create must not have added its ID")
}

func TestAnswersOfAnotherShapeAreErrors(t *testing.T) {
	client := newServer(t).client(t)
	db := open(t, client, redisstore.WithPrefix("p:"))
	const identity, entries = "p:{p:log}:identity", "p:{p:log}:entries"
	row := sessionOf("alice")
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	keys, err := client.Keys(t.Context(), "p:*:s:*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	all := calls(db, row, "")
	fails := func(what string, names ...string) {
		t.Helper()
		for _, name := range names {
			require.ErrorContains(t, all[name](t.Context()), "redisstore: ", "%s, %s", name, what)
		}
	}
	for _, field := range []string{"sub", "gen", "created", "rotated", "idle", "max", "revoked", "reason", "label"} {
		value, err := client.HGet(t.Context(), keys[0], field).Result()
		require.NoError(t, err)
		require.NoError(t, client.HDel(t.Context(), keys[0], field).Err())
		fails("without "+field, "Get", "List")
		if field == "sub" {
			fails("without "+field, "Advance", "Revoke")
		}
		require.NoError(t, client.HSet(t.Context(), keys[0], field, value).Err())
	}
	for _, field := range []string{"gen", "created", "rotated", "idle", "max", "revoked"} {
		value, err := client.HGet(t.Context(), keys[0], field).Result()
		require.NoError(t, err)
		require.NoError(t, client.HSet(t.Context(), keys[0], field, "soon").Err())
		fails("garbage in "+field, "Get", "List")
		require.NoError(t, client.HSet(t.Context(), keys[0], field, value).Err())
	}
	is(t, db.Sessions(), row)
	require.NoError(t, client.Set(t.Context(), keys[0], "x", 0).Err())
	fails("a string", "Get", "Advance", "Revoke", "List")

	for _, fields := range [][]string{
		{"kind", "1"},
		{"kind", "1", "iss", "", "id", "a", "epoch", "0", "expires", "1"},
		{"kind", "x", "iss", "", "id", "a", "epoch", "0", "exp", "1"},
		{"kind", "1", "iss", "", "id", "a", "epoch", "1.5", "exp", "1"},
		{"kind", "1", "iss", "", "id", "a", "epoch", "0", "exp", ""},
	} {
		require.NoError(t, client.Del(t.Context(), identity, entries).Err())
		require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: entries, Values: fields}).Err())
		fails(fmt.Sprint(fields), "Since")
	}
	require.NoError(t, client.Set(t.Context(), entries, "x", 0).Err())
	fails("a string", "Append", "Since", "Purge")
}

func TestAFlushedScriptCacheIsNoError(t *testing.T) {
	client := newServer(t).client(t)
	db := apart(t, client)
	row := sessionOf("alice")
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	for name, call := range calls(db, row, "") {
		require.NoError(t, client.ScriptFlush(t.Context()).Err())
		require.NoError(t, call(t.Context()), name)
	}
}

// deaf is a connection that loses the next response if lose is set, and then closes.
type deaf struct {
	net.Conn
	lose *atomic.Bool
}

func (d deaf) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if err == nil && d.lose.CompareAndSwap(true, false) {
		d.Close()
		return 0, io.EOF
	}
	return n, err
}

// If go-redis gets no response, it sends the command again.
func TestStepsThatAreSentTwiceHappenOnce(t *testing.T) {
	var lose atomic.Bool
	client := newServer(t).client(t, func(o *redis.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return deaf{conn, &lose}, err
		}
	})
	db := apart(t, client)
	warm := sessionOf("warm")
	require.NoError(t, db.Sessions().Create(t.Context(), warm))
	for name, call := range calls(db, warm, "") {
		require.NoError(t, call(t.Context()), name) // loads the script, so that later calls send one command
	}
	row := sessionOf("alice")
	lost := func(do func()) {
		t.Helper()
		lose.Store(true)
		do()
		require.False(t, lose.Load(), "the step must have lost a response")
	}
	lost(func() { require.NoError(t, db.Sessions().Create(t.Context(), row)) })
	is(t, db.Sessions(), row)
	require.Error(t, db.Sessions().Create(t.Context(), row), "another call must find that the ID is taken")
	lost(func() {
		done, err := db.Sessions().Advance(t.Context(), row, after(row), row.Rotated)
		require.NoError(t, err)
		require.True(t, done)
	})
	done, err := db.Sessions().Advance(t.Context(), row, after(row), row.Rotated)
	require.NoError(t, err)
	require.False(t, done, "another call must find a later generation")
	row = after(row)
	is(t, db.Sessions(), row)
	lost(func() {
		done, err := db.Sessions().Revoke(t.Context(), row.Subject, row.ID, "logout", row.Rotated)
		require.NoError(t, err)
		require.True(t, done)
	})
	row.RevokedAt, row.Reason = row.Rotated, "logout"
	is(t, db.Sessions(), row)
}

func TestTimesAreComparedToTheMicrosecond(t *testing.T) {
	db := apart(t, newServer(t).client(t))
	for _, at := range []time.Time{
		time.Date(9999, time.December, 31, 23, 59, 59, 999_998_000, time.UTC),
		time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC),
		time.UnixMicro(1 << 53).UTC(), time.UnixMicro(1<<53 + 1).UTC(), time.UnixMicro(1<<53 + 3).UTC(),
		time.UnixMicro(9_999_999_999_999_999).UTC(), time.UnixMicro(10_000_000_000_000_000).UTC(),
	} {
		for _, idle := range []bool{true, false} {
			for _, d := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
				row := sessionOf(at.String())
				row.IdleExpires, row.MaxExpires = at, at.Add(time.Microsecond)
				if !idle {
					row.IdleExpires, row.MaxExpires = row.MaxExpires, row.IdleExpires
				}
				require.NoError(t, db.Sessions().Create(t.Context(), row))
				is(t, db.Sessions(), row)
				live, err := db.Sessions().List(t.Context(), row.Subject, at.Add(d))
				require.NoError(t, err)
				next := row
				next.Generation = 2
				done, err := db.Sessions().Advance(t.Context(), row, next, at.Add(d))
				require.NoError(t, err)
				require.Equal(t, d < 0, done, "%v and %v", at, d)
				require.Equal(t, d < 0, len(live) == 1, "%v and %v", at, d)
				if done {
					row = next
				}
				is(t, db.Sessions(), row)
				_, err = db.Sessions().Revoke(t.Context(), row.Subject, row.ID, "logout", at)
				require.NoError(t, err)
			}
		}
		db := apart(t, newServer(t).client(t))
		for _, d := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
			e := token(fmt.Sprint(d))
			e.Expires = at.Add(d)
			require.NoError(t, db.Revocations().Append(t.Context(), e))
		}
		for n, d := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
			require.NoError(t, db.Revocations().Purge(t.Context(), at.Add(d)))
			ids, _ := readAll(t, db.Revocations(), "")
			require.Len(t, ids, 3-n, "%v and %v", at, d)
		}
	}
	// Around 1970 the numbers have signs and different lengths.
	for _, at := range []int64{-1000, -11, -10, -9, -1, 0, 1, 9, 10} {
		log := apart(t, newServer(t).client(t)).Revocations()
		for d := range int64(3) {
			e := token(fmt.Sprint(d - 1))
			e.Expires = time.UnixMicro(at + d - 1)
			require.NoError(t, log.Append(t.Context(), e))
		}
		require.NoError(t, log.Purge(t.Context(), time.UnixMicro(at)))
		ids, _ := readAll(t, log, "")
		require.Equal(t, []string{"0", "1"}, ids, at)
	}
}

func TestSessionsExpireByThemselves(t *testing.T) {
	client := newServer(t).client(t)
	db := open(t, client, redisstore.WithPrefix("p:"))
	left := func(pattern string) time.Duration {
		t.Helper()
		keys, err := client.Keys(t.Context(), pattern).Result()
		require.NoError(t, err)
		require.Len(t, keys, 1)
		left, err := client.PTTL(t.Context(), keys[0]).Result()
		require.NoError(t, err)
		return left
	}
	const ahead = 7 * day
	near := func(until time.Time, left time.Duration) {
		t.Helper()
		require.InDelta(t, (time.Until(until) + day).Seconds(), left.Seconds(), 60)
	}
	long := sessionOf("alice")
	long.MaxExpires = long.IdleExpires.Add(20 * day)
	require.NoError(t, db.Sessions().Create(t.Context(), long))
	near(long.IdleExpires.Add(ahead), left("p:*:s:"+long.ID))
	near(long.IdleExpires.Add(ahead), left("p:*:ids"))
	first := long.IdleExpires

	// This session expired almost a day ago, so its row expires in a few seconds.
	short := sessionOf("alice")
	endSoon := func() {
		short.MaxExpires = time.Now().UTC().Truncate(time.Second).Add(-day + 6*time.Second)
		short.IdleExpires = short.MaxExpires.Add(-time.Second)
	}
	endSoon()
	require.NoError(t, db.Sessions().Create(t.Context(), short))
	is(t, db.Sessions(), short)
	near(first.Add(ahead), left("p:*:ids"))

	// While the session's expiry moves by a week at most, that of the row does not change.
	// After that it does.
	for _, step := range []struct {
		idle time.Duration
		want time.Time
	}{
		{time.Second, first.Add(ahead)},
		{ahead, first.Add(ahead)},
		{ahead + time.Second, first.Add(2*ahead + time.Second)},
		{19 * day, long.MaxExpires},
		{30 * day, long.MaxExpires}, // MaxExpires is the earlier expiry
	} {
		next := after(long)
		next.IdleExpires = first.Add(step.idle)
		done, err := db.Sessions().Advance(t.Context(), long, next, long.Rotated)
		require.NoError(t, err)
		require.True(t, done)
		long = next
		is(t, db.Sessions(), long)
		near(step.want, left("p:*:s:"+long.ID))
		near(step.want, left("p:*:ids"))
	}

	keys, err := client.Keys(t.Context(), "p:*:ids").Result()
	require.NoError(t, err)
	ids := func() int64 { return client.ZCard(t.Context(), keys[0]).Val() }
	require.EqualValues(t, 2, ids())
	require.Eventually(t, func() bool {
		_, found, err := db.Sessions().Get(t.Context(), short.Subject, short.ID)
		return err == nil && !found
	}, time.Minute, 10*time.Millisecond)
	require.EqualValues(t, 2, ids())
	all, err := db.Sessions().List(t.Context(), "alice", time.Now())
	require.NoError(t, err)
	require.Equal(t, []session.Session{long}, all)
	require.EqualValues(t, 1, ids(), "List must remove the ID of the expired row")

	// A session that ended more than a day ago is deleted at once.
	gone := sessionOf("bob")
	gone.MaxExpires = time.Now().Add(-2 * day)
	require.NoError(t, db.Sessions().Create(t.Context(), gone))
	_, found, err := db.Sessions().Get(t.Context(), gone.Subject, gone.ID)
	require.NoError(t, err)
	require.False(t, found)
	require.EqualValues(t, 1, client.Exists(t.Context(), keys...).Val())

	// Create must also remove the IDs of expired rows.
	endSoon()
	require.NoError(t, db.Sessions().Create(t.Context(), short), "the ID of an expired row can be used again")
	time.Sleep(time.Until(short.MaxExpires.Add(day + 1100*time.Millisecond)))
	require.EqualValues(t, 2, ids())
	require.NoError(t, db.Sessions().Create(t.Context(), sessionOf("alice")))
	require.EqualValues(t, 2, ids())
}

// The test creates more sessions and entries than one script reads.
func TestLargeListsAreReadInPieces(t *testing.T) {
	client := newServer(t).client(t)
	db := open(t, client, redisstore.WithPrefix("p:"))
	const sessions, entries = 450, 4500
	for range sessions {
		require.NoError(t, db.Sessions().Create(t.Context(), sessionOf("alice")))
	}
	all, err := db.Sessions().List(t.Context(), "alice", time.Now())
	require.NoError(t, err)
	require.Len(t, all, sessions)

	log := db.Revocations()
	var want, live []string
	for n := range entries {
		e := token(fmt.Sprint(n))
		if n%3 == 0 {
			e.Expires = time.Now().Add(-time.Hour)
		} else {
			live = append(live, e.ID)
		}
		want = append(want, e.ID)
		require.NoError(t, log.Append(t.Context(), e))
	}
	got, cursor := readAll(t, log, "")
	require.Equal(t, want, got)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, log.Purge(ended, time.Now()), context.Canceled)
	require.NoError(t, log.Purge(t.Context(), time.Now()))
	n, err := client.XLen(t.Context(), "p:{p:log}:entries").Result()
	require.NoError(t, err)
	require.EqualValues(t, len(live), n)
	got, _ = readAll(t, log, "")
	require.Equal(t, live, got)
	require.NoError(t, log.Purge(t.Context(), time.Now().Add(day)))
	got, end := readAll(t, log, cursor)
	require.Empty(t, got)
	require.Equal(t, cursor, end, "an empty log must keep its last number")
}

func TestAnIDIsTakenUnderItsSubject(t *testing.T) {
	db := apart(t, newServer(t).client(t))
	alices := sessionOf("alice")
	bobs := alices
	bobs.Subject = "bob"
	require.NoError(t, db.Sessions().Create(t.Context(), alices))
	require.NoError(t, db.Sessions().Create(t.Context(), bobs), "Create must not look for the ID under other subjects, since IDs are random")
	err := db.Sessions().Create(t.Context(), alices)
	require.ErrorContains(t, err, "the id is taken")
	require.False(t, errors.Is(err, redis.Nil))
}

// A replica's data may be old. There, a session that was ended may still be live, and a new
// session may be missing.
func TestAServerThatMayBeLateIsAnError(t *testing.T) {
	for name, late := range map[string]func(t *testing.T, client *redis.Client){
		"a replica": func(t *testing.T, client *redis.Client) {
			require.NoError(t, client.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err())
		},
		"one that has lost its replicas": func(t *testing.T, client *redis.Client) {
			require.NoError(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := newServer(t).client(t)
			db := apart(t, client)
			row := sessionOf("alice")
			require.NoError(t, db.Sessions().Create(t.Context(), row))
			require.NoError(t, db.Revocations().Append(t.Context(), token("a")))
			late(t, client)
			for method, call := range calls(db, row, "") {
				if method != "Purge" { // nothing has expired, so Purge writes nothing
					require.Error(t, call(t.Context()), method)
				}
			}
			_, _, err := db.Sessions().Get(t.Context(), "bob", "none")
			require.Error(t, err, "a missing session must be an error, too")
			_, err = db.Sessions().List(t.Context(), "bob", time.Now())
			require.Error(t, err)
		})
	}
}

// If the digests of two subjects collide, their keys are the same. The test changes the
// subject of a row to simulate this.
func TestARowIsItsSubjects(t *testing.T) {
	client := newServer(t).client(t)
	db := open(t, client, redisstore.WithPrefix("p:"))
	row := sessionOf("alice")
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	keys, err := client.Keys(t.Context(), "p:*:s:*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.NoError(t, client.HSet(t.Context(), keys[0], "sub", "bob").Err())
	_, found, err := db.Sessions().Get(t.Context(), "alice", row.ID)
	require.NoError(t, err)
	require.False(t, found)
	done, err := db.Sessions().Advance(t.Context(), row, after(row), row.Rotated)
	require.NoError(t, err)
	require.False(t, done)
	done, err = db.Sessions().Revoke(t.Context(), "alice", row.ID, "logout", row.Rotated)
	require.NoError(t, err)
	require.False(t, done)
	all, err := db.Sessions().List(t.Context(), "alice", row.Rotated)
	require.NoError(t, err)
	require.Empty(t, all)
	require.NoError(t, client.HSet(t.Context(), keys[0], "sub", "alice").Err())
	is(t, db.Sessions(), row)
}

// A script writes the set of IDs first. If that fails, the row must not change.
func TestAStepThatFailsChangesNothing(t *testing.T) {
	client := newServer(t).client(t)
	db := open(t, client, redisstore.WithPrefix("p:"))
	row := sessionOf("alice")
	row.MaxExpires = row.MaxExpires.Add(30 * day)
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	ids, err := client.Keys(t.Context(), "p:*:ids").Result()
	require.NoError(t, err)
	require.NoError(t, client.Set(t.Context(), ids[0], "x", 0).Err())
	next := after(row)
	next.IdleExpires = row.IdleExpires.Add(8 * day)
	_, err = db.Sessions().Advance(t.Context(), row, next, row.Rotated)
	require.ErrorContains(t, err, "WRONGTYPE")
	is(t, db.Sessions(), row)
	another := sessionOf("alice")
	require.ErrorContains(t, db.Sessions().Create(t.Context(), another), "WRONGTYPE")
	_, found, err := db.Sessions().Get(t.Context(), "alice", another.ID)
	require.NoError(t, err)
	require.False(t, found)
}

func TestTimesThatCannotBeKeptAreErrors(t *testing.T) {
	db := apart(t, newServer(t).client(t))
	row := sessionOf("alice")
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	for _, never := range []time.Time{time.Unix(1<<62, 0), time.Unix(-1<<62, 0), time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)} {
		for name, change := range map[string]func(s *session.Session){
			"created": func(s *session.Session) { s.Created = never },
			"rotated": func(s *session.Session) { s.Rotated = never },
			"idle":    func(s *session.Session) { s.IdleExpires = never },
			"max":     func(s *session.Session) { s.MaxExpires = never },
			"revoked": func(s *session.Session) { s.RevokedAt = never },
		} {
			s := sessionOf("bob")
			change(&s)
			require.ErrorContains(t, db.Sessions().Create(t.Context(), s), "not of the years 1 to 9999", name)
		}
		for name, change := range map[string]func(s *session.Session){
			"rotated": func(s *session.Session) { s.Rotated = never },
			"idle":    func(s *session.Session) { s.IdleExpires = never },
		} {
			next := after(row)
			change(&next)
			_, err := db.Sessions().Advance(t.Context(), row, next, row.Rotated)
			require.ErrorContains(t, err, "not of the years 1 to 9999", name)
		}
		_, err := db.Sessions().Advance(t.Context(), row, after(row), never)
		require.Error(t, err)
		_, err = db.Sessions().Revoke(t.Context(), row.Subject, row.ID, "logout", never)
		require.Error(t, err)
		require.Error(t, db.Revocations().Purge(t.Context(), never))
	}
	_, err := db.Sessions().Revoke(t.Context(), row.Subject, row.ID, "logout", time.Time{})
	require.ErrorContains(t, err, "zero")
	is(t, db.Sessions(), row)
}
