package session_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
)

func TestWithCookies_RefusesWhatCannotWork(t *testing.T) {
	only := session.WithAccess(jwtauth.WithExtractors(jwtauth.FromHeader("Authorization", "Bearer")))
	trusting := func(origins ...string) session.Cookies {
		return session.Cookies{Path: "/auth/", TrustedOrigins: origins}
	}
	for name, c := range map[string]struct {
		cookies session.Cookies
		more    []session.Option
		want    string
	}{
		"no path":                      {session.Cookies{}, nil, `the Path "" must be where`},
		"a relative path":              {session.Cookies{Path: "auth/"}, nil, `the Path "auth/"`},
		"a path that is not clean":     {session.Cookies{Path: "/auth/../"}, nil, `the Path "/auth/../"`},
		"a path with an empty part":    {session.Cookies{Path: "//auth/"}, nil, `the Path "//auth/"`},
		"a path with another field":    {session.Cookies{Path: "/auth; Domain=evil.example"}, nil, "without semicolons"},
		"a path that is not ASCII":     {session.Cookies{Path: "/änmelden/"}, nil, "in ASCII"},
		"a path with a query":          {session.Cookies{Path: "/auth/?x"}, nil, "the Path"},
		"an origin with a path":        {trusting("https://app.example.com/x"), nil, `write "https://app.example.com"`},
		"an origin with a query":       {trusting("https://app.example.com?x"), nil, `write "https://app.example.com"`},
		"an origin with a fragment":    {trusting("https://app.example.com/#"), nil, `write "https://app.example.com"`},
		"an origin with a user":        {trusting("https://me@app.example.com"), nil, `write "https://app.example.com"`},
		"an origin that is a name":     {trusting("app.example.com"), nil, `such as "https://app.example.com"`},
		"an origin with a wildcard":    {trusting("https://*.example.com"), nil, "name each origin"},
		"a wildcard alone":             {trusting("*"), nil, `such as "https://app.example.com"`},
		"an origin that is not ASCII":  {trusting("https://bücher.example"), nil, "xn--"},
		"the second of two origins":    {trusting("https://app.example.com", "null"), nil, `the trusted origin "null"`},
		"extractors that leave it out": {session.Cookies{Path: "/auth/"}, []session.Option{only}, "leave out jwtauth.FromCookie(session.AccessCookie)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := session.New(keys.HS256(secret), session.NewMemory(), append(c.more, session.WithCookies(c.cookies))...)
			require.ErrorContains(t, err, c.want)
		})
	}
	for _, path := range []string{"/", "/auth", "/auth/", "/a/b.c/~d/"} {
		_, err := session.New(keys.HS256(secret), session.NewMemory(), session.WithCookies(session.Cookies{Path: path}))
		require.NoError(t, err, path)
	}
	_, err := session.New(keys.HS256(secret), session.NewMemory(), only, session.WithoutAccess(), session.WithCookies(session.Cookies{Path: "/auth/"}))
	require.NoError(t, err, "without access tokens, no extractor needs to find them")
}

func TestWithCookies_ATrustedOriginIsComparedAsBrowsersWriteIt(t *testing.T) {
	for name, c := range map[string]struct{ trusted, origin string }{
		"as it is":                        {"https://app.example.com", "https://app.example.com"},
		"in capital letters":              {"HTTPS://App.Example.com", "https://app.example.com"},
		"with the default port":           {"https://app.example.com:443", "https://app.example.com"},
		"with the default port of http":   {"http://app.example.com:80", "http://app.example.com"},
		"with a slash at the end":         {"https://app.example.com/", "https://app.example.com"},
		"with another port":               {"https://app.example.com:8443", "https://app.example.com:8443"},
		"with the other scheme's port":    {"https://app.example.com:80", "https://app.example.com:80"},
		"an address of IPv6":              {"https://[2001:DB8::1]:443", "https://[2001:db8::1]"},
		"of a scheme that is not the web": {"capacitor://localhost", "capacitor://localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, session.WithCookies(session.Cookies{Path: cookiePath, TrustedOrigins: []string{c.trusted}}))
			b := s.browser(t)
			b.fields = http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {c.origin}}
			b.login(t, "alice")
			b.fields.Set("Origin", "https://evil.example")
			require.Equal(t, 403, b.post(t, "refresh", "").status)
		})
	}
}

