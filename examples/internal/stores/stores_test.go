package stores_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/examples/internal/stores"
)

func TestOpenSaysWhatIsWrongAndNoPassword(t *testing.T) {
	for _, c := range []struct{ name, where, want string }{
		{"another database", "mongodb://user:letmein@127.0.0.1/db", `"mongodb" is not supported; use postgres://, mysql:// or redis://`},
		{"no URL", "postgres://user:letmein@127.0.0.1:port/db", "this is not a URL"},
		{"a driver's own form", "user:letmein@tcp(127.0.0.1:3306)/db", `"user" is not supported`},
		{"a PostgreSQL that does not answer", "postgres://user:letmein@127.0.0.1:1/db", "opening postgres://user:xxxxx@127.0.0.1:1/db"},
		{"a MySQL that does not answer", "mysql://user:letmein@127.0.0.1:1/db", "opening mysql://user:xxxxx@127.0.0.1:1/db"},
		{"a setting that MySQL's driver does not know", "mysql://user:letmein@127.0.0.1:1/db?tls=perhaps", "-store: mysql://user:xxxxx@127.0.0.1:1/db?tls=perhaps"},
		{"a Redis that does not answer", "redis://user:letmein@127.0.0.1:1/0", "opening redis://user:xxxxx@127.0.0.1:1/0"},
		{"a Redis database that is no number", "redis://user:letmein@127.0.0.1:1/x", "is not the URL of a Redis server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := stores.Open(t.Context(), c.where, t.TempDir())
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "letmein")
		})
	}
}

func TestSettingsOfMySQLReachTheDriver(t *testing.T) {
	_, err := stores.Open(t.Context(), "mysql://user@127.0.0.1:1/db?timeout=1ns", t.TempDir())
	require.ErrorContains(t, err, "i/o timeout")
}

func TestTheFileIsThisAccountsAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a folder? #1 with 100%")
	require.NoError(t, os.Mkdir(folder, 0o700))
	for range 2 {
		store, err := stores.Open(t.Context(), "", folder)
		require.NoError(t, err)
		_, err = store.Revocations.Since(t.Context(), "", 1)
		require.NoError(t, err)
		files, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			info, err := file.Info()
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode(), file.Name())
		}
		require.Equal(t, filepath.Join(folder, "jwtauth.db"), store.Name)
		require.NoError(t, store.Close())
	}
}
