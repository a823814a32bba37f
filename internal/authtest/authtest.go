// Package authtest has helpers for the tests of several packages.
package authtest

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
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/keys"
)

// IssuedAt sets iat, from which the lifetime of the token counts, as package session
// does.
func IssuedAt(t time.Time) jwtauth.IssueOption {
	return func(i *revocation.Issue) { i.IssuedAt = t }
}

// Now is the time of every test's clock, unless the test sets another.
var Now = time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)

// Secret is the HMAC key of every test that is not about keys.
var Secret = []byte("0123456789abcdef0123456789abcdef")

const (
	Header   = `{"alg":"HS256","typ":"JWT"}`
	Issuer   = "https://api.example.com"
	DemoPath = "/run/demo/notify"
)

func AtNow() jwtauth.Option { return jwtauth.WithClock(func() time.Time { return Now }) }

func NewAuth(t testing.TB, opts ...jwtauth.Option) *jwtauth.Auth {
	t.Helper()
	auth, err := jwtauth.New(keys.HS256(Secret), append([]jwtauth.Option{AtNow()}, opts...)...)
	require.NoError(t, err)
	return auth
}

func Issue(t testing.TB, auth *jwtauth.Auth, container string, opts ...jwtauth.IssueOption) string {
	t.Helper()
	token, err := auth.Issue(container, opts...)
	require.NoError(t, err)
	return token
}

// Sign returns a token with this header and payload, signed with Secret. It uses only the
// standard library, not the package under test.
func Sign(header, payload string) string {
	return SignWith(Secret, header, payload)
}

func SignWith(secret []byte, header, payload string) string {
	signed := B64(header) + "." + B64(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + B64(string(mac.Sum(nil)))
}

func B64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// ClaimsJSON returns a good payload for the container demo, with changes made to its
// members. A value of nil removes the member.
func ClaimsJSON(changes map[string]any) string {
	claims := map[string]any{
		"container": "demo",
		"jti":       "the-jti",
		"iat":       Now.Unix(),
		"exp":       Now.Add(time.Hour).Unix(),
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

// GoodToken returns a token for the container demo that every default Auth accepts.
func GoodToken() string { return Sign(Header, ClaimsJSON(nil)) }

// BadToken holds a token, and the error with which it is rejected.
type BadToken struct {
	Token string
	Want  error
}

// BadTokens returns tokens that a default Auth rejects. Each key says what is wrong with
// the token.
func BadTokens() map[string]BadToken {
	with := func(name string, value any) string { return Sign(Header, ClaimsJSON(map[string]any{name: value})) }
	good := GoodToken()
	return map[string]BadToken{
		"garbage":                  {"garbage", jwtauth.ErrMalformed},
		"of dots":                  {"...", jwtauth.ErrMalformed},
		"cut short":                {good[:len(good)-3], jwtauth.ErrSignature},
		"with a flipped signature": {good[:len(good)-10] + Flip(good[len(good)-10:]), jwtauth.ErrSignature},
		"without a signature":      {good[:strings.LastIndexByte(good, '.')+1], jwtauth.ErrMalformed},
		"signed by an attacker":    {SignWith(bytes.Repeat([]byte("s"), 32), Header, ClaimsJSON(nil)), jwtauth.ErrSignature},
		"with another's claims":    {Splice(good, Sign(Header, ClaimsJSON(map[string]any{"container": "other"}))), jwtauth.ErrSignature},
		"unsigned, alg none":       {B64(`{"alg":"none"}`) + "." + B64(ClaimsJSON(nil)) + "." + B64("x"), jwtauth.ErrUnknownKey},
		"of another algorithm":     {Sign(`{"alg":"HS512"}`, ClaimsJSON(nil)), jwtauth.ErrUnknownKey},
		"of another kind":          {Sign(`{"alg":"HS256","typ":"refresh+jwt"}`, ClaimsJSON(nil)), jwtauth.ErrType},
		"expired":                  {with("exp", Now.Unix()), jwtauth.ErrExpired},
		"not valid yet":            {with("nbf", Now.Unix()+1), jwtauth.ErrNotYetValid},
		"issued in the future":     {with("iat", Now.Unix()+6), jwtauth.ErrNotYetValid},
		"for an audience":          {with("aud", "elsewhere"), jwtauth.ErrAudience},
		"of another container":     {with("container", "other"), jwtauth.ErrContainer},
		"of no container":          {with("container", nil), jwtauth.ErrContainer},
		"without exp":              {with("exp", nil), jwtauth.ErrMalformed},
		"with exp as a string":     {with("exp", fmt.Sprint(Now.Unix()+60)), jwtauth.ErrMalformed},
		"with a claim given twice": {Sign(Header, `{"container":"demo","exp":9999999999,"exp":1}`), jwtauth.ErrMalformed},
	}
}

// Splice returns token with the payload of other. The header and the signature stay.
func Splice(token, other string) string {
	parts, others := strings.Split(token, "."), strings.Split(other, ".")
	return parts[0] + "." + others[1] + "." + parts[2]
}

// Flip returns s with its first character replaced by another one of base64url.
func Flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

func Bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// Request returns a request as a server receives it.
func Request(method, target string, header http.Header) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	return r
}

// Seen is a handler that records its request, and the claims in the context.
type Seen struct {
	Ran    bool
	R      *http.Request
	Claims jwtauth.Claims
	OK     bool
}

func (s *Seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Ran, s.R = true, r
	s.Claims, s.OK = jwtauth.FromContext(r.Context())
	io.WriteString(w, "handler")
}

// Serve sends r to a mux with one route, /run/{container}/{recipe}, whose handler is
// wrapped by wrap. It returns the response, and what the handler saw.
func Serve(wrap func(http.Handler) http.Handler, r *http.Request) (*httptest.ResponseRecorder, *Seen) {
	var s Seen
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/{recipe}", wrap(&s))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w, &s
}

// DenialBody holds the JSON body of a denial.
type DenialBody struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Reason string `json:"reason"`
}

func BodyOf(t testing.TB, w *httptest.ResponseRecorder) (b DenialBody) {
	t.Helper()
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &b), "body: %s", w.Body)
	return b
}