func TestWithCookies_APathThatDoesNotMatchIsLoggedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		says []string // nil for no line
	}{
		"the path of the endpoints":       {cookiePath, nil},
		"the same without the last slash": {strings.TrimSuffix(cookiePath, "/"), nil},
		"a parent of it":                  {"/auth", nil},
		"all of the site":                 {"/", nil},
		"another path":                    {"/auth/jwt/", []string{"not within the path of the cookies", `cookies=/auth/jwt/`, `request=/auth/cookie/`}},
		"the beginning of a name":         {"/auth/coo", []string{"not within the path of the cookies", `cookies=/auth/coo `, `request=/auth/cookie/`}},
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			s := newSite(t, session.WithCookies(session.Cookies{Path: c.path}), session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			b := s.browser(t)
			for range 3 {
				b.login(t, "alice")
				b.post(t, "refresh", "")
			}
			if c.says == nil {
				require.Empty(t, log.String())
				return
			}
			for _, says := range append(c.says, "level=WARN") {
				require.Contains(t, log.String(), says)
			}
			require.Equal(t, 1, strings.Count(log.String(), c.says[0]), log.String())
			require.Equal(t, 1, strings.Count(log.String(), "without that of its refresh token"), log.String())
		})
	}
}

func TestWithCookies_AMissingRefreshCookieIsLoggedOnce(t *testing.T) {
	var log logBuffer
	s := newSite(t, session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	p := s.browser(t).login(t, "alice")
	other := s.browser(t)
	require.Equal(t, 401, other.post(t, "refresh", "").status)
	require.Empty(t, log.String(), "a browser without a session must not be logged")
	for range 3 {
		require.Equal(t, 401, other.post(t, "refresh", "", "Cookie", session.SessionCookie+"="+p.cookies[session.SessionCookie].Value).status)
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "cookies="+cookiePath+" request="+cookiePath+"refresh/")
	require.NotContains(t, log.String(), p.cookies[session.SessionCookie].Value)
}

func TestWithCookies_TheyHaveAllThatKeepsThem(t *testing.T) {
	p := newSite(t).browser(t).login(t, "alice")
	require.JSONEq(t, `{"expires_in":900,"refresh_expires_in":1209600}`, p.body)
	require.Equal(t, "no-store", p.header.Get("Cache-Control"))
	access, refresh := p.cookies[session.AccessCookie], p.cookies[session.RefreshCookie]
	require.Len(t, p.header["Set-Cookie"], 3)
	require.Equal(t, "__Host-access="+access.Value+"; Path=/; Max-Age=1209600; HttpOnly; Secure; SameSite=Lax", access.Raw, "the cookie must outlive its token, so that an expired token is rejected as expired")
	require.Equal(t, "__Host-session="+p.cookies[session.SessionCookie].Value+"; Path=/; Max-Age=1209600; HttpOnly; Secure; SameSite=Lax", p.cookies[session.SessionCookie].Raw)
	require.Equal(t, "__Secure-refresh="+refresh.Value+"; Path=/auth/cookie/; Max-Age=1209600; HttpOnly; Secure; SameSite=Lax", refresh.Raw)
}

func TestWithCookies_ABrowserLivesByThem(t *testing.T) {
	s := newSite(t)
	b := s.browser(t)
	require.Equal(t, 401, b.call(t).status)
	first := b.login(t, "alice")
	require.Equal(t, []string{session.AccessCookie, session.SessionCookie}, b.has(t, "/api/me"), "the refresh token must be sent only to its endpoints")
	require.Equal(t, []string{session.RefreshCookie, session.AccessCookie, session.SessionCookie}, b.has(t, cookiePath+"refresh/"))
	answer := b.call(t)
	require.Equal(t, "alice", answer.body)
	require.Contains(t, answer.header["Vary"], "Cookie")
	require.Equal(t, "private", answer.header.Get("Cache-Control"))
	require.Equal(t, 200, b.post(t, "verify", "").status)
	require.Equal(t, 200, b.send(t, "GET", cookiePath+"sessions/", "").status)

	s.clock.advance(session.DefaultAccessTTL)
	answer = b.call(t)
	require.Equal(t, 401, answer.status)
	require.Contains(t, answer.body, `"reason":"expired"`)
	require.Equal(t, 401, b.post(t, "verify", "").status)

	next := b.post(t, "refresh", "")
	require.Equal(t, 200, next.status, next.body)
	require.JSONEq(t, `{"expires_in":900,"refresh_expires_in":1209600}`, next.body)
	for _, name := range []string{session.AccessCookie, session.RefreshCookie} {
		require.NotEqual(t, first.cookies[name].Value, next.cookies[name].Value, name)
	}
	require.Equal(t, "alice", b.call(t).body)

	end := b.post(t, "logout", "")
	require.Equal(t, 204, end.status)
	end.takenAway(t)
	require.Empty(t, b.has(t, cookiePath))
	answer = b.send(t, "GET", "/api/me", "", "Cookie", session.AccessCookie+"="+next.cookies[session.AccessCookie].Value)
	require.Equal(t, 401, answer.status)
	require.Contains(t, answer.body, "revoked")
}

func TestWithCookies_TokensInBodiesAreNothingToTheHandler(t *testing.T) {
	s := newSite(t)
	pair, err := s.Login(t.Context(), "alice")
	require.NoError(t, err)
	for endpoint, body := range map[string]any{
		"refresh": map[string]string{"refresh_token": pair.RefreshToken},
		"verify":  map[string]string{"token": pair.AccessToken},
		"logout":  map[string]string{"refresh_token": pair.RefreshToken},
	} {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		p := s.browser(t).post(t, endpoint, string(text))
		require.Equal(t, 401, p.status, endpoint)
		require.Contains(t, p.body, "not_authenticated", endpoint)
	}
	_, err = s.Refresh(t.Context(), pair.RefreshToken)
	require.NoError(t, err, "the session must not have ended")

	// A token in the body must not replace the token of the cookie either.
	b := s.browser(t)
	b.login(t, "bob")
	require.Equal(t, 204, b.post(t, "logout", `{"refresh_token":"`+pair.RefreshToken+`"}`).status)
	all, err := s.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, all, 1)
	all, err = s.Sessions(t.Context(), "bob")
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestWithCookies_NoTokenIsEverInABody(t *testing.T) {
	s := newSite(t)
	b := s.browser(t)
	b.login(t, "alice")
	for _, p := range []page{
		b.login(t, "alice"), b.post(t, "refresh", ""), b.post(t, "verify", ""), b.send(t, "GET", cookiePath+"sessions/", ""),
		b.post(t, "create", `{"email":"alice","password":"wrong"}`), b.send(t, "GET", cookiePath+"refresh/", ""), b.post(t, "logout", `[]`), b.post(t, "logout", ""),
	} {
		require.NotContains(t, p.body, "eyJ")
		require.NotContains(t, p.body, "token_type")
	}
}

func TestWithCookies_OtherOriginsCannotUseThem(t *testing.T) {
	for _, origin := range []struct {
		name    string
		fields  http.Header
		refused bool
	}{
		{"another site", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}, true},
		{"a sibling", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://blog.example.com"}}, true},
		{"an old browser on another site", http.Header{"Origin": {"https://evil.example"}}, true},
		{"a sandbox", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"null"}}, true},
		{"a sibling that is trusted", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://app.example.com"}}, false},
		{"the same origin", http.Header{"Sec-Fetch-Site": {"same-origin"}}, false},
		{"the user's own hand", http.Header{"Sec-Fetch-Site": {"none"}}, false},
	} {
		t.Run(origin.name, func(t *testing.T) {
			b := newSite(t).browser(t)
			b.login(t, "alice")
			kept := b.has(t, cookiePath)
			b.fields = origin.fields
			want := func(status int, p page) {
				t.Helper()
				if !origin.refused {
					require.Equal(t, status, p.status, p.body)
					return
				}
				require.Equal(t, 403, p.status, p.body)
				require.Empty(t, p.cookies)
				require.Equal(t, kept, b.has(t, cookiePath))
			}
			want(200, b.post(t, "create", `{"email":"mallory","password":"right"}`))
			want(200, b.post(t, "verify", ""))
			want(200, b.post(t, "refresh", ""))
			want(200, b.send(t, "POST", "/api/pay", ""))
			require.Equal(t, 200, b.call(t).status, "a GET must be allowed: it changes nothing, and CORS hides the response")
			want(200, b.send(t, "POST", "/api/pay", "{}", "Content-Type", "text/plain"))
			want(204, b.post(t, "logout", `{"everywhere":true}`))
		})
	}
}

