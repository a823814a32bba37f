package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// version is the version of the tables that this package makes. The table meta also says
// which oldest version can use the tables, so that processes of two versions can work side
// by side during a deployment. Those of version 1 and 2 cannot: version 2 added the columns
// prev and given to the sessions. A process of version 1 would not write these columns, and
// a client's valid refresh token would look stolen.
const version = 2

// ErrNewer is returned by [DB.Migrate] if a later version of this package has changed the
// tables so that this one cannot use them.
var ErrNewer = errors.New("sqlstore: the tables are of a later version")

// settle is how long Migrate retries on SQLite. Each driver has its own errors, so Migrate
// cannot tell a locked file from a file that can never be written.
const settle = 15 * time.Second

// Migrate creates the tables, or changes them to what this version needs. Call it at the
// start of each process. If the processes may not create tables, call it once before they
// start: if the tables are up to date, Migrate only reads. Calls of several processes wait
// for each other. Migrate never deletes anything.
//
// An error is [ErrNewer], an outage or the end of ctx. After the latter two Migrate may be
// called again. ctx limits how long Migrate waits. On SQLite only busy_timeout limits a
// wait for the lock of the file, and Migrate starts no new try after 15 seconds.
func (s *DB) Migrate(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return fmt.Errorf("sqlstore: Migrate: %w", err)
	}
	done, err := s.inPlace(ctx, s.db)
	if err != nil || !done { // there may be no tables yet
		switch s.dialect {
		case SQLite:
			err = s.migrateSQLite(ctx)
		case Postgres:
			err = s.migratePostgres(ctx)
		case MySQL:
			err = s.migrateMySQL(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("sqlstore: Migrate: %w", err)
	}
	return nil
}

// runner is a connection or a transaction.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// inPlace reports whether the tables are up to date. If there are no tables, it returns an
// error of the database, which cannot be told from an outage.
func (s *DB) inPlace(ctx context.Context, db runner) (bool, error) {
	var have, oldest, logs int
	err := db.QueryRowContext(ctx, "SELECT version, oldest FROM "+s.table("meta")+" WHERE one = 1").Scan(&have, &oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if oldest > version {
		return false, fmt.Errorf("%w: they are of version %d, for version %d or later, and this is %d", ErrNewer, have, oldest, version)
	}
	err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+s.table("log")).Scan(&logs)
	return err == nil && have >= version && logs == 1, err
}

// migrate creates or changes the tables. Only one process at a time may run it. MySQL
// commits each statement that creates a table, so migrate may end between any two of its
// statements. The next call can then complete the work, since the version is written last.
func (s *DB) migrate(ctx context.Context, db runner) error {
	meta, log := s.table("meta"), s.table("log")
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+meta+" (one INTEGER NOT NULL PRIMARY KEY, version INTEGER NOT NULL, oldest INTEGER NOT NULL)"+s.engine()); err != nil {
		return err
	}
	var have int
	switch err := db.QueryRowContext(ctx, "SELECT version FROM "+meta+" WHERE one = 1").Scan(&have); {
	case errors.Is(err, sql.ErrNoRows): // have stays 0
	case err != nil:
		return err
	default:
		if done, err := s.inPlace(ctx, db); err != nil || done {
			return err
		}
	}
	steps := s.tables()
	if have == 1 {
		var err error
		if steps, err = s.second(ctx, db); err != nil {
			return err
		}
	}
	if have < version {
		for _, step := range steps {
			if _, err := db.ExecContext(ctx, step); err != nil {
				return err
			}
		}
	}

	// The row of the log is created only once, since its identity and its number must stay.
	// If the row is lost, a new identity makes old cursors invalid, and the numbers continue
	// after the last entry.
	var logs int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+log).Scan(&logs); err != nil {
		return err
	}
	if logs == 0 {
		var last int64
		if err := db.QueryRowContext(ctx, "SELECT COALESCE(MAX(n), 0) FROM "+s.table("revocations")).Scan(&last); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, s.bind("INSERT INTO "+log+" (one, log_id, last_n) VALUES (1, ?, ?)"), newLogID(), last); err != nil {
			return err
		}
	}
	var err error
	switch {
	case have == 0:
		_, err = db.ExecContext(ctx, s.bind("INSERT INTO "+meta+" (one, version, oldest) VALUES (1, ?, ?)"), version, version)
	case have < version:
		_, err = db.ExecContext(ctx, s.bind("UPDATE "+meta+" SET version = ?, oldest = ? WHERE one = 1"), version, version)
	}
	return err
}

// second returns the statements that change the tables from version 1 to version 2. It
// returns none if they have already run. On MySQL an earlier process may have ended after
// these statements, and before it wrote the version.
func (s *DB) second(ctx context.Context, db runner) ([]string, error) {
	name := s.prefix + "sessions"
	alter := "ALTER TABLE " + s.table("sessions")
	prev, given := "prev BIGINT NOT NULL DEFAULT 0", "given BIGINT NOT NULL DEFAULT 0"
	columns := "SELECT COUNT(*) FROM pragma_table_info(?) WHERE name = 'given'"
	switch s.dialect {
	case Postgres:
		return []string{alter + " ADD COLUMN IF NOT EXISTS " + prev + ", ADD COLUMN IF NOT EXISTS " + given}, nil
	case MySQL:
		columns = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? AND column_name = 'given'"
	}
	var there int
	if err := db.QueryRowContext(ctx, columns, name).Scan(&there); err != nil || there > 0 {
		return nil, err
	}
	if s.dialect == SQLite {
		return []string{alter + " ADD COLUMN " + prev, alter + " ADD COLUMN " + given}, nil
	}
	return []string{alter + " ADD COLUMN " + prev + ", ADD COLUMN " + given}, nil
}

