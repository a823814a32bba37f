package revoke_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

const form = "application/x-www-form-urlencoded"

// desk is a service on a real port that revokes tokens of the containers demo and other.
type desk struct {
	*jwtauthtest.Auth
	list *revoke.List
	log  *network
	url  string

	logged logBuffer

	mu     sync.Mutex
	asked  []jwtauth.Claims // the claims that authorise was called with
	answer error            // what authorise returns; if nil, authorise decides itself
}

func (d *desk) authoriserSays(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = err
}

func (d *desk) askedAbout() []jwtauth.Claims {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// authorise lets the owner of a container revoke its tokens.
func (d *desk) authorise(r *http.Request, c jwtauth.Claims) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, c)
	if d.answer != nil {
		return d.answer
	}
	user, password, _ := r.BasicAuth()
	switch {
	case user != "demo" && user != "other" || password != "key":
		return errors.New("an unknown user")
	case !c.ExpiresAt.IsZero() && c.Container != user:
		return errors.New("of another container")
	}
	return nil
}

// newDesk returns a desk whose list has read its log.
func newDesk(t *testing.T, opts ...jwtauth.Option) *desk {
	t.Helper()
	d := desk{log: newNetwork()}
	d.open(t, opts...)
	require.NoError(t, d.list.Sync(t.Context()))
	return &d
}

