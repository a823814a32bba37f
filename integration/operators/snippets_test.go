package operators_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/cors"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

func withCORS(auth *jwtauth.Auth, next http.Handler) http.Handler {
	return cors.New(cors.Options{
		AllowedOrigins: []string{"https://app.example.com"},
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		ExposedHeaders: []string{"WWW-Authenticate", "Retry-After"},
	}).Handler(auth.Private(next))
}

func followAll(ctx context.Context, list *revoke.List, ring *keys.Ring, sessions *session.Manager) error {
	if err := list.Sync(ctx); err != nil {
		return err
	}
	go list.Run(ctx)
	go ring.Run(ctx)
	go sessions.Run(ctx)
	return nil
}

func warnOfUnsafeSettings(ctx context.Context, store interface{ Check(context.Context) error }) {
	if err := store.Check(ctx); err != nil {
		slog.Warn("the store may lose what it has confirmed", "error", err)
	}
}

// safe opens a store with settings that lose no data.
type safe struct{}

func (safe) Check(context.Context) error { return nil }

// Another test builds the program of the drill. All other code of the pages is in this file.
func TestTheCodeOfThePagesIsCompiled(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return regexp.MustCompile(`(?m)^[\t ]+`).ReplaceAllString(string(text), "")
	}
	here := read("snippets_test.go")
	for page, blocks := range map[string]int{production: 1, pastOneMachine: 2} {
		seen := 0
		for _, block := range regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(read(page), -1) {
			if !strings.HasPrefix(block[1], "// Command ring ") {
				seen++
				require.True(t, strings.Contains(here, block[1]), "%s shows what is not here:\n%s", page, block[1])
			}
		}
		require.Equal(t, blocks, seen, page)
	}
}

func TestCORSStandsOutside(t *testing.T) {
	auth, err := jwtauth.New(keys.HS256([]byte("0123456789abcdef0123456789abcdef")), jwtauth.WithAnyContainer())
	require.NoError(t, err)
	handler := withCORS(auth, http.NotFoundHandler())
	call := func(method string, fields ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/", nil)
		r.Header.Set("Origin", "https://app.example.com")
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	preflight := call("OPTIONS", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
	require.Equal(t, http.StatusNoContent, preflight.Code)
	require.Equal(t, "authorization", preflight.Header().Get("Access-Control-Allow-Headers"))
	denied := call("GET")
	require.Equal(t, http.StatusForbidden, denied.Code)
	require.Equal(t, "https://app.example.com", denied.Header().Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Www-Authenticate, Retry-After", denied.Header().Get("Access-Control-Expose-Headers"))
}

func TestAProcessFollowsTheLogAndTheKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.jwks")
	ring, err := keys.LoadOrCreateRing(file, "EdDSA")
	require.NoError(t, err)
	list, err := revoke.New(revoke.NewMemory())
	require.NoError(t, err)
	sessions, err := session.New(ring, session.NewMemory(), session.WithRevocations(list))
	require.NoError(t, err)
	require.NoError(t, followAll(t.Context(), list, ring, sessions))
	warnOfUnsafeSettings(t.Context(), safe{})
	require.True(t, list.Status().Ready)

	other, err := keys.OpenRing(file)
	require.NoError(t, err)
	next, err := keys.Generate("EdDSA")
	require.NoError(t, err)
	require.NoError(t, other.Add(next))
	require.NoError(t, other.Save(file))
	require.Eventually(t, func() bool { return len(ring.IDs()) == 2 }, time.Minute, 20*time.Millisecond)

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, followAll(canceled, list, ring, sessions), "what cannot be read is not served")
}