func TestWithCookies_OtherTokensAreNothingToTheHandler(t *testing.T) {
	s := newSite(t)
	bob, err := s.Login(t.Context(), "bob")
	require.NoError(t, err)
	b := s.browser(t)
	b.login(t, "alice")
	require.Contains(t, b.send(t, "GET", cookiePath+"sessions/", "", "Authorization", "Bearer "+bob.AccessToken).body, `"current":true`)
	require.Equal(t, 401, s.browser(t).post(t, "verify", "", "Authorization", "Bearer "+bob.AccessToken).status)
	require.Equal(t, 401, s.browser(t).post(t, "verify?token="+bob.AccessToken, "").status)
	require.Equal(t, 401, s.browser(t).send(t, "GET", "/api/me?token="+bob.AccessToken, "").status, "a token in the URL must be ignored: a link could log its victim in as another user")
	require.Equal(t, 204, b.post(t, "logout", "", "Authorization", "Bearer "+bob.AccessToken).status)
	all, err := s.Sessions(t.Context(), "bob")
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// A sibling subdomain can set the refresh token's cookie, whose name does not begin with
// __Host-.
func TestWithCookies_ARefreshCookieOfAnotherSessionIsNone(t *testing.T) {
	s := newSite(t)
	mallory := s.browser(t).login(t, "mallory").cookies[session.RefreshCookie]
	tossed := mallory.Name + "=" + mallory.Value
	sent := func(p page, names ...string) string {
		var pairs []string
		for _, name := range names {
			pairs = append(pairs, name+"="+p.cookies[name].Value)
		}
		return strings.Join(pairs, "; ")
	}
	own := []string{session.AccessCookie, session.SessionCookie, session.RefreshCookie}
	p := s.browser(t).post(t, "refresh", "", "Cookie", tossed)
	require.Equal(t, 401, p.status, "a browser without a session must not be logged in as mallory")
	require.Empty(t, p.cookies)

	alice := s.browser(t).login(t, "alice")
	p = s.browser(t).post(t, "refresh", "", "Cookie", tossed+"; "+sent(alice, own...))
	require.Equal(t, 200, p.status, "the cookie of another session must not keep alice out")
	require.Equal(t, alice.cookies[session.SessionCookie].Value, p.cookies[session.SessionCookie].Value)
	require.Equal(t, 200, s.browser(t).post(t, "refresh", "", "Cookie", strings.Repeat(session.RefreshCookie+"=x.y.z; ", 7)+sent(p, own...)).status)
	for _, n := range []int{8, 100} {
		p = s.browser(t).post(t, "refresh", "", "Cookie", strings.Repeat(tossed+"; ", n)+sent(p, own...))
		require.Equal(t, 200, p.status, "%d cookies of another session must not hide the right one", n)
	}
	require.Equal(t, 204, s.browser(t).post(t, "logout", "", "Cookie", tossed+"; "+sent(p, own...)).status)
	_, err := s.Refresh(t.Context(), mallory.Value)
	require.NoError(t, err, "mallory's session must not have ended")

	// If the path of the cookies was changed, a browser also sends the old refresh cookie.
	// The latest refresh token of the session must count.
	carol := s.browser(t)
	first := carol.login(t, "carol")
	s.clock.advance(settled)
	next := carol.post(t, "refresh", "")
	require.NotEqual(t, first.cookies[session.RefreshCookie].Value, next.cookies[session.RefreshCookie].Value)
	s.clock.advance(late)
	p = s.browser(t).post(t, "refresh", "", "Cookie", sent(first, session.RefreshCookie)+"; "+sent(next, own...))
	require.Equal(t, 200, p.status, p.body)
	s.clock.advance(late)
	require.Equal(t, 200, s.browser(t).post(t, "refresh", "", "Cookie", sent(next, own...)).status, "the latest token must have been used: the older one would have skipped it")
	require.Equal(t, 401, s.browser(t).post(t, "refresh", "", "Cookie", sent(p, session.RefreshCookie)).status, "the cookie that names the session is missing")
}

func TestWithCookies_TheyAreDeletedByLogoutAndTheftAlone(t *testing.T) {
	t.Run("a logout everywhere", func(t *testing.T) {
		b := newSite(t).browser(t)
		b.login(t, "alice")
		p := b.post(t, "logout", `{"everywhere":true}`)
		require.Equal(t, 204, p.status)
		p.takenAway(t)
	})
	t.Run("not a logout of another session", func(t *testing.T) {
		s := newSite(t)
		other, err := s.Login(t.Context(), "alice")
		require.NoError(t, err)
		b := s.browser(t)
		b.login(t, "alice")
		p := b.post(t, "logout", `{"session_id":"`+other.SessionID+`"}`)
		require.Equal(t, 204, p.status)
		require.Empty(t, p.cookies)
		require.Equal(t, 200, b.call(t).status)
	})
	t.Run("a logout whose refresh token cannot be read ends what the access token names", func(t *testing.T) {
		s := newSite(t)
		b := s.browser(t)
		p := b.login(t, "alice")
		p = s.browser(t).post(t, "logout", "", "Cookie", session.AccessCookie+"="+p.cookies[session.AccessCookie].Value+"; "+session.RefreshCookie+"=a.b.c")
		require.Equal(t, 204, p.status)
		p.takenAway(t)
		require.Equal(t, 401, b.call(t).status)
	})
	t.Run("not a logout everywhere, or of another session, that is refused", func(t *testing.T) {
		s := newSite(t)
		b := s.browser(t)
		stale := b.login(t, "alice")
		for range 2 {
			s.clock.advance(settled)
			require.Equal(t, 200, b.post(t, "refresh", "").status)
		}
		cookies := ""
		for name, c := range stale.cookies {
			cookies += name + "=" + c.Value + "; "
		}
		for _, body := range []string{`{"everywhere":true}`, `{"session_id":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`} {
			p := s.browser(t).post(t, "logout", body, "Cookie", cookies)
			require.Equal(t, 401, p.status)
			require.Empty(t, p.cookies, "without its cookies, the client would believe that it is logged out")
		}
	})
	t.Run("a logout after the session has ended", func(t *testing.T) {
		s := newSite(t)
		b := s.browser(t)
		b.login(t, "alice")
		s.clock.advance(session.DefaultRefreshTTL)
		p := b.post(t, "logout", "")
		require.Equal(t, 204, p.status)
		p.takenAway(t)
	})
	t.Run("theft", func(t *testing.T) {
		s := newSite(t)
		b := s.browser(t)
		login := b.login(t, "alice")
		stolen, named := login.cookies[session.RefreshCookie], session.SessionCookie+"="+login.cookies[session.SessionCookie].Value
		for range 2 {
			s.clock.advance(settled)
			require.Equal(t, 200, b.post(t, "refresh", "").status)
		}
		p := s.browser(t).post(t, "refresh", "", "Cookie", stolen.Name+"="+stolen.Value+"; "+named)
		require.Equal(t, 401, p.status)
		require.Contains(t, p.body, "reused")
		p.takenAway(t)
		require.Equal(t, 401, b.call(t).status, "the access token of the legitimate client must be rejected, too")
	})
	t.Run("not a refresh that is refused", func(t *testing.T) {
		s := newSite(t)
		b := s.browser(t)
		b.login(t, "alice")
		_, err := s.LogoutAll(t.Context(), "alice")
		require.NoError(t, err)
		p := b.post(t, "refresh", "")
		require.Equal(t, 401, p.status)
		require.Empty(t, p.cookies)
	})
	t.Run("not an outage", func(t *testing.T) {
		s := newSite(t)
		b := s.browser(t)
		b.login(t, "alice")
		s.faults.fault = outage()
		p := b.post(t, "refresh", "")
		require.Equal(t, 503, p.status)
		require.Empty(t, p.cookies)
		s.faults.fault = nil
		require.Equal(t, 200, b.post(t, "refresh", "").status)
		s.faults.fault = outage()
		p = b.post(t, "logout", "")
		require.Equal(t, 503, p.status)
		require.Empty(t, p.cookies, "a client that is told to try again needs its cookies")
		s.faults.fault = nil
		require.Equal(t, 204, b.post(t, "logout", "").status)
	})
}

func TestWithCookies_TwoDifferentCookiesOfOneNameAreRejected(t *testing.T) {
	s := newSite(t)
	b := s.browser(t)
	p := b.login(t, "alice")
	twice := func(name string) string { return name + "=a.b.c; " + name + "=" + p.cookies[name].Value }
	other := s.browser(t)
	require.Equal(t, 401, other.post(t, "refresh", "", "Cookie", session.RefreshCookie+"="+p.cookies[session.RefreshCookie].Value+"; "+twice(session.SessionCookie)).status)
	require.Equal(t, 401, other.send(t, "GET", "/api/me", "", "Cookie", twice(session.AccessCookie)).status)

	for what, twin := range map[string]func(name string) string{
		"equal": func(name string) string { return name + "=" + p.cookies[name].Value },
		"empty": func(name string) string { return name + "=" },
	} {
		both := func(name string) string { return twin(name) + "; " + name + "=" + p.cookies[name].Value }
		require.Equal(t, 200, s.browser(t).send(t, "GET", "/api/me", "", "Cookie", both(session.AccessCookie)).status, what)
		require.Equal(t, 200, s.browser(t).post(t, "refresh", "", "Cookie", both(session.SessionCookie)+"; "+both(session.RefreshCookie)).status, what)
	}
}

func TestWithCookies_ATokenThatBrowsersWouldDropIsALastingErrorBeforeAnythingChanges(t *testing.T) {
	var size int
	claims := func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		return "", []jwtauth.IssueOption{jwtauth.Claim("roles", strings.Repeat("x", size))}, nil
	}
	var log logBuffer
	s := newSite(t, session.WithClaims(claims), session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	b := s.browser(t)
	b.login(t, "alice")
	size = 3500
	for _, endpoint := range []string{"create", "refresh"} {
		p := b.post(t, endpoint, `{"email":"alice","password":"right"}`)
		require.Equal(t, 500, p.status, endpoint)
		require.Contains(t, p.body, `"code":"server_error"`, endpoint)
		require.Empty(t, p.header.Get("Retry-After"), "trying again would not help")
		require.Equal(t, "no-store", p.header.Get("Cache-Control"))
		require.Empty(t, p.cookies, endpoint)
	}
	require.Contains(t, log.String(), "the largest claim is roles with 3502 bytes")
	_, err := s.Login(t.Context(), "alice")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable, "a program that passes this error to Deny must not log its client out")
	all, err := s.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, all, 1, "there must be no new session, since no client has its tokens")
	s.clock.advance(late)
	size = 1
	require.Equal(t, 200, b.post(t, "refresh", "").status, "the refresh token must not have rotated")

	w := httptest.NewRecorder()
	require.ErrorContains(t, s.SetCookies(w, session.Pair{AccessToken: strings.Repeat("x", 4096)}), "browsers keep 4096 at most")
	require.Empty(t, w.Header())
}