func (d *desk) open(t *testing.T, opts ...jwtauth.Option) {
	t.Helper()
	tokens := jwtauthtest.New(t)
	logger := slog.New(slog.NewTextHandler(&d.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.list = newList(t, d.log, revoke.WithClock(tokens.Clock.Now), revoke.WithLogger(logger), revoke.WithStaleness(time.Hour))
	auth, err := jwtauth.New(jwtauthtest.Key(), append([]jwtauth.Option{jwtauth.WithIssuer(issuer),
		jwtauth.WithRevocations(d.list), jwtauth.WithClock(tokens.Clock.Now)}, opts...)...)
	require.NoError(t, err)
	d.Auth = tokens.For(auth)
	d.serve(t, auth)
}

func (d *desk) serve(t *testing.T, auth *jwtauth.Auth) {
	server := httptest.NewServer(d.list.Handler(auth, d.authorise))
	t.Cleanup(server.Close)
	d.url = server.URL
}

// reply is a response that was read completely.
type reply struct {
	status int
	header http.Header
	body   string
	dump   string // the whole response, except the field Date
}

func send(t *testing.T, r *http.Request) reply {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	assert.NotContains(t, resp.Header, "Www-Authenticate")
	resp.Header.Del("Date")
	dump, err := httputil.DumpResponse(resp, true)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return reply{resp.StatusCode, resp.Header, string(body), string(dump)}
}

// says returns the error code in the body, or "" if the status is 200. It requires the form
// of response that belongs to the status.
func (r reply) says(t *testing.T) string {
	t.Helper()
	if r.status == 200 {
		require.Empty(t, r.body)
		return ""
	}
	require.Equal(t, "application/json", r.header.Get("Content-Type"))
	require.Equal(t, "nosniff", r.header.Get("X-Content-Type-Options"))
	if r.status == 503 {
		require.Equal(t, "5", r.header.Get("Retry-After"))
	}
	var problem map[string]string
	require.NoError(t, json.Unmarshal([]byte(r.body), &problem))
	require.Len(t, problem, 2)
	require.NotEmpty(t, problem["error_description"])
	return problem["error"]
}

// post returns a request by the owner of demo. fields holds the names and values of header
// fields in turn.
func (d *desk) post(t *testing.T, body string, fields ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", d.url, strings.NewReader(body))
	require.NoError(t, err)
	r.SetBasicAuth("demo", "key")
	r.Header.Set("Content-Type", form)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	return r
}

func (d *desk) revoke(t *testing.T, token string) reply {
	t.Helper()
	return send(t, d.post(t, url.Values{"token": {token}}.Encode()))
}

func TestHandler_AnswersTheOwner(t *testing.T) {
	hour := func(d *desk) time.Time { return d.Clock.Now().Add(time.Hour) }
	for name, c := range map[string]struct {
		token  func(t *testing.T, d *desk) string
		status int
		says   string
		asked  string // the container that authorise gets; "" for the zero claims
		after  error  // the error of Verify an hour later
	}{
		"a live token is revoked": {
			func(_ *testing.T, d *desk) string { return d.Token("demo") }, 200, "", "demo", jwtauth.ErrRevoked},
		"one that is not valid yet will never be": {
			func(_ *testing.T, d *desk) string { return d.Token("demo", jwtauth.NotBefore(hour(d))) }, 200, "", "demo", jwtauth.ErrRevoked},
		"one that another server's clock has issued in the future, too": {
			func(t *testing.T, d *desk) string {
				return signed(t, map[string]any{"iss": issuer, "container": "demo", "jti": "x", "sub": "alice", "sid": "s", "iat_us": hour(d).UnixMicro(),
					"iat": hour(d).Unix(), "nbf": 1.5, "exp": float64(hour(d).Unix()) + 3600.5})
			}, 200, "", "demo", jwtauth.ErrRevoked},
		"one that was revoked before stays so": {
			func(t *testing.T, d *desk) string {
				token := d.Token("demo")
				require.Equal(t, 200, d.revoke(t, token).status)
				return token
			}, 200, "", "demo", jwtauth.ErrRevoked},
		"one without a jti that was revoked with its container, too": {
			func(t *testing.T, d *desk) string {
				require.NoError(t, d.list.RevokeContainer(t.Context(), issuer, "demo"))
				return signed(t, map[string]any{"iss": issuer, "container": "demo", "iat": d.Clock.Now().Unix(), "exp": hour(d).Unix() + 1})
			}, 200, "", "demo", jwtauth.ErrRevoked},
		"one that has expired is revoked, since other clocks may think otherwise": {
			func(_ *testing.T, d *desk) string { return d.Expired("demo") }, 200, "", "demo", jwtauth.ErrExpired},
		"but of another container it is not his": {
			func(_ *testing.T, d *desk) string { return d.Expired("other") }, 403, "access_denied", "other", jwtauth.ErrExpired},
		"one of another issuer is not ours": {
			func(_ *testing.T, d *desk) string { return d.WrongIssuer("demo") }, 200, "", "", jwtauth.ErrIssuer},
		"nor is one of another issuer that is not valid yet": {
			func(t *testing.T, d *desk) string {
				return signed(t, map[string]any{"iss": "other", "jti": "x", "container": "demo", "nbf": hour(d).Unix(), "iat": d.Clock.Now().Unix(), "exp": hour(d).Unix() + 60})
			}, 200, "", "", jwtauth.ErrIssuer},
		"one for another audience is not ours": {
			func(_ *testing.T, d *desk) string { return d.WrongAudience("demo") }, 200, "", "", jwtauth.ErrAudience},
		"an authentic one of another type may be accepted elsewhere": {
			func(_ *testing.T, d *desk) string { return d.WrongType("demo") }, 400, "unsupported_token_type", "", jwtauth.ErrType},
		"a forged one is not ours": {
			func(_ *testing.T, d *desk) string { return d.Forged("demo") }, 200, "", "", jwtauth.ErrSignature},
		"one that was changed is not ours": {
			func(_ *testing.T, d *desk) string { return d.Tampered("demo") }, 200, "", "", jwtauth.ErrSignature},
		"one of an unknown key is not ours": {
			func(_ *testing.T, d *desk) string { return d.UnknownKey("demo") }, 200, "", "", jwtauth.ErrUnknownKey},
		"one without a signature is not ours": {
			func(_ *testing.T, d *desk) string { return d.Unsigned("demo") }, 200, "", "", jwtauth.ErrMalformed},
		"garbage is not ours": {
			func(*testing.T, *desk) string { return "garbage" }, 200, "", "", jwtauth.ErrMalformed},
		"a token with a space behind it is not ours": {
			func(_ *testing.T, d *desk) string { return d.Token("demo") + " " }, 200, "", "", jwtauth.ErrMalformed},
		"a live token of another container is not his": {
			func(_ *testing.T, d *desk) string { return d.Token("other") }, 403, "access_denied", "other", nil},
		"nor is one that is not valid yet": {
			func(_ *testing.T, d *desk) string { return d.Token("other", jwtauth.NotBefore(hour(d))) }, 403, "access_denied", "other", nil},
		"nor one that was revoked": {
			func(t *testing.T, d *desk) string {
				token := d.Token("other")
				require.NoError(t, d.list.RevokeContainer(t.Context(), issuer, "other"))
				return token
			}, 403, "access_denied", "other", jwtauth.ErrRevoked},
		"one without a jti cannot be told from others": {
			func(t *testing.T, d *desk) string {
				return signed(t, map[string]any{"iss": issuer, "container": "demo", "iat": d.Clock.Now().Unix(), "exp": hour(d).Unix() + 60})
			}, 400, "unsupported_token_type", "demo", nil},
		"nor one without a jti that is not valid yet": {
			func(t *testing.T, d *desk) string {
				return signed(t, map[string]any{"iss": issuer, "container": "demo", "nbf": hour(d).Unix(), "iat": d.Clock.Now().Unix(), "exp": hour(d).Unix() + 60})
			}, 400, "unsupported_token_type", "demo", nil},
		"one with a jti that no store takes cannot either": {
			func(_ *testing.T, d *desk) string {
				return d.Token("demo", jwtauth.ID(strings.Repeat("x", revoke.MaxText+1)))
			}, 400, "unsupported_token_type", "demo", nil},
		"but one with the longest can": {
			func(_ *testing.T, d *desk) string {
				return d.Token("demo", jwtauth.ID(strings.Repeat("x", revoke.MaxText)))
			}, 200, "", "demo", jwtauth.ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			token, another := c.token(t, d), d.Token("demo", jwtauth.Subject("alice"))
			got := d.revoke(t, token)
			require.Equal(t, c.status, got.status, got.body)
			require.Equal(t, c.says, got.says(t))
			asked := d.askedAbout()[len(d.askedAbout())-1]
			require.Equal(t, c.asked, asked.Container)
			require.Equal(t, c.asked == "", asked.ExpiresAt.IsZero())
			if c.asked == "" {
				require.Zero(t, asked)
			}
			require.NoError(t, verdict(d.Auth.Auth, another), "another token must not be revoked")
			d.Clock.Advance(time.Hour)
			require.ErrorIs(t, verdict(d.Auth.Auth, token), c.after)
		})
	}
}

func TestHandler_AnswersADeniedClientAlikeWhateverTheToken(t *testing.T) {
	d := newDesk(t)
	gone := d.Token("demo")
	require.Equal(t, 200, d.revoke(t, gone).status)
	tokens := map[string]string{
		"live":               d.Token("demo"),
		"of another":         d.Token("other"),
		"revoked":            gone,
		"without a jti":      signed(t, map[string]any{"iss": issuer, "container": "demo", "iat": d.Clock.Now().Unix(), "exp": d.Clock.Now().Unix() + 60}),
		"garbage":            "garbage",
		"very long":          strings.Repeat("x", 60<<10),
		"with an odd number": "a.b.c.d",
	}
	for _, bad := range d.Bad("demo") {
		tokens[bad.Name] = bad.Token
	}
	stale := &desk{log: newNetwork()} // its list has never read the log, so the last check, for revocation, fails
	stale.open(t)
	for where, d := range map[string]*desk{"with a list": d, "with a stale list": stale} {
		for says, answer := range map[string]error{
			"access_denied":           errors.New("no"),
			"temporarily_unavailable": fmt.Errorf("the users' database: %w", jwtauth.ErrUnavailable),
		} {
			t.Run(where+", "+says, func(t *testing.T) {
				d.authoriserSays(answer)
				defer d.authoriserSays(nil)
				want := d.revoke(t, "garbage")
				require.Equal(t, says, want.says(t))
				require.Equal(t, map[string]int{"access_denied": 403, "temporarily_unavailable": 503}[says], want.status)
				for name, token := range tokens {
					require.Equal(t, want.dump, d.revoke(t, token).dump, name)
				}
			})
		}
	}
	for name, token := range tokens { // now the client does not authenticate
		r := d.post(t, url.Values{"token": {token}}.Encode())
		r.Header.Del("Authorization")
		got := send(t, r)
		require.Equal(t, 403, got.status, name)
		require.Equal(t, "access_denied", got.says(t), name)
	}
	require.NoError(t, verdict(d.Auth.Auth, tokens["live"]))
	for _, token := range tokens {
		require.NotContains(t, d.logged.String(), token)
	}
}

func TestHandler_DeniesARequestThatIsNoneOfRFC7009(t *testing.T) {
	refused := []struct {
		name   string
		status int
		says   string
		change func(r *http.Request, token string)
	}{
		{"a page of another site", 403, "access_denied", func(r *http.Request, _ string) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		{"a page of another subdomain", 403, "access_denied", func(r *http.Request, _ string) { r.Header.Set("Sec-Fetch-Site", "same-site") }},
		{"a page of another origin, in an old browser", 403, "access_denied", func(r *http.Request, _ string) { r.Header.Set("Origin", "https://somewhere.example") }},
		{"a page without an origin", 403, "access_denied", func(r *http.Request, _ string) { r.Header.Set("Origin", "null") }},
		{"a GET", 405, "invalid_request", func(r *http.Request, token string) {
			r.Method, r.URL.RawQuery = "GET", "token="+token
		}},
		{"a PUT", 405, "invalid_request", func(r *http.Request, _ string) { r.Method = "PUT" }},
		{"a DELETE", 405, "invalid_request", func(r *http.Request, _ string) { r.Method = "DELETE" }},
		{"a preflight", 405, "invalid_request", func(r *http.Request, _ string) {
			r.Method = "OPTIONS"
			r.Header.Set("Origin", "https://somewhere.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
		}},
		{"the token in the query", 400, "invalid_request", func(r *http.Request, token string) {
			setBody(r, "")
			r.URL.RawQuery = "token=" + token
		}},
		{"the token in the query of a body with other parameters", 400, "invalid_request", func(r *http.Request, token string) {
			setBody(r, "token_type_hint=access_token")
			r.URL.RawQuery = "token=" + token
		}},
		{"the token in the header", 400, "invalid_request", func(r *http.Request, token string) {
			setBody(r, "")
			r.Header.Set("Authorization", "Bearer "+token)
		}},
		{"no body", 400, "invalid_request", func(r *http.Request, _ string) { setBody(r, "") }},
		{"an empty token", 400, "invalid_request", func(r *http.Request, _ string) { setBody(r, "token=") }},
		{"a token by another name", 400, "invalid_request", func(r *http.Request, token string) { setBody(r, "Token="+token) }},
		{"two tokens", 400, "invalid_request", func(r *http.Request, token string) { setBody(r, "token="+token+"&token="+token) }},
		{"a token and an empty one", 400, "invalid_request", func(r *http.Request, token string) { setBody(r, "token="+token+"&token=") }},
		{"a form that does not parse", 400, "invalid_request", func(r *http.Request, token string) { setBody(r, "token="+token+"&a=%zz") }},
		{"semicolons between parameters", 400, "invalid_request", func(r *http.Request, token string) { setBody(r, "token="+token+";a=1") }},
		{"JSON", 400, "invalid_request", func(r *http.Request, token string) {
			setBody(r, `{"token":"`+token+`"}`)
			r.Header.Set("Content-Type", "application/json")
		}},
		{"a form that is called JSON", 400, "invalid_request", func(r *http.Request, _ string) { r.Header.Set("Content-Type", "application/json") }},
		{"a form that is called text", 400, "invalid_request", func(r *http.Request, _ string) { r.Header.Set("Content-Type", "text/plain") }},
		{"a form of several parts", 400, "invalid_request", func(r *http.Request, token string) {
			setBody(r, "--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n"+token+"\r\n--b--\r\n")
			r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		}},
		{"a form without a type", 400, "invalid_request", func(r *http.Request, _ string) { r.Header.Del("Content-Type") }},
		{"a huge body", 413, "invalid_request", func(r *http.Request, token string) {
			setBody(r, "token="+token+"&a="+strings.Repeat("x", 64<<10))
		}},
		{"a body that is huge by a byte, of unknown length", 413, "invalid_request", func(r *http.Request, token string) {
			setBody(r, filled(token)+"x")
			r.ContentLength = -1
		}},
	}
	for _, c := range refused {
		t.Run(c.name+" is denied, and authorize is not called", func(t *testing.T) {
			d := newDesk(t)
			token := d.Token("demo")
			r := d.post(t, "token="+token)
			c.change(r, token)
			got := send(t, r)
			require.Equal(t, c.status, got.status, got.body)
			require.Equal(t, c.says, got.says(t))
			require.NotContains(t, got.dump, token)
			if c.status == 405 {
				require.Equal(t, "POST", got.header.Get("Allow"))
			}
			require.NoError(t, verdict(d.Auth.Auth, token))
			require.Empty(t, d.askedAbout())
			require.NotContains(t, d.logged.String(), token)
		})
	}
	t.Run("HEAD is denied without a body", func(t *testing.T) {
		d := newDesk(t)
		r := d.post(t, "")
		r.Method = "HEAD"
		require.Equal(t, 405, send(t, r).status)
	})
	for name, change := range map[string]func(r *http.Request, token string){
		"a page of its own":       func(r *http.Request, _ string) { r.Header.Set("Sec-Fetch-Site", "same-origin") },
		"its own origin":          func(r *http.Request, _ string) { r.Header.Set("Origin", "http://"+r.URL.Host) },
		"a hint that is wrong":    func(r *http.Request, token string) { setBody(r, "token_type_hint=refresh_token&token="+token) },
		"a hint of another world": func(r *http.Request, token string) { setBody(r, "token_type_hint=x&token="+token+"&token_type_hint=y") },
		"a type with a charset": func(r *http.Request, _ string) {
			r.Header.Set("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")
		},
		"a token in the query too": func(r *http.Request, _ string) { r.URL.RawQuery = "token=x&token=y&%zz;" },
		"64 KiB":                   func(r *http.Request, token string) { setBody(r, filled(token)) },
		"escapes":                  func(r *http.Request, token string) { setBody(r, "tok%65n="+strings.ReplaceAll(token, ".", "%2E")) },
	} {
		t.Run(name+" is allowed", func(t *testing.T) {
			d := newDesk(t)
			token := d.Token("demo")
			r := d.post(t, "token="+token)
			change(r, token)
			got := send(t, r)
			require.Equal(t, 200, got.status, got.body)
			require.ErrorIs(t, verdict(d.Auth.Auth, token), jwtauth.ErrRevoked)
		})
	}
}

func setBody(r *http.Request, body string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	r.GetBody = nil
}

// filled returns a form with the token, of exactly the largest size that the handler
// accepts.
func filled(token string) string {
	body := "token=" + token + "&a="
	return body + strings.Repeat("x", 64<<10-len(body))
}

func TestHandler_AuthorizeSeesTheOtherParametersAndNoToken(t *testing.T) {
	d := newDesk(t)
	saw := make(chan string, 2)
	authorise := func(r *http.Request, c jwtauth.Claims) error {
		body, err := io.ReadAll(r.Body)
		saw <- fmt.Sprintf("%v %v %v %v %s %v %v", r.PostForm, r.FormValue("client_id"), r.URL, r.RequestURI, body, err, c)
		return nil
	}
	handler := d.list.Handler(d.Auth.Auth, authorise)
	parsed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "app", r.PostFormValue("client_id"))
		handler.ServeHTTP(w, r)
		assert.NotEmpty(t, r.PostForm["token"], "the form of the caller's request must not change")
		assert.NotEmpty(t, r.URL.RawQuery)
	})
	for name, handler := range map[string]http.Handler{"by itself": handler, "behind what has parsed the form": parsed} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			token := d.Token("demo")
			d.url = server.URL + "/revoke?token=" + token + "&client_id=other"
			require.Equal(t, 200, send(t, d.post(t, "client_id=app&token="+token)).status)
			require.ErrorIs(t, verdict(d.Auth.Auth, token), jwtauth.ErrRevoked)
			seen := <-saw
			require.Contains(t, seen, "map[client_id:[app]] app /revoke /revoke  <nil>")
			require.NotContains(t, seen, token)
		})
	}
	t.Run("a request that no server made has no body", func(t *testing.T) {
		w := httptest.NewRecorder()
		r := d.post(t, "")
		r.Body = nil
		handler.ServeHTTP(w, r)
		require.Equal(t, 400, w.Code)
	})
}

