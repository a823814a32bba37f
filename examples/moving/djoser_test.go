package moving_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// These are tokens that Django 3.2.25 issued for the user with the ID 1 at djangoTime, with
// djangorestframework-simplejwt 5.2.2 and djoser 2.1.0.
const (
	secretKey     = "django-insecure-q7(example-only-not-a-secret)#w0x2m9k$4v&b1z!e5r6t8y3u"
	djangoRefresh = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTc5NTM3OTMzNSwiaWF0IjoxNzk1MjkyOTM1LCJqdGkiOiI0NjM3YzljODYzNDE0ZDA2OGNhYjE2MDA0YjdkZTRjNSIsInVzZXJfaWQiOjF9.X_Ir_WnHIX1mJeyJyZOwnoWn-XPt11bv2rIsUZ1OwCA"
	djangoAccess  = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxNzk1MjkzMjM1LCJpYXQiOjE3OTUyOTI5MzUsImp0aSI6ImUxZjJhZDU1MjlmMzQ0MzU4YjY0NTE2OGZkMjk0YTUxIiwidXNlcl9pZCI6MX0.tFotQo_XpVUtg3-kRCZeRb0xNsA2qvNqe_ujgeCMj5s"
)

var djangoTime = time.Unix(1795292935, 0)

// active reports whether a user may still log in. A real service would ask its database.
func active(_ context.Context, id string) (bool, error) { return id != "13", nil }

func checkPassword(_ *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
	if c.Username != "alice" || c.Password != "right" {
		return "", nil, session.ErrCredentials
	}
	return "1", nil, nil // the user's ID
}

// takeOver returns the handler of refresh/ during the move. If a request has a refresh
// token of Django, the handler revokes the token and starts a session in its place. It
// passes any other request on to next.
func takeOver(django *jwtauth.Auth, list *revoke.List, sessions *session.Manager, exchanged *expvar.Int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), r.Body)) // next reads it again
		var sent struct {
			Refresh string `json:"refresh"`
		}
		var own struct {
			Type string      `json:"token_type"`
			User json.Number `json:"user_id"` // a number or its digits; a string if IDs are UUIDs
		}
		_ = json.Unmarshal(body, &sent) // a body that is not JSON has no token
		claims, err := django.Verify(r.Context(), sent.Refresh, "")
		switch {
		case errors.Is(err, jwtauth.ErrUnavailable):
			sessions.Auth().Deny(w, r, err)
			return
		case err != nil, claims.Decode(&own) != nil, own.Type != "refresh":
			next.ServeHTTP(w, r)
			return
		}
		pair, err := sessions.Login(r.Context(), own.User.String())
		if errors.Is(err, session.ErrSubjectGone) {
			sessions.Auth().Deny(w, r, jwtauth.ErrRevoked)
			return
		}
		if err == nil { // only now: an outage of Login must leave the token valid
			err = list.RevokeToken(r.Context(), claims.Issuer, claims.ID, claims.ExpiresAt)
		}
		if err != nil {
			sessions.Auth().Deny(w, r, fmt.Errorf("%w: %w", jwtauth.ErrUnavailable, err))
			return
		}
		exchanged.Add(1)
		sessions.WritePair(w, r, pair)
	})
}

// newSessions returns a Manager whose Handler replaces djoser's JWT endpoints.
func newSessions(newKey keys.Source, list *revoke.List, opts ...session.Option) (*session.Manager, error) {
	return session.New(newKey, session.NewMemory(), append(opts,
		session.WithSimpleJWTBodies(),
		session.WithRevocations(list),
		session.WithAccess(jwtauth.WithExtractors( // djoser's documentation sets JWT, simplejwt has Bearer
			jwtauth.FromHeader("Authorization", "JWT"), jwtauth.FromHeader("Authorization", "Bearer"))),
		session.WithClaims(func(ctx context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
			ok, err := active(ctx, s.Subject)
			if err == nil && !ok {
				err = session.ErrSubjectGone
			}
			return "", []jwtauth.IssueOption{jwtauth.Claim("user_id", s.Subject)}, err
		}),
	)...)
}

