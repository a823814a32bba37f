package session_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
)

const (
	noCredentials = `{"detail":"Authentication credentials were not provided."}`
	required      = "This field is required."
)

func ofToken(text string) string { return `{"detail":"` + text + `","code":"token_not_valid"}` }

func ofCall(text string) string {
	return `{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":"AccessToken","token_type":"access","message":"` + text + `"}]}`
}

// The expected responses are those of djangorestframework-simplejwt 5.5 with Django REST
// framework 3.14.
func TestWithSimpleJWTBodies(t *testing.T) {
	s := newSite(t, session.WithSimpleJWTBodies())
	b := s.browser(t)
	const base = "/auth/jwt/"
	post := func(endpoint, body string, fields ...string) page {
		t.Helper()
		return b.send(t, "POST", base+endpoint+"/", body, fields...)
	}
	answers := func(got page, status int, body string) {
		t.Helper()
		require.Equal(t, status, got.status, got.body)
		require.JSONEq(t, body, got.body)
		if status == 401 {
			require.Equal(t, `Bearer realm="api"`, got.header.Get("WWW-Authenticate"))
		}
	}
	type tokens struct{ Refresh, Access string }
	read := func(got page) (pair tokens) {
		t.Helper()
		require.Equal(t, 200, got.status, got.body)
		var names map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.body), &names))
		require.Len(t, names, 2, got.body)
		require.NoError(t, json.Unmarshal([]byte(got.body), &pair))
		require.NotEmpty(t, pair.Access)
		require.NotEmpty(t, pair.Refresh)
		return pair
	}
	login := func() tokens { t.Helper(); return read(post("create", `{"email":"alice","password":"right"}`)) }
	me := func(token string) page {
		t.Helper()
		return b.send(t, "GET", "/api/me", "", "Authorization", "Bearer "+token)
	}
	field := func(name, text string) string { return `{"` + name + `":["` + text + `"]}` }

	t.Run("what is wrong with a field", func(t *testing.T) {
		answers(post("create", ""), 400, `{"email":["`+required+`"],"password":["`+required+`"]}`)
		answers(post("create", `{}`), 400, `{"email":["`+required+`"],"password":["`+required+`"]}`)
		answers(post("create", `{"username":"alice"}`), 400, field("password", required))
		answers(post("create", `{"email":"","password":null}`), 400, `{"email":["This field may not be blank."],"password":["This field may not be null."]}`)
		answers(post("create", `{"email":["a"],"password":"b"}`), 400, field("email", "Not a valid string."))
		for _, endpoint := range []string{"refresh", "blacklist"} {
			answers(post(endpoint, ""), 400, field("refresh", required))
			answers(post(endpoint, `{"refresh":""}`), 400, field("refresh", "This field may not be blank."))
			answers(post(endpoint, `{"refresh_token":"a.b.c"}`), 400, field("refresh", required))
		}
		answers(post("verify", "{}"), 400, field("token", required))
	})
	t.Run("a request that is none", func(t *testing.T) {
		answers(b.send(t, "GET", base+"create/", ""), 405, `{"detail":"Method \"GET\" not allowed."}`)
		answers(post("nothing", ""), 404, `{"detail":"Not found."}`)
		answers(post("create", "x", "Content-Type", "text/plain"), 415, `{"detail":"Unsupported media type \"text/plain\" in request."}`)
		got := post("create", `{"a`)
		require.Equal(t, 400, got.status)
		require.True(t, strings.HasPrefix(got.body, `{"detail":"JSON parse error - `), got.body)
	})
	t.Run("wrong credentials", func(t *testing.T) {
		answers(post("create", `{"email":"alice","password":"wrong"}`), 401, `{"detail":"No active account found with the given credentials"}`)
	})
	t.Run("a session", func(t *testing.T) {
		first := login()
		require.Equal(t, 200, me(first.Access).status)
		answers(post("verify", `{"token":"`+first.Access+`"}`), 200, `{}`)
		answers(post("verify", `{"token":"`+first.Refresh+`"}`), 200, `{}`)
		s.clock.advance(settled)
		next := read(post("refresh", `{"refresh":"`+first.Refresh+`"}`))
		require.NotEqual(t, first.Refresh, next.Refresh, "as with ROTATE_REFRESH_TOKENS")
		answers(post("blacklist", `{"refresh":"`+next.Refresh+`"}`), 200, `{}`)
		answers(post("refresh", `{"refresh":"`+next.Refresh+`"}`), 401, ofToken("Token is blacklisted"))
		answers(post("verify", `{"token":"`+next.Refresh+`"}`), 400, `{"non_field_errors":["Token is blacklisted"]}`)
		answers(me(next.Access), 401, ofCall("Token is blacklisted"))
		answers(post("logout", `{"refresh":"`+login().Refresh+`"}`), 200, `{}`)
		answers(post("logout", "", "Authorization", "Bearer "+login().Access), 200, `{}`)
	})
	t.Run("tokens that are refused", func(t *testing.T) {
		pair := login()
		answers(b.send(t, "GET", "/api/me", ""), 401, noCredentials)
		answers(me("nonsense"), 401, ofCall("Token is invalid"))
		answers(me(pair.Refresh), 401, ofCall("Token has wrong type"))
		answers(post("refresh", `{"refresh":"nonsense"}`), 401, ofToken("Token is invalid"))
		answers(post("refresh", `{"refresh":"`+pair.Access+`"}`), 401, ofToken("Token has wrong type"))
		answers(post("verify", `{"token":"nonsense"}`), 401, ofToken("Token is invalid"))
		s.clock.advance(session.DefaultAccessTTL)
		answers(me(pair.Access), 401, ofCall("Token is expired"))
		answers(post("verify", `{"token":"`+pair.Access+`"}`), 401, ofToken("Token is expired"))
		next := read(post("refresh", `{"refresh":"`+pair.Refresh+`"}`))
		s.clock.advance(session.DefaultGrace + time.Minute)
		read(post("refresh", `{"refresh":"`+next.Refresh+`"}`))
		answers(post("refresh", `{"refresh":"`+pair.Refresh+`"}`), 401, ofToken("Token is blacklisted"))
		pair = login()
		s.clock.advance(session.DefaultRefreshTTL)
		answers(post("refresh", `{"refresh":"`+pair.Refresh+`"}`), 401, ofToken("Token is expired"))
	})
	t.Run("what is not simplejwt's", func(t *testing.T) {
		pair := login()
		got := b.send(t, "GET", base+"sessions/", "", "Authorization", "Bearer "+pair.Access)
		require.Equal(t, 200, got.status)
		require.Contains(t, got.body, `"sessions"`)
		require.Equal(t, http.StatusOK, post("logout", `{"refresh":"`+pair.Refresh+`","everywhere":true}`).status)
	})
}

