// Package axios_test runs an axios client that refreshes without a lock, as most tutorials
// show. It needs node and npm, and is skipped without them.
package axios_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cryptorand "crypto/rand"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/integration/internal/npm"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// loads returns the number of page loads for each delay: JWTAUTH_TEST_LOADS, or 12.
func loads(t *testing.T) int {
	text := os.Getenv("JWTAUTH_TEST_LOADS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

func postgres(t *testing.T) session.Store {
	t.Helper()
	dsn := os.Getenv("JWTAUTH_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("JWTAUTH_TEST_POSTGRES is not set")
	}
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(16)
	prefix := "axios" + strings.ToLower(cryptorand.Text()) + "_"
	t.Cleanup(func() {
		for _, name := range []string{"sessions", "revocations", "log", "meta"} {
			_, err := db.Exec("DROP TABLE IF EXISTS " + prefix + name)
			require.NoError(t, err)
		}
		require.NoError(t, db.Close())
	})
	store, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.WithPrefix(prefix))
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	return store.Sessions()
}

func TestRefresh_ByARealClientWithoutALock(t *testing.T) {
	folder := npm.Folder(t, "client.cjs")
	for name, open := range map[string]func(t *testing.T) session.Store{
		"memory":     func(*testing.T) session.Store { return session.NewMemory() },
		"PostgreSQL": postgres,
	} {
		for _, delay := range []time.Duration{20 * time.Millisecond, 150 * time.Millisecond, 500 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, answers after up to %v", name, delay), func(t *testing.T) {
				t.Parallel()           // they wait for answers
				var later atomic.Int64 // how far the clock is ahead
				sessions, err := session.New(keys.HS256([]byte("0123456789abcdef0123456789abcdef")), open(t),
					session.WithAccessTTL(time.Second), session.WithLogger(slog.New(slog.DiscardHandler)),
					session.WithClock(func() time.Time { return time.Now().Add(time.Duration(later.Load())) }))
				require.NoError(t, err)
				wait := func() { time.Sleep(rand.N(delay/2 + 1)) }
				slow := func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						wait()
						answer := httptest.NewRecorder()
						next.ServeHTTP(answer, r)
						wait()
						for field, values := range answer.Header() {
							w.Header()[field] = values
						}
						w.WriteHeader(answer.Code)
						w.Write(answer.Body.Bytes())
					})
				}
				mux := http.NewServeMux()
				mux.Handle("/auth/jwt/", slow(sessions.Handler(func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
					return "alice", nil, nil
				})))
				// Only the arrival of a call moves the clock. So a token that is younger than a
				// second is valid, however long the other calls take.
				mux.Handle("/api/me", slow(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c, err := sessions.Auth().Inspect(r.Context(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
					if err != nil && time.Since(c.IssuedAt.Add(-time.Duration(later.Load()))) > 20*time.Second {
						sessions.Auth().Deny(w, r, jwtauth.ErrExpired)
						return
					}
					json.NewEncoder(w).Encode(map[string]string{"user": "alice"})
				})))
				// These are all relevant pauses between two page loads.
				pauses := []time.Duration{25 * time.Second, 41 * time.Second, 49 * time.Second, 51 * time.Second, 2 * time.Minute, time.Hour}
				mux.HandleFunc("POST /later", func(http.ResponseWriter, *http.Request) {
					later.Add(int64(pauses[rand.N(len(pauses))]))
				})
				server := httptest.NewServer(mux)
				defer server.Close()
				cmd := exec.CommandContext(t.Context(), "node", filepath.Join(folder, "client.cjs"), server.URL, strconv.Itoa(loads(t)), "20")
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", out)
				t.Logf("%s", out)
				var got struct{ Loads, Refreshes, LoggedOut int }
				require.NoError(t, json.Unmarshal(out, &got))
				require.Equal(t, loads(t), got.Loads)
				require.Greater(t, got.Refreshes, 3*got.Loads, "the calls of a page must refresh beside each other")
				require.Zero(t, got.LoggedOut)
			})
		}
	}
}
