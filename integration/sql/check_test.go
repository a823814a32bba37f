package sqlstore_test

import (
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/store/sqlstore"
)

func TestCheck_NamesWhatTheDatabaseWouldLose(t *testing.T) {
	pragmas := func(settings string) func(*testing.T) string {
		return func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "test.db") + settings }
	}
	parameters := func(parameters map[string]string) func(*testing.T) string {
		return func(t *testing.T) string {
			c, err := mysql.ParseDSN(mariadb.dsn(t))
			require.NoError(t, err)
			c.Params = parameters
			return c.FormatDSN()
		}
	}
	for name, test := range map[string]struct {
		database
		dsn  func(*testing.T) string
		says []string // nothing is wrong if there are none
	}{
		"SQLite that does not sync":          {sqlite, pragmas("?_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)"), []string{"synchronous is 0", "should be FULL", "crash loses"}},
		"SQLite that syncs":                  {sqlite, pragmas("?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)"), nil},
		"SQLite that syncs more":             {sqlite, pragmas("?_pragma=busy_timeout(5000)&_pragma=synchronous(EXTRA)"), nil},
		"SQLite without a journal":           {sqlite, pragmas("?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)&_pragma=journal_mode(OFF)"), []string{"journal_mode is off"}},
		"SQLite that does not wait":          {sqlite, pragmas("?_pragma=synchronous(FULL)&_pragma=busy_timeout(0)"), []string{"busy_timeout is 0"}},
		"PostgreSQL as it comes":             {postgres, postgres.dsn, nil},
		"PostgreSQL that confirms too early": {postgres, func(t *testing.T) string { return with(postgres.dsn(t), "synchronous_commit=off") }, []string{"synchronous_commit is off", "should be on"}},
		"PostgreSQL that serializes":         {postgres, func(t *testing.T) string { return with(postgres.dsn(t), "default_transaction_isolation=serializable") }, []string{"default_transaction_isolation is serializable"}},
		"MariaDB as it comes":                {mariadb, mariadb.dsn, nil},
		"MariaDB that shows half of the log": {mariadb, parameters(map[string]string{"sql_select_limit": "10"}), []string{"sql_select_limit is 10", "accepts tokens that were revoked"}},
		"MariaDB that shows what may vanish": {mariadb, parameters(map[string]string{"tx_isolation": "'READ-UNCOMMITTED'"}), []string{"READ-UNCOMMITTED"}},
	} {
		t.Run(name, func(t *testing.T) {
			db := test.at(t, test.dsn(t))
			store, err := sqlstore.New(db, test.dialect)
			require.NoError(t, err)
			err = store.Check(t.Context())
			if test.says == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, sqlstore.ErrUnsafe)
			for _, words := range test.says {
				require.ErrorContains(t, err, words)
			}
		})
	}
}