// LogBuffer keeps what a logger writes. It is safe for concurrent use.
type LogBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *LogBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *LogBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *LogBuffer) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// CaptureDefaultLog makes the default logger write to a LogBuffer until the test ends.
func CaptureDefaultLog(t *testing.T) *LogBuffer {
	var log LogBuffer
	before := slog.Default()
	slog.SetDefault(log.Logger())
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}

// SourceFunc is a function that serves as a key source.
type SourceFunc func(ctx context.Context, kid string) (*keys.Set, error)

func (f SourceFunc) Keys(ctx context.Context, kid string) (*keys.Set, error) { return f(ctx, kid) }

// CheckerFunc is a function that serves as a revocation checker.
type CheckerFunc func(ctx context.Context, c jwtauth.Claims) (bool, error)

func (f CheckerFunc) Revoked(ctx context.Context, c jwtauth.Claims) (bool, error) { return f(ctx, c) }

// DecodePayload returns the decoded payload of a token.
func DecodePayload(t testing.TB, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	return string(payload)
}

// HostilePaths are request targets that two programs can read as two different places.
var HostilePaths = map[string]string{
	"an escaped .. segment":                   "/run/demo/%2e%2e/notify",
	"an escaped .. segment, half escaped":     "/run/demo/.%2E/notify",
	"an escaped . segment":                    "/run/demo/%2e/notify",
	"an escaped .. as the container":          "/run/%2e%2e/notify",
	"an escaped .. as the recipe":             "/run/demo/%2e%2e",
	"an escaped . at the end":                 "/run/demo/%2e",
	"an escaped slash behind ..":              "/run/demo/..%2Fother",
	"an escaped slash before ..":              "/run/demo/a%2F..",
	"a way out in one segment":                "/run/demo/..%2f..%2fother%2fnotify",
	"an escaped backslash":                    "/run/demo/a%5cb",
	"a raw backslash":                         `/run/demo/a\b`,
	"an empty segment by an escaped slash":    "/run/demo/a%2F%2Fb",
	"an escaped slash at a segment's start":   "/run/demo/%2Fnotify",
	"an escaped slash at the path's start":    "/%2Frun/demo/notify",
	"an escaped slash at the container's end": "/run/demo%2F/notify",
}

// RawDots are request targets that ServeMux redirects. They reach a middleware only if
// there is no mux before it.
var RawDots = map[string]string{
	"a .. segment":             "/run/demo/../other/notify",
	"a . segment":              "/run/demo/./notify",
	"an empty segment":         "/run//demo/notify",
	"two slashes at the start": "//run/demo/notify",
	".. at the end":            "/run/demo/..",
	"two slashes at the end":   "/run/demo/notify//",
}

// PlainPaths are request targets that look odd, but have only one meaning.
var PlainPaths = map[string]string{
	"a slash at the end":             "/run/demo/notify/",
	"dots within a segment":          "/run/demo/a..b",
	"three dots":                     "/run/demo/...",
	"an escape":                      "/run/demo/n%6ftify",
	"an escaped slash in a segment":  "/run/demo/a%2Fb",
	"an escape of an escape":         "/run/demo/%252e%252e",
	"a colon":                        "/run/demo/a:b",
	"a semicolon":                    "/run/demo/a;b",
	"a line break":                   "/run/demo/a%0d%0ab",
	"a NUL":                          "/run/demo/a%00b",
	"an absolute target":             "http://api.example.com/run/demo/notify",
	"nothing but the root":           "/",
	"the asterisk of OPTIONS":        "*",
	"an absolute target without one": "http://api.example.com",
}

// Policies returns the middlewares that allow a request with a good token, keyed by name.
func Policies(auth *jwtauth.Auth) map[string]func(http.Handler) http.Handler {
	return map[string]func(http.Handler) http.Handler{
		"Private":  auth.Private,
		"Public":   auth.Public,
		"Optional": auth.Optional,
		"Protect":  auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{}, nil }),
	}
}

// Leaks fails the test if text contains the payload or the signature of a token, or all
// of a token without dots. The header, which is the first segment, may appear: it is the
// same in most tokens, and not secret. Segments of six bytes or fewer are too short to
// look for.
func Leaks(t *testing.T, where, text, token string) {
	t.Helper()
	for i, segment := range strings.Split(token, ".") {
		if (i > 0 || !strings.Contains(token, ".")) && len(segment) > 6 {
			require.NotContains(t, text, segment, "a token in %s", where)
		}
	}
}
