// Package moving_test has the code of the pages docs/from-*.md. Its tests compare the
// responses of jwtauth with those of the libraries that the pages are about.
package moving_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"expvar"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

var oldSecret = []byte("the secret of the former server, 39 bytes")

// countOld counts the calls that come with a token of the former server.
func countOld(issuer string, old *expvar.Int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if claims, ok := jwtauth.FromContext(r.Context()); ok && claims.Issuer != issuer {
			old.Add(1)
		}
		next.ServeHTTP(w, r)
	})
}

// must returns value, and panics if there is an error. It keeps the examples short. A real
// server would log the error and stop.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// newPair returns a new key for the server after the move, and the public half of the key.
func newPair() (keys.Key, crypto.PublicKey) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return keys.Signer(private).WithID("2026-11"), public
}

// call starts a server for one request, and returns the status and the body of the
// response.
func call(h http.Handler, method, path string, change ...func(*http.Request)) (int, string) {
	server := httptest.NewServer(h)
	defer server.Close()
	r := must(http.NewRequest(method, server.URL+path, nil))
	for _, c := range change {
		c(r)
	}
	response := must(server.Client().Do(r))
	defer response.Body.Close()
	return response.StatusCode, strings.TrimSpace(string(must(io.ReadAll(response.Body))))
}

// get makes a call with a token, and prints the response after the name who.
func get(who string, h http.Handler, path, token string) {
	status, body := call(h, "GET", path, bearer(token))
	fmt.Printf("%s: %d %s\n", who, status, body)
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+token) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

// sign returns a token. head adds header fields, or removes them if they are nil.
func sign(method jwt.SigningMethod, key any, head map[string]any, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(method, claims)
	for name, value := range head {
		if token.Header[name] = value; value == nil {
			delete(token.Header, name)
		}
	}
	return must(token.SignedString(key))
}

// with returns claims that are valid for an hour. changes replace claims, or remove them
// if they are nil.
func with(changes jwt.MapClaims) jwt.MapClaims {
	claims := jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// difference is a request, with the statuses that the old library and this one respond
// with. The pages say the same.
type difference struct {
	name     string
	method   string // GET if empty
	change   []func(*http.Request)
	old, new int
}

func testDifferences(t *testing.T, path string, old, here http.Handler, cases []difference) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			method := "GET"
			if c.method != "" {
				method = c.method
			}
			status, body := call(old, method, path, c.change...)
			require.Equal(t, c.old, status, "the status from the former library, with the body %s", body)
			status, body = call(here, method, path, c.change...)
			require.Equal(t, c.new, status, "the status from this library, with the body %s", body)
		})
	}
}

// hostile returns tokens that an attacker can make from an authentic token and the public
// key.
func hostile(t *testing.T, authentic, kid string, public crypto.PublicKey) map[string]string {
	t.Helper()
	part := strings.Split(authentic, ".")
	var claims jwt.MapClaims
	text, err := jwt.NewParser().DecodeSegment(part[1])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &claims))
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	text = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	_, attacker, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	claims["sub"] = "mallory"

	named := map[string]any{"kid": kid}
	return map[string]string{
		"without an algorithm":                        sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, claims),
		"without an algorithm, under the new kid":     sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, named, claims),
		"HS256 by the text of the public key":         sign(jwt.SigningMethodHS256, text, nil, claims),
		"that, under the new kid":                     sign(jwt.SigningMethodHS256, text, named, claims),
		"HS256 by the bytes of the public key":        sign(jwt.SigningMethodHS256, der, named, claims),
		"EdDSA by an attacker, under the new kid":     sign(jwt.SigningMethodEdDSA, attacker, named, claims),
		"EdDSA by an attacker, without a kid":         sign(jwt.SigningMethodEdDSA, attacker, nil, claims),
		"authentic, its signature gone":               part[0] + "." + part[1] + ".",
		"authentic, its claims those of another user": part[0] + "." + strings.Split(sign(jwt.SigningMethodHS256, oldSecret, nil, claims), ".")[1] + "." + part[2],
	}
}

// testHostile requires that the handler accepts the authentic token, and rejects every
// token that an attacker makes from it.
func testHostile(t *testing.T, h http.Handler, path, authentic, kid string, public crypto.PublicKey) {
	t.Helper()
	status, body := call(h, "GET", path, bearer(authentic))
	require.Equal(t, http.StatusOK, status, body)
	for name, token := range hostile(t, authentic, kid, public) {
		t.Run(name, func(t *testing.T) {
			status, body := call(h, "GET", path, bearer(token))
			require.Equal(t, http.StatusUnauthorized, status, body)
		})
	}
}

// sources maps each page to the file in this folder that has the page's code. If the page
// is about a Go module, it must name the version of the module in go.mod.
var sources = map[string]struct{ file, module string }{
	"from-go-chi-jwtauth.md":          {"chi_test.go", "github.com/go-chi/jwtauth/v5"},
	"from-auth0-go-jwt-middleware.md": {"auth0_test.go", "github.com/auth0/go-jwt-middleware/v3"},
	"from-golang-jwt.md":              {"golangjwt_test.go", "github.com/golang-jwt/jwt/v5"},
	"from-djoser-simplejwt.md":        {"djoser_test.go", ""},
}

func TestThePagesShowCodeOfTheExamples(t *testing.T) {
	pages, err := filepath.Glob("../../docs/from-*.md")
	require.NoError(t, err)
	require.Len(t, pages, len(sources), "sources must have one entry for each page")
	shared := read(t, "pages_test.go")
	mod := read(t, "../go.mod")
	for _, path := range pages {
		t.Run(filepath.Base(path), func(t *testing.T) {
			page, source := read(t, path), sources[filepath.Base(path)]
			require.NotEmpty(t, source.file, "sources has no entry for the page")
			code := read(t, source.file)
			require.Regexp(t, `(?s)\nfunc Example\w*\(\) \{.*\n\t// Output:`, code, "the file has no example with an Output comment, so none runs")
			blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(page, -1)
			require.NotEmpty(t, blocks, "the page has no code")
			for _, block := range blocks {
				found := contains(code, block[1]) || contains(shared, block[1])
				require.True(t, found, "%s does not contain these lines of the page:\n%s", source.file, block[1])
			}
			if source.module != "" {
				version := regexp.MustCompile(regexp.QuoteMeta(source.module) + ` (v\S+)`).FindStringSubmatch(mod)
				require.NotNil(t, version, "go.mod has no %s", source.module)
				require.True(t, strings.Contains(page, version[1]), "the page does not name %s, the version in go.mod", version[1])
			}
		})
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// contains reports whether source has the lines of code, one after the other. It ignores
// indentation.
func contains(source, code string) bool {
	return strings.Contains(flush(source), flush(code))
}

func flush(text string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}