func (s *DB) engine() string {
	if s.dialect == MySQL {
		return " ENGINE=InnoDB" // the default engine may have no transactions
	}
	return ""
}

// tables returns the statements that create the tables. Every database must compare
// strings byte for byte. SQLite does so by default. PostgreSQL does so with the collation
// "C". With another collation, an update of the system could change the order and so break
// an index. MySQL does so only for VARBINARY. With other types it may fold case or ignore
// trailing spaces.
func (s *DB) tables() []string {
	sessions, log, revocations := s.table("sessions"), s.table("log"), s.table("revocations")
	text := func(int) string { return "TEXT" }
	bytes, subject := "BLOB", ""
	switch s.dialect {
	case Postgres:
		text = func(int) string { return `TEXT COLLATE "C"` }
		bytes = "BYTEA"
	case MySQL:
		text = func(most int) string { return fmt.Sprintf("VARBINARY(%d)", most) }
		bytes = text(1024)
		subject = "(255)" // older row formats cannot index more bytes
	}
	indexes := []struct{ table, name, column string }{
		{"sessions", "sessions_subject", "subject" + subject},
		{"sessions", "sessions_idle", "idle_exp"},
		{"sessions", "sessions_max", "max_exp"},
		{"revocations", "revocations_expires", "expires"},
	}
	// MySQL has no CREATE INDEX IF NOT EXISTS, so indexes are created with the table.
	inline := map[string]string{}
	var apart []string
	for _, i := range indexes {
		if s.dialect == MySQL {
			inline[i.table] += ", KEY " + s.quote(i.name) + " (" + i.column + ")"
		} else {
			apart = append(apart, "CREATE INDEX IF NOT EXISTS "+s.quote(s.prefix+i.name)+" ON "+s.table(i.table)+" ("+i.column+")")
		}
	}
	return append([]string{
		"CREATE TABLE IF NOT EXISTS " + sessions + " (" +
			"id " + text(64) + " NOT NULL PRIMARY KEY, " +
			"subject " + text(1024) + " NOT NULL, " +
			"gen BIGINT NOT NULL, prev BIGINT NOT NULL DEFAULT 0, created BIGINT NOT NULL, rotated BIGINT NOT NULL, given BIGINT NOT NULL DEFAULT 0, " +
			"idle_exp BIGINT NOT NULL, max_exp BIGINT NOT NULL, revoked_at BIGINT NOT NULL, " +
			"reason " + text(32) + " NOT NULL, " +
			"label " + text(256) + " NOT NULL" + inline["sessions"] + ")" + s.engine(),
		"CREATE TABLE IF NOT EXISTS " + log + " (" +
			"one INTEGER NOT NULL PRIMARY KEY, log_id " + text(64) + " NOT NULL, last_n BIGINT NOT NULL)" + s.engine(),
		"CREATE TABLE IF NOT EXISTS " + revocations + " (" +
			"n BIGINT NOT NULL PRIMARY KEY, kind INTEGER NOT NULL, issuer " + bytes + " NOT NULL, id " + bytes + " NOT NULL, " +
			"epoch BIGINT NOT NULL, expires BIGINT NOT NULL" + inline["revocations"] + ")" + s.engine(),
	}, apart...)
}

// hash returns a value for the name of the lock. It is the same in all processes that
// migrate the same tables.
func (s *DB) hash(database string) []byte {
	sum := sha256.Sum256([]byte("github.com/joinednode/jwtauth/store/sqlstore\x00" + database + "\x00" + s.schema + "\x00" + s.prefix))
	return sum[:]
}

func (s *DB) migratePostgres(ctx context.Context) error {
	// At a higher isolation level, the transaction would not see the changes that other
	// processes made while it waited for the lock.
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	key := int64(binary.BigEndian.Uint64(s.hash("")))
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", key); err != nil {
		return err
	}
	if err := s.migrate(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *DB) migrateMySQL(ctx context.Context) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// All databases of a server share the names of locks, so the name depends on the
	// database.
	var database sql.NullString
	if err := conn.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&database); err != nil {
		return err
	}
	name := "jwtauth:" + hex.EncodeToString(s.hash(database.String)[:16])
	for locked := false; !locked; {
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 1)", name).Scan(&got); err != nil {
			return err
		}
		if !got.Valid {
			return errors.New("GET_LOCK failed")
		}
		locked = got.Int64 == 1
	}
	defer s.leave(ctx, conn, "DO RELEASE_LOCK(?)", name)
	return s.migrate(ctx, conn)
}

// leave runs a statement that a connection needs before it goes back to the pool. If the
// statement fails, leave closes the connection.
func (s *DB) leave(ctx context.Context, conn *sql.Conn, query string, args ...any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, query, args...); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

func (s *DB) migrateSQLite(ctx context.Context) error {
	for begun := time.Now(); ; {
		err := s.migrateSQLiteOnce(ctx)
		if err == nil || errors.Is(err, ErrNewer) || ctx.Err() != nil || time.Since(begun) > settle {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *DB) migrateSQLiteOnce(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// ctx must not interrupt BEGIN or COMMIT. If it did, a connection might go back to the
	// pool in the middle of a transaction. busy_timeout limits both statements.
	bounded := context.WithoutCancel(ctx)
	if _, err := conn.ExecContext(bounded, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := s.migrate(ctx, conn); err != nil {
		s.leave(ctx, conn, "ROLLBACK")
		return err
	}
	if _, err := conn.ExecContext(bounded, "COMMIT"); err != nil {
		s.leave(ctx, conn, "ROLLBACK")
		return err
	}
	return nil
}
