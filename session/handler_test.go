package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

func TestHandler_ALoginGivesAPair(t *testing.T) {
	for name, body := range map[string]string{
		"by e-mail":                         aliceLogin,
		"by a user name":                    `{"username":"alice","password":"` + alicePassword + `"}`,
		"with fields that are not known":    `{"email":"` + aliceEmail + `","password":"` + alicePassword + `","remember":true,"x":[{}]}`,
		"with a user name that is null":     `{"email":"` + aliceEmail + `","password":"` + alicePassword + `","username":null}`,
		"with spaces around it":             "\r\n\t " + aliceLogin + "\n",
		"with exactly 64 KiB":               aliceLogin + strings.Repeat(" ", 64<<10-len(aliceLogin)),
		"with escapes that mean the letter": `{"\u0065mail":"\u0061lice@mail.invalid","password":"` + alicePassword + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			p := a.login(t, body)
			require.EqualValues(t, 900, p.ExpiresIn)
			require.EqualValues(t, 1209600, p.RefreshExpiresIn)
			got := a.me(t, p.AccessToken)
			require.Equal(t, 200, got.status)
			require.Equal(t, "user-1", got.body)
			a.clock.advance(settled)
			again := a.refresh(t, p.RefreshToken).pair(t)
			require.EqualValues(t, 900, again.ExpiresIn)
			require.EqualValues(t, 1209600, again.RefreshExpiresIn)
			require.NotEqual(t, p.RefreshToken, again.RefreshToken)
			a.live(t, again, true)
		})
	}
}

func TestHandler_AJSONMediaTypeIsTakenWithParametersAndWithoutAny(t *testing.T) {
	a := newAPI(t)
	for _, mediaType := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8 ", ""} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/auth/jwt/create/", strings.NewReader(aliceLogin))
		require.NoError(t, err)
		if mediaType != "" {
			r.Header.Set("Content-Type", mediaType)
		}
		a.send(t, r).pair(t)
	}
}

func TestHandler_TheCallbackSeesAllThatWasSent(t *testing.T) {
	var seen session.Credentials
	var agent string
	a := newAPIWith(t, session.NewMemory(), func(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		seen, agent = c, r.UserAgent()
		return "user-1", nil, nil
	})
	a.login(t, `{"email":"`+aliceEmail+`","username":"alice","password":"`+alicePassword+`","otp":"hunter2-one-time","device":{"id":7,"tags":["a","b"]},"big":12345678901234567890}`,
		"User-Agent", "a browser")
	require.Equal(t, "a browser", agent)
	require.Equal(t, aliceEmail, seen.Email)
	require.Equal(t, "alice", seen.Username)
	require.Equal(t, alicePassword, seen.Password)
	var own struct {
		Email, Username, Password string
		OTP                       string `json:"otp"`
		Device                    struct {
			ID   int
			Tags []string
		}
		Big json.Number `json:"big"`
	}
	require.NoError(t, seen.Decode(&own))
	require.Equal(t, aliceEmail, own.Email)
	require.Equal(t, "alice", own.Username)
	require.Equal(t, alicePassword, own.Password)
	require.Equal(t, "hunter2-one-time", own.OTP)
	require.Equal(t, 7, own.Device.ID)
	require.Equal(t, []string{"a", "b"}, own.Device.Tags)
	require.Equal(t, json.Number("12345678901234567890"), own.Big)
	require.Error(t, seen.Decode(&struct {
		OTP int `json:"otp"`
	}{}), "Decode must return an error for a field of another type")

	// encoding/json would read each of these names as that of a known field.
	for _, body := range []string{`{"Email":"x"}`, `{"email":"x","PASSWORD":"y"}`, `{"u\u017fername":"x"}`} {
		seen = session.Credentials{}
		require.Equal(t, 400, a.call(t, "POST", "/auth/jwt/create/", body).status, body)
		require.Zero(t, seen)
	}
}

func TestHandler_WrongCredentialsAreOneAnswerWhateverWasWrong(t *testing.T) {
	gone := func(_ context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
		if s.Subject == "user-2" {
			return "", nil, fmt.Errorf("deleted: %w", session.ErrSubjectGone)
		}
		return "", nil, nil
	}
	a := newAPI(t, session.WithClaims(gone))
	first := a.call(t, "POST", "/auth/jwt/create/", `{}`)
	require.Equal(t, 401, first.status)
	require.Equal(t, []string{"code", "detail"}, fieldsOf(t, first.body))
	require.Equal(t, "credentials_not_valid", first.problem(t).Code)
	require.Equal(t, "Bearer", first.header.Get("WWW-Authenticate"))
	for name, body := range map[string]string{
		"the password":                 `{"email":"` + aliceEmail + `","password":"` + wrongPassword + `"}`,
		"no password":                  `{"email":"` + aliceEmail + `"}`,
		"the user":                     `{"email":"nobody@mail.invalid","password":"` + alicePassword + `"}`,
		"the user name":                `{"username":"nobody","password":"` + alicePassword + `"}`,
		"a locked user":                `{"email":"locked@mail.invalid","password":"` + wrongPassword + `"}`,
		"a user who is gone":           bobLogin,
		"the password of another user": `{"email":"` + aliceEmail + `","password":"` + bobPassword + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, first, a.call(t, "POST", "/auth/jwt/create/", body))
			require.Equal(t, first, a.call(t, "POST", "/auth/jwt/create/", body, "Authorization", "Bearer garbage"))
		})
	}
	require.Empty(t, a.logs.String(), "wrong credentials must not be logged")
}

func TestHandler_ALoginThatCannotBeDecidedIs503(t *testing.T) {
	outage := errors.New("the user database is down")
	for name, check := range map[string]authenticate{
		"an error of the callback's": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "", nil, outage
		},
		"an error beside a subject": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "user-1", nil, outage
		},
		"neither subject nor error": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) { return "", nil, nil },
		"an outage of this library's": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "", nil, jwtauth.ErrUnavailable
		},
		"an error of a token, which it is not": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "", nil, jwtauth.ErrExpired
		},
		"a subject that is too long": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return strings.Repeat("x", session.MaxText+1), nil, nil
		},
		"a subject that is not UTF-8": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "\xff", nil, nil
		},
		"an age that no session may have": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "user-1", []session.LoginOption{session.MaxAge(-1)}, nil
		},
		"an age beyond that of the whole option": func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
			return "user-1", []session.LoginOption{session.MaxAge(1000 * 24 * time.Hour)}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPIWith(t, session.NewMemory(), check)
			got := a.call(t, "POST", "/auth/jwt/create/", aliceLogin)
			got.failed(t, 503, "unavailable", "")
			require.NotContains(t, got.body, "database")
			require.Contains(t, a.logs.String(), `"level":"ERROR"`, "the reason must be logged as an error")
		})
	}
}

