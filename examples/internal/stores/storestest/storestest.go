// Package storestest names the databases that the examples' tests may use.
package storestest

import (
	"net/url"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// Each runs a test with the flags of every store: the file in -data, and the
// databases that the environment names, in the form of the driver each has there.
// Those it does not name are skipped. What a test leaves behind stays.
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