func TestWithCookies_WithoutOneKindOfToken(t *testing.T) {
	b := newSite(t, session.WithoutRefresh()).browser(t)
	p := b.login(t, "alice")
	require.Equal(t, -1, p.cookies[session.RefreshCookie].MaxAge, "the refresh cookie of an earlier session must be deleted")
	require.Equal(t, 200, b.call(t).status)
	require.Equal(t, 404, b.post(t, "refresh", "").status)
	require.Equal(t, 204, b.post(t, "logout", "").status)
	require.Equal(t, 401, b.call(t).status)

	p = newSite(t, session.WithoutAccess()).browser(t).login(t, "alice")
	require.NotContains(t, p.cookies, session.AccessCookie, "the access cookie belongs to another service")
	require.Len(t, p.cookies, 2)
}

func TestWritePair_SetsCookies(t *testing.T) {
	s := newSite(t)
	pair, err := s.Login(t.Context(), "alice")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	require.NoError(t, s.WritePair(w, httptest.NewRequest("GET", "/callback", nil), pair))
	require.Len(t, w.Result().Cookies(), 3)
	require.NotContains(t, w.Body.String(), pair.AccessToken)
	require.NotContains(t, w.Body.String(), pair.RefreshToken)

	w = httptest.NewRecorder()
	large := session.Pair{AccessToken: strings.Repeat("x", 4096), RefreshToken: pair.RefreshToken}
	require.ErrorContains(t, s.WritePair(w, httptest.NewRequest("GET", "/callback", nil), large), "browsers keep 4096 at most")
	require.Equal(t, 500, w.Code)
	require.Empty(t, w.Result().Cookies())

	w = httptest.NewRecorder()
	require.NoError(t, s.SetCookies(w, pair))
	http.Redirect(w, httptest.NewRequest("GET", "/callback", nil), "/", http.StatusSeeOther)
	require.Len(t, w.Result().Cookies(), 3)
	require.ErrorContains(t, newManager(t).SetCookies(httptest.NewRecorder(), pair), "without WithCookies")
}