// newDjango returns an Auth for the refresh tokens that Django issued.
func newDjango(secretKey string, list *revoke.List, opts ...jwtauth.Option) (*jwtauth.Auth, error) {
	return jwtauth.New(keys.HS256([]byte(secretKey)), append(opts,
		jwtauth.WithAnyContainer(),
		jwtauth.WithRevocations(list),
		jwtauth.WithMaxLifetime(10*24*time.Hour), // at least REFRESH_TOKEN_LIFETIME
		jwtauth.WithCache(0),
	)...)
}

// newDjangoMux returns a handler for the endpoints that clients of Django call. It is for
// the time in which some clients still have Django's tokens.
func newDjangoMux(django *jwtauth.Auth, list *revoke.List, sessions *session.Manager, exchanged *expvar.Int) http.Handler {
	mux := http.NewServeMux()
	own := sessions.Handler(checkPassword)
	mux.Handle("/auth/jwt/", own)
	refresh := takeOver(django, list, sessions, exchanged, own)
	mux.Handle("POST /auth/jwt/refresh/", refresh) // remove these two when Django's last token has expired
	mux.Handle("POST /auth/jwt/refresh", refresh)
	mux.Handle("/api/me/", sessions.Require(hello))
	return mux
}

// moved returns a whole server whose clock stands at t, and its counter of exchanged
// tokens. revoked has the IDs of Django's tokens that are revoked from the start.
func moved(t time.Time, revoked ...string) (http.Handler, *expvar.Int) {
	clock := func() time.Time { return t }
	list := must(revoke.New(revoke.NewMemory(), revoke.WithClock(clock)))
	for _, jti := range revoked {
		if err := list.RevokeToken(context.Background(), "", jti, t.Add(time.Hour)); err != nil {
			panic(err)
		}
	}
	newKey, _ := newPair()
	exchanged := new(expvar.Int)
	sessions := must(newSessions(newKey, list, session.WithClock(clock)))
	return newDjangoMux(must(newDjango(secretKey, list, jwtauth.WithClock(clock))), list, sessions, exchanged), exchanged
}

// post sends JSON, and returns the status of the response and its JSON object.
func post(h http.Handler, path, body string) (int, map[string]any) {
	status, text := call(h, "POST", path, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	})
	answer := map[string]any{}
	_ = json.Unmarshal([]byte(text), &answer)
	return status, answer
}

func refreshWith(token string) string { return fmt.Sprintf(`{"refresh": %q}`, token) }

// A client with Django's tokens continues without a login. Its access token is rejected
// as if it had expired, and its refresh token is accepted once.
func Example_fromDjoser() {
	mux, exchanged := moved(djangoTime.Add(time.Minute))
	status, body := call(mux, "GET", "/api/me/", header("Authorization", "JWT "+djangoAccess))
	fmt.Println("a call:", status, body)

	status, pair := post(mux, "/auth/jwt/refresh/", refreshWith(djangoRefresh))
	fmt.Println("a refresh:", status, len(pair), "tokens")
	status, body = call(mux, "GET", "/api/me/", header("Authorization", "JWT "+pair["access"].(string)))
	fmt.Println("the call again:", status, body)
	status, next := post(mux, "/auth/jwt/refresh/", refreshWith(pair["refresh"].(string)))
	fmt.Println("the next refresh:", status, len(next), "tokens")

	status, answer := post(mux, "/auth/jwt/refresh/", refreshWith(djangoRefresh))
	fmt.Println("Django's once more:", status, answer["code"])
	fmt.Println("exchanged:", exchanged.Value())
	// Output:
	// a call: 401 {"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":"AccessToken","token_type":"access","message":"Token is invalid"}]}
	// a refresh: 200 2 tokens
	// the call again: 200 hello, 1
	// the next refresh: 200 2 tokens
	// Django's once more: 401 token_not_valid
	// exchanged: 1
}

