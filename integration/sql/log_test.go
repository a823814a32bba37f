package sqlstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// ids reads a log from a cursor to its end, and returns the IDs.
func ids(t *testing.T, log revoke.Store, cursor string) (all []string) {
	t.Helper()
	for {
		page, err := log.Since(t.Context(), cursor, 1000)
		require.NoError(t, err)
		for _, e := range page.Entries {
			all = append(all, e.ID)
		}
		if cursor = page.Cursor; !page.More {
			return all
		}
	}
}

// slowly appends like Append, but with slow transactions.
func (s tables) slowly(ctx context.Context, id string, numbered func(), commit bool) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, s.text("UPDATE $log SET last_n = last_n + 1 WHERE one = 1")); err != nil {
		return err
	}
	numbered()
	_, err = tx.ExecContext(ctx, s.text("INSERT INTO $revocations (n, kind, issuer, id, epoch, expires) SELECT last_n, 1, ?, ?, 0, 4000000000000000 FROM $log"), []byte{}, []byte(id))
	if err != nil || !commit {
		return err
	}
	return tx.Commit()
}

func TestAppendWaitsForATransactionThatHasANumber(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.new(t)
		log := s.Revocations()
		require.NoError(t, log.Append(t.Context(), entry("first")))
		page, err := log.Since(t.Context(), "", 10)
		require.NoError(t, err)

		numbered, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() { done <- s.slowly(t.Context(), "slow", func() { close(numbered); <-goOn }, true) }()
		<-numbered
		appended := make(chan error, 1)
		go func() { appended <- log.Append(t.Context(), entry("fast")) }()
		select {
		case err := <-appended:
			require.Fail(t, "it did not wait", "%v", err)
		case <-time.After(500 * time.Millisecond):
		}
		require.Empty(t, ids(t, log, page.Cursor), "readers do not wait, and see nothing")
		close(goOn)
		require.NoError(t, <-done)
		require.NoError(t, <-appended)
		require.Equal(t, []string{"slow", "fast"}, ids(t, log, page.Cursor))
	})
}

func TestAFollowerSkipsNothingOfLongTransactions(t *testing.T) {
	each(t, append(databases, varied...), func(t *testing.T, d database) {
		s := d.new(t)
		log := s.Revocations()
		var writing, reading sync.WaitGroup
		written := make(chan struct{})
		var want []string
		var followed [3][]string
		for i := range followed {
			reading.Go(func() {
				for cursor, last := "", false; ; {
					page, err := log.Since(t.Context(), cursor, i+1)
					if !assert.NoError(t, err) {
						return
					}
					for _, e := range page.Entries {
						followed[i] = append(followed[i], e.ID)
					}
					if cursor = page.Cursor; page.More {
						continue
					}
					if last {
						return
					}
					select {
					case <-written:
						last = true
					case <-time.After(time.Millisecond):
					}
				}
			})
		}
		for w := range 6 {
			for n := range 15 {
				if n%5 != 4 {
					want = append(want, fmt.Sprintf("w%d n%d", w, n))
				}
			}
			writing.Go(func() {
				for n := range 15 {
					id := fmt.Sprintf("w%d n%d", w, n)
					var err error
					if w%2 == 0 && n%5 != 4 {
						err = log.Append(t.Context(), entry(id))
					} else { // every fifth rolls back
						err = s.slowly(t.Context(), id, func() { time.Sleep(rand.N(20 * time.Millisecond)) }, n%5 != 4)
					}
					if !assert.NoError(t, err) {
						return
					}
				}
			})
		}
		writing.Wait()
		close(written)
		reading.Wait()
		order := ids(t, log, "")
		slices.Sort(want)
		require.Equal(t, want, slices.Sorted(slices.Values(order)))
		for _, got := range followed {
			require.Equal(t, order, got)
		}
		require.Equal(t, fmt.Sprint(len(want)), s.query(t, "SELECT last_n FROM $log"), "who changes their mind gives the number back")
	})
}