func TestJSONHandler_CookiesAreNothingToIt(t *testing.T) {
	s := newSite(t)
	b := s.browser(t)
	b.login(t, "alice")
	for _, endpoint := range []string{"logout", "refresh", "verify"} {
		p := b.send(t, "POST", "/auth/jwt/"+endpoint+"/", `{"misspelt":"a.b.c"}`)
		require.Equal(t, 401, p.status, endpoint)
		require.Contains(t, p.body, "not_authenticated", endpoint)
		require.Empty(t, p.cookies)
	}
	require.Equal(t, 401, b.send(t, "GET", "/auth/jwt/sessions/", "").status)
	require.Equal(t, 200, b.call(t).status)
}

func TestJSONHandler_ClientsOfBothKindsLiveOnOneManager(t *testing.T) {
	s := newSite(t)
	app, b := s.browser(t), s.browser(t)
	b.login(t, "alice")
	answer := app.send(t, "POST", "/auth/jwt/create/", `{"email":"alice","password":"right"}`, "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 200, answer.status)
	require.Empty(t, answer.cookies)
	var pair session.Pair
	require.NoError(t, json.Unmarshal([]byte(answer.body), &pair))
	answer = app.send(t, "POST", "/auth/jwt/refresh/", `{"refresh_token":"`+pair.RefreshToken+`"}`)
	require.Equal(t, 200, answer.status)
	require.Empty(t, answer.cookies)
	require.NoError(t, json.Unmarshal([]byte(answer.body), &pair))
	require.NotEmpty(t, pair.RefreshToken)

	// The Authorization field is read before the cookies.
	bob, err := s.Login(t.Context(), "bob")
	require.NoError(t, err)
	require.Equal(t, "bob", b.send(t, "GET", "/api/me", "", "Authorization", "Bearer "+bob.AccessToken).body)
	require.Equal(t, 401, b.send(t, "GET", "/api/me", "", "Authorization", "Bearer nonsense").status, "a bad token in the field must not be replaced by the cookie")
	require.Equal(t, 200, b.send(t, "POST", "/api/pay", "", "Authorization", "Bearer "+bob.AccessToken, "Sec-Fetch-Site", "cross-site").status)
	all, err := s.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, all, 2)
}

