// Package simplejwt_test connects a client from npm to a Manager instead of Django. It needs
// node and npm, and is skipped without them.
package simplejwt_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/integration/internal/npm"
	"github.com/joinednode/jwtauth/integration/internal/rendezvous"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
)

func TestAClientOfDjangoNeedsNoChange(t *testing.T) {
	folder := npm.Folder(t, "client.cjs")
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		t.Logf("%s", out)
	}

	var later atomic.Int64 // how far the clock is ahead
	sessions, err := session.New(keys.HS256([]byte("0123456789abcdef0123456789abcdef")), session.NewMemory(), session.WithSimpleJWTBodies(),
		session.WithClock(func() time.Time { return time.Now().Add(time.Duration(later.Load())) }))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/auth/jwt/", sessions.Handler(func(_ *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		if c.Username != "alice" || c.Password != "right" {
			return "", nil, session.ErrCredentials
		}
		return c.Username, nil, nil
	}))
	// All three calls get their 401 at the same time. A call that gets it after the refresh of
	// another would refresh once more, and could overtake the first.
	var calls rendezvous.Point
	mux.HandleFunc("POST /together", func(http.ResponseWriter, *http.Request) { calls.Await(3) })
	mux.Handle("/api/me/", calls.Before(sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := jwtauth.FromContext(r.Context())
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"user": claims.Subject})
	}))))
	mux.HandleFunc("POST /expire", func(http.ResponseWriter, *http.Request) { later.Add(int64(session.DefaultAccessTTL)) })
	server := httptest.NewServer(mux)
	defer server.Close()
	run("node", "client.cjs", server.URL)
}