func TestWhatOfDjangoIsTakenOver(t *testing.T) {
	at := djangoTime.Add(time.Minute)
	django := func(changes jwt.MapClaims) string {
		claims := jwt.MapClaims{"token_type": "refresh", "exp": at.Add(time.Hour).Unix(), "iat": at.Unix(), "jti": "j", "user_id": 1}
		for name, value := range changes {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		return sign(jwt.SigningMethodHS256, []byte(secretKey), nil, claims)
	}
	for _, c := range []struct {
		name, path, token string
		status            int
	}{
		{"the real one, without the slash", "/auth/jwt/refresh", djangoRefresh, 200},
		{"one like it", "/auth/jwt/refresh/", django(nil), 200},
		{"one whose user_id is a string", "/auth/jwt/refresh/", django(jwt.MapClaims{"user_id": "1"}), 200},
		{"an access token", "/auth/jwt/refresh/", djangoAccess, 401},
		{"a sliding token", "/auth/jwt/refresh/", django(jwt.MapClaims{"token_type": "sliding"}), 401},
		{"one without a type", "/auth/jwt/refresh/", django(jwt.MapClaims{"token_type": nil}), 401},
		{"one without iat, as old versions gave", "/auth/jwt/refresh/", django(jwt.MapClaims{"iat": nil}), 401},
		{"one of a longer life than WithMaxLifetime", "/auth/jwt/refresh/", django(jwt.MapClaims{"exp": at.Add(11 * 24 * time.Hour).Unix()}), 401},
		{"one of a user who is gone", "/auth/jwt/refresh/", django(jwt.MapClaims{"user_id": 13}), 401},
		{"one that Django had blacklisted", "/auth/jwt/refresh/", django(jwt.MapClaims{"jti": "blacklisted"}), 401},
		{"an expired one", "/auth/jwt/refresh/", django(jwt.MapClaims{"exp": at.Unix()}), 401},
		{"at verify/, which knows its own tokens", "/auth/jwt/verify/", djangoRefresh, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			mux, _ := moved(at, "blacklisted")
			field := "refresh"
			if strings.Contains(c.path, "verify") {
				field = "token"
			}
			status, answer := post(mux, c.path, fmt.Sprintf(`{%q: %q}`, field, c.token))
			require.Equal(t, c.status, status, answer)
			if status == 401 {
				require.Equal(t, "token_not_valid", answer["code"])
			}
		})
	}
	t.Run("a refresh token of Django opens no call", func(t *testing.T) {
		mux, _ := moved(at)
		status, body := call(mux, "GET", "/api/me/", bearer(djangoRefresh))
		require.Equal(t, 401, status, body)
	})
	t.Run("a login, and a body that is no JSON", func(t *testing.T) {
		mux, _ := moved(at)
		status, answer := post(mux, "/auth/jwt/create/", `{"username": "alice", "password": "right"}`)
		require.Equal(t, 200, status, answer)
		status, answer = post(mux, "/auth/jwt/refresh/", `refresh=x`)
		require.Equal(t, 400, status, answer)
	})
	t.Run("a SECRET_KEY of Django is long enough, and a short one is refused", func(t *testing.T) {
		list, err := revoke.New(revoke.NewMemory())
		require.NoError(t, err)
		_, err = newDjango(strings.Repeat("0123456789", 5), list)
		require.NoError(t, err)
		_, err = newDjango("changeme", list)
		require.ErrorContains(t, err, "at least 32 random ones")
	})
}

func TestHostileTokensWhileMovingFromDjango(t *testing.T) {
	_, public := newPair()
	for name, token := range hostile(t, djangoRefresh, "2026-11", public) {
		t.Run(name, func(t *testing.T) {
			mux, exchanged := moved(djangoTime.Add(time.Minute))
			status, answer := post(mux, "/auth/jwt/refresh/", refreshWith(token))
			require.Equal(t, 401, status, answer)
			status, body := call(mux, "GET", "/api/me/", bearer(token))
			require.Equal(t, 401, status, body)
			require.Zero(t, exchanged.Value())
		})
	}
}