// If the store fails, only this process rejects the token. The client is told to try
// again, and the next try must write the entry.
func TestHandler_WritesAgainWhatTheStoreDidNotTake(t *testing.T) {
	d := newDesk(t)
	for name, token := range map[string]string{"live": d.Token("demo"), "not valid yet": d.Token("demo", jwtauth.NotBefore(d.Clock.Now().Add(time.Minute)))} {
		d.log.fail(errors.New("no connection"))
		for range 3 {
			got := d.revoke(t, token)
			require.Equal(t, 503, got.status, name)
			require.Equal(t, "temporarily_unavailable", got.says(t))
		}
		require.Contains(t, d.logged.String(), "level=ERROR")
		require.Contains(t, d.logged.String(), "no connection")
		require.NotContains(t, d.logged.String(), token)
		require.NotContains(t, d.logged.String(), strings.Split(token, ".")[1])

		d.log.fail(nil)
		require.Equal(t, 200, d.revoke(t, token).status)
		elsewhere := newList(t, d.log)
		require.NoError(t, elsewhere.Sync(t.Context()))
		d.Clock.Advance(time.Minute)
		auth, err := jwtauth.New(jwtauthtest.Key(), jwtauth.WithIssuer(issuer), jwtauth.WithRevocations(elsewhere), jwtauth.WithClock(d.Clock.Now))
		require.NoError(t, err)
		require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, "%s: another process must reject the token", name)
	}
}

