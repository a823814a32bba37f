package sqlstore_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// migrateEnv makes a process of this test call Migrate and end: dialect, driver,
// DSN and prefix, one a line.
const migrateEnv = "JWTAUTH_TEST_MIGRATE_NOW"

func TestMain(m *testing.M) {
	if what := os.Getenv(migrateEnv); what != "" {
		if err := migrateNow(strings.Split(what, "\n")); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func migrateNow(what []string) error {
	db, err := sql.Open(what[1], what[2])
	if err != nil {
		return err
	}
	defer db.Close()
	store, err := sqlstore.New(db, sqlstore.Dialect(what[0][0]-'0'), sqlstore.WithPrefix(what[3]))
	if err != nil {
		return err
	}
	return store.Migrate(context.Background())
}

func someSession() session.Session {
	now := time.Now().UTC().Truncate(time.Second)
	return session.Session{ID: "id", Subject: "alice", Generation: 1, Created: now, Rotated: now, IdleExpires: now.Add(time.Hour), MaxExpires: now.Add(time.Hour)}
}

func entry(id string) revoke.Entry {
	return revoke.Entry{Kind: revoke.Token, ID: id, Expires: time.Now().UTC().Truncate(time.Second).Add(time.Hour)}
}

func TestTenProcessesMigrateAtOnce(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.bare(t)
		all := func(migrate func() error) {
			t.Helper()
			var wait sync.WaitGroup
			for range 10 {
				wait.Go(func() { assert.NoError(t, migrate()) })
			}
			wait.Wait()
		}
		connections := func() error {
			return s.another(t, d.at(t, s.dsn)).Migrate(t.Context())
		}
		processes := func() error {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), migrateEnv+"="+strings.Join([]string{string(rune('0' + d.dialect)), d.driver, s.dsn, s.prefix}, "\n"))
			if out, err := cmd.CombinedOutput(); err != nil {
				return &processError{err, string(out)}
			}
			return nil
		}
		all(processes)
		identity := s.query(t, "SELECT log_id FROM $log")
		require.NoError(t, s.Sessions().Create(t.Context(), someSession()))
		require.NoError(t, s.Revocations().Append(t.Context(), entry("a")))
		all(connections)
		all(processes)
		require.NoError(t, s.Migrate(t.Context()))
		require.Equal(t, identity, s.query(t, "SELECT log_id FROM $log"))
		require.Equal(t, "1", s.query(t, "SELECT COUNT(*) FROM $log"))
		require.Equal(t, "1", s.query(t, "SELECT COUNT(*) FROM $meta"))
		require.Equal(t, "1", s.query(t, "SELECT last_n FROM $log"))
		got, found, err := s.Sessions().Get(t.Context(), "alice", "id")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, someSession().Label, got.Label)

		// And from nothing, by connections.
		s = d.bare(t)
		all(connections)
		require.Equal(t, "1", s.query(t, "SELECT COUNT(*) FROM $log"))
		require.Equal(t, "2", s.query(t, "SELECT version FROM $meta"))
	})
}

type processError struct {
	err error
	out string
}

func (e *processError) Error() string { return e.err.Error() + ": " + e.out }

func TestMigrateRefusesTablesOfALaterVersion(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.new(t)
		s.exec(t, "UPDATE $meta SET version = 99")
		require.NoError(t, s.Migrate(t.Context()), "they can be used by this one, too")
		s.exec(t, "UPDATE $meta SET oldest = 98")
		err := s.Migrate(t.Context())
		require.ErrorIs(t, err, sqlstore.ErrNewer)
		require.ErrorContains(t, err, "of version 99, for version 98 or later, and this is 2")
		require.Equal(t, "99", s.query(t, "SELECT version FROM $meta"))
		s.exec(t, "UPDATE $meta SET version = 1, oldest = 1")
		require.NoError(t, s.Migrate(t.Context()), "it holds no lock")
	})
}

func TestMigrateGoesOnWhereOneWasInterrupted(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.new(t)
		require.NoError(t, s.Sessions().Create(t.Context(), someSession()))
		s.exec(t, "DROP TABLE $revocations")
		s.exec(t, "DELETE FROM $log")
		s.exec(t, "DELETE FROM $meta")
		require.NoError(t, s.Migrate(t.Context()))
		require.NoError(t, s.Revocations().Append(t.Context(), entry("a")))
		_, found, err := s.Sessions().Get(t.Context(), "alice", "id")
		require.NoError(t, err)
		require.True(t, found, "it destroys nothing")
	})
}