func TestHandler_ABodyThatIsNoObjectIs400(t *testing.T) {
	for name, body := range map[string]string{
		"an array":                  `[]`,
		"null":                      `null`,
		"a string":                  `"refresh_token"`,
		"a number":                  `1`,
		"nothing but spaces":        "  \n",
		"cut off":                   `{"email":"x"`,
		"data behind it":            `{} {}`,
		"a letter behind it":        `{}x`,
		"a comma too many":          `{"email":"x",}`,
		"no JSON":                   `email=x&password=y`,
		"single quotes":             `{'email':'x'}`,
		"a NUL byte":                "{}\x00",
		"a byte order mark":         "\ufeff{}",
		"nesting beyond all reason": `{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			p := a.login(t, aliceLogin)
			for _, endpoint := range []string{"create", "refresh", "verify", "logout"} {
				a.call(t, "POST", "/auth/jwt/"+endpoint+"/", body, bearer(p.AccessToken)...).failed(t, 400, "malformed", "")
			}
			a.live(t, p, true)
		})
	}
}

func TestHandler_FieldsOfAnotherTypeAre400(t *testing.T) {
	for endpoint, fields := range map[string]map[string][]string{
		"create":  {"email": {`1`, `[]`, `{}`, `true`}, "username": {`1`}, "password": {`1`, `["x"]`, `false`}},
		"refresh": {"refresh_token": {`1`, `[]`, `{}`, `true`}},
		"verify":  {"token": {`1`, `[]`, `{}`, `true`}},
		"logout":  {"refresh_token": {`1`, `{}`}, "session_id": {`1`, `[]`}, "everywhere": {`1`, `"true"`, `[]`}},
	} {
		for field, values := range fields {
			for _, value := range values {
				t.Run(endpoint+" with "+field+" "+value, func(t *testing.T) {
					a := newAPI(t)
					p := a.login(t, aliceLogin)
					got := a.call(t, "POST", "/auth/jwt/"+endpoint+"/", `{"`+field+`":`+value+`}`, bearer(p.AccessToken)...)
					got.failed(t, 400, "malformed", "")
					require.Contains(t, got.problem(t).Detail, field)
					a.live(t, p, true)
				})
			}
		}
	}
}

func TestHandler_AnEmptyBodyIsNoLogin(t *testing.T) {
	newAPI(t).call(t, "POST", "/auth/jwt/create/", "").failed(t, 400, "malformed", "")
}

func TestHandler_ABodyOfMoreThan64KiBIs413(t *testing.T) {
	a := newAPI(t)
	p := a.login(t, aliceLogin)
	for _, endpoint := range []string{"create", "refresh", "verify", "logout"} {
		for name, body := range map[string]io.Reader{
			"of a known length":    strings.NewReader(aliceLogin + strings.Repeat(" ", 64<<10+1-len(aliceLogin))),
			"of an unknown length": io.MultiReader(strings.NewReader(aliceLogin), strings.NewReader(strings.Repeat(" ", 64<<10+1-len(aliceLogin)))),
		} {
			t.Run(endpoint+" "+name, func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/auth/jwt/"+endpoint+"/", body)
				require.NoError(t, err)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+p.AccessToken)
				a.send(t, r).failed(t, 413, "too_large", "")
			})
		}
	}
	a.live(t, p, true)
}

func TestHandler_AnotherMediaTypeIs415(t *testing.T) {
	a := newAPI(t)
	p := a.login(t, aliceLogin)
	for _, mediaType := range []string{
		"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/json-seq",
		"text/plain; application/json", "*/*", "text/plain;application/json",
		// Browsers treat these as text/plain, and send them without a preflight.
		"text/plain; a=b; a=c", "text/plain; =", "application/json; =",
		"nonsense", "application", "application/json, text/plain",
	} {
		t.Run(mediaType, func(t *testing.T) {
			for _, endpoint := range []string{"create", "refresh", "verify", "logout"} {
				got := a.call(t, "POST", "/auth/jwt/"+endpoint+"/", aliceLogin, append(bearer(p.AccessToken), "Content-Type", mediaType)...)
				got.failed(t, 415, "unsupported_media_type", "")
			}
		})
	}
}

func TestHandler_AnotherMethodIs405AndSaysWhichIsRight(t *testing.T) {
	a := newAPI(t)
	p := a.login(t, aliceLogin)
	for endpoint, right := range map[string]string{"create": "POST", "refresh": "POST", "verify": "POST", "logout": "POST", "sessions": "GET, HEAD"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "TRACE"} {
			if slices.Contains(strings.Split(right, ", "), method) {
				continue
			}
			t.Run(method+" "+endpoint, func(t *testing.T) {
				got := a.call(t, method, "/auth/jwt/"+endpoint+"/", "", bearer(p.AccessToken)...)
				require.Equal(t, 405, got.status)
				require.Equal(t, []string{right}, got.header["Allow"])
				if method != "HEAD" {
					got.failed(t, 405, "method_not_allowed", "")
				}
			})
		}
	}
	a.live(t, p, true)
}

func TestHandler_WhatIsNotThereIs404(t *testing.T) {
	a := newAPI(t)
	p := a.login(t, aliceLogin)
	for _, path := range []string{
		"", "login/", "Create/", "creat/", "creates/", "create.json", "create/x", "logout/all/", "%20create/", "create%00",
		"sessions/" + decode(t, p.AccessToken).SessionID,
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(method+" "+path, func(t *testing.T) {
				a.call(t, method, "/auth/jwt/"+path, "", bearer(p.AccessToken)...).failed(t, 404, "not_found", "")
			})
		}
	}
}

func TestHandler_ServesWhereverItIsMounted(t *testing.T) {
	m := newManager(t)
	handler := m.Handler(checkUser)
	for name, c := range map[string]struct {
		root  http.Handler
		below string
	}{
		"at /auth/jwt/":      {mounted("/auth/jwt/", handler), "/auth/jwt/"},
		"at /":               {mounted("/", handler), "/"},
		"by itself":          {handler, "/"},
		"behind StripPrefix": {mounted("/v1/users/", http.StripPrefix("/v1/users", handler)), "/v1/users/"},
		"behind StripPrefix that takes the slash":    {mounted("/v2/users/", http.StripPrefix("/v2/users/", handler)), "/v2/users/"},
		"below a wildcard":                           {mounted("/{tenant}/auth/", handler), "/acme/auth/"},
		"by a pattern for each, without the slash":   {mounted("/auth/{endpoint}", handler), "/auth/"},
		"below a name that is one of its own, first": {mounted("/sessions/", handler), "/sessions/"},
	} {
		for _, slash := range []string{"/", ""} {
			if slash == "/" && strings.HasSuffix(name, "without the slash") {
				continue
			}
			t.Run(fmt.Sprintf("%s, with %q behind", name, slash), func(t *testing.T) {
				server := httptest.NewServer(c.root)
				defer server.Close()
				a := &api{Manager: m, url: server.URL}
				at := func(endpoint string) string { return c.below + endpoint + slash }
				p := a.call(t, "POST", at("create"), aliceLogin).pair(t)
				p = a.call(t, "POST", at("refresh"), object("refresh_token", p.RefreshToken)).pair(t)
				require.Equal(t, 200, a.call(t, "POST", at("verify"), object("token", p.AccessToken)).status)
				require.Equal(t, 200, a.call(t, "GET", at("sessions"), "", bearer(p.AccessToken)...).status)
				require.Equal(t, 204, a.call(t, "POST", at("logout"), "", bearer(p.AccessToken)...).status)
				a.call(t, "POST", at("verify"), object("token", p.AccessToken)).failed(t, 401, "token_not_valid", "revoked")
				a.call(t, "POST", at("nothing"), "").failed(t, 404, "not_found", "")
			})
		}
	}
}

func mounted(pattern string, handler http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(pattern, handler)
	return mux
}

// forged returns tokens that must not be accepted as a token of the wanted kind. Some are
// made from a token of the live session of p.
func forged(t *testing.T, a *api, p session.Pair, wanted string) map[string]string {
	t.Helper()
	right := p.AccessToken
	if wanted == session.RefreshType {
		right = p.RefreshToken
	}
	parts := strings.Split(right, ".")
	withKey := func(secret []byte, kind string, opts ...jwtauth.IssueOption) string {
		auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithTypes(kind), jwtauth.WithAnyContainer(), jwtauth.WithClock(a.clock.now))
		require.NoError(t, err)
		token, err := auth.Issue("", opts...)
		require.NoError(t, err)
		return token
	}
	like := []jwtauth.IssueOption{jwtauth.Subject("user-1"), jwtauth.SessionID(decode(t, right).SessionID), jwtauth.ID(decode(t, right).ID), jwtauth.Claim("gen", 1)}
	other := []byte("another key of 32 bytes or more!")
	all := map[string]string{
		"garbage":                     "garbage",
		"three dots":                  "...",
		"spaces":                      "   ",
		"spaces around it":            " " + right + " ",
		"a scheme before it":          "Bearer " + right,
		"letters beyond ASCII":        "trägt.nicht.ein",
		"a forged signature":          parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)),
		"no signature":                parts[0] + "." + parts[1] + ".",
		"no algorithm":                base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"`+wanted+`"}`)) + "." + parts[1] + ".",
		"another key":                 withKey(other, wanted, like...),
		"another key, and expired":    withKey(other, wanted, append(like, authtest.IssuedAt(start.Add(-time.Hour)), jwtauth.TTL(time.Second))...),
		"more than tokens are":        strings.Repeat("x", 9000),
		"the payload of another user": parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"user-2","exp":99999999999}`)) + "." + parts[2],
	}
	if wanted == session.RefreshType {
		all["a refresh token of no session"] = withKey(secret, wanted, jwtauth.Subject("user-1"))
		all["a refresh token of no subject"] = withKey(secret, wanted, jwtauth.SessionID(decode(t, right).SessionID))
		all["a refresh token with another's id"] = withKey(secret, wanted, append(like, jwtauth.ID("another"))...)
		all["a generation that is no number"] = withKey(secret, wanted, append(like, jwtauth.Claim("gen", "1"))...)
	}
	return all
}

func TestHandler_AClientWithoutAnAuthenticTokenLearnsNothing(t *testing.T) {
	a := newAPI(t)
	p := a.login(t, aliceLogin)
	for name, c := range map[string]struct {
		kind string
		send func(token string) apiAnswer
	}{
		"refresh": {session.RefreshType, func(token string) apiAnswer { return a.refresh(t, token) }},
		"verify": {session.AccessType, func(token string) apiAnswer {
			return a.call(t, "POST", "/auth/jwt/verify/", object("token", token))
		}},
		"logout by refresh token": {session.RefreshType, func(token string) apiAnswer {
			return a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", token))
		}},
		"logout by access token": {session.AccessType, func(token string) apiAnswer {
			return a.call(t, "POST", "/auth/jwt/logout/", `{"everywhere":true}`, bearer(token)...)
		}},
		"sessions": {session.AccessType, func(token string) apiAnswer {
			return a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(token)...)
		}},
		"a call of the service": {session.AccessType, func(token string) apiAnswer { return a.me(t, token) }},
	} {
		first := c.send("x.y.z")
		first.failed(t, 401, "token_not_valid", "")
		require.Equal(t, `Bearer error="invalid_token"`, first.header.Get("WWW-Authenticate"))
		for what, token := range forged(t, a, p, c.kind) {
			t.Run(name+" with "+what, func(t *testing.T) {
				// Header fields are trimmed, and garbage in a field was tested above.
				if c.kind == session.AccessType && name != "verify" && strings.TrimSpace(token) != token {
					return
				}
				// Our key has signed these tokens for a session, which is all that logout needs.
				if name == "logout by refresh token" && (what == "a refresh token with another's id" || what == "a generation that is no number") {
					return
				}
				require.Equal(t, first, c.send(token))
			})
		}
	}
	a.live(t, p, true)
	require.Equal(t, 200, a.refresh(t, p.RefreshToken).status)
}

// These tokens are correctly signed, so the response may say that their type is wrong.
func TestHandler_NoKindOfTokenPassesForAnother(t *testing.T) {
	a := newAPI(t)
	p := a.login(t, aliceLogin)
	neither, err := jwtauth.New(keys.HS256(secret), jwtauth.WithAnyContainer(), jwtauth.WithClock(a.clock.now))
	require.NoError(t, err)
	plain, err := neither.Issue("", jwtauth.Subject("user-1"), jwtauth.SessionID(decode(t, p.AccessToken).SessionID))
	require.NoError(t, err)
	for name, got := range map[string]apiAnswer{
		"an access token that refreshes":                    a.refresh(t, p.AccessToken),
		"an access token that logs out as a refresh token":  a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", p.AccessToken)),
		"a refresh token that calls":                        a.me(t, p.RefreshToken),
		"a refresh token that is verified":                  a.call(t, "POST", "/auth/jwt/verify/", object("token", p.RefreshToken)),
		"a refresh token that lists":                        a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(p.RefreshToken)...),
		"a refresh token that logs out as an access token":  a.call(t, "POST", "/auth/jwt/logout/", "", bearer(p.RefreshToken)...),
		"a token of another Auth that refreshes":            a.refresh(t, plain),
		"a token of another Auth that calls":                a.me(t, plain),
		"a token of another Auth that logs out":             a.call(t, "POST", "/auth/jwt/logout/", "", bearer(plain)...),
		"a token of another Auth that logs out, in a field": a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", plain)),
	} {
		t.Run(name, func(t *testing.T) { got.failed(t, 401, "token_not_valid", "wrong_type") })
	}
	a.live(t, p, true)
}

func TestHandler_NoTokenIsNotAuthenticated(t *testing.T) {
	a := newAPI(t)
	for name, got := range map[string]apiAnswer{
		"refresh, empty":      a.call(t, "POST", "/auth/jwt/refresh/", ""),
		"refresh, {}":         a.call(t, "POST", "/auth/jwt/refresh/", "{}"),
		"refresh, null":       a.call(t, "POST", "/auth/jwt/refresh/", `{"refresh_token":null}`),
		"refresh, ''":         a.refresh(t, ""),
		"refresh, other name": a.call(t, "POST", "/auth/jwt/refresh/", `{"refresh":"x","Refresh_Token":"x"}`),
		"verify, empty":       a.call(t, "POST", "/auth/jwt/verify/", ""),
		"verify, {}":          a.call(t, "POST", "/auth/jwt/verify/", "{}"),
		"logout, empty":       a.call(t, "POST", "/auth/jwt/logout/", ""),
		"logout, everywhere":  a.call(t, "POST", "/auth/jwt/logout/", `{"everywhere":true}`),
		"logout, session_id":  a.call(t, "POST", "/auth/jwt/logout/", `{"session_id":"x"}`),
		"logout, Basic":       a.call(t, "POST", "/auth/jwt/logout/", "", "Authorization", "Basic eDp5"),
		"sessions":            a.call(t, "GET", "/auth/jwt/sessions/", ""),
		"a call":              a.call(t, "GET", "/api/me", ""),
	} {
		t.Run(name, func(t *testing.T) {
			got.failed(t, 401, "not_authenticated", "")
			require.Equal(t, "Bearer", got.header.Get("WWW-Authenticate"))
		})
	}
}

func TestHandler_ARefreshThatIsRejectedSaysWhy(t *testing.T) {
	refused := func(t *testing.T, got apiAnswer, reason string) {
		t.Helper()
		got.failed(t, 401, "token_not_valid", reason)
		require.Equal(t, `Bearer error="invalid_token"`, got.header.Get("WWW-Authenticate"))
	}
	t.Run("idle for too long", func(t *testing.T) {
		a := newAPI(t)
		p := a.login(t, aliceLogin)
		a.clock.advance(session.DefaultRefreshTTL - time.Second)
		p = a.refresh(t, p.RefreshToken).pair(t)
		a.clock.advance(session.DefaultRefreshTTL)
		refused(t, a.refresh(t, p.RefreshToken), "expired")
	})
	t.Run("too old", func(t *testing.T) {
		a := newAPI(t, session.WithRefreshTTL(time.Minute), session.WithMaxAge(90*time.Second))
		p := a.login(t, aliceLogin)
		require.EqualValues(t, 60, p.ExpiresIn, "an access token does not outlive its session")
		a.clock.advance(50 * time.Second)
		p = a.refresh(t, p.RefreshToken).pair(t)
		require.EqualValues(t, 40, p.RefreshExpiresIn)
		a.clock.advance(40 * time.Second)
		refused(t, a.refresh(t, p.RefreshToken), "expired")
	})
	t.Run("logged out", func(t *testing.T) {
		a := newAPI(t)
		p := a.login(t, aliceLogin)
		require.NoError(t, a.Logout(t.Context(), "user-1", decode(t, p.RefreshToken).SessionID))
		refused(t, a.refresh(t, p.RefreshToken), "revoked")
	})
	t.Run("of a session that the store has lost", func(t *testing.T) {
		refused(t, newAPI(t).refresh(t, newAPI(t).login(t, aliceLogin).RefreshToken), "revoked")
	})
	t.Run("replaced twice, which ends the session for everybody", func(t *testing.T) {
		a := newAPI(t)
		first := a.login(t, aliceLogin)
		bystander := a.login(t, aliceLogin)
		a.clock.advance(settled)
		second := a.refresh(t, first.RefreshToken).pair(t)
		a.clock.advance(settled)
		third := a.refresh(t, second.RefreshToken).pair(t)
		a.live(t, third, true)
		refused(t, a.refresh(t, first.RefreshToken), "reused")
		a.me(t, first.AccessToken).failed(t, 401, "token_not_valid", "revoked")
		a.me(t, third.AccessToken).failed(t, 401, "token_not_valid", "revoked")
		for _, p := range []session.Pair{first, second, third} {
			refused(t, a.refresh(t, p.RefreshToken), "revoked")
		}
		a.live(t, bystander, true)
		require.Contains(t, a.logs.String(), "used again")
	})
	t.Run("replaced, and presented again after the grace", func(t *testing.T) {
		a := newAPI(t, session.WithGrace(5*time.Second), session.WithoutRecovery())
		first := a.login(t, aliceLogin)
		a.clock.advance(settled)
		second := a.refresh(t, first.RefreshToken).pair(t)
		a.clock.advance(15 * time.Second) // 10 s of this is the allowed clock skew
		again := a.refresh(t, first.RefreshToken).pair(t)
		require.Equal(t, decode(t, second.RefreshToken), decode(t, again.RefreshToken), "the same successor")
		a.clock.advance(16 * time.Second)
		refused(t, a.refresh(t, first.RefreshToken), "reused")
		a.live(t, second, false)
	})
	t.Run("of a user who is gone", func(t *testing.T) {
		var gone atomic.Bool
		a := newAPI(t, session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
			if gone.Load() {
				return "", nil, session.ErrSubjectGone
			}
			return "", nil, nil
		}))
		p := a.login(t, aliceLogin)
		gone.Store(true)
		refused(t, a.refresh(t, p.RefreshToken), "revoked")
		a.live(t, p, false)
	})
}

func TestHandler_VerifyVerifiesAnAccessToken(t *testing.T) {
	a := newAPI(t)
	p := a.login(t, aliceLogin)
	verify := func(token string) apiAnswer {
		return a.call(t, "POST", "/auth/jwt/verify/", object("token", token))
	}
	got := verify(p.AccessToken)
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{}`, got.body)
	a.call(t, "POST", "/auth/jwt/verify/", `{}`, bearer(p.AccessToken)...).failed(t, 401, "not_authenticated", "")
	a.clock.advance(session.DefaultAccessTTL)
	verify(p.AccessToken).failed(t, 401, "token_not_valid", "expired")
	p = a.refresh(t, p.RefreshToken).pair(t)
	require.Equal(t, 200, verify(p.AccessToken).status)
	require.NoError(t, a.Logout(t.Context(), "user-1", decode(t, p.AccessToken).SessionID))
	verify(p.AccessToken).failed(t, 401, "token_not_valid", "revoked")
}

