// Package sqlstore keeps sessions and revocations in SQLite, PostgreSQL, MySQL or
// MariaDB, by database/sql. It brings no driver: import the one you use.
//
//	package main
//
//	import (
//		"context"
//		"database/sql"
//		"log"
//
//		"github.com/joinednode/jwtauth/keys"
//		"github.com/joinednode/jwtauth/revoke"
//		"github.com/joinednode/jwtauth/session"
//		"github.com/joinednode/jwtauth/store/sqlstore"
//		_ "modernc.org/sqlite"
//	)
//
//	func main() {
//		ctx := context.Background()
//		db, err := sql.Open("sqlite", "file:auth.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
//		if err != nil {
//			log.Fatal(err)
//		}
//		store, err := sqlstore.New(db, sqlstore.SQLite)
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := store.Migrate(ctx); err != nil {
//			log.Fatal(err)
//		}
//		key, err := keys.LoadOrCreate("auth.jwk", "EdDSA")
//		if err != nil {
//			log.Fatal(err)
//		}
//		list, err := revoke.New(store.Revocations())
//		if err != nil {
//			log.Fatal(err)
//		}
//		go list.Run(ctx)
//		sessions, err := session.New(key, store.Sessions(), session.WithRevocations(list))
//		if err != nil {
//			log.Fatal(err)
//		}
//		go sessions.Run(ctx)
//		// mux.Handle("/auth/jwt/", sessions.Handler(checkPassword))
//	}
//
// # What it costs
//
// Each method of a session.Store is one statement, and a second where nothing was
// found. Of a revoke.Store, Since is one while nothing was appended, else two, and
// Append one on PostgreSQL; elsewhere it is a transaction of two. Appends wait for
// each other on one row: some hundreds a second, which is far more than people log
// out. Purge deletes 500 rows in each statement, each a transaction of its own, so
// that nobody waits for it for long; on MySQL it reads their keys first.
//
// Statements are not prepared here: a [sql.Stmt] is prepared again on each
// connection, and poolers that share connections lose it. Drivers do it better:
// pgx keeps statements by itself, and the one of MySQL needs one round trip instead
// of three with interpolateParams=true.
//
// Every statement that waits for a row holds none that another may want, or takes
// them in one order, so that it does not deadlock; where the database ends one
// nonetheless, or for a lock that was held for too long, that is an outage like any
// other: the request gets a 503 and the client tries again. Nothing is repeated
// here.
//
// # What the database must do
//
// It must keep what it has confirmed. A crash of one that does not loses sessions, whose
// users must log in again, and revocations:
//
//   - SQLite: synchronous=FULL, and busy_timeout of some seconds on every
//     connection, for writers are one at a time and fail at once without; WAL, so
//     that readers do not wait. The file must lie on a local disk, for all processes
//     the same. A statement that waits for the lock notices the end of its context
//     only after busy_timeout. With ":memory:" each connection is a database of its
//     own: use db.SetMaxOpenConns(1) and db.SetConnMaxLifetime(0), or a file.
//   - PostgreSQL: synchronous_commit=on and default_transaction_isolation =
//     'read committed', which are the defaults; at a higher level two that meet are an outage
//     for one of them.
//   - MySQL, MariaDB: innodb_flush_log_at_trx_commit=1, which is the default;
//     sync_binlog=1 where replicas may take over. autocommit=1,
//     completion_type=NO_CHAIN, and character_set_connection as character_set_client:
//     the defaults, without which everything here is an error. Any isolation level but
//     READ UNCOMMITTED, any SQL mode but EMPTY_STRING_IS_NULL, any character set and
//     time zone: texts are bytes here, and times are numbers. Put
//     innodb_lock_wait_timeout=5 and lock_wait_timeout=5 into the DSN: a statement whose
//     caller has gone waits for a locked row all the same, 50 seconds by default, and
//     holds a connection. Rows that were locked for long have taken up all 151.
//
// All of it goes to the primary (with pgx: target_session_attrs=read-write). A replica
// that lags behind must not be read from, since a Manager would take its old rows for
// the truth, and a list would believe to be up to date: what reads is an error on a
// server that says it is one (pg_is_in_recovery, read_only, innodb_read_only). Where
// an asynchronous one takes over after a crash, what had not
// reached it is lost: sessions that had been created, rotations (the session goes on),
// logouts and revocations (what was revoked lives on until it expires, but in the
// processes that have read it). Then, and when a backup was put back, call [DB.NewLog].
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

// Dialect is the kind of a database.
type Dialect int

// The dialects.
const (
	SQLite   Dialect = 1
	Postgres Dialect = 2 // 9.6 or later
	MySQL    Dialect = 3 // with InnoDB; MariaDB too
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

// DefaultPrefix is what the names of tables begin with.
const DefaultPrefix = "jwtauth_"

const (
	// maxPrefix leaves room for the longest name of an index in the 63 bytes that
	// PostgreSQL has, and would silently cut it to.
	maxPrefix = 40
	maxSchema = 63

	letters = "abcdefghijklmnopqrstuvwxyz0123456789_"
)

type config struct {
	prefix string
	schema string
}

// Option configures [New]. New checks what it is given, and its error names
// the option.
type Option func(*config) error

// WithPrefix sets what the names of tables and indexes begin with: [DefaultPrefix]
// unless set, 1 to 40 of a-z, 0-9 and _. Several stores can share a database so.
func WithPrefix(prefix string) Option {
	return func(c *config) error {
		if c.prefix = prefix; prefix == "" || len(prefix) > maxPrefix || strings.Trim(prefix, letters) != "" {
			return fmt.Errorf("WithPrefix(%.80q): it must be 1 to %d of a-z, 0-9 and _, such as %q", prefix, maxPrefix, DefaultPrefix)
		}
		return nil
	}
}

// WithSchema sets the schema that the tables are in, which must be there already:
// the first of the search_path unless set. 1 to 63 of a-z, 0-9 and _; Postgres alone.
func WithSchema(schema string) Option {
	return func(c *config) error {
		if c.schema = schema; schema == "" || len(schema) > maxSchema || strings.Trim(schema, letters) != "" {
			return fmt.Errorf("WithSchema(%.80q): it must be 1 to %d of a-z, 0-9 and _, such as \"auth\"", schema, maxSchema)
		}
		return nil
	}
}

// DB is the tables in a database. It is safe for concurrent use, also by several
// processes, holds nothing but the *sql.DB, and starts no goroutine: whoever opened
// the *sql.DB closes it.
type DB struct {
	config
	db      *sql.DB
	dialect Dialect
	ready   atomic.Bool // see begin

	sessions    sessions
	revocations revocations
}

// New returns the tables of a database, which [DB.Migrate] makes. It does not call
// the database: an error is about what it was given.
func New(db *sql.DB, d Dialect, opts ...Option) (*DB, error) {
	c := config{prefix: DefaultPrefix}
	var errs []error
	if db == nil {
		errs = append(errs, errors.New("the *sql.DB is nil; give it one of sql.Open"))
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

// Sessions returns the sessions. [DB.Migrate] must have run, ever.
func (s *DB) Sessions() session.Store { return &s.sessions }

// Revocations returns the log of revocations. [DB.Migrate] must have run, ever.
func (s *DB) Revocations() revoke.Store { return &s.revocations }

// quote makes a name of a table or an index, which may begin with a digit.
func (s *DB) quote(name string) string {
	if s.dialect == MySQL {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

// table is the full name of a table.
func (s *DB) table(name string) string {
	name = s.quote(s.prefix + name)
	if s.schema != "" {
		name = s.quote(s.schema) + "." + name
	}
	return name
}

// bind numbers the placeholders of a statement for PostgreSQL. No statement here
// has a question mark otherwise.
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

// begin must have been called before anything is asked for. On MySQL a connection may
// be set to keep what it is told to itself, and what it sees as it was; or to make one
// text of two, which had bytes that another character set lacks.
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

// changed runs a statement and says how many rows it changed.
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

// replica is an expression that is 0 on a server that is nobody's replica, as far as
// it knows: others may be late.
func (s *DB) replica() string {
	switch s.dialect {
	case Postgres:
		return "CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END"
	case MySQL:
		return "CASE WHEN CAST(@@global.read_only AS CHAR) IN ('0', 'OFF') AND @@global.innodb_read_only = 0 THEN 0 ELSE 1 END"
	}
	return "0"
}

// clock is an expression of what the server's clock says when it is evaluated, in
// microseconds since 1970.
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

// primary is an error unless the server is one: asked where nothing was found.
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

// text is a parameter. Of a text MySQL might want that it is one in the connection's
// character set, and of bytes it does not.
func (s *DB) text(v string) any {
	if s.dialect == MySQL {
		return []byte(v)
	}
	return v
}

// batch is how many rows one statement deletes: few enough to be done in a moment,
// and for the parameters of any database.
const batch = 500

// purge deletes the rows whose column is less than before. Each statement is a
// transaction, and repeats the condition for the rows that it has locked: one that
// was advanced in between stays. K is the type of the key.
func purge[K string | int64](ctx context.Context, s *DB, table, key, column string, before int64) error {
	some := "SELECT " + key + " FROM " + table + " WHERE " + column + " < ? ORDER BY " + column + " LIMIT " + strconv.Itoa(batch)
	del := "DELETE FROM " + table + " WHERE " + column + " < ? AND " + key
	switch s.dialect {
	case MySQL:
		del = "DELETE t FROM " + table + " t FORCE INDEX (PRIMARY) WHERE t." + column + " < ? AND t." + key
	case SQLite:
		del += " IN (" + some + ")"
	case Postgres:
		// It waits for no row, so that two that purge cannot wait for each other: what
		// is locked is being advanced, or purged by another. As an array the keys are
		// looked up once; IN might do it for each row, with more than a batch in all.
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

// purgeKeys deletes some for InnoDB, which locks what a DELETE looks at, in the order
// in which it does. By the index of the column it would meet those who change a row,
// and then its entry there, from the other side: a deadlock. Keys that were read
// without a lock are deleted as everyone else takes them, row first, and in order:
// the statement is told to go by the key.
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

// Times are microseconds since 1970, of years 1 to 9999, which is what every
// driver and every client of a database can show.
var (
	firstMoment = time.Time{}.UnixMicro()
	lastMoment  = time.Date(9999, time.December, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()
)

// micros cuts a time to microseconds.
func micros(t time.Time) (int64, error) {
	if t.Before(time.UnixMicro(firstMoment)) || t.After(time.UnixMicro(lastMoment).Add(time.Microsecond-1)) {
		return 0, fmt.Errorf("the time %v is not of the years 1 to 9999", t)
	}
	return t.UnixMicro(), nil
}

// moment is the time of a row.
func moment(us int64) (time.Time, error) {
	if us < firstMoment || us > lastMoment {
		return time.Time{}, fmt.Errorf("the row says %d, which is no time in microseconds", us)
	}
	return time.UnixMicro(us).UTC(), nil
}