func TestMigrateMakesALogThatWasLost(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.new(t)
		log := s.Revocations()
		for _, id := range []string{"a", "b"} {
			require.NoError(t, log.Append(t.Context(), entry(id)))
		}
		page, err := log.Since(t.Context(), "", 10)
		require.NoError(t, err)
		s.exec(t, "DELETE FROM $log")
		require.ErrorContains(t, log.Append(t.Context(), entry("lost")), "call Migrate")
		_, err = log.Since(t.Context(), page.Cursor, 10)
		require.ErrorContains(t, err, "call Migrate")
		require.ErrorContains(t, s.NewLog(t.Context()), "call Migrate")
		require.NoError(t, s.Migrate(t.Context()))
		require.NoError(t, log.Append(t.Context(), entry("c")))
		require.Equal(t, []string{"a", "b", "c"}, ids(t, log, page.Cursor))
	})
}

func TestMigrateWaitsAsLongAsItsContext(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		if d.dialect == sqlstore.SQLite {
			d.dsn = sqliteDSN(100 * time.Millisecond)
		}
		s := d.bare(t)
		conn, err := s.db.Conn(t.Context())
		require.NoError(t, err)
		switch d.dialect {
		case sqlstore.SQLite:
			_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
		case sqlstore.Postgres: // the rights to make a table of that name
			_, err = conn.ExecContext(t.Context(), "BEGIN; CREATE TABLE "+s.prefix+"meta (one INTEGER NOT NULL PRIMARY KEY, version INTEGER NOT NULL)")
		default:
			require.NoError(t, s.Migrate(t.Context()))
			_, err = conn.ExecContext(t.Context(), "LOCK TABLES "+s.prefix+"meta WRITE")
		}
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		begun := time.Now()
		require.Error(t, s.Migrate(ctx))
		require.Less(t, time.Since(begun), 30*time.Second, "no other process gives up so soon")
		end := "ROLLBACK"
		if d.dialect == sqlstore.MySQL {
			end = "UNLOCK TABLES"
		}
		_, err = conn.ExecContext(t.Context(), end)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, s.Migrate(t.Context()))
	})
}

func TestMigrateOnlyReadsWhereAllIsInPlace(t *testing.T) {
	t.Run("by a role of PostgreSQL that may not make tables", func(t *testing.T) {
		s := postgres.new(t)
		role := s.prefix + "reader"
		_, err := s.db.ExecContext(t.Context(), "CREATE ROLE "+role)
		if err != nil {
			t.Skip("the tests' own role may not make roles: ", err)
		}
		t.Cleanup(func() {
			_, err := s.db.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role)
			require.NoError(t, err)
		})
		s.exec(t, "GRANT SELECT ON $meta, $log TO "+role)
		conn, err := s.db.Conn(t.Context())
		require.NoError(t, err)
		_, err = conn.ExecContext(t.Context(), "SET ROLE "+role)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		s.db.SetMaxOpenConns(1) // that one
		require.NoError(t, s.Migrate(t.Context()))
		_, err = s.db.ExecContext(t.Context(), "RESET ROLE")
		require.NoError(t, err)
	})
	t.Run("of SQLite, while another writes", func(t *testing.T) {
		s := sqlite.new(t)
		conn, err := s.db.Conn(t.Context())
		require.NoError(t, err)
		_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
		_, err = conn.ExecContext(t.Context(), "ROLLBACK")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
}

func TestWithoutTablesEverythingIsAnError(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.bare(t)
		_, _, err := s.Sessions().Get(t.Context(), "alice", "id")
		require.Error(t, err)
		_, err = s.Sessions().Advance(t.Context(), someSession(), someSession(), time.Now())
		require.Error(t, err)
		_, err = s.Revocations().Since(t.Context(), "", 1)
		require.Error(t, err)
		require.Error(t, s.Revocations().Append(t.Context(), entry("a")))
		require.NoError(t, s.Migrate(t.Context()))
		require.Empty(t, ids(t, s.Revocations(), ""))
	})
}

func TestASchemaOfPostgres(t *testing.T) {
	s := postgres.bare(t)
	schema := "s" + s.prefix
	s.exec(t, "CREATE SCHEMA "+schema)
	t.Cleanup(func() {
		_, err := s.db.Exec("DROP SCHEMA " + schema + " CASCADE")
		require.NoError(t, err)
	})
	in, err := sqlstore.New(s.db, sqlstore.Postgres, sqlstore.WithPrefix(s.prefix), sqlstore.WithSchema(schema))
	require.NoError(t, err)
	require.NoError(t, in.Migrate(t.Context()))
	require.NoError(t, in.Migrate(t.Context()))
	require.NoError(t, in.Revocations().Append(t.Context(), entry("a")))
	require.NoError(t, in.Sessions().Create(t.Context(), someSession()))
	require.NoError(t, in.Sessions().Purge(t.Context(), time.Now()))
	require.NoError(t, in.NewLog(t.Context()))
	require.Equal(t, "1", s.query(t, "SELECT COUNT(*) FROM "+schema+".$sessions"))
	require.Error(t, s.Revocations().Append(t.Context(), entry("a")), "it is nowhere else")
}
