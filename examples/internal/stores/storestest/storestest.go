// Package storestest runs the examples' tests with every store.
package storestest

import (
	"net/url"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// Each runs a test with the flags for every store: the file in -data, and the databases
// in the environment variables, in the form of their drivers. It skips databases whose
// variable is not set. It leaves the test's data behind.
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
