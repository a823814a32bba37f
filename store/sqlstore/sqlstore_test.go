package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// The tests with real databases are in the module integration, so that users of this module
// need not download the drivers.

var errOutage = errors.New("no database today")

// outage is a database that cannot be reached.
type outage struct{}

func (outage) Connect(context.Context) (driver.Conn, error) { return nil, errOutage }
func (outage) Driver() driver.Driver                        { return nil }

func open(t *testing.T) *sql.DB {
	db := sql.OpenDB(outage{})
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestNew(t *testing.T) {
	db := open(t)
	for _, c := range []struct {
		name    string
		db      *sql.DB
		dialect sqlstore.Dialect
		opts    []sqlstore.Option
		want    string
	}{
		{"SQLite", db, sqlstore.SQLite, nil, ""},
		{"Postgres", db, sqlstore.Postgres, []sqlstore.Option{sqlstore.WithSchema("auth"), sqlstore.WithPrefix("1_")}, ""},
		{"MySQL", db, sqlstore.MySQL, []sqlstore.Option{sqlstore.WithPrefix(strings.Repeat("x", 40))}, ""},
		{"no database", nil, sqlstore.SQLite, nil, "sqlstore: New: the *sql.DB is nil; open one with sql.Open"},
		{"no dialect", db, 0, nil, "sqlstore: New: Dialect(0) is no dialect; give it SQLite, Postgres or MySQL"},
		{"a nil option", db, sqlstore.SQLite, []sqlstore.Option{nil}, "sqlstore: New: option 1 is nil; leave it out"},
		{"an empty prefix", db, sqlstore.SQLite, []sqlstore.Option{sqlstore.WithPrefix("")}, `sqlstore: New: WithPrefix(""): it must be 1 to 40 of a-z, 0-9 and _, such as "jwtauth_"`},
		{"a prefix with a quote", db, sqlstore.SQLite, []sqlstore.Option{sqlstore.WithPrefix(`a"b`)}, `sqlstore: New: WithPrefix("a\"b"): it must be`},
		{"a prefix with capitals", db, sqlstore.SQLite, []sqlstore.Option{sqlstore.WithPrefix("Auth_")}, `sqlstore: New: WithPrefix("Auth_"): it must be`},
		{"a prefix that is too long", db, sqlstore.SQLite, []sqlstore.Option{sqlstore.WithPrefix(strings.Repeat("x", 41))}, "it must be 1 to 40"},
		{"a schema with a dot", db, sqlstore.Postgres, []sqlstore.Option{sqlstore.WithSchema("a.b")}, `sqlstore: New: WithSchema("a.b"): it must be 1 to 63`},
		{"a schema of SQLite", db, sqlstore.SQLite, []sqlstore.Option{sqlstore.WithSchema("main")}, `sqlstore: New: WithSchema("main") is for Postgres, and this is SQLite`},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := sqlstore.New(c.db, c.dialect, c.opts...)
			if c.want == "" {
				require.NoError(t, err)
				require.NotNil(t, store)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAnOutageIsAnErrorOfEveryMethod(t *testing.T) {
	ctx, now := t.Context(), time.Now()
	row := session.Session{ID: "id", Subject: "alice", Generation: 2, Created: now, Rotated: now, IdleExpires: now.Add(time.Hour), MaxExpires: now.Add(time.Hour)}
	for _, d := range []sqlstore.Dialect{sqlstore.SQLite, sqlstore.Postgres, sqlstore.MySQL} {
		store, err := sqlstore.New(open(t), d)
		require.NoError(t, err)
		sessions, revocations := store.Sessions(), store.Revocations()
		for name, do := range map[string]func() error{
			"Create":  func() error { return sessions.Create(ctx, row) },
			"Get":     func() error { _, _, err := sessions.Get(ctx, "alice", "id"); return err },
			"Advance": func() error { _, err := sessions.Advance(ctx, row, row, now); return err },
			"Revoke":  func() error { _, err := sessions.Revoke(ctx, "alice", "id", "logout", now); return err },
			"List":    func() error { _, err := sessions.List(ctx, "alice", now); return err },
			"Purge":   func() error { return sessions.Purge(ctx, now) },
			"Append": func() error {
				return revocations.Append(ctx, revoke.Entry{Kind: revoke.Token, ID: "id", Expires: now})
			},
			"Since":            func() error { _, err := revocations.Since(ctx, "", 1); return err },
			"Purge of the log": func() error { return revocations.Purge(ctx, now) },
			"NewLog":           func() error { return store.NewLog(ctx) },
		} {
			require.ErrorIs(t, do(), errOutage, "%v: %s", d, name)
		}
		if d != sqlstore.SQLite { // on SQLite, Migrate retries for 15 seconds
			require.ErrorIs(t, store.Migrate(ctx), errOutage, "%v: Migrate", d)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		require.Error(t, store.Migrate(ended), "%v: Migrate", d)
	}
}

func TestWhatCannotBeKeptIsAnError(t *testing.T) {
	ctx, now := t.Context(), time.Now()
	store, err := sqlstore.New(open(t), sqlstore.MySQL)
	require.NoError(t, err)
	sessions, revocations := store.Sessions(), store.Revocations()
	for want, change := range map[string]func(*session.Session){
		"the id has 65 bytes":        func(s *session.Session) { s.ID = strings.Repeat("x", 65) },
		"the subject has 1025 bytes": func(s *session.Session) { s.Subject = strings.Repeat("x", 1025) },
		"the label has 257 bytes":    func(s *session.Session) { s.Label = strings.Repeat("x", 257) },
		"the reason has 33 bytes":    func(s *session.Session) { s.Reason = strings.Repeat("x", 33) },
		"the subject is not UTF-8":   func(s *session.Session) { s.Subject = "\xff" },
		"the label is not UTF-8, or": func(s *session.Session) { s.Label = "\x00" },
		"is not of the years 1 to":   func(s *session.Session) { s.MaxExpires = time.Unix(1<<60, 0) },
	} {
		s := session.Session{ID: "id", Subject: "alice", Created: now, Rotated: now, IdleExpires: now, MaxExpires: now}
		change(&s)
		err := sessions.Create(ctx, s)
		require.ErrorContains(t, err, want)
		require.NotErrorIs(t, err, errOutage)
	}
	_, err = sessions.Revoke(ctx, "alice", "id", strings.Repeat("x", 33), now)
	require.ErrorContains(t, err, "the reason has 33 bytes")
	for _, e := range []revoke.Entry{
		{ID: "id", Expires: now}, {Kind: revoke.Token, Expires: now}, {Kind: revoke.Token, ID: strings.Repeat("x", 1025), Expires: now},
		{Kind: revoke.Token, ID: "id", Expires: time.Unix(1<<60, 0)},
	} {
		err := revocations.Append(ctx, e)
		require.Error(t, err)
		require.NotErrorIs(t, err, errOutage)
	}
	// A client can send any ID. If no database can store the ID, the session is not found.
	for _, id := range []string{"\x00", "\xff", strings.Repeat("x", 65)} {
		_, found, err := sessions.Get(ctx, "alice", id)
		require.NoError(t, err)
		require.False(t, found)
		found, err = sessions.Revoke(ctx, "alice", id, "logout", now)
		require.NoError(t, err)
		require.False(t, found)
	}
}
