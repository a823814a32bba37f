package faults_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
)

// A server that becomes a replica may lag behind from then on. A new session would be missing
// there, which would cause a 401.
func TestAServerThatBecomesAReplicaIsAnOutage(t *testing.T) {
	for _, c := range []struct {
		name    string
		start   func(t *testing.T) *server
		becomes func(t *testing.T, s *server)
	}{
		{"PostgreSQL", startPostgres, func(t *testing.T, s *server) {
			s.kill()
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "data", "standby.signal"), nil, 0o666))
			s.start(t)
		}},
		{"MariaDB", startMariaDB, func(t *testing.T, s *server) {
			require.NoError(t, execute("root@tcp(127.0.0.1:"+s.port+")/", "SET GLOBAL read_only = 1"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			database := c.start(t)
			s := database.service(t)
			pair, err := s.Login(t.Context(), "alice")
			require.NoError(t, err)
			c.becomes(t, database)

			require.Eventually(t, func() bool { // the replica starts
				_, err := s.Sessions(t.Context(), "alice")
				require.ErrorIs(t, err, jwtauth.ErrUnavailable)
				return strings.Contains(err.Error(), "the server is read-only or a replica")
			}, time.Minute, 50*time.Millisecond)
			_, err = s.Sessions(t.Context(), "bob")
			require.ErrorContains(t, err, "the server is read-only or a replica", "who has none")
			_, err = s.Refresh(t.Context(), pair.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrUnavailable)
			require.ErrorIs(t, s.Logout(t.Context(), "alice", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), jwtauth.ErrUnavailable)
			require.ErrorContains(t, s.list.Sync(t.Context()), "the server is read-only or a replica")
		})
	}
}
