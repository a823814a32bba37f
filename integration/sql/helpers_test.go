// Package sqlstore_test runs store/sqlstore against databases. SQLite needs no server. The
// other databases are skipped unless the environment gives their address:
//
//	JWTAUTH_TEST_POSTGRES=postgres://postgres@127.0.0.1:5432/test?sslmode=disable
//	JWTAUTH_TEST_MYSQL=root@tcp(127.0.0.1:3306)/test
package sqlstore_test

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/joinednode/jwtauth/store/sqlstore"
)

// database is one kind of database with one driver and one configuration.
type database struct {
	name    string
	dialect sqlstore.Dialect
	driver  string
	dsn     func(t *testing.T) string // a new place for SQLite, the same for others
}

var (
	sqlite   = database{"SQLite", sqlstore.SQLite, "sqlite", sqliteDSN(10 * time.Second)}
	postgres = database{"PostgreSQL", sqlstore.Postgres, "pgx", fromEnv("JWTAUTH_TEST_POSTGRES")}
	mariadb  = database{"MySQL", sqlstore.MySQL, "mysql", fromEnv("JWTAUTH_TEST_MYSQL")}

	databases = []database{sqlite, postgres, mariadb}

	// These are settings that users choose for connections.
	varied = []database{
		{"PostgreSQL, the simple protocol", sqlstore.Postgres, "pgx", func(t *testing.T) string {
			return with(postgres.dsn(t), "default_query_exec_mode=simple_protocol")
		}},
		{"MySQL, interpolated, read committed, not strict", sqlstore.MySQL, "mysql", func(t *testing.T) string {
			c, err := mysql.ParseDSN(mariadb.dsn(t))
			require.NoError(t, err)
			c.InterpolateParams, c.ClientFoundRows = true, true
			isolation := "transaction_isolation"
			db := mariadb.at(t, mariadb.dsn(t))
			var version string
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT VERSION()").Scan(&version))
			if strings.Contains(version, "MariaDB") {
				isolation = "tx_isolation"
			}
			c.Params = map[string]string{"sql_mode": "''", isolation: "'READ-COMMITTED'", "time_zone": "'+13:00'"}
			return c.FormatDSN()
		}},
	}
)

// No test here simulates a power failure, so synchronous is off.
func sqliteDSN(busy time.Duration) func(t *testing.T) string {
	return func(t *testing.T) string {
		file := filepath.Join(t.TempDir(), "test.db")
		return fmt.Sprintf("file:%s?_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)", file, busy.Milliseconds())
	}
}

// with adds settings to an address.
func with(dsn, settings string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + settings
	}
	return dsn + "?" + settings
}

func fromEnv(name string) func(t *testing.T) string {
	return func(t *testing.T) string {
		dsn := os.Getenv(name)
		if dsn == "" {
			t.Skipf("%s is not set", name)
		}
		return dsn
	}
}

func each(t *testing.T, databases []database, test func(t *testing.T, d database)) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel() // each waits for another server
			test(t, d)
		})
	}
}

// at opens a database. If it cannot be reached, the test fails.
func (d database) at(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(16)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.PingContext(t.Context()))
	return db
}

// tables are the tables of one store.
type tables struct {
	database
	*sqlstore.DB
	db          *sql.DB
	dsn, prefix string
}

// bare returns a store without tables. Tables created later are dropped when the test ends.
func (d database) bare(t *testing.T) tables {
	t.Helper()
	s := tables{database: d, dsn: d.dsn(t), prefix: "t" + strings.ToLower(rand.Text()) + "_"}
	s.db = d.at(t, s.dsn)
	if d.dialect != sqlstore.SQLite {
		t.Cleanup(func() {
			for _, name := range []string{"sessions", "revocations", "log", "meta"} {
				_, err := s.db.Exec("DROP TABLE IF EXISTS " + s.prefix + name)
				require.NoError(t, err)
			}
		})
	}
	s.DB = s.another(t, s.db)
	return s
}

// another returns the store as another process sees it.
func (s tables) another(t *testing.T, db *sql.DB) *sqlstore.DB {
	t.Helper()
	store, err := sqlstore.New(db, s.dialect, sqlstore.WithPrefix(s.prefix))
	require.NoError(t, err)
	return store
}

func (d database) new(t *testing.T) tables {
	t.Helper()
	s := d.bare(t)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// text replaces $ in a statement by the prefix, and ? by the placeholder of the database.
func (s tables) text(query string) string {
	query = strings.ReplaceAll(query, "$", s.prefix)
	for n := 1; s.dialect == sqlstore.Postgres && strings.Contains(query, "?"); n++ {
		query = strings.Replace(query, "?", "$"+strconv.Itoa(n), 1)
	}
	return query
}

func (s tables) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	_, err := s.db.ExecContext(t.Context(), s.text(query), args...)
	require.NoError(t, err, query)
}

func (s tables) query(t *testing.T, query string, args ...any) (value string) {
	t.Helper()
	require.NoError(t, s.db.QueryRowContext(t.Context(), s.text(query), args...).Scan(&value), query)
	return value
}
