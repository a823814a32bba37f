//go:build linux

package sqlstore_test

import (
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/integration/internal/freeport"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// pgbouncer starts a pooler in transaction mode with few connections. It returns the address
// of PostgreSQL behind the pooler.
func pgbouncer(t *testing.T) string {
	t.Helper()
	dsn, err := url.Parse(postgres.dsn(t))
	require.NoError(t, err)
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			t.Skip("pgbouncer is not installed")
		}
	}
	password, _ := dsn.User.Password()
	host, port, err := net.SplitHostPort(dsn.Host)
	require.NoError(t, err, "JWTAUTH_TEST_POSTGRES has a port")
	address := freeport.Address(t)
	_, own, err := net.SplitHostPort(address)
	require.NoError(t, err)
	dir := t.TempDir()
	config := fmt.Sprintf(`[databases]
%s = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 4
unix_socket_dir =
`, strings.TrimPrefix(dsn.Path, "/"), host, port, own, filepath.Join(dir, "users"))
	if os.Getuid() == 0 { // as whom it refuses to run
		config += "user = nobody\n"
	}
	users := fmt.Sprintf("%q %q\n", dsn.User.Username(), password)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "users"), []byte(users), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pgbouncer.ini"), []byte(config), 0o644))
	process := exec.Command(binary, "--quiet", filepath.Join(dir, "pgbouncer.ini"))
	process.Stderr = os.Stderr
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, time.Minute, 20*time.Millisecond, "pgbouncer does not start")
	dsn.Host = address
	return dsn.String()
}

func TestPgbouncer_InTheModesThatThePageNames(t *testing.T) {
	dsn := pgbouncer(t)
	for _, mode := range []string{"exec", "cache_describe", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			pooled := database{mode, sqlstore.Postgres, "pgx", func(*testing.T) string { return with(dsn, "default_query_exec_mode="+mode) }}
			t.Run("sessions", func(t *testing.T) {
				jwtauthtest.TestSessionStore(t, func(t *testing.T) session.Store { return pooled.new(t).Sessions() })
			})
			t.Run("revocations", func(t *testing.T) {
				jwtauthtest.TestRevocationStore(t, func(t *testing.T) revoke.Store { return pooled.new(t).Revocations() })
			})
		})
	}
}

// By default, the driver prepares each statement under a name, on any connection of the pool.
func TestPgbouncer_MigrateSaysThatTheDefaultModeDoesNotWork(t *testing.T) {
	dsn := pgbouncer(t)
	var errs []string
	for range 20 { // until two of them get the same connection
		db, err := sql.Open("pgx", dsn)
		require.NoError(t, err)
		store, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.WithPrefix("pgbouncer_default_"))
		require.NoError(t, err)
		if err := store.Migrate(t.Context()); err != nil {
			errs = append(errs, err.Error())
		}
		require.NoError(t, db.Close())
	}
	db := postgres.at(t, postgres.dsn(t))
	for _, name := range []string{"sessions", "revocations", "log", "meta"} {
		_, err := db.ExecContext(t.Context(), "DROP TABLE IF EXISTS pgbouncer_default_"+name)
		require.NoError(t, err)
	}
	require.NotEmpty(t, errs)
	require.Contains(t, errs[0], "prepared statement")
}
