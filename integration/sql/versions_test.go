package sqlstore_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// A backup or a migration may lock a row for longer than the caller waits.
func TestAdvance_OfARowThatWasLockedForTooLongChangesNothing(t *testing.T) {
	each(t, append(databases, varied...), func(t *testing.T, d database) {
		if d.dialect == sqlstore.SQLite { // which waits as long as it was told
			d.dsn = sqliteDSN(200 * time.Millisecond)
		}
		s := d.new(t)
		jwtauthtest.TestHeldStep(t, s.Sessions(), func(t *testing.T, row session.Session) func() {
			tx, err := s.db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			// The row is written and put back as it was: nothing but the wait tells.
			_, err = tx.ExecContext(t.Context(), s.text("UPDATE $sessions SET label = 'locked' WHERE gen = 1"))
			require.NoError(t, err)
			return func() { require.NoError(t, tx.Rollback()) }
		})
	})
}

// firstVersion has the tables that the first version created.
func (d database) firstVersion(t *testing.T) tables {
	s := d.bare(t)
	text, bytes := "TEXT", "BLOB"
	switch d.dialect {
	case sqlstore.Postgres:
		text, bytes = `TEXT COLLATE "C"`, "BYTEA"
	case sqlstore.MySQL:
		text, bytes = "VARBINARY(255)", "VARBINARY(1024)"
	}
	for _, statement := range []string{
		"CREATE TABLE $meta (one INTEGER NOT NULL PRIMARY KEY, version INTEGER NOT NULL, oldest INTEGER NOT NULL)",
		"CREATE TABLE $sessions (id " + text + " NOT NULL PRIMARY KEY, subject " + text + " NOT NULL, gen BIGINT NOT NULL, created BIGINT NOT NULL, " +
			"rotated BIGINT NOT NULL, idle_exp BIGINT NOT NULL, max_exp BIGINT NOT NULL, revoked_at BIGINT NOT NULL, reason " + text + " NOT NULL, label " + text + " NOT NULL)",
		"CREATE TABLE $log (one INTEGER NOT NULL PRIMARY KEY, log_id " + text + " NOT NULL, last_n BIGINT NOT NULL)",
		"CREATE TABLE $revocations (n BIGINT NOT NULL PRIMARY KEY, kind INTEGER NOT NULL, issuer " + bytes + " NOT NULL, id " + bytes + " NOT NULL, epoch BIGINT NOT NULL, expires BIGINT NOT NULL)",
		"INSERT INTO $log (one, log_id, last_n) VALUES (1, 'the log', 0)",
		"INSERT INTO $meta (one, version, oldest) VALUES (1, 1, 1)",
	} {
		s.exec(t, statement)
	}
	return s
}

func TestMigrate_FromTheFirstVersion(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s := d.firstVersion(t)
		now := time.Now().UTC().Truncate(time.Second)
		add := func(id string, generation int64, rotated time.Time) session.Session {
			row := session.Session{ID: id, Subject: "alice", Generation: generation, Created: now.Add(-48 * time.Hour), Rotated: rotated,
				Given: time.Unix(0, 0).UTC(), IdleExpires: now.Add(24 * time.Hour), MaxExpires: now.Add(48 * time.Hour), Label: "a phone"}
			s.exec(t, "INSERT INTO $sessions (id, subject, gen, created, rotated, idle_exp, max_exp, revoked_at, reason, label) VALUES (?, ?, ?, ?, ?, ?, ?, 0, '', ?)",
				row.ID, row.Subject, row.Generation, row.Created.UnixMicro(), row.Rotated.UnixMicro(), row.IdleExpires.UnixMicro(), row.MaxExpires.UnixMicro(), row.Label)
			return row
		}
		fresh := add("JUSTROTATEDAAAAAAAAAAAAAAA", 5, now)
		old := add("ROTATEDLONGAGOAAAAAAAAAAAA", 7, now.Add(-time.Hour))
		all := s.query(t, "SELECT COUNT(*) FROM $sessions")
		for range 2 { // it may be repeated
			require.NoError(t, s.Migrate(t.Context()))
			require.Equal(t, "2", s.query(t, "SELECT version FROM $meta"))
			require.Equal(t, "2", s.query(t, "SELECT oldest FROM $meta"))
			require.Equal(t, all, s.query(t, "SELECT COUNT(*) FROM $sessions"))
			require.Equal(t, "the log", s.query(t, "SELECT log_id FROM $log"))
		}
		for _, want := range []session.Session{fresh, old} {
			got, found, err := s.Sessions().Get(t.Context(), "alice", want.ID)
			require.NoError(t, err)
			require.True(t, found)
			require.Less(t, got.ClockAhead.Abs(), time.Hour)
			got.ClockAhead = 0
			require.Equal(t, want, got)
		}

		// Clients can refresh with the current token, and with the previous one.
		key := keys.HS256([]byte("a secret that only these tests have"))
		m, err := session.New(key, s.Sessions())
		require.NoError(t, err)
		refreshes := func(row session.Session, generation int64) error {
			_, err := m.Refresh(t.Context(), tokenOf(t, key, row, generation))
			return err
		}
		assert.NoError(t, refreshes(fresh, 5))
		assert.NoError(t, refreshes(fresh, 4))
		assert.NoError(t, refreshes(old, 6), "an answer that was lost before")
		assert.NoError(t, refreshes(old, 6))
		assert.ErrorIs(t, refreshes(old, 5), session.ErrReused)
		assert.ErrorIs(t, refreshes(fresh, 3), session.ErrReused)
	})
}

// tokenOf returns a refresh token of a row, as a Manager would have issued it.
func tokenOf(t *testing.T, key keys.Key, row session.Session, generation int64) string {
	t.Helper()
	store := session.NewMemory()
	row.Generation, row.Prev, row.Given = generation, generation-1, time.Now()
	require.NoError(t, store.Create(t.Context(), row))
	m, err := session.New(key, store)
	require.NoError(t, err)
	// The previous token gives the same successor again.
	first, err := jwtauth.New(key, jwtauth.WithTypes(session.RefreshType), jwtauth.WithAnyContainer(), jwtauth.WithMaxLifetime(session.DefaultRefreshTTL))
	require.NoError(t, err)
	before, err := first.Issue("", jwtauth.Subject(row.Subject), jwtauth.SessionID(row.ID), jwtauth.ID(refreshID(row.ID, generation-1)), jwtauth.Claim("gen", generation-1))
	require.NoError(t, err)
	pair, err := m.Refresh(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(pair.RefreshToken, "."))
	return pair.RefreshToken
}

// refreshID is the jti of a refresh token, which follows from what it is.
func refreshID(session string, generation int64) string {
	sum := sha256.Sum256([]byte("jwtauth refresh token\x00" + session + "\x00" + strconv.FormatInt(generation, 10)))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