func TestNewLogMakesListsReadAllAgain(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.new(t)
		log := s.Revocations()
		list, err := revoke.New(log, revoke.WithStaleness(time.Hour))
		require.NoError(t, err)
		revoked := func(id string) bool {
			t.Helper()
			require.NoError(t, list.Sync(t.Context()))
			hit, err := list.Revoked(t.Context(), jwtauth.Claims{ID: id, IssuedAt: time.Now()})
			require.NoError(t, err)
			return hit
		}
		for _, id := range []string{"a", "b", "c"} {
			require.NoError(t, log.Append(t.Context(), entry(id)))
		}
		require.True(t, revoked("c"))
		page, err := log.Since(t.Context(), "", 10)
		require.NoError(t, err)

		// The log is restored from a backup.
		s.exec(t, "DELETE FROM $revocations WHERE n > 1")
		s.exec(t, "UPDATE $log SET last_n = 1")
		require.Equal(t, []string{"a"}, ids(t, log, page.Cursor), "the end is before the cursor")
		for _, id := range []string{"x", "y", "z"} {
			require.NoError(t, log.Append(t.Context(), entry(id)))
		}
		require.Equal(t, []string{"z"}, ids(t, log, page.Cursor), "what the documentation says of a log that has grown past it")
		require.False(t, revoked("x"))
		require.NoError(t, s.NewLog(t.Context()))
		require.Equal(t, []string{"a", "x", "y", "z"}, ids(t, log, page.Cursor))
		require.True(t, revoked("x"))
		require.NoError(t, log.Append(t.Context(), entry("after")))
		require.True(t, revoked("after"))
	})
}

func TestARowThatCannotBeIsAnError(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.new(t)
		require.NoError(t, s.Sessions().Create(t.Context(), someSession()))
		require.NoError(t, s.Revocations().Append(t.Context(), entry("a")))
		for _, column := range []string{"created", "rotated", "idle_exp", "max_exp", "revoked_at"} {
			s.exec(t, "UPDATE $sessions SET "+column+" = 4611686018427387904")
			_, _, err := s.Sessions().Get(t.Context(), "alice", "id")
			require.ErrorContains(t, err, "no time in microseconds", column)
			s.exec(t, "UPDATE $sessions SET "+column+" = 0")
		}
		s.exec(t, "UPDATE $sessions SET revoked_at = ?", time.Time{}.UnixMicro())
		_, _, err := s.Sessions().Get(t.Context(), "alice", "id")
		require.ErrorContains(t, err, "in the year 1", "it would look as if it had not been")
		s.exec(t, "UPDATE $revocations SET expires = -4611686018427387904")
		_, err = s.Revocations().Since(t.Context(), "", 10)
		require.ErrorContains(t, err, "no time in microseconds")
	})
}

func TestALockedRowIsNotWaitedForLongerThanTheContext(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		if d.dialect == sqlstore.SQLite { // which waits as long as it was told
			d.dsn = sqliteDSN(time.Second)
		}
		s := d.new(t)
		row := someSession()
		require.NoError(t, s.Sessions().Create(t.Context(), row))
		next := row
		next.Generation = 2
		tx, err := s.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		for _, query := range []string{"UPDATE $sessions SET label = 'locked'", "UPDATE $log SET last_n = last_n + 5"} {
			_, err = tx.ExecContext(t.Context(), s.text(query))
			require.NoError(t, err)
		}
		for name, do := range map[string]func(ctx context.Context) error{
			"Advance": func(ctx context.Context) error {
				_, err := s.Sessions().Advance(ctx, row, next, row.Created)
				return err
			},
			"Revoke": func(ctx context.Context) error {
				_, err := s.Sessions().Revoke(ctx, "alice", "id", "logout", row.Created)
				return err
			},
			"Append": func(ctx context.Context) error { return s.Revocations().Append(ctx, entry("a")) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			begun := time.Now()
			require.Error(t, do(ctx), name)
			t.Logf("%s returned after %v", name, time.Since(begun))
			require.Less(t, time.Since(begun), 30*time.Second, "%s: MySQL itself gives up after 50 seconds", name)
			cancel()
		}
		_, found, err := s.Sessions().Get(t.Context(), "alice", "id")
		require.NoError(t, err, "readers do not wait")
		require.True(t, found)
		require.NoError(t, tx.Rollback())

		// An abandoned statement may still take effect: MySQL continues it after its client has
		// gone. Later clients must not wait for long.
		row.ID, next.ID = "another", "another"
		require.NoError(t, s.Sessions().Create(t.Context(), row))
		done, err := s.Sessions().Advance(t.Context(), row, next, row.Created)
		require.NoError(t, err)
		require.True(t, done)
		require.NoError(t, s.Revocations().Append(t.Context(), entry("b")))
		all := ids(t, s.Revocations(), "")
		require.Equal(t, "b", all[len(all)-1])
	})
}