func TestWithSimpleJWTBodies_VerifyTakesTokensOfOtherKeys(t *testing.T) {
	s := newSite(t, session.WithSimpleJWTBodies(), session.WithRefreshKeys(keys.HS256([]byte("fedcba9876543210fedcba9876543210"))))
	pair, err := s.Login(t.Context(), "alice")
	require.NoError(t, err)
	for _, token := range []string{pair.AccessToken, pair.RefreshToken} {
		require.Equal(t, 200, s.browser(t).send(t, "POST", "/auth/jwt/verify/", `{"token":"`+token+`"}`).status)
	}
}

// Each kind of token is verified only by its own Auth. An outage or a limit of the other
// Auth must not matter.
func TestWithSimpleJWTBodies_EachKindIsVerifiedByItsOwnAuth(t *testing.T) {
	f := newFaulty()
	f.key = keys.HS256([]byte("another secret of 32 bytes, or so"))
	m := newManager(t, session.WithSimpleJWTBodies(), session.WithRefreshKeys(faultyKeys{f}),
		session.WithAccess(jwtauth.WithMaxTokenSize(32<<10), jwtauth.WithContainerClaim("tenant")),
		session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
			return "", []jwtauth.IssueOption{jwtauth.Claim("container", 5), jwtauth.Claim("big", strings.Repeat("x", 10_000))}, nil
		}))
	handler := m.Handler(func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
		return "", nil, session.ErrCredentials
	})
	pair := login(t, m, "alice")
	verify := func(token string) int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("POST", "/verify/", strings.NewReader(object("token", token))))
		return w.Code
	}
	require.Equal(t, 200, verify(pair.AccessToken), "the Auth of refresh tokens could not read this token")
	require.Equal(t, 200, verify(pair.RefreshToken))
	f.fault = outage()
	require.Equal(t, 503, verify(pair.RefreshToken), "an outage of the refresh keys must not make the token invalid")
	require.Equal(t, 200, verify(pair.AccessToken))
}

func TestWithSimpleJWTBodies_InAnOutage(t *testing.T) {
	s := newSite(t, session.WithSimpleJWTBodies())
	s.faults.fault = outage()
	got := s.browser(t).send(t, "POST", "/auth/jwt/create/", `{"email":"alice","password":"right"}`)
	require.Equal(t, 503, got.status)
	require.Contains(t, got.body, `"code":"unavailable"`)
	require.NotEmpty(t, got.header.Get("Retry-After"))
}

func TestWithSimpleJWTBodies_OfABrowserWithCookies(t *testing.T) {
	s := newSite(t, session.WithSimpleJWTBodies())
	b := s.browser(t)
	b.login(t, "alice")
	require.Equal(t, 200, b.call(t).status)
	require.Equal(t, 200, b.post(t, "refresh", "").status)
	p := b.post(t, "blacklist", "")
	require.Equal(t, 200, p.status)
	p.takenAway(t)
	require.JSONEq(t, noCredentials, b.post(t, "refresh", "").body)
}
