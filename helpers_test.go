package jwtauth_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// now is what every test's clock says unless a test moves it.
var now = time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)

// secret is the key of every test that is not about keys.
var secret = []byte("0123456789abcdef0123456789abcdef")

const (
	header   = `{"alg":"HS256","typ":"JWT"}`
	issuer   = "https://api.example.com"
	demoPath = "/run/demo/notify"
)

func atNow() jwtauth.Option { return jwtauth.WithClock(func() time.Time { return now }) }

func newAuth(t testing.TB, opts ...jwtauth.Option) *jwtauth.Auth {
	t.Helper()
	auth, err := jwtauth.New(keys.HS256(secret), append([]jwtauth.Option{atNow()}, opts...)...)
	require.NoError(t, err)
	return auth
}

func mustIssue(t testing.TB, auth *jwtauth.Auth, container string, opts ...jwtauth.IssueOption) string {
	t.Helper()
	token, err := auth.Issue(container, opts...)
	require.NoError(t, err)
	return token
}

// sign makes a token of any header and payload with the test key, by the
// standard library alone.
func sign(header, payload string) string {
	return signWith(secret, header, payload)
}

func signWith(secret []byte, header, payload string) string {
	signed := b64(header) + "." + b64(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + b64(string(mac.Sum(nil)))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// claimsJSON is a good payload of the container demo with members replaced or
// added: the value nil takes one out.
func claimsJSON(changes map[string]any) string {
	claims := map[string]any{
		"container": "demo",
		"jti":       "the-jti",
		"iat":       now.Unix(),
		"exp":       now.Add(time.Hour).Unix(),
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// goodToken is a token of the container demo that every default Auth accepts.
func goodToken() string { return sign(header, claimsJSON(nil)) }

// badTokens are the tokens that a default Auth refuses, by what is wrong.
func badTokens() map[string]struct {
	token string
	want  error
} {
	type bad = struct {
		token string
		want  error
	}
	with := func(name string, value any) string { return sign(header, claimsJSON(map[string]any{name: value})) }
	good := goodToken()
	return map[string]bad{
		"garbage":                      {"garbage", jwtauth.ErrMalformed},
		"of dots":                      {"...", jwtauth.ErrMalformed},
		"cut short":                    {good[:len(good)-3], jwtauth.ErrSignature},
		"with a flipped signature":     {good[:len(good)-10] + flip(good[len(good)-10:]), jwtauth.ErrSignature},
		"without a signature":          {good[:strings.LastIndexByte(good, '.')+1], jwtauth.ErrMalformed},
		"signed by a stranger":         {signWith(bytes.Repeat([]byte("s"), 32), header, claimsJSON(nil)), jwtauth.ErrSignature},
		"with another's claims":        {splice(good, sign(header, claimsJSON(map[string]any{"container": "other"}))), jwtauth.ErrSignature},
		"unsigned, alg none":           {b64(`{"alg":"none"}`) + "." + b64(claimsJSON(nil)) + "." + b64("x"), jwtauth.ErrUnknownKey},
		"of another algorithm":         {sign(`{"alg":"HS512"}`, claimsJSON(nil)), jwtauth.ErrUnknownKey},
		"of another kind":              {sign(`{"alg":"HS256","typ":"refresh+jwt"}`, claimsJSON(nil)), jwtauth.ErrType},
		"expired":                      {with("exp", now.Unix()), jwtauth.ErrExpired},
		"not valid yet":                {with("nbf", now.Unix()+1), jwtauth.ErrNotYetValid},
		"issued in the future":         {with("iat", now.Unix()+6), jwtauth.ErrNotYetValid},
		"for an audience":              {with("aud", "elsewhere"), jwtauth.ErrAudience},
		"of another container":         {with("container", "other"), jwtauth.ErrContainer},
		"of no container":              {with("container", nil), jwtauth.ErrContainer},
		"without exp":                  {with("exp", nil), jwtauth.ErrMalformed},
		"with exp as a string":         {with("exp", fmt.Sprint(now.Unix()+60)), jwtauth.ErrMalformed},
		"with claims that stand twice": {sign(header, `{"container":"demo","exp":9999999999,"exp":1}`), jwtauth.ErrMalformed},
	}
}

// splice puts the payload of one token under the signature of another.
func splice(token, other string) string {
	parts, others := strings.Split(token, "."), strings.Split(other, ".")
	return parts[0] + "." + others[1] + "." + parts[2]
}

// flip changes the first character to another one of base64url.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// request makes a request as a server receives it.
func request(method, target string, header http.Header) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	return r
}

// seen is what a handler saw of the request that reached it.
type seen struct {
	ran    bool
	r      *http.Request
	claims jwtauth.Claims
	ok     bool
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.ran, s.r = true, r
	s.claims, s.ok = jwtauth.FromContext(r.Context())
	io.WriteString(w, "handler")
}

// serve sends r through a mux that has the handler wrapped by wrap, at the
// seeds' route.
func serve(wrap func(http.Handler) http.Handler, r *http.Request) (*httptest.ResponseRecorder, *seen) {
	var s seen
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/{recipe}", wrap(&s))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w, &s
}

// denialBody is the body of a denial.
type denialBody struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Reason string `json:"reason"`
}

func bodyOf(t testing.TB, w *httptest.ResponseRecorder) (b denialBody) {
	t.Helper()
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &b), "body: %s", w.Body)
	return b
}

// logBuffer keeps what a logger writes.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// captureDefaultLog gives the test the lines of the default logger.
func captureDefaultLog(t *testing.T) *logBuffer {
	var log logBuffer
	before := slog.Default()
	slog.SetDefault(log.logger())
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}

// sourceFunc is a source of keys of a test's own.
type sourceFunc func(ctx context.Context, kid string) (*keys.Set, error)

func (f sourceFunc) Keys(ctx context.Context, kid string) (*keys.Set, error) { return f(ctx, kid) }

// checkerFunc is a revocation list of a test's own.
type checkerFunc func(ctx context.Context, c jwtauth.Claims) (bool, error)

func (f checkerFunc) Revoked(ctx context.Context, c jwtauth.Claims) (bool, error) { return f(ctx, c) }

// decodePayload returns the payload of a token as it stands.
func decodePayload(t testing.TB, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	return string(payload)
}
