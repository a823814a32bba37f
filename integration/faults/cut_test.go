package faults_test

import (
	"crypto/rand"
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/store/sqlstore"
)

// application is the name that marks the connections to be cut.
const application = "jwtauth_faults"

// The server stays up, and cuts the connections that use the tables of the test, at any point
// of their work.
func TestConnectionsThatAreCutLogNobodyOut(t *testing.T) {
	for _, c := range []struct {
		name, driver, variable, settings string
		dialect                          sqlstore.Dialect
		all, cut                         string // the queries that find and cut connections
	}{
		{
			"PostgreSQL", "pgx", "JWTAUTH_TEST_POSTGRES", "application_name=" + application, sqlstore.Postgres,
			"SELECT pid FROM pg_stat_activity WHERE application_name = '" + application + "'", "SELECT pg_terminate_backend($1)",
		},
		{
			"MariaDB", "mysql", "JWTAUTH_TEST_MYSQL", "interpolateParams=true", sqlstore.MySQL,
			"SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND info LIKE '%{prefix}%'", "KILL ?",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := os.Getenv(c.variable)
			if address == "" {
				t.Skip(c.variable + " is not set")
			}
			knife := open(t, c.driver, address)
			db := open(t, c.driver, with(address, c.settings))
			db.SetMaxOpenConns(30)
			prefix := "faults" + strings.ToLower(rand.Text()) + "_"
			store, err := sqlstore.New(db, c.dialect, sqlstore.WithPrefix(prefix))
			require.NoError(t, err)
			require.NoError(t, store.Migrate(t.Context()))
			t.Cleanup(func() {
				for _, table := range []string{"sessions", "revocations", "log", "meta"} {
					_, err := knife.Exec("DROP TABLE " + prefix + table)
					require.NoError(t, err)
				}
			})
			process := func() service {
				s, err := newService(t, store.Sessions(), store.Revocations())
				require.NoError(t, err)
				return s
			}
			s, follower := newStorm(t, process()), process()
			s.during(t, 3000, func() {
				rows, err := knife.Query(strings.ReplaceAll(c.all, "{prefix}", prefix))
				require.NoError(t, err)
				var ids []int64
				for rows.Next() {
					var id int64
					require.NoError(t, rows.Scan(&id))
					ids = append(ids, id)
				}
				require.NoError(t, rows.Err())
				for _, id := range ids {
					_, _ = knife.Exec(c.cut, id) // the connection may have closed already
				}
			}, func() {})
			s.settle(t, process(), follower)
		})
	}
}

func open(t *testing.T, driver, address string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, address)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	require.NoError(t, db.PingContext(t.Context()))
	return db
}

// with adds a setting to a database address.
func with(address, setting string) string {
	if strings.Contains(address, "?") {
		return address + "&" + setting
	}
	return address + "?" + setting
}
