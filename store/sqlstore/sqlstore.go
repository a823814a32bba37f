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
// Each method of the session.Store except Purge is one statement. If Get or List finds
// nothing, PostgreSQL and MySQL get a second one, which asks whether the server is a
// replica. Since of the revoke.Store is one statement, and two if something was appended.
// Append is one statement on PostgreSQL, and elsewhere a transaction of two. Appends wait
// for each other on one row: there can be some hundreds per second, far more than users
// log out. Purge deletes 500 rows per statement, each in its own transaction, so that no
// request waits for it for long. On MySQL it reads their keys first.
//
// Statements are not prepared: a [sql.Stmt] is prepared again on each connection, and
// poolers that share connections lose it. Drivers do it better. pgx keeps statements
// itself. The MySQL driver needs one round trip instead of three with
// interpolateParams=true.
//
// A statement that waits for a row either holds no other row, or all statements take these
// rows in the same order. So they should not deadlock with each other. If the database
// still ends a statement, or a lock was held for too long, that is an outage: the request
// gets 503, and the client tries again. This package retries nothing.
//
// # Settings of the database
//
// The database must keep what it has confirmed. If it does not, a crash loses sessions,
// whose users must log in again, and revocations.
//   - SQLite: synchronous=FULL. busy_timeout of some seconds on every connection, since
//     there is one writer at a time, and without it the others fail at once.
//     journal_mode=WAL, so that readers do not wait. The file must be on a local disk,
//     shared by all processes. A statement that waits for the lock notices the end of its
//     context only after busy_timeout. With ":memory:" each connection is a database of
//     its own: use db.SetMaxOpenConns(1) and db.SetConnMaxLifetime(0), or a file.
//   - PostgreSQL: synchronous_commit=on and default_transaction_isolation='read
//     committed', which are the defaults. At a higher level, two transactions that meet
//     are an outage for one of them.
//   - MySQL, MariaDB: innodb_flush_log_at_trx_commit=1, which is the default, and
//     sync_binlog=1 if a replica may take over. autocommit=1, completion_type=NO_CHAIN,
//     and character_set_connection equal to character_set_client. These are the defaults,
//     and anything else is an error. Any isolation level works except READ UNCOMMITTED,
//     any SQL mode except EMPTY_STRING_IS_NULL, and any character set and time zone. Put
//     innodb_lock_wait_timeout=5 and lock_wait_timeout=5 into the DSN. By default a
//     statement whose caller has gone waits 50 seconds for a locked row, and holds its
//     connection. Rows that are locked for long can use up all connections (by default
//     151).
//
// All statements must go to the primary (with pgx: target_session_attrs=read-write). A
// Manager would take a replica's old rows for current ones, and a list would believe that
// it is up to date. Reading is therefore an error on a server that says that it is a
// replica (pg_is_in_recovery, read_only, innodb_read_only).
//
// If an asynchronous replica takes over after a crash, what had not reached it is lost:
// new sessions, rotations (the session goes on), logouts and revocations. A revoked token
// is then accepted until it expires, except by processes that have read its revocation.
// After that, and after a backup was restored, call [DB.NewLog].
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
	// maxPrefix leaves room for the longest index name in PostgreSQL's 63 bytes.
	// PostgreSQL would silently truncate a longer one.
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

// WithPrefix sets the prefix of the names of tables and indexes: 1 to 40 of a-z, 0-9 and
// _. The default is [DefaultPrefix]. With different prefixes, several stores can share a
// database.
func WithPrefix(prefix string) Option {
	return func(c *config) error {
		if c.prefix = prefix; prefix == "" || len(prefix) > maxPrefix || strings.Trim(prefix, letters) != "" {
			return fmt.Errorf("WithPrefix(%.80q): it must be 1 to %d of a-z, 0-9 and _, such as %q", prefix, maxPrefix, DefaultPrefix)
		}
		return nil
	}
}

// WithSchema sets the schema of the tables, which must exist: 1 to 63 of a-z, 0-9 and _.
// It is for Postgres only. The default is the first schema of the search_path.
func WithSchema(schema string) Option {
	return func(c *config) error {
		if c.schema = schema; schema == "" || len(schema) > maxSchema || strings.Trim(schema, letters) != "" {
			return fmt.Errorf("WithSchema(%.80q): it must be 1 to %d of a-z, 0-9 and _, such as \"auth\"", schema, maxSchema)
		}
		return nil
	}
}

