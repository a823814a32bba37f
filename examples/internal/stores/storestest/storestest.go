// Package storestest runs the examples' tests with every store.
package storestest

import (
	"net/url"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// Each runs a test once for each store, with the flags that select the store: a file in
// -data, and three databases. The environment variables below hold the addresses of the
// databases, in the form of their drivers. Each skips a database whose variable is not
// set. It does not delete what the test writes.
func Each(t *testing.T, test func(t *testing.T, flags ...string)) {
	t.Run("SQLite", func(t *testing.T) { test(t) })
	for name, variable := range map[string]string{
		"PostgreSQL": "JWTAUTH_TEST_POSTGRES",
		"MySQL":      "JWTAUTH_TEST_MYSQL",
		"Redis":      "JWTAUTH_TEST_REDIS",
	} {
		t.Run(name, func(t *testing.T) {
			where := os.Getenv(variable)
			if where == "" {
				t.Skip(variable + " is not set")
			}
			if name == "MySQL" {
				c, err := mysql.ParseDSN(where)
				if err != nil {
					t.Fatal(variable, err)
				}
				u := url.URL{Scheme: "mysql", User: url.UserPassword(c.User, c.Passwd), Host: c.Addr, Path: "/" + c.DBName}
				where = u.String()
			}
			test(t, "-store", where)
		})
	}
}