func TestUntilBrowserCloses_HoldsForEveryCookieOfTheSession(t *testing.T) {
	s := newSite(t)
	requireBrief := func(brief bool, cookies []*http.Cookie) {
		t.Helper()
		require.Len(t, cookies, 3)
		for _, c := range cookies {
			if brief {
				require.Zero(t, c.MaxAge, c.Name)
				require.Zero(t, c.Expires, c.Name)
			} else {
				require.Positive(t, c.MaxAge, c.Name)
			}
			require.True(t, c.Secure && c.HttpOnly, c.Name)
		}
	}
	for _, brief := range []bool{true, false} {
		var opts []session.LoginOption
		if brief {
			opts = append(opts, session.UntilBrowserCloses())
		}
		pair, err := s.Login(t.Context(), "alice", opts...)
		require.NoError(t, err)
		for range 3 { // each token must pass it on, even a token that is given again
			w := httptest.NewRecorder()
			require.NoError(t, s.SetCookies(w, pair))
			requireBrief(brief, w.Result().Cookies())
			var sent []string
			for _, c := range w.Result().Cookies() {
				sent = append(sent, c.Name+"="+c.Value)
			}
			again := s.browser(t).post(t, "refresh", "", "Cookie", strings.Join(sent, "; "))
			require.Equal(t, 200, again.status)
			requireBrief(brief, slices.Collect(maps.Values(again.cookies)))
			s.clock.advance(settled)
			pair, err = s.Refresh(t.Context(), pair.RefreshToken)
			require.NoError(t, err)
		}
	}
	_, err := newManager(t).Login(t.Context(), "alice", session.UntilBrowserCloses())
	require.ErrorContains(t, err, "UntilBrowserCloses needs WithCookies")
	p := page{cookies: map[string]*http.Cookie{}}
	w := httptest.NewRecorder()
	require.NoError(t, s.SetCookies(w, session.Pair{}))
	for _, c := range w.Result().Cookies() {
		p.cookies[c.Name] = c
	}
	p.takenAway(t)
}