// DB is the set of tables in a database. It is safe for concurrent use, also by several
// processes. It holds only the *sql.DB, which the caller closes, and starts no goroutine.
type DB struct {
	config
	db      *sql.DB
	dialect Dialect
	ready   atomic.Bool // begin has checked the connection's settings

	sessions    sessions
	revocations revocations
}

// New returns a DB for tables that [DB.Migrate] creates. It does not call the database:
// an error is about the arguments.
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

// Sessions returns the store of sessions. [DB.Migrate] must have run before, in any
// process.
func (s *DB) Sessions() session.Store { return &s.sessions }

// Revocations returns the log of revocations. [DB.Migrate] must have run before, in any
// process.
func (s *DB) Revocations() revoke.Store { return &s.revocations }

// quote returns the quoted name of a table or an index. A name may begin with a digit.
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

// bind numbers the placeholders of a statement for PostgreSQL. No statement here contains
// a question mark otherwise.
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

// begin must be called before any other statement. On MySQL the settings of a connection
// can make it keep changes to itself, see old data, or turn two strings with bytes of
// another character set into one. begin returns an error for such settings.
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

// changed runs a statement and returns how many rows it changed.
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

// replica returns an SQL expression that is 0 on a server that is not a replica, as far
// as the server knows.
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

// primary returns an error unless the server is a primary. It is called if nothing was
// found.
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

// text returns a string as a parameter. MySQL gets it as bytes, since it might require a
// string to be valid in the connection's character set.
func (s *DB) text(v string) any {
	if s.dialect == MySQL {
		return []byte(v)
	}
	return v
}

// batch is how many rows one statement deletes. It is small enough to take little time,
// and below every database's limit of parameters.
const batch = 500

// purge deletes the rows whose column is less than before. Each statement is a
// transaction, and checks the condition again for the rows that it has locked, so that a
// session which was advanced in between stays. K is the type of the key.
func purge[K string | int64](ctx context.Context, s *DB, table, key, column string, before int64) error {
	some := "SELECT " + key + " FROM " + table + " WHERE " + column + " < ? ORDER BY " + column + " LIMIT " + strconv.Itoa(batch)
	del := "DELETE FROM " + table + " WHERE " + column + " < ? AND " + key
	switch s.dialect {
	case MySQL:
		del = "DELETE t FROM " + table + " t FORCE INDEX (PRIMARY) WHERE t." + column + " < ? AND t." + key
	case SQLite:
		del += " IN (" + some + ")"
	case Postgres:
		// It waits for no row, so two purges cannot wait for each other. A locked row is
		// being advanced, or purged by another process. The keys are an array, so that they
		// are looked up once. IN might do so for each row, and delete more than a batch.
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

// purgeKeys deletes rows on InnoDB, which locks what a DELETE reads, in the order in
// which it reads. If it went by the index of the column, it could deadlock with a
// statement that changes a row and then its index entry. So it reads keys without a lock,
// and deletes those rows in the order of the keys, row first, as every other statement
// locks them.
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

// Times are microseconds since 1970, in the years 1 to 9999, which every
// driver and every client of a database can handle.
var (
	firstMoment = time.Time{}.UnixMicro()
	lastMoment  = time.Date(9999, time.December, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()
)

// micros returns the microseconds of a time since 1970. A time outside of the years 1 to
// 9999 is an error.
func micros(t time.Time) (int64, error) {
	if t.Before(time.UnixMicro(firstMoment)) || t.After(time.UnixMicro(lastMoment).Add(time.Microsecond-1)) {
		return 0, fmt.Errorf("the time %v is not of the years 1 to 9999", t)
	}
	return t.UnixMicro(), nil
}

// moment returns the time that a column holds.
func moment(us int64) (time.Time, error) {
	if us < firstMoment || us > lastMoment {
		return time.Time{}, fmt.Errorf("the row says %d, which is no time in microseconds", us)
	}
	return time.UnixMicro(us).UTC(), nil
}