func TestHandler_DoesNothingWhereNothingCanBeKnown(t *testing.T) {
	t.Run("since the list is stale", func(t *testing.T) {
		d := &desk{log: newNetwork()}
		d.open(t)
		got := d.revoke(t, d.Token("demo"))
		require.Equal(t, 503, got.status)
		require.Equal(t, "temporarily_unavailable", got.says(t))
		require.Zero(t, d.list.Status().Entries)
		require.Zero(t, d.askedAbout()[0], "authorise must get no claims of a token that could not be verified")
	})
	t.Run("since the keys are out of reach", func(t *testing.T) {
		d := newDesk(t)
		auth, err := jwtauth.New(outOfReach{}, jwtauth.WithRevocations(d.list))
		require.NoError(t, err)
		d.serve(t, auth)
		got := d.revoke(t, d.Token("demo"))
		require.Equal(t, 503, got.status)
		require.Equal(t, "temporarily_unavailable", got.says(t))
		require.Zero(t, d.list.Status().Entries)
		require.Zero(t, d.askedAbout()[0])
	})
}

// outOfReach is a key source that cannot be reached.
type outOfReach struct{}

func (outOfReach) Keys(context.Context, string) (*keys.Set, error) {
	return nil, errors.New("no route")
}

// If the Auth does not ask the list, an entry has no effect. The handler must then not
// respond with 200.
func TestHandler_FindsAnAuthThatDoesNotAskTheList(t *testing.T) {
	d := newDesk(t)
	auth, err := jwtauth.New(jwtauthtest.Key(), jwtauth.WithIssuer(issuer), jwtauth.WithClock(d.Clock.Now))
	require.NoError(t, err)
	d.serve(t, auth)
	got := d.revoke(t, d.Token("demo"))
	require.Equal(t, 500, got.status)
	require.Equal(t, "server_error", got.says(t))
	require.Contains(t, d.logged.String(), "WithRevocations")
}