func TestHandler_LogoutEndsWhatItNames(t *testing.T) {
	// mine is the caller's session, second is another one of the same user, and bobs
	// belongs to another user.
	for name, c := range map[string]struct {
		body          string
		byRefresh     bool
		mine, second  bool // whether the sessions are still live
		everywhereToo bool // whether a retry with the same token, now revoked, is rejected
	}{
		"by access token":                           {body: ``, second: true},
		"by access token, with an empty object":     {body: `{}`, second: true},
		"by refresh token":                          {body: `{"refresh_token":"MINE"}`, byRefresh: true, second: true},
		"with its own session_id":                   {body: `{"session_id":"OWN"}`, second: true},
		"with another session_id of the same user":  {body: `{"session_id":"SECOND"}`, mine: true},
		"by refresh token, with another session_id": {body: `{"refresh_token":"MINE","session_id":"SECOND"}`, byRefresh: true, mine: true},
		"with the session_id of another user":       {body: `{"session_id":"BOBS"}`, mine: true, second: true},
		"with a session_id of no session":           {body: `{"session_id":"none"}`, mine: true, second: true},
		"with a session_id that is null":            {body: `{"session_id":null}`, second: true},
		"everywhere":                                {body: `{"everywhere":true}`, everywhereToo: true},
		"everywhere, by refresh token":              {body: `{"everywhere":true,"refresh_token":"MINE"}`, byRefresh: true, everywhereToo: true},
		"everywhere, and of another user":           {body: `{"everywhere":true,"session_id":"BOBS"}`, everywhereToo: true},
		"everywhere being false":                    {body: `{"everywhere":false}`, second: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			mine, second, bobs := a.login(t, aliceLogin), a.login(t, aliceLogin), a.login(t, bobLogin)
			body := strings.NewReplacer("MINE", mine.RefreshToken, "OWN", decode(t, mine.AccessToken).SessionID,
				"SECOND", decode(t, second.AccessToken).SessionID, "BOBS", decode(t, bobs.AccessToken).SessionID).Replace(c.body)
			var fields []string
			if !c.byRefresh {
				fields = bearer(mine.AccessToken)
			}
			got := a.call(t, "POST", "/auth/jwt/logout/", body, fields...)
			require.Equal(t, 204, got.status, got.body)
			require.Empty(t, got.body)
			a.live(t, mine, c.mine)
			a.live(t, second, c.second)
			a.live(t, bobs, true)

			again := a.call(t, "POST", "/auth/jwt/logout/", body, fields...)
			if c.everywhereToo {
				// The token has been revoked. It could still end its own session, but no other.
				again.failed(t, 401, "token_not_valid", "revoked")
			} else {
				require.Equal(t, 204, again.status, again.body)
			}
			a.live(t, bobs, true)
			a.refresh(t, bobs.RefreshToken).pair(t)
		})
	}
}

