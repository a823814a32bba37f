// Package sqlstore keeps sessions and revocations in SQLite, PostgreSQL, MySQL or
// MariaDB, with database/sql. It contains no driver: import the one you use. With
// modernc.org/sqlite:
//
//	db, err := sql.Open("sqlite", "file:auth.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
//	if err != nil {
//		log.Fatal(err)
//	}
//	store, err := sqlstore.New(db, sqlstore.SQLite)
//	if err != nil {
//		log.Fatal(err)
//	}
//	if err := store.Migrate(ctx); err != nil {
//		log.Fatal(err)
//	}
//	list, err := revoke.New(store.Revocations())
//	if err != nil {
//		log.Fatal(err)
//	}
//	go list.Run(ctx)
//	sessions, err := session.New(key, store.Sessions(), session.WithRevocations(list))
//	if err != nil {
//		log.Fatal(err)
//	}
//	go sessions.Run(ctx) // deletes expired sessions
//
// Most programs need only [New], [DB.Migrate], [DB.Sessions], [DB.Revocations] and, at
// the start, [DB.Check]. [DB.NewLog] is for the rare case of a restored backup or a lost
// primary.
//
// # What it costs
//
// Each method of the session.Store runs one statement, except Purge. If Get or List finds
// nothing, a second statement asks PostgreSQL and MySQL whether the server is a replica.
// Since, of the revoke.Store, runs one statement, and a second one if there are new
// entries. Append runs one statement on PostgreSQL, and a transaction of two elsewhere.
// Appends wait for each other on one row. There can be some hundreds of them per second,
// which is far more than users log out. Purge deletes 500 rows per statement, each in its
// own transaction, so that no request waits long for it. On MySQL a statement before that
// reads the keys of the rows.
//
// This package does not prepare statements. A [sql.Stmt] must be prepared again on each
// connection, and a pooler that shares connections loses it. Drivers do better: pgx keeps
// prepared statements itself, and the MySQL driver needs one round trip instead of three
// with interpolateParams=true.
//
// A statement that waits for a row either holds no other row, or takes its rows in the
// order in which all other statements take them. So statements should not deadlock. If the
// database still ends a statement, or if a lock is held for too long, that is an outage:
// the request gets 503, and the client tries again. Apart from Migrate on SQLite, this
// package retries nothing.
//
// # Settings of the database
//
// The database must keep what it has confirmed. If it does not, a crash loses sessions,
// whose users must log in again, and revocations.
//   - SQLite: synchronous=FULL, and journal_mode=WAL, so that readers do not wait.
//     busy_timeout must be some seconds on every connection. There is only one writer at a
//     time, and without the timeout other writers fail at once. A statement that waits for
//     the lock notices the end of its context only after busy_timeout. The file must be on
//     a local disk of the machine on which all processes run. With ":memory:" each
//     connection has a database of its own: use db.SetMaxOpenConns(1) and
//     db.SetConnMaxLifetime(0), or a file.
//   - PostgreSQL: synchronous_commit=on and default_transaction_isolation='read
//     committed', which are the defaults. At a higher level, one of two transactions that
//     change the same row fails, which is an outage.
//   - MySQL, MariaDB: innodb_flush_log_at_trx_commit=1, which is the default, and
//     sync_binlog=1 if a replica may take over. autocommit=1, completion_type=NO_CHAIN,
//     and character_set_connection equal to character_set_client. These are the defaults,
//     and anything else is an error. Any isolation level works except READ UNCOMMITTED,
//     any SQL mode except EMPTY_STRING_IS_NULL, and any character set and time zone. Put
//     innodb_lock_wait_timeout=5 and lock_wait_timeout=5 into the DSN. By default a
//     statement waits 50 seconds for a locked row, and holds its connection, even if its
//     caller has given up. If rows stay locked for long, such statements can use up all
//     connections (151 by default).
//
// All statements must go to the primary (with pgx: target_session_attrs=read-write). With
// a replica, a Manager would use old rows, and a list would believe that it is up to date.
// So reading fails on a server that says that it is a replica or read-only
// (pg_is_in_recovery, read_only, innodb_read_only).
//
// If an asynchronous replica takes over after a crash, the writes that had not reached it
// are lost: new sessions, rotations (the session goes on), logouts and revocations. A
// token whose revocation is lost is accepted until it expires, except by processes that
// have read the revocation. After such a takeover, or after you have restored a backup,
// call [DB.NewLog].
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/joinednode/jwtauth/internal/options"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// Dialect is the kind of database.
type Dialect int

// The dialects.
const (
	SQLite   Dialect = 1
	Postgres Dialect = 2 // 9.6 or later
	MySQL    Dialect = 3 // with InnoDB; also MariaDB
)

// String returns the name of the dialect.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case Postgres:
		return "Postgres"
	case MySQL:
		return "MySQL"
	}
	return "Dialect(" + strconv.Itoa(int(d)) + ")"
}

// DefaultPrefix is the default prefix of table names.
const DefaultPrefix = "jwtauth_"

