package faults_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// asVictim makes this binary run as the process that is killed.
const asVictim = "JWTAUTH_FAULTS_VICTIM"

func TestMain(m *testing.M) {
	if path := os.Getenv(asVictim); path != "" {
		os.Args = append(os.Args, "-test.run=^TestVictim$", "-test.v=false")
	}
	hushDrivers()
	os.Exit(m.Run())
}

func openFile(t *testing.T, path string) *sqlstore.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	store, err := sqlstore.New(db, sqlstore.SQLite)
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	return store
}

func serviceOf(t *testing.T, store *sqlstore.DB) service {
	t.Helper()
	s, err := newService(t, store.Sessions(), store.Revocations())
	require.NoError(t, err)
	return s
}

// TestVictim is the process that is killed. It prints each acknowledged result on a line, and
// never ends by itself.
func TestVictim(t *testing.T) {
	path := os.Getenv(asVictim)
	if path == "" {
		t.Skip("it is a process that the next test starts and kills")
	}
	s := serviceOf(t, openFile(t, path))
	pair, err := s.Login(t.Context(), "alice")
	require.NoError(t, err)
	for n := 0; ; n++ {
		fmt.Println("refresh", pair.RefreshToken)
		jti := fmt.Sprintf("%d-%d", os.Getpid(), n)
		require.NoError(t, s.list.RevokeToken(t.Context(), "", jti, time.Now().Add(time.Hour)))
		fmt.Println("revoked", jti)
		pair, err = s.Refresh(t.Context(), pair.RefreshToken)
		require.NoError(t, err)
	}
}

func TestAProcessThatIsKilledLeavesAFileThatHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	follower := serviceOf(t, openFile(t, path))
	exe, err := os.Executable()
	require.NoError(t, err)
	var acknowledged []string
	for range 5 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), asVictim+"="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		token, wanted := "", len(acknowledged)+50+rand.IntN(200)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch what, value, _ := strings.Cut(lines.Text(), " "); what {
			case "refresh":
				token = value
			case "revoked":
				acknowledged = append(acknowledged, value)
			}
			if len(acknowledged) == wanted { // the lines printed meanwhile are read, too
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.ErrorContains(t, cmd.Wait(), "killed")
		require.GreaterOrEqual(t, len(acknowledged), wanted)

		fresh := serviceOf(t, openFile(t, path))
		next, err := fresh.Refresh(t.Context(), token) // the answer may have been lost
		require.NoError(t, err)
		again, err := fresh.Refresh(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, next.RefreshToken, again.RefreshToken)
		holdsRevoked(t, fresh, acknowledged)
		require.NoError(t, follower.list.Sync(t.Context()), "readers catch up")
		holdsRevoked(t, follower, acknowledged)
	}
}

// A database is restored from an older backup, as sqlstore and session document.
func TestAnOlderBackupLogsNobodyOut(t *testing.T) {
	folder := t.TempDir()
	path, backup := filepath.Join(folder, "sessions.db"), filepath.Join(folder, "backup.db")
	s := serviceOf(t, openFile(t, path))
	first, err := s.Login(t.Context(), "alice")
	require.NoError(t, err)
	require.NoError(t, s.list.RevokeToken(t.Context(), "", "before", time.Now().Add(time.Hour)))
	db, err := sql.Open("sqlite", "file:"+path)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("VACUUM INTO ?", backup)
	require.NoError(t, err)
	second := first
	require.Eventually(t, func() bool {
		second, err = s.Refresh(t.Context(), second.RefreshToken)
		return err == nil && second.RefreshToken != first.RefreshToken
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, s.list.RevokeToken(t.Context(), "", "lost", time.Now().Add(time.Hour)))

	// This process keeps running, and has read the entries that the restore loses.
	old := openFile(t, backup)
	require.NoError(t, old.NewLog(t.Context()))
	turns := &turning{Store: openFile(t, path).Revocations()}
	list, err := revoke.New(turns, revoke.WithStaleness(patience))
	require.NoError(t, err)
	require.NoError(t, list.Sync(t.Context()))
	survivor := service{list: list}
	turns.Store = old.Revocations()
	require.NoError(t, old.Revocations().Append(t.Context(), revoke.Entry{Kind: revoke.Token, ID: "after 1", Expires: time.Now().Add(time.Hour)}))
	require.NoError(t, old.Revocations().Append(t.Context(), revoke.Entry{Kind: revoke.Token, ID: "after 2", Expires: time.Now().Add(time.Hour)}))
	require.NoError(t, list.Sync(t.Context()))
	holdsRevoked(t, survivor, []string{"before", "lost", "after 1", "after 2"})

	fresh := serviceOf(t, old)
	holdsRevoked(t, fresh, []string{"before", "after 1", "after 2"})
	lost, err := fresh.list.Revoked(t.Context(), jwtauth.Claims{ID: "lost"})
	require.NoError(t, err)
	require.False(t, lost, "which is why it is to be revoked again")
	third, err := fresh.Refresh(t.Context(), second.RefreshToken)
	require.NoError(t, err, "it is of a generation that the store does not know, and its session goes on")
	require.NotEqual(t, second.RefreshToken, third.RefreshToken)
	all, err := fresh.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, session.Session{}.RevokedAt, all[0].RevokedAt)
}

// turning is a log that can be replaced by another.
type turning struct{ revoke.Store }