func TestHandler_TheRefreshTokenOfABodyCountsBeforeTheAccessToken(t *testing.T) {
	a := newAPI(t)
	alice, bob := a.login(t, aliceLogin), a.login(t, bobLogin)
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", bob.RefreshToken), bearer(alice.AccessToken)...).status)
	a.live(t, alice, true)
	a.live(t, bob, false)
	a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", "garbage"), bearer(alice.AccessToken)...).failed(t, 401, "token_not_valid", "")
	a.live(t, alice, true)
}

func TestHandler_ARefreshTokenThatWasReplacedStillLogsOut(t *testing.T) {
	a := newAPI(t)
	first := a.login(t, aliceLogin)
	second := a.refresh(t, first.RefreshToken).pair(t)
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", first.RefreshToken)).status)
	a.live(t, second, false)
}

func TestHandler_AnExpiredAccessTokenEndsItsOwnSessionAndNoOther(t *testing.T) {
	a := newAPI(t)
	p, other := a.login(t, aliceLogin), a.login(t, aliceLogin)
	a.clock.advance(session.DefaultAccessTTL)
	a.me(t, p.AccessToken).failed(t, 401, "token_not_valid", "expired")
	a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(p.AccessToken)...).failed(t, 401, "token_not_valid", "expired")
	for _, body := range []string{object("session_id", decode(t, other.AccessToken).SessionID), `{"everywhere":true}`} {
		a.call(t, "POST", "/auth/jwt/logout/", body, bearer(p.AccessToken)...).failed(t, 401, "token_not_valid", "expired")
	}
	p, other = a.refresh(t, p.RefreshToken).pair(t), a.refresh(t, other.RefreshToken).pair(t)
	a.clock.advance(session.DefaultAccessTTL)

	for range 2 { // the second time, the session has already ended
		require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", "", bearer(p.AccessToken)...).status)
	}
	a.refresh(t, p.RefreshToken).failed(t, 401, "token_not_valid", "revoked")
	other = a.refresh(t, other.RefreshToken).pair(t)

	a.clock.advance(session.DefaultRefreshTTL + clocksApart)
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", "", bearer(other.AccessToken)...).status, "an access token whose session has expired must be accepted for logout")
	a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", other.RefreshToken)).failed(t, 401, "token_not_valid", "expired")
}