const (
	// maxPrefix leaves room for the longest index name in the 63 bytes of a PostgreSQL
	// name. PostgreSQL silently truncates longer names.
	maxPrefix = 40
	maxSchema = 63

	letters = "abcdefghijklmnopqrstuvwxyz0123456789_"
)

type config struct {
	prefix string
	schema string
}

// Option configures [New]. If an option is invalid, New returns an error that names it.
type Option func(*config) error

// WithPrefix sets the prefix of the names of tables and indexes: 1 to 40 characters of
// a-z, 0-9 and _. The default is [DefaultPrefix]. With different prefixes, several stores
// can share a database.
func WithPrefix(prefix string) Option {
	return func(c *config) error {
		if c.prefix = prefix; prefix == "" || len(prefix) > maxPrefix || strings.Trim(prefix, letters) != "" {
			return fmt.Errorf("WithPrefix(%.80q): it must be 1 to %d of a-z, 0-9 and _, such as %q", prefix, maxPrefix, DefaultPrefix)
		}
		return nil
	}
}

// WithSchema sets the schema of the tables: 1 to 63 characters of a-z, 0-9 and _. The
// schema must exist. The option is for Postgres only. The default is the first schema of
// the search_path.
func WithSchema(schema string) Option {
	return func(c *config) error {
		if c.schema = schema; schema == "" || len(schema) > maxSchema || strings.Trim(schema, letters) != "" {
			return fmt.Errorf("WithSchema(%.80q): it must be 1 to %d of a-z, 0-9 and _, such as \"auth\"", schema, maxSchema)
		}
		return nil
	}
}

// DB has the stores of sessions and of revocations, whose tables are in one database. It is
// safe for concurrent use, also by several processes. It has no connections other than
// those of the *sql.DB, which the caller closes, and it starts no goroutine.
type DB struct {
	config
	db      *sql.DB
	dialect Dialect
	ready   atomic.Bool // set when begin has found the settings of a connection right

	sessions    sessions
	revocations revocations
}

// New returns a DB. [DB.Migrate] creates its tables. New does not call the database, so an
// error is always about the arguments.
func New(db *sql.DB, d Dialect, opts ...Option) (*DB, error) {
	c := config{prefix: DefaultPrefix}
	var errs []error
	if db == nil {
		errs = append(errs, errors.New("the *sql.DB is nil; open one with sql.Open"))
	}
	if d != SQLite && d != Postgres && d != MySQL {
		errs = append(errs, fmt.Errorf("%v is no dialect; give it SQLite, Postgres or MySQL", d))
	}
	errs = append(errs, options.Apply(&c, opts))
	if c.schema != "" && d != Postgres {
		errs = append(errs, fmt.Errorf("WithSchema(%.80q) is for Postgres, and this is %v; leave it out, or use WithPrefix", c.schema, d))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("sqlstore: New: %w", err)
	}
	s := &DB{config: c, db: db, dialect: d}
	s.sessions, s.revocations = newSessions(s), newRevocations(s)
	return s, nil
}

// Sessions returns the store of sessions. Before its first use, this process or another one
// must have called [DB.Migrate].
func (s *DB) Sessions() session.Store { return &s.sessions }

// Revocations returns the log of revocations. Before its first use, this process or another
// one must have called [DB.Migrate].
func (s *DB) Revocations() revoke.Store { return &s.revocations }