// The handler checks that its Auth asks the list. This check must not be observed as a
// decision.
func TestHandler_ARevocationIsOneDecision(t *testing.T) {
	var seen []jwtauth.Decision
	var logs bytes.Buffer
	d := newDesk(t, jwtauth.WithObserver(func(_ context.Context, made jwtauth.Decision) { seen = append(seen, made) }),
		jwtauth.WithLogger(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	token := d.Token("demo")
	require.Equal(t, 200, d.revoke(t, token).status)
	require.Equal(t, []jwtauth.Decision{{Operation: "verify", Allowed: true}}, seen)
	require.Empty(t, logs.String())
	require.Equal(t, 200, d.revoke(t, token).status)
	require.Equal(t, jwtauth.Decision{Operation: "verify", Reason: "revoked", Cached: true}, seen[1])
	require.Len(t, seen, 2)
	require.Contains(t, logs.String(), "reason=revoked")
}

func TestHandler_IsSafeForConcurrentUse(t *testing.T) {
	d := newDesk(t)
	same := d.Token("demo")
	var group sync.WaitGroup
	for range 8 {
		token := d.Token("demo")
		group.Go(func() {
			for _, token := range []string{same, token} {
				assert.Equal(t, 200, d.revoke(t, token).status)
				assert.ErrorIs(t, verdict(d.Auth.Auth, token), jwtauth.ErrRevoked)
			}
		})
	}
	group.Wait()
}

func TestHandler_PanicsWithoutAnAuthOrAuthorize(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	require.PanicsWithValue(t, "revoke: Handler: auth is nil, and without it no token can be verified", func() {
		list.Handler(nil, func(*http.Request, jwtauth.Claims) error { return nil })
	})
	require.PanicsWithValue(t, "revoke: Handler: authorize is nil, and without it anyone could ask about any token", func() {
		list.Handler(newAuth(t, list), nil)
	})
}

func TestHandler_OfAnAuthThatAsksAnotherListSaysSo(t *testing.T) {
	list, another := newList(t, revoke.NewMemory()), newList(t, revoke.NewMemory())
	_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer("https://api.example.org"), jwtauth.WithRevocations(list))
	require.NoError(t, err)
	auth := newAuth(t, another)
	form := url.Values{"token": {issue(t, auth, "demo", "alice")}}.Encode()
	r := httptest.NewRequest("POST", "/revoke", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	list.Handler(auth, func(*http.Request, jwtauth.Claims) error { return nil }).ServeHTTP(w, r)
	require.Equal(t, http.StatusInternalServerError, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "server_error")
}