// An attacker who finds an old refresh token must not be able to log its owner out
// everywhere.
func TestHandler_ADeadTokenEndsOnlyItsOwnSession(t *testing.T) {
	everywhere := func(token string) string { return `{"everywhere":true,"refresh_token":"` + token + `"}` }
	t.Run("of a session that was ended, and forgotten by the list", func(t *testing.T) {
		store := session.NewMemory()
		old := newManagerOver(t, store)
		dead := login(t, old, "alice")
		require.NoError(t, old.Logout(t.Context(), "alice", dead.SessionID))
		m := newManagerOver(t, store) // after a restart
		mine := login(t, m, "alice")
		require.Equal(t, 401, logoutOf(t, m, everywhere(dead.RefreshToken), ""))
		require.Equal(t, 401, logoutOf(t, m, `{"everywhere":true}`, dead.AccessToken))
		require.Equal(t, 401, logoutOf(t, m, `{"session_id":"`+mine.SessionID+`"}`, dead.AccessToken))
		refresh(t, m, mine.RefreshToken)
	})
	t.Run("that was replaced long ago", func(t *testing.T) {
		clock := newClock()
		m := newManager(t, session.WithClock(clock.now))
		dead, mine := login(t, m, "alice"), login(t, m, "alice")
		next := dead
		for range 2 {
			clock.advance(time.Hour)
			next = refresh(t, m, next.RefreshToken)
		}
		require.Equal(t, 401, logoutOf(t, m, everywhere(dead.RefreshToken), ""))
		refresh(t, m, mine.RefreshToken)
	})
}

func TestHandler_ATokenThatOnlyTheListRevokedEndsItsOwnSessionAndNoOther(t *testing.T) {
	clock := newClock()
	list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(clock.now), revoke.WithMaxLifetime(session.DefaultRefreshTTL))
	require.NoError(t, err)
	for name, of := range map[string]func(session.Pair) (token string, fields []string){
		"the access token":  func(p session.Pair) (string, []string) { return p.AccessToken, bearer(p.AccessToken) },
		"the refresh token": func(p session.Pair) (string, []string) { return p.RefreshToken, nil },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, session.WithRevocations(list), session.WithClock(clock.now))
			mine, second := a.login(t, aliceLogin), a.login(t, aliceLogin)
			token, fields := of(mine)
			require.NoError(t, list.RevokeToken(t.Context(), "", decode(t, token).ID, clock.now().Add(session.DefaultRefreshTTL)))
			logout := func(more string) apiAnswer {
				if fields == nil {
					more = `{"refresh_token":"` + token + `",` + strings.TrimPrefix(more, "{")
					more = strings.Replace(more, ",}", "}", 1)
				}
				return a.call(t, "POST", "/auth/jwt/logout/", more, fields...)
			}
			alive := func(p session.Pair) bool {
				all, err := a.Sessions(t.Context(), "user-1")
				require.NoError(t, err)
				return slices.ContainsFunc(all, func(s session.Session) bool { return s.ID == decode(t, p.AccessToken).SessionID })
			}
			logout(`{"session_id":"`+decode(t, second.AccessToken).SessionID+`"}`).failed(t, 401, "token_not_valid", "revoked")
			logout(`{"everywhere":true}`).failed(t, 401, "token_not_valid", "revoked")
			require.True(t, alive(mine))
			require.True(t, alive(second))
			require.Equal(t, 204, logout(`{}`).status)
			require.False(t, alive(mine))
			a.live(t, mine, false)
			a.live(t, second, true)
		})
	}
}

// A trusted issuer issues tokens that name a subject and a session of ours. They must be
// accepted for calls, but must not list or end our sessions.
func TestHandler_ATrustedIssuerHasNoBusinessWithSessions(t *testing.T) {
	theirs := keys.HS256([]byte("fedcba9876543210fedcba9876543210"))
	a := newAPI(t, session.WithAccess(jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithTrustedIssuer("https://id.example.com", theirs)))
	pair := a.login(t, aliceLogin)
	other, err := jwtauth.New(theirs, jwtauth.WithIssuer("https://id.example.com"), jwtauth.WithTypes(session.AccessType), jwtauth.WithAnyContainer(), jwtauth.WithClock(a.clock.now))
	require.NoError(t, err)
	claims, err := a.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
	require.NoError(t, err)
	token, err := other.Issue("", jwtauth.Subject(claims.Subject), jwtauth.SessionID(claims.SessionID))
	require.NoError(t, err)
	require.Equal(t, 200, a.me(t, token).status, "the token must be accepted for calls")
	require.Equal(t, 401, a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(token)...).status)
	for _, body := range []string{"", `{"everywhere":true}`, object("session_id", claims.SessionID)} {
		require.Equal(t, 401, a.call(t, "POST", "/auth/jwt/logout/", body, bearer(token)...).status, body)
	}
	a.live(t, pair, true)

	short, err := other.Issue("", jwtauth.Subject(claims.Subject), jwtauth.SessionID(claims.SessionID), jwtauth.TTL(time.Second))
	require.NoError(t, err)
	a.clock.advance(time.Second)
	require.Equal(t, 401, a.call(t, "POST", "/auth/jwt/logout/", "", bearer(short)...).status, "expired")
	a.live(t, pair, true)
}