func TestPurgeTakesOutAllThatHasExpired(t *testing.T) {
	each(t, append(databases, varied...), func(t *testing.T, d database) {
		s := d.new(t)
		const expired, live = 1234, 7
		tx, err := s.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		for i := range expired + live {
			idle, most := 1000, 4_000_000_000_000_000
			switch {
			case i >= expired:
				idle = most
			case i%2 == 0:
				idle, most = most, idle
			}
			id := fmt.Sprintf("id %d", i)
			_, err := tx.ExecContext(t.Context(), s.text("INSERT INTO $sessions (id, subject, gen, created, rotated, idle_exp, max_exp, revoked_at, reason, label) VALUES (?, ?, 1, 1, 1, ?, ?, 0, '', '')"), id, id, idle, most)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), s.text("INSERT INTO $revocations (n, kind, issuer, id, epoch, expires) VALUES (?, 1, ?, ?, 0, ?)"), i+1, []byte{}, []byte(id), min(idle, most))
			require.NoError(t, err)
		}
		_, err = tx.ExecContext(t.Context(), s.text("UPDATE $log SET last_n = ?"), expired+live)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())

		require.NoError(t, s.Sessions().Purge(t.Context(), time.UnixMicro(1000)))
		require.NoError(t, s.Revocations().Purge(t.Context(), time.UnixMicro(1000)))
		require.Equal(t, fmt.Sprint(expired+live), s.query(t, "SELECT COUNT(*) FROM $sessions"), "none expires before that")
		require.Equal(t, fmt.Sprint(expired+live), s.query(t, "SELECT COUNT(*) FROM $revocations"))

		// Three concurrent purges delete everything, and none fails.
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				assert.NoError(t, s.Sessions().Purge(t.Context(), time.Now()))
				assert.NoError(t, s.Revocations().Purge(t.Context(), time.Now()))
			})
		}
		wait.Wait()
		require.Equal(t, fmt.Sprint(live), s.query(t, "SELECT COUNT(*) FROM $sessions"))
		require.Equal(t, fmt.Sprint(live), s.query(t, "SELECT COUNT(*) FROM $revocations"))
		require.Equal(t, fmt.Sprint(expired+live), s.query(t, "SELECT last_n FROM $log"))
	})
}

// A locked row is being advanced, or purged by another process.
func TestPurgeWaitsForNobodyOnPostgreSQL(t *testing.T) {
	s := postgres.new(t)
	for _, id := range []string{"a", "b", "c"} {
		row := someSession()
		row.ID, row.IdleExpires = id, time.UnixMicro(1000)
		require.NoError(t, s.Sessions().Create(t.Context(), row))
	}
	tx, err := s.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), s.text("UPDATE $sessions SET label = 'busy' WHERE id = 'b'"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, s.Sessions().Purge(ctx, time.Now()))
	require.NoError(t, tx.Commit())
	require.Equal(t, "b", s.query(t, "SELECT MIN(id) FROM $sessions"))
	require.NoError(t, s.Sessions().Purge(ctx, time.Now()))
	require.Equal(t, "0", s.query(t, "SELECT COUNT(*) FROM $sessions"))
}

func TestASessionThatWasEndedIn1970HasEnded(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.new(t).Sessions()
		require.NoError(t, s.Create(t.Context(), someSession()))
		done, err := s.Revoke(t.Context(), "alice", "id", "logout", time.UnixMicro(0))
		require.NoError(t, err)
		require.True(t, done)
		got, _, err := s.Get(t.Context(), "alice", "id")
		require.NoError(t, err)
		require.False(t, got.RevokedAt.IsZero())
		all, err := s.List(t.Context(), "alice", time.Now())
		require.NoError(t, err)
		require.Empty(t, all)
	})
}