func TestWithCookies_OfEmbeddedPagesArePartitioned(t *testing.T) {
	s := newSite(t, session.WithCookies(session.Cookies{Path: cookiePath, Embedded: true}))
	b := s.browser(t)
	for _, p := range []page{b.login(t, "alice"), b.post(t, "refresh", ""), b.post(t, "logout", "")} {
		require.Len(t, p.cookies, 3)
		for name, c := range p.cookies {
			require.True(t, c.Secure && c.HttpOnly && c.Partitioned && c.SameSite == http.SameSiteNoneMode, "%s: %s", name, c.Raw)
		}
	}
	b.login(t, "alice")
	b.fields = http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}
	require.Equal(t, 403, b.post(t, "refresh", "").status, "the protection must not depend on SameSite")
	require.Equal(t, 403, b.send(t, "POST", "/api/pay", "").status)
}

func TestWithCookies_ALoginEndsTheFormerSessionOfTheBrowser(t *testing.T) {
	live := func(s *site, subject string) int {
		all, err := s.Sessions(t.Context(), subject)
		require.NoError(t, err)
		return len(all)
	}
	s := newSite(t)
	other, b := s.browser(t), s.browser(t)
	other.login(t, "alice")
	former := b.login(t, "alice")
	b.login(t, "bob")
	require.Equal(t, 1, live(s, "alice"), "the session of another browser must go on")
	require.Equal(t, 1, live(s, "bob"))
	require.Equal(t, 200, other.call(t).status)
	require.Equal(t, 401, s.browser(t).send(t, "GET", "/api/me", "", "Cookie", session.AccessCookie+"="+former.cookies[session.AccessCookie].Value).status)
	b.post(t, "create", `{"email":"bob","password":"wrong"}`)
	require.Equal(t, 200, b.call(t).status, "a login that fails must not end a session")

	s.faults.fault = &fault{call: "Revoke"}
	require.Equal(t, "alice", func() string { b.login(t, "alice"); return b.call(t).body }(), "an outage of Revoke must not prevent the new login")

	s = newSite(t, session.WithCookies(session.Cookies{Path: cookiePath, KeepFormer: true}))
	b = s.browser(t)
	b.login(t, "alice")
	b.login(t, "alice")
	require.Equal(t, 2, live(s, "alice"))
}

func TestWithCookies_APageOverPlainHTTPIsLoggedOnce(t *testing.T) {
	for origin, logged := range map[string]bool{
		"http://192.168.1.7:8080": true, "http://dev.example.com": true, "http://[2001:db8::1]": true,
		"https://app.example.com": false, "http://localhost:8080": false, "http://app.localhost": false, "http://127.0.0.1:8080": false, "http://[::1]:8080": false, "": false,
	} {
		t.Run("of "+origin, func(t *testing.T) {
			var log logBuffer
			s := newSite(t, session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			b := s.browser(t)
			if origin != "" {
				b.fields.Set("Origin", origin)
			}
			for range 2 {
				b.login(t, "alice")
			}
			if !logged {
				require.Empty(t, log.String())
				return
			}
			require.Equal(t, 1, strings.Count(log.String(), "\n"))
			require.Contains(t, log.String(), "level=WARN")
			require.Contains(t, log.String(), origin)
		})
	}
}