func TestHandler_AnAccessTokenOfNoSessionHasNoneToEndOrList(t *testing.T) {
	a := newAPI(t)
	bare, err := a.Auth().Issue("", jwtauth.Subject("user-1"))
	require.NoError(t, err)
	require.Equal(t, 200, a.me(t, bare).status)
	p := a.login(t, aliceLogin)
	for _, got := range []apiAnswer{
		a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(bare)...),
		a.call(t, "POST", "/auth/jwt/logout/", `{"everywhere":true}`, bearer(bare)...),
		a.call(t, "POST", "/auth/jwt/logout/", ``, bearer(bare)...),
	} {
		got.failed(t, 401, "token_not_valid", "")
	}
	a.live(t, p, true)

	list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(a.clock.now))
	require.NoError(t, err)
	a = newAPI(t, session.WithRevocations(list))
	bare, err = a.Auth().Issue("", jwtauth.Subject("user-1"), jwtauth.ID("the-jti"))
	require.NoError(t, err)
	require.NoError(t, list.RevokeToken(t.Context(), "", "the-jti", start.Add(time.Hour)))
	a.call(t, "POST", "/auth/jwt/logout/", ``, bearer(bare)...).failed(t, 401, "token_not_valid", "")
}

func TestHandler_SessionsListsTheCallersOwn(t *testing.T) {
	a := newAPI(t)
	type row struct {
		ID       string    `json:"id"`
		Created  time.Time `json:"created"`
		LastUsed time.Time `json:"last_used"`
		Expires  time.Time `json:"expires"`
		Label    string    `json:"label"`
		Current  bool      `json:"current"`
	}
	list := func(token string) []row {
		t.Helper()
		got := a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(token)...)
		require.Equal(t, 200, got.status, got.body)
		require.Equal(t, "application/json", got.header.Get("Content-Type"))
		d := json.NewDecoder(strings.NewReader(got.body))
		d.DisallowUnknownFields() // the response must not contain other fields of the store
		var answer struct {
			Sessions []row `json:"sessions"`
		}
		require.NoError(t, d.Decode(&answer))
		require.Equal(t, len(answer.Sessions), strings.Count(got.body, `"current"`))
		require.NotContains(t, got.body, "user-")
		return answer.Sessions
	}
	phone := a.login(t, aliceLogin, "User-Agent", "a phone")
	a.clock.advance(time.Minute)
	laptop := a.login(t, aliceLogin, "User-Agent", "a <laptop>\t")
	bobs := a.login(t, bobLogin, "User-Agent", "bob's")
	phoneID, laptopID := decode(t, phone.AccessToken).SessionID, decode(t, laptop.AccessToken).SessionID

	all := list(bobs.AccessToken)
	require.Len(t, all, 1)
	require.Equal(t, "bob's", all[0].Label)
	all = list(phone.AccessToken)
	require.Len(t, all, 2)
	require.Equal(t, row{laptopID, all[0].Created, all[0].LastUsed, all[0].Expires, "a <laptop>", false}, all[0])
	require.Equal(t, row{phoneID, all[1].Created, all[1].LastUsed, all[1].Expires, "a phone", true}, all[1])
	require.WithinDuration(t, start, all[1].Created, time.Millisecond)
	require.WithinDuration(t, start, all[1].LastUsed, time.Millisecond)
	require.Equal(t, start.Truncate(time.Second).Add(session.DefaultRefreshTTL), all[1].Expires)

	a.clock.advance(time.Minute)
	phone = a.refresh(t, phone.RefreshToken).pair(t)
	all = list(laptop.AccessToken)
	require.Len(t, all, 2)
	require.Equal(t, phoneID, all[0].ID, "the session that was used last must come first")
	require.False(t, all[0].Current)
	require.WithinDuration(t, start, all[0].Created, time.Millisecond)
	require.WithinDuration(t, start.Add(2*time.Minute), all[0].LastUsed, time.Millisecond)
	require.Equal(t, start.Add(2*time.Minute).Truncate(time.Second).Add(session.DefaultRefreshTTL), all[0].Expires)
	require.True(t, all[1].Current)

	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", object("session_id", phoneID), bearer(laptop.AccessToken)...).status)
	all = list(laptop.AccessToken)
	require.Len(t, all, 1)
	require.Equal(t, laptopID, all[0].ID)
	a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(phone.AccessToken)...).failed(t, 401, "token_not_valid", "revoked")

	other := newAPI(t)
	other.clock.set(a.clock.now())
	got := other.call(t, "GET", "/auth/jwt/sessions/", "", bearer(laptop.AccessToken)...)
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"sessions":[]}`, got.body, "a store that has lost the sessions must give an empty list, not null")
}

func TestHandler_SessionsIsForHEADToo(t *testing.T) {
	b := newSite(t).browser(t)
	b.login(t, "alice")
	require.Equal(t, 200, b.send(t, "HEAD", cookiePath+"sessions/", "").status)
	require.Equal(t, 405, b.send(t, "HEAD", cookiePath+"logout/", "").status)
}

func TestHandler_AnOutageIs503AndLogsNoClientOut(t *testing.T) {
	f := newFaulty()
	a := newAPIWith(t, faultyStore{f}, checkUser)
	p, second := a.login(t, aliceLogin), a.login(t, aliceLogin)
	f.fault = outage()
	for name, got := range map[string]apiAnswer{
		"create":   a.call(t, "POST", "/auth/jwt/create/", aliceLogin),
		"refresh":  a.refresh(t, p.RefreshToken),
		"sessions": a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(p.AccessToken)...),
		"logout of another session": a.call(t, "POST", "/auth/jwt/logout/",
			object("session_id", decode(t, second.AccessToken).SessionID), bearer(p.AccessToken)...),
	} {
		t.Run(name, func(t *testing.T) {
			got.failed(t, 503, "unavailable", "")
			require.NotContains(t, got.body, errOutage.Error())
		})
	}
	require.Equal(t, 4, strings.Count(a.logs.String(), errOutage.Error()), "each outage must be logged once:\n%s", a.logs)
	require.Equal(t, 200, a.me(t, p.AccessToken).status, "a call that needs no store must be allowed")

	t.Run("logout, which may be tried again", func(t *testing.T) {
		a.call(t, "POST", "/auth/jwt/logout/", "", bearer(second.AccessToken)...).failed(t, 503, "unavailable", "")
		f.fault = nil
		require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", "", bearer(second.AccessToken)...).status)
		a.live(t, second, false)
	})
	a.live(t, p, true)
	a.refresh(t, p.RefreshToken).pair(t)
}

func TestHandler_ALogoutEverywhereThatEndedOneSessionOnlyIs503(t *testing.T) {
	f := newFaulty()
	a := newAPIWith(t, faultyStore{f}, checkUser)
	p, second := a.login(t, aliceLogin), a.login(t, aliceLogin)
	f.fault = &fault{call: "List", lasts: true}
	a.call(t, "POST", "/auth/jwt/logout/", `{"everywhere":true}`, bearer(p.AccessToken)...).failed(t, 503, "unavailable", "")
	f.fault = nil
	a.live(t, second, true)
}

// logoutOf posts to logout/ and returns the status.
func logoutOf(t *testing.T, m *session.Manager, body, accessToken string) int {
	t.Helper()
	handler := m.Handler(func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
		return "", nil, session.ErrCredentials
	})
	r := httptest.NewRequest("POST", "/logout/", strings.NewReader(body))
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code
}

func TestHandler_ALogoutEverywhereThatFailsMayBeTriedAgain(t *testing.T) {
	for _, call := range []string{"Get", "List", "Append", "Revoke"} {
		for skip := range 3 {
			f := newFaulty()
			list := newList(t, faultyLog{f}, newClock().now)
			m := newManagerOver(t, faultyStore{f}, session.WithRevocations(list))
			thief, other, mine := login(t, m, "alice"), login(t, m, "alice"), login(t, m, "alice")
			f.fault = &fault{call: call, skip: skip}
			status := logoutOf(t, m, `{"everywhere":true}`, mine.AccessToken)
			if f.fault.fired {
				require.Equal(t, 503, status, "%s %d", call, skip)
				if call != "Append" && call != "Revoke" || skip < 2 { // otherwise its own session, which ends last, is left half ended
					status = logoutOf(t, m, `{"everywhere":true}`, mine.AccessToken)
					require.Equal(t, 204, status, "%s %d, again", call, skip)
				} else {
					require.Equal(t, 204, logoutOf(t, m, ``, mine.AccessToken))
				}
			}
			f.fault = nil
			for _, pair := range []session.Pair{thief, other, mine} {
				requireEnded(t, m, pair)
			}
		}
	}
}

func TestHandler_LogoutEndsTheTokensOfASessionThatTheStoreHasLost(t *testing.T) {
	a := newAPI(t)
	elsewhere := newAPI(t)
	for name, logout := range map[string]func(session.Pair) apiAnswer{
		"by access token": func(p session.Pair) apiAnswer {
			return a.call(t, "POST", "/auth/jwt/logout/", "", bearer(p.AccessToken)...)
		},
		"by refresh token": func(p session.Pair) apiAnswer {
			return a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", p.RefreshToken))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := elsewhere.login(t, aliceLogin)
			require.Equal(t, 200, a.me(t, p.AccessToken).status)
			require.Equal(t, 204, logout(p).status)
			a.live(t, p, false)
		})
	}
}

// After a logout, a client may send the token again and again. The log must not grow each
// time.
func TestHandler_ALogoutByADeadTokenDoesNotGrowTheLog(t *testing.T) {
	log := revoke.NewMemory()
	clock := newClock()
	list := newList(t, log, clock.now)
	m := newManager(t, session.WithClock(clock.now), session.WithRevocations(list))
	pair := login(t, m, "alice")
	entries := func() int {
		part, err := log.Since(t.Context(), "", 1000)
		require.NoError(t, err)
		return len(part.Entries)
	}
	body := `{"refresh_token":"` + pair.RefreshToken + `"}`
	for range 50 {
		require.Equal(t, 204, logoutOf(t, m, body, ""))
		require.Equal(t, 204, logoutOf(t, m, "", pair.AccessToken))
		_, err := m.Refresh(t.Context(), pair.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
	}
	require.Equal(t, 1, entries())
}

func TestHandler_AClockThatWasSetBackStopsNoLogoutAndLendsNoPower(t *testing.T) {
	clock := newClock()
	list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(clock.now), revoke.WithMaxLifetime(session.DefaultRefreshTTL))
	require.NoError(t, err)
	a := newAPI(t, session.WithRevocations(list), session.WithClock(clock.now))
	mine, second, third := a.login(t, aliceLogin), a.login(t, aliceLogin), a.login(t, aliceLogin)
	require.NoError(t, list.RevokeToken(t.Context(), "", decode(t, mine.RefreshToken).ID, clock.now().Add(session.DefaultRefreshTTL)))
	clock.advance(-time.Hour)
	count := func(want int) {
		t.Helper()
		all, err := a.Sessions(t.Context(), "user-1")
		require.NoError(t, err)
		require.Len(t, all, want)
	}
	a.call(t, "POST", "/auth/jwt/logout/", `{"everywhere":true,"refresh_token":"`+mine.RefreshToken+`"}`).failed(t, 401, "token_not_valid", "revoked")
	count(3)
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", second.RefreshToken)).status)
	count(2)
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", `{"everywhere":true,"refresh_token":"`+third.RefreshToken+`"}`).status)
	count(0)
}

func TestHandler_ClaimsThatCannotBeHadAre503(t *testing.T) {
	var down atomic.Bool
	a := newAPI(t, session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		if down.Load() {
			return "", nil, errors.New("the roles are down")
		}
		return "", []jwtauth.IssueOption{jwtauth.Claim("role", "admin")}, nil
	}))
	p := a.login(t, aliceLogin)
	down.Store(true)
	a.call(t, "POST", "/auth/jwt/create/", aliceLogin).failed(t, 503, "unavailable", "")
	a.refresh(t, p.RefreshToken).failed(t, 503, "unavailable", "")
	down.Store(false)
	a.refresh(t, p.RefreshToken).pair(t)
}

func TestCredentials_HideThemselves(t *testing.T) {
	var seen []session.Credentials
	a := newAPIWith(t, session.NewMemory(), func(_ *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		seen = append(seen, c)
		return "user-1", nil, nil
	})
	a.login(t, `{"email":"`+aliceEmail+`","username":"mail.invalid","password":"`+alicePassword+`","otp":"hunter2-one-time"}`)
	c := seen[0]
	require.Equal(t, alicePassword, c.Password)
	var text strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, value := range []any{c, &c, seen, map[string]session.Credentials{"c": c}, struct{ C session.Credentials }{c}} {
			fmt.Fprintf(&text, verb+"\n", value)
		}
	}
	fmt.Fprintln(&text, c, fmt.Errorf("login of %v failed", c))
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
		slog.New(h).Info("login", "credentials", c, "pointer", &c, slog.Group("g", "c", c))
	}
	a.lookThrough(t, "what was formatted", text.String(), nil)
	require.NotContains(t, text.String(), fmt.Sprintf("%x", alicePassword))
	require.NotContains(t, text.String(), fmt.Sprintf("%x", aliceEmail))
	require.Contains(t, text.String(), "credentials=session.Credentials")
}

func TestHandler_TheLogHoldsNoSecretWhateverHappens(t *testing.T) {
	f := newFaulty()
	a := newAPIWith(t, faultyStore{f}, func(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		if c.Password == wrongPassword {
			return "", nil, fmt.Errorf("no answer about %v", c)
		}
		return checkUser(r, c)
	})
	p := a.login(t, aliceLogin)
	a.call(t, "POST", "/auth/jwt/create/", `{"email":"`+aliceEmail+`","password":"`+wrongPassword+`"}`).failed(t, 503, "unavailable", "")
	a.me(t, p.RefreshToken).failed(t, 401, "token_not_valid", "wrong_type")
	a.call(t, "GET", "/api/me?token="+p.RefreshToken, "").failed(t, 401, "token_not_valid", "wrong_type")
	a.refresh(t, p.AccessToken).failed(t, 401, "token_not_valid", "wrong_type")
	a.refresh(t, p.RefreshToken[:len(p.RefreshToken)-8]+"AAAAAAAA").failed(t, 401, "token_not_valid", "")
	a.clock.advance(settled)
	next := a.refresh(t, p.RefreshToken).pair(t)
	a.clock.advance(settled)
	a.refresh(t, next.RefreshToken).pair(t)
	a.refresh(t, p.RefreshToken).failed(t, 401, "token_not_valid", "reused")
	f.fault = outage()
	a.call(t, "POST", "/auth/jwt/create/", bobLogin).failed(t, 503, "unavailable", "")
	logs := a.logs.String()
	for _, expected := range []string{"authenticating failed", "used again", "Login failed", "jwtauth: refused"} {
		require.Contains(t, logs, expected)
	}
}

func TestHandler_WithoutAuthenticatePanics(t *testing.T) {
	m := newManager(t)
	require.PanicsWithValue(t, "session: Handler: authenticate is nil, and without it anyone could log in as anyone", func() { m.Handler(nil) })
}

func TestWritePair_AnswersAsALoginDoes(t *testing.T) {
	a := newAPI(t)
	delivering := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60") // has no effect
		p, err := a.Login(r.Context(), "user-1")
		if err != nil || a.WritePair(w, r, p) != nil {
			panic("no pair")
		}
	}))
	defer delivering.Close()
	created := a.call(t, "POST", "/auth/jwt/create/", aliceLogin)
	a.url, delivering.URL = delivering.URL, a.url
	got := a.call(t, "GET", "/callback?code=x", "")
	a.url = delivering.URL
	p := got.pair(t)
	require.EqualValues(t, 900, p.ExpiresIn)
	for _, h := range []http.Header{created.header, got.header} {
		h.Del("Content-Length")
	}
	require.Equal(t, created.header, got.header)
	a.live(t, p, true)
}

// brokenWriter is the ResponseWriter of a client that has hung up.
type brokenWriter struct{ http.ResponseWriter }

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWritePair_ReturnsTheErrorOfWriting(t *testing.T) {
	m := newManager(t)
	p, err := m.Login(t.Context(), "user-1")
	require.NoError(t, err)
	err = m.WritePair(brokenWriter{httptest.NewRecorder()}, httptest.NewRequest("POST", "/", nil), p)
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestHandler_WithoutRefreshThereIsNothingToRefresh(t *testing.T) {
	a := newAPI(t, session.WithoutRefresh())
	got := a.call(t, "POST", "/auth/jwt/create/", aliceLogin)
	require.Equal(t, 200, got.status)
	require.Equal(t, []string{"access_token", "expires_in", "token_type"}, fieldsOf(t, got.body))
	var p session.Pair
	require.NoError(t, json.Unmarshal([]byte(got.body), &p))
	for _, method := range []string{"POST", "GET"} {
		a.call(t, method, "/auth/jwt/refresh/", object("refresh_token", "x")).failed(t, 404, "not_found", "")
	}
	require.Equal(t, 200, a.me(t, p.AccessToken).status)
	require.Equal(t, 200, a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(p.AccessToken)...).status)
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", "", bearer(p.AccessToken)...).status)
	a.me(t, p.AccessToken).failed(t, 401, "token_not_valid", "revoked")
}

func TestHandler_WithoutAccessThereIsNothingToCallWith(t *testing.T) {
	a := newAPI(t, session.WithoutAccess())
	got := a.call(t, "POST", "/auth/jwt/create/", aliceLogin)
	require.Equal(t, 200, got.status)
	fields := []string{"refresh_expires_in", "refresh_token", "token_type"}
	require.Equal(t, fields, fieldsOf(t, got.body))
	var p session.Pair
	require.NoError(t, json.Unmarshal([]byte(got.body), &p))
	a.me(t, p.RefreshToken).failed(t, 401, "token_not_valid", "wrong_type")
	got = a.refresh(t, p.RefreshToken)
	require.Equal(t, 200, got.status)
	require.Equal(t, fields, fieldsOf(t, got.body))
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", object("refresh_token", p.RefreshToken)).status)
	a.refresh(t, p.RefreshToken).failed(t, 401, "token_not_valid", "revoked")
}

func TestRequire_AContainerOpensItsOwnRoutesOnly(t *testing.T) {
	a := newAPI(t, session.WithContainers(), session.WithClaims(func(_ context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
		return "of-" + s.Subject, nil, nil
	}))
	p := a.login(t, aliceLogin)
	for range 2 {
		got := a.call(t, "GET", "/of/of-user-1/me", "", bearer(p.AccessToken)...)
		require.Equal(t, 200, got.status)
		require.Equal(t, "user-1", got.body)
		other := a.call(t, "GET", "/of/of-user-2/me", "", bearer(p.AccessToken)...)
		other.failed(t, 403, "token_not_valid", "wrong_container")
		require.Equal(t, `Bearer error="insufficient_scope"`, other.header.Get("WWW-Authenticate"))
		a.call(t, "GET", "/of/of-user-1/me", "").failed(t, 401, "not_authenticated", "")
		a.call(t, "GET", "/of/of-user-1/me", "", bearer(p.RefreshToken)...).failed(t, 401, "token_not_valid", "wrong_type")
		require.Equal(t, 200, a.call(t, "POST", "/auth/jwt/verify/", object("token", p.AccessToken)).status)
		require.Equal(t, 200, a.call(t, "GET", "/auth/jwt/sessions/", "", bearer(p.AccessToken)...).status)
		p = a.refresh(t, p.RefreshToken).pair(t)
	}
	require.Equal(t, 204, a.call(t, "POST", "/auth/jwt/logout/", "", bearer(p.AccessToken)...).status)
	a.call(t, "GET", "/of/of-user-1/me", "", bearer(p.AccessToken)...).failed(t, 401, "token_not_valid", "revoked")
}

// FuzzBody sends any body to every endpoint. No body may cause a server error, and no
// response may be cached.
func FuzzBody(f *testing.F) {
	m := newManager(f)
	p, err := m.Login(f.Context(), "user-1")
	require.NoError(f, err)
	for _, body := range []string{
		"", "{}", "null", "[]", aliceLogin, aliceLogin + "x", `{"email":1}`, `{"email":"\ud800","password":"` + "\xff" + `"}`,
		object("refresh_token", p.RefreshToken), object("refresh_token", p.AccessToken), object("token", p.AccessToken),
		`{"session_id":"\u0000"}`, `{"everywhere":true}`, `{"refresh_token":"a.b.c","everywhere":1e400}`, `{"a":1,"a":2}`,
	} {
		f.Add("application/json", "", body)
		f.Add("", "Bearer "+p.AccessToken, body)
		f.Add("text/plain", "Bearer "+p.RefreshToken, body)
	}
	handler := m.Handler(func(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		var all map[string]any
		if err := c.Decode(&all); err != nil {
			return "", nil, session.ErrCredentials // such as 1e400, which fits no float64
		}
		if c.Email == aliceEmail && c.Password == alicePassword {
			return "user-1", []session.LoginOption{session.Label(fmt.Sprint(all["label"]))}, nil
		}
		return "", nil, session.ErrCredentials
	})
	statuses := []int{200, 204, 400, 401, 404, 405, 413, 415}
	f.Fuzz(func(t *testing.T, mediaType, authorization, body string) {
		for _, endpoint := range []string{"create", "refresh", "verify", "logout", "sessions", "other"} {
			for _, method := range []string{"POST", "GET"} {
				r := httptest.NewRequest(method, "/auth/jwt/"+endpoint+"/", strings.NewReader(body))
				r.Header["Content-Type"] = []string{mediaType}
				if authorization != "" {
					r.Header["Authorization"] = []string{authorization}
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				require.Contains(t, statuses, w.Code, w.Body.String())
				require.Equal(t, []string{"no-store"}, w.Header()["Cache-Control"])
				require.Equal(t, w.Code == 401, w.Header()["Www-Authenticate"] != nil)
				if w.Code != 204 {
					require.True(t, json.Valid(w.Body.Bytes()), w.Body.String())
				}
			}
		}
	})
}