// quote quotes the name of a table or an index. Without quotes, a name could not begin with
// a digit.
func (s *DB) quote(name string) string {
	if s.dialect == MySQL {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

// table returns the full name of a table.
func (s *DB) table(name string) string {
	name = s.quote(s.prefix + name)
	if s.schema != "" {
		name = s.quote(s.schema) + "." + name
	}
	return name
}

// bind replaces the placeholders of a statement by numbered ones, such as $1, for
// PostgreSQL. The statements of this package contain no other question marks.
func (s *DB) bind(query string) string {
	if s.dialect != Postgres {
		return query
	}
	var b strings.Builder
	for n, part := range strings.Split(query, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
	}
	return b.String()
}

// begin must be called before any other statement. On MySQL it returns an error for
// settings with which a connection would not commit its changes, would read old data, or
// would convert two different strings into the same one.
func (s *DB) begin(ctx context.Context) error {
	if s.dialect != MySQL || s.ready.Load() {
		return nil
	}
	var autocommit, completion, client, connection string
	err := s.db.QueryRowContext(ctx, "SELECT @@autocommit, @@completion_type, @@character_set_client, @@character_set_connection").
		Scan(&autocommit, &completion, &client, &connection)
	switch {
	case err != nil:
		return err
	case autocommit != "1" || completion != "NO_CHAIN":
		return fmt.Errorf("the connection has autocommit=%s and completion_type=%s, and 1 and NO_CHAIN are needed", autocommit, completion)
	case client != connection:
		return fmt.Errorf("the connection has character_set_client=%s and character_set_connection=%s, which must be the same", client, connection)
	}
	s.ready.Store(true)
	return nil
}

// changed runs a statement, after begin, and returns how many rows it changed.
func (s *DB) changed(ctx context.Context, query string, args ...any) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	return affected(s.db.ExecContext(ctx, query, args...))
}

func affected(done sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// replica returns an SQL expression that is 1 if the server says that it is a replica or
// read-only, and otherwise 0.
func (s *DB) replica() string {
	switch s.dialect {
	case Postgres:
		return "CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END"
	case MySQL:
		return "CASE WHEN CAST(@@global.read_only AS CHAR) IN ('0', 'OFF') AND @@global.innodb_read_only = 0 THEN 0 ELSE 1 END"
	}
	return "0"
}

// clock returns an SQL expression for the server's clock, in microseconds since 1970.
func (s *DB) clock() string {
	switch s.dialect {
	case Postgres:
		return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
	case MySQL:
		return "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)"
	}
	return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
}

var errReplica = errors.New("the server is read-only or a replica; connect to the primary")

// primary returns an error if the server says that it is a replica. It is for queries that
// find no row: the rows of the other queries say so themselves.
func (s *DB) primary(ctx context.Context) error {
	if s.dialect == SQLite {
		return nil
	}
	var replica int
	err := s.db.QueryRowContext(ctx, "SELECT "+s.replica()).Scan(&replica)
	if err == nil && replica != 0 {
		err = errReplica
	}
	return err
}

// text returns a string as the parameter of a statement. MySQL gets bytes instead, since it
// may reject a string that is not valid in the connection's character set.
func (s *DB) text(v string) any {
	if s.dialect == MySQL {
		return []byte(v)
	}
	return v
}

// batch is the most rows that one statement deletes. So each statement takes little time,
// and no database rejects it for too many parameters.
const batch = 500

// purge deletes the rows whose column is less than before. Each statement is its own
// transaction. It checks the condition again after it has locked the rows, so it keeps a
// session that was advanced in between. K is the type of the key.
func purge[K string | int64](ctx context.Context, s *DB, table, key, column string, before int64) error {
	some := "SELECT " + key + " FROM " + table + " WHERE " + column + " < ? ORDER BY " + column + " LIMIT " + strconv.Itoa(batch)
	del := "DELETE FROM " + table + " WHERE " + column + " < ? AND " + key
	switch s.dialect {
	case MySQL:
		del = "DELETE t FROM " + table + " t FORCE INDEX (PRIMARY) WHERE t." + column + " < ? AND t." + key
	case SQLite:
		del += " IN (" + some + ")"
	case Postgres:
		// SKIP LOCKED leaves out rows that another process is advancing or purging, so
		// that two purges cannot wait for each other. With ARRAY the inner SELECT runs
		// once. With IN it might run for each row, and delete more than a batch.
		del += " = ANY (ARRAY(" + some + " FOR UPDATE SKIP LOCKED))"
	}
	for {
		var found int64
		var err error
		if s.dialect == MySQL {
			found, err = purgeKeys[K](ctx, s, some, del, before)
		} else {
			found, err = s.changed(ctx, s.bind(del), before, before)
		}
		if err != nil || found < batch {
			return err
		}
	}
}

// purgeKeys deletes one batch of rows on MySQL, and returns how many keys it found. InnoDB
// locks rows and index entries in the order in which a DELETE reads them. A DELETE by the
// index of the column could therefore deadlock with a statement that changes a row and
// then its index entry. So purgeKeys first reads the keys without locks. It then deletes
// these rows in the order of their keys, and locks each row before its index entries, as
// every other statement does.
func purgeKeys[K string | int64](ctx context.Context, s *DB, some, del string, before int64) (found int64, err error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	rows, err := s.db.QueryContext(ctx, some, before)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var keys []K
	for rows.Next() {
		var key K
		if err := rows.Scan(&key); err != nil {
			return 0, err
		}
		keys = append(keys, key)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(keys) == 0 {
		return 0, err
	}
	slices.Sort(keys)
	args := []any{before}
	for _, key := range keys {
		args = append(args, key)
	}
	_, err = s.changed(ctx, del+" IN (?"+strings.Repeat(", ?", len(keys)-1)+")", args...)
	return int64(len(keys)), err
}

// Columns hold times in microseconds since 1970. The times must be in the years 1 to 9999,
// which every driver and every client of a database can handle.
var (
	firstMoment = time.Time{}.UnixMicro()
	lastMoment  = time.Date(9999, time.December, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()
)

// micros returns the value of a column for a time. A time outside of the years 1 to 9999 is
// an error.
func micros(t time.Time) (int64, error) {
	if t.Before(time.UnixMicro(firstMoment)) || t.After(time.UnixMicro(lastMoment).Add(time.Microsecond-1)) {
		return 0, fmt.Errorf("the time %v is not of the years 1 to 9999", t)
	}
	return t.UnixMicro(), nil
}

// moment returns the time for the value of a column.
func moment(us int64) (time.Time, error) {
	if us < firstMoment || us > lastMoment {
		return time.Time{}, fmt.Errorf("the row says %d, which is no time in microseconds", us)
	}
	return time.UnixMicro(us).UTC(), nil
}