// Without autocommit, a connection would not commit its writes, and would keep reading an old
// snapshot. A connection that converts strings would make two of them equal.
func TestConnectionsOfMySQLThatCannotBeTrustedAreRefused(t *testing.T) {
	s := mariadb.new(t)
	for _, c := range []struct{ name, setting, value, want string }{
		{"nothing is committed", "autocommit", "0", "autocommit=0 and completion_type=NO_CHAIN, and 1 and NO_CHAIN are needed"},
		{"a transaction follows another", "completion_type", "1", "completion_type=CHAIN, and"},
		{"texts are converted", "character_set_connection", "latin1", "character_set_connection=latin1, which must be the same"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := mysql.ParseDSN(s.dsn)
			require.NoError(t, err)
			config.Params = map[string]string{c.setting: c.value}
			store := s.another(t, mariadb.at(t, config.FormatDSN()))
			refused := func(err error) {
				t.Helper()
				require.ErrorContains(t, err, c.want)
			}
			sessions, log := store.Sessions(), store.Revocations()
			refused(store.Migrate(t.Context()))
			refused(store.NewLog(t.Context()))
			refused(sessions.Create(t.Context(), someSession()))
			_, _, err = sessions.Get(t.Context(), "alice", "id")
			refused(err)
			_, err = sessions.Advance(t.Context(), someSession(), someSession(), time.Now())
			refused(err)
			_, err = sessions.Revoke(t.Context(), "alice", "id", "logout", time.Now())
			refused(err)
			_, err = sessions.List(t.Context(), "alice", time.Now())
			refused(err)
			refused(sessions.Purge(t.Context(), time.Now()))
			refused(log.Append(t.Context(), entry("a")))
			_, err = log.Since(t.Context(), "", 1)
			refused(err)
			refused(log.Purge(t.Context(), time.Now()))
		})
	}
}

// The character set of a connection must not affect strings that are stored as bytes.
func TestSubjectsOutsideOfTheCharacterSetOfMySQL(t *testing.T) {
	for _, settings := range []string{"charset=latin1", "charset=utf8", "charset=latin1&interpolateParams=true", "charset=utf8&interpolateParams=true"} {
		t.Run(settings, func(t *testing.T) {
			d := mariadb
			d.dsn = func(t *testing.T) string { return with(mariadb.dsn(t), settings) }
			s := d.new(t).Sessions()
			row := someSession()
			row.Subject, row.Label = "🦊", "d'Älice 🦊"
			require.NoError(t, s.Create(t.Context(), row))
			got, found, err := s.Get(t.Context(), "🦊", row.ID)
			require.NoError(t, err)
			require.True(t, found)
			got.ClockAhead = 0
			require.Equal(t, row, got)
			_, found, err = s.Get(t.Context(), "🦋", row.ID)
			require.NoError(t, err)
			require.False(t, found)
			all, err := s.List(t.Context(), "🦋", row.Created)
			require.NoError(t, err)
			require.Empty(t, all)
		})
	}
}

func TestSubjectsThatLookAlikeAreNot(t *testing.T) {
	each(t, append(databases, varied...), func(t *testing.T, d database) {
		s := d.new(t)
		alike := []string{"alice", "Alice", "alice ", "álice", "a\u0301lice", "straße", "strasse", "ſ", "s", "İ", "i"}
		for i, subject := range alike {
			row := someSession()
			row.ID, row.Subject = fmt.Sprint("id", i), subject
			require.NoError(t, s.Sessions().Create(t.Context(), row))
		}
		for i, subject := range alike {
			all, err := s.Sessions().List(t.Context(), subject, time.Now())
			require.NoError(t, err)
			require.Len(t, all, 1, subject)
			require.Equal(t, fmt.Sprint("id", i), all[0].ID)
		}
		// An ID is unique across all subjects.
		row := someSession()
		row.ID = "id1"
		require.Error(t, s.Sessions().Create(t.Context(), row))
	})
}
