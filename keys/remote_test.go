package keys_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// issuer is the other side of a Remote, without a network: what the Remote asks, what
// it is answered, and what it logs.
type issuer struct {
	*keys.Remote

	mu      sync.Mutex
	handler http.HandlerFunc // nil: nobody answers
	asked   []http.Header
	at      []time.Time
	log     strings.Builder
}

var errDown = errors.New("connection refused")

// newIssuer is one that is down, of a Remote that has fetched nothing.
func newIssuer(t testing.TB, opts ...keys.RemoteOption) *issuer {
	t.Helper()
	i := new(issuer)
	opts = append([]keys.RemoteOption{
		keys.WithHTTPClient(&http.Client{Transport: i}),
		keys.WithLogger(slog.New(slog.NewTextHandler(i, nil))),
	}, opts...)
	var err error
	i.Remote, err = keys.NewRemote("https://issuer.example.com/jwks", opts...)
	require.NoError(t, err)
	return i
}

// inBubble calls test with a clock of its own, which also fails it if it leaves a
// goroutine behind for longer than a fetch may take.
func inBubble(t *testing.T, test func(t *testing.T, i *issuer), opts ...keys.RemoteOption) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(keys.DefaultFetchTimeout)
		test(t, newIssuer(t, opts...))
	})
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked, i.at = append(i.asked, r.Header), append(i.at, time.Now())
	handler := i.handler
	i.mu.Unlock()
	if handler == nil {
		return nil, errDown
	}
	w := httptest.NewRecorder()
	handler(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// Write takes what the Remote logs.
func (i *issuer) Write(line []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.log.Write(line)
}

func (i *issuer) logged() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.log.String()
}

func (i *issuer) fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.at)
}

func (i *issuer) answer(handler http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handler = handler
}

// publish answers with a text, and header fields in pairs.
func (i *issuer) publish(text string, header ...string) { i.answer(serving(text, header...)) }

func serving(text string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for pair := range slices.Chunk(header, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		io.WriteString(w, text)
	}
}

// slowly answers after a while, or never if whoever asks hangs up before.
func slowly(d time.Duration, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			then(w, r)
		case <-r.Context().Done():
		}
	}
}

// run lets the Remote run until the test is over.
func (i *issuer) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- i.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
}

// verify judges a message that an Ed25519 key signed, as a token that names kid is.
func (i *issuer) verify(kid string, private ed25519.PrivateKey) error {
	set, err := i.Keys(context.Background(), kid)
	if err != nil {
		return err
	}
	return set.Verify("EdDSA", kid, message, ed25519.Sign(private, message))
}

// wontSay fails unless err is one of not knowing: neither of a good token nor of a bad.
func wontSay(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	require.NotErrorIs(t, err, keys.ErrUnknownKey)
	require.NotErrorIs(t, err, keys.ErrSignature)
}

func publishedAs(t testing.TB, kid string, private crypto.Signer) jwkMembers {
	t.Helper()
	return jwkOf(t, private.Public()).with("kid", kid)
}

// first is the set of one key, of the id "first"; both adds "second".
func first(t testing.TB) string { return jwksText(t, publishedAs(t, "first", anEdKey())) }

func both(t testing.TB) string {
	return jwksText(t, publishedAs(t, "first", anEdKey()), publishedAs(t, "second", anotherEdKey()))
}

func TestARemoteVerifiesWhatItsIssuerSigns(t *testing.T) {
	forEach(t, slices.DeleteFunc(slices.Clone(algorithms), isSymmetric), func(t *testing.T, alg string) {
		ring := newRing(t, key(alg))
		server := httptest.NewTLSServer(ring.JWKS())
		defer server.Close()
		remote, err := keys.NewRemote(server.URL, keys.WithHTTPClient(server.Client()), keys.WithLogger(slog.New(slog.DiscardHandler)), keys.WithFetchTimeout(time.Minute))
		require.NoError(t, err)
		requireAccepted(t, remote, tokenBy(t, ring))
		requireUnknown(t, remote, tokenBy(t, anotherKey(alg).WithID("other")))
		_, err = ringAuth(t, remote).Verify(t.Context(), tokenBy(t, anotherKey(alg).WithID(ring.IDs()[0])), "demo")
		require.ErrorIs(t, err, jwtauth.ErrSignature)

		require.NoError(t, ring.Rotate(anotherKey(alg)))
		requireAccepted(t, remote, tokenBy(t, ring))

		_, err = ringAuth(t, remote).Issue("demo")
		require.ErrorIs(t, err, jwtauth.ErrNoSigningKey)
	})
}

// TestAnOutageIs503AndNeverBlamesTheToken asks through the middleware, for a token that
// is good, one that is of nobody, and one to be issued.
func TestAnOutageIs503AndNeverBlamesTheToken(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		auth, err := jwtauth.New(i, jwtauth.WithAnyContainer(), jwtauth.WithTTL(time.Hour))
		require.NoError(t, err)
		handler := auth.Private(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		ask := func(token string) *httptest.ResponseRecorder {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			handler.ServeHTTP(w, r)
			return w
		}
		good := tokenBy(t, key("EdDSA").WithID("first"))
		bad := tokenBy(t, anotherKey("EdDSA").WithID("first"))
		stranger := tokenBy(t, anotherKey("EdDSA").WithID("stranger"))

		for _, token := range []string{good, bad, stranger} {
			w := ask(token)
			require.Equal(t, http.StatusServiceUnavailable, w.Code, "down at the start")
			require.NotEmpty(t, w.Header().Get("Retry-After"))
		}
		_, err = auth.Issue("demo")
		require.ErrorIs(t, err, jwtauth.ErrUnavailable)

		i.publish(first(t))
		time.Sleep(time.Second)
		require.Equal(t, http.StatusOK, ask(good).Code)
		require.Equal(t, http.StatusForbidden, ask(bad).Code)
		require.Equal(t, http.StatusForbidden, ask(stranger).Code)
		_, err = auth.Issue("demo")
		require.ErrorIs(t, err, jwtauth.ErrNoSigningKey)

		i.answer(nil)
		time.Sleep(time.Minute)
		require.Equal(t, http.StatusOK, ask(good).Code, "down later")
		require.Equal(t, http.StatusForbidden, ask(bad).Code)
		require.Equal(t, http.StatusServiceUnavailable, ask(stranger).Code, "it may be of a new key")

		time.Sleep(keys.DefaultMaxStale - 2*time.Minute)
		again := tokenBy(t, key("EdDSA").WithID("first"))
		require.Equal(t, http.StatusOK, ask(again).Code)
		time.Sleep(2 * time.Minute)
		require.Equal(t, http.StatusServiceUnavailable, ask(again).Code, "a token that is remembered, too")
		require.Equal(t, http.StatusServiceUnavailable, ask(bad).Code)
		i.publish(first(t))
		time.Sleep(time.Minute)
		require.Equal(t, http.StatusOK, ask(again).Code)
	})
}

// badAnswers are those of a server that works in its way. They are told to a Remote
// that asks for the first time, and to one that has keys.
func badAnswers(t testing.TB) map[string]struct {
	handler http.HandlerFunc
	says    string
} {
	t.Helper()
	var bomb bytes.Buffer
	packed := gzip.NewWriter(&bomb)
	packed.Write(bytes.Repeat([]byte(" "), 10<<20))
	packed.Close()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	many := make([]jwkMembers, 257)
	for n := range many {
		many[n] = publishedAs(t, fmt.Sprint(n), anEdKey())
	}
	useless := make([]jwkMembers, 256)
	for n := range useless {
		useless[n] = jwkMembers{"kty": strings.Repeat("x", 2000), "alg": strings.Repeat("y", 2000)}
	}
	good := first(t)
	private := jwkOf(t, anEdKey()).with("kid", "first")
	return map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"an error":                      {status(500), "answered 500"},
		"nothing there":                 {status(404), "answered 404"},
		"too many requests":             {status(429), "answered 429"},
		"no content":                    {status(204), "answered 204"},
		"nothing":                       {serving(""), "no JWK Set"},
		"HTML":                          {serving("<!DOCTYPE html><title>Sign in</title>", "Content-Type", "text/html"), "no JWK Set"},
		"an array":                      {serving("[" + good + "]"), "no JWK Set"},
		"a key that is no set":          {serving(publishedAs(t, "first", anEdKey()).text(t)), "no JWK Set"},
		"keys that are no list":         {serving(`{"keys":{}}`), "no JWK Set"},
		"keys that are null":            {serving(`{"keys":null}`), "no key that can be used"},
		"keys twice":                    {serving(strings.Replace(good, "{", `{"keys":[],`, 1)), "no JWK Set"},
		"keys in capitals":              {serving(strings.Replace(good, "keys", "KEYS", 1)), "no JWK Set"},
		"half of a set":                 {serving(good[:len(good)/2]), "no JWK Set"},
		"text behind the set":           {serving(good + "x"), "no JWK Set"},
		"no keys":                       {serving(`{"keys":[]}`), "no key that can be used, of 0"},
		"no keys that can be used":      {serving(jwksText(t, private, jwkOf(t, aSecret()))), "no key that can be used, of 2"},
		"256 keys of no use":            {serving(jwksText(t, useless...)), "no key that can be used, of 256"},
		"257 keys":                      {serving(jwksText(t, many...)), "257 keys"},
		"10 MB":                         {serving(good + strings.Repeat(" ", 10<<20)), "more than 1048576 bytes"},
		"10 MB, packed":                 {serving(bomb.String(), "Content-Encoding", "gzip"), "more than 1048576 bytes"},
		"a redirect to another host":    {redirecting("https://evil.example.com/jwks"), "another host"},
		"a redirect to another port":    {redirecting("https://127.0.0.1:1/jwks"), "another host"},
		"a redirect to plain HTTP":      {func(w http.ResponseWriter, r *http.Request) { redirecting("http://"+r.Host+"/")(w, r) }, "plain HTTP"},
		"a redirect to itself":          {redirecting("/jwks"), "too many redirects"},
		"a redirect to nowhere":         {status(302), "302"},
		"a body that breaks off":        {serving(good, "Content-Length", "100000"), "broke off"},
		"unchanged, as nobody asked":    {status(304), "answered 304"},
		"a server that hangs up":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"a server that hangs up midway": {abortMidway(good), "broke off"},
	}
}

func redirecting(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

func abortMidway(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, text[:20])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// tlsIssuer is a real server whose answer can be changed, and a Remote of it.
func tlsIssuer(t *testing.T, opts ...keys.RemoteOption) (*issuer, *httptest.Server) {
	i := new(issuer)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		handler := i.handler
		i.asked, i.at = append(i.asked, r.Header), append(i.at, time.Now())
		i.mu.Unlock()
		handler(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	opts = append([]keys.RemoteOption{
		keys.WithHTTPClient(server.Client()),
		keys.WithLogger(slog.New(slog.NewTextHandler(i, nil))),
		keys.WithFetchTimeout(time.Minute),
	}, opts...)
	var err error
	i.Remote, err = keys.NewRemote(server.URL+"/jwks", opts...)
	require.NoError(t, err)
	return i, server
}

func TestABadAnswerIsAnOutageAndTheLastGoodKeysStay(t *testing.T) {
	for name, test := range badAnswers(t) {
		t.Run(name+", at the start", func(t *testing.T) {
			i, _ := tlsIssuer(t)
			i.answer(test.handler)
			err := i.verify("first", anEdKey())
			wontSay(t, err)
			require.ErrorContains(t, err, test.says)
			require.Contains(t, i.logged(), "level=ERROR")
			require.Less(t, len(err.Error()), 2000)
		})
		t.Run(name+", later", func(t *testing.T) {
			i, _ := tlsIssuer(t)
			i.publish(first(t))
			require.NoError(t, i.verify("first", anEdKey()))
			before, err := i.Keys(t.Context(), "first")
			require.NoError(t, err)

			i.answer(test.handler)
			err = i.verify("new", anEdKey())
			wontSay(t, err)
			require.ErrorContains(t, err, test.says)
			after, err := i.Keys(t.Context(), "first")
			require.NoError(t, err)
			require.Same(t, before, after)
		})
	}
}

func TestAServerThatHangsIsLeftAlone(t *testing.T) {
	for name, begin := range map[string]string{"before it answers": "", "in the middle of the set": `{"keys":[`} {
		t.Run(name, func(t *testing.T) {
			i, _ := tlsIssuer(t, keys.WithFetchTimeout(200*time.Millisecond))
			left := make(chan struct{})
			i.answer(func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					io.WriteString(w, begin)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
				close(left)
				panic(http.ErrAbortHandler)
			})
			wontSay(t, i.verify("first", anEdKey()))
			if i.fetches() > 0 { // else the handshake took so long
				<-left
			}
		})
	}
}

func TestARequestWaitsNoLongerThanItsContextAndTheFetchGoesOn(t *testing.T) {
	i, _ := tlsIssuer(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	good := serving(first(t))
	i.answer(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-goOn
		good(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	_, err := i.Keys(ctx, "first")
	require.ErrorIs(t, err, context.Canceled)
	close(goOn)
	require.NoError(t, i.verify("first", anEdKey()))
	require.Equal(t, 1, i.fetches(), "by the fetch that nobody waited for")
}

func TestTheCaseOfAHostDoesNotMatterInARedirect(t *testing.T) {
	i := newIssuer(t)
	i.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			redirecting("https://Issuer.Example.com/moved")(w, r)
			return
		}
		serving(first(t))(w, r)
	})
	remote, err := keys.NewRemote("https://issuer.example.com/jwks", keys.WithHTTPClient(&http.Client{Transport: i}), keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	_, err = remote.Keys(t.Context(), "first")
	require.NoError(t, err)
}

func TestARedirectThatStaysOnTheHostIsFollowed(t *testing.T) {
	i, server := tlsIssuer(t)
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			http.Redirect(w, r, server.URL+"/moved", http.StatusMovedPermanently)
			return
		}
		serving(first(t))(w, r)
	}
	i.answer(answer)
	require.NoError(t, i.verify("first", anEdKey()))

	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("none at all") }
	var err error
	i.Remote, err = keys.NewRemote(server.URL+"/jwks", keys.WithHTTPClient(client), keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	require.ErrorContains(t, i.verify("first", anEdKey()), "none at all", "unless the caller says no")
}

// It may be a secret.
func TestTheQueryOfTheURLIsInNoLogAndNoError(t *testing.T) {
	queries := map[string]string{
		"a value":                          "v=1&api_key=the%2Fsecret",
		"a query without a name":           "the-secret",
		"a value that begins like another": "tenant=acme-corp&api_key=acme-corp-secret",
		"a value in small letters":         "api_key=the%2fsecret",
		"a value with a space":             "api_key=the%20secret",
		"a value with a plus":              "api_key=the+secret",
		"a value without a name":           "v=1&the-secret",
		"a value behind a semicolon":       "v=1;api_key=the-secret",
	}
	for name, test := range map[string]struct {
		transport func(i *issuer) http.RoundTripper
		says      string
		is        error
	}{
		"a server that is down": {func(i *issuer) http.RoundTripper { return i }, "keys: Remote: " + errDown.Error(), errDown},
		"a client within the client, which names the URL": {func(i *issuer) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) { return (&http.Client{Transport: i}).Get(r.URL.String()) })
		}, errDown.Error(), errDown},
		"a Location that is no URL and repeats the query": {func(*issuer) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				value := r.URL.RawQuery[strings.LastIndexByte(r.URL.RawQuery, '=')+1:]
				decoded, err := url.QueryUnescape(value)
				require.NoError(t, err)
				w.Header().Set("Location", "https://issuer.example.com:84x43/"+url.PathEscape(decoded)+"?"+value+"&"+url.QueryEscape(decoded)+"&"+decoded)
				w.WriteHeader(http.StatusFound)
				return w.Result(), nil
			})
		}, "invalid port", nil},
		"a body that breaks off and names the URL": {func(*issuer) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				response := w.Result()
				response.Body = io.NopCloser(iotest.ErrReader(fmt.Errorf("%w: %v", errDown, r.URL)))
				return response, nil
			})
		}, "broke off", errDown},
		"a server that answers": {func(i *issuer) http.RoundTripper { i.publish(first(t)); return i }, "the keys are those of the JWK Set", nil},
	} {
		for kind, query := range queries {
			t.Run(name+", "+kind, func(t *testing.T) {
				i := newIssuer(t)
				remote, err := keys.NewRemote("https://issuer.example.com/jwks?"+query,
					keys.WithHTTPClient(&http.Client{Transport: test.transport(i)}), keys.WithLogger(slog.New(slog.NewTextHandler(i, nil))))
				require.NoError(t, err)
				_, err = remote.Keys(t.Context(), "first")
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				said := fmt.Sprint(err, i.logged())
				require.Contains(t, said, test.says)
				require.Contains(t, said, "url=https://issuer.example.com/jwks ")
				require.NotContains(t, said, "secret")
			})
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestPlainHTTPIsForWhoAsksForIt(t *testing.T) {
	server := httptest.NewServer(serving(first(t)))
	defer server.Close()
	_, err := keys.NewRemote(server.URL)
	require.ErrorContains(t, err, "plain HTTP")
	remote, err := keys.NewRemote(server.URL, keys.InsecureAllowHTTP(), keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	_, err = remote.Keys(t.Context(), "first")
	require.NoError(t, err)

	i := newIssuer(t)
	i.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Scheme == "http" {
			redirecting("https://issuer.example.com/jwks")(w, r)
			return
		}
		serving(first(t))(w, r)
	})
	remote, err = keys.NewRemote("http://issuer.example.com/", keys.InsecureAllowHTTP(), keys.WithHTTPClient(&http.Client{Transport: i}), keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	_, err = remote.Keys(t.Context(), "first")
	require.NoError(t, err, "a redirect to something better is followed")
}

func TestWhatNewRemoteRefuses(t *testing.T) {
	const good = "https://issuer.example.com/jwks"
	for name, test := range map[string]struct {
		url  string
		opt  keys.RemoteOption
		says string
	}{
		"no URL":                      {"", nil, "such as https://"},
		"a path":                      {"/jwks.json", nil, "such as https://"},
		"a host alone":                {"issuer.example.com", nil, "such as https://"},
		"a port alone":                {"https://:443/", nil, "such as https://"},
		"a URL that does not parse":   {"https://a b/%", nil, "such as https://"},
		"a file":                      {"file:///etc/jwks.json", nil, "such as https://"},
		"a URL with a password":       {"https://u:hunter2@issuer.example.com/", nil, "without a password"},
		"one that does not parse":     {"https://u:hunter2@issuer.example.com:x/", nil, "such as https://"},
		"plain HTTP":                  {"http://issuer.example.com/", nil, "InsecureAllowHTTP"},
		"plain HTTP, in capitals":     {"HTTP://issuer.example.com/", nil, "InsecureAllowHTTP"},
		"a nil client":                {good, keys.WithHTTPClient(nil), "WithHTTPClient"},
		"a nil logger":                {good, keys.WithLogger(nil), "WithLogger"},
		"no time to fetch":            {good, keys.WithFetchTimeout(0), "WithFetchTimeout(0s)"},
		"less than no time to fetch":  {good, keys.WithFetchTimeout(-1), "WithFetchTimeout(-1ns)"},
		"too much time to fetch":      {good, keys.WithFetchTimeout(time.Minute + 1), "WithFetchTimeout"},
		"keys that are stale at once": {good, keys.WithMaxStale(time.Minute - 1), "WithMaxStale"},
		"keys that are never stale":   {good, keys.WithMaxStale(30*24*time.Hour + 1), "WithMaxStale"},
		"a nil option":                {good, keys.RemoteOption(nil), "option 2 is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := []keys.RemoteOption{keys.WithFetchTimeout(time.Minute)}
			if test.url == good {
				opts = append(opts, test.opt)
			}
			remote, err := keys.NewRemote(test.url, opts...)
			require.Nil(t, remote)
			require.ErrorContains(t, err, "keys: NewRemote: ")
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := keys.NewRemote("http://x/", keys.WithFetchTimeout(0), keys.WithMaxStale(0))
	require.ErrorContains(t, err, "WithFetchTimeout")
	require.ErrorContains(t, err, "WithMaxStale")
	require.ErrorContains(t, err, "plain HTTP", "all are reported at once")
}

// TestKeysThatCannotBeUsedAreLeftOut puts each before and behind a good key, which stays.
func TestKeysThatCannotBeUsedAreLeftOut(t *testing.T) {
	short := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	x25519 := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	ed, ec, rsaKey := publishedAs(t, "bad", anEdKey()), publishedAs(t, "bad", aP256Key()), publishedAs(t, "bad", anRSAKey())
	good := publishedAs(t, "good", anotherEdKey())
	for name, test := range map[string]struct {
		key  string
		says string
	}{
		"a private Ed25519 key":              {jwkOf(t, anEdKey()).with("kid", "bad").text(t), "private key"},
		"a private ECDSA key":                {jwkOf(t, aP256Key()).with("kid", "bad").text(t), "private key"},
		"a private RSA key":                  {jwkOf(t, anRSAKey()).with("kid", "bad").text(t), "private key"},
		"a private key only for verifying":   {jwkOf(t, anEdKey()).with("kid", "bad").with("key_ops", []string{"verify"}).text(t), "private key"},
		"the primes of an RSA key":           {jwkOf(t, anRSAKey()).without("d").with("kid", "bad").text(t), "private key"},
		"a secret":                           {jwkOf(t, aSecret()).with("kid", "bad").text(t), "a secret"},
		"an empty secret":                    {`{"kty":"oct","k":"","kid":"bad"}`, "a secret"},
		"a secret in a public key":           {ed.with("k", base64url(aSecret())).text(t), "a secret"},
		"a secret that is not there":         {`{"kty":"oct","kid":"bad"}`, "not one JSON Web Key"},
		"a key for encryption":               {rsaKey.with("use", "enc").text(t), "use is not"},
		"a key of an unknown use":            {rsaKey.with("use", "SIG").text(t), "use is not"},
		"key_ops of encryption":              {rsaKey.with("key_ops", []string{"encrypt", "wrapKey"}).text(t), "key_ops"},
		"key_ops that sign only":             {ec.with("key_ops", []string{"sign"}).text(t), "key_ops"},
		"no key_ops at all":                  {ec.with("key_ops", []string{}).text(t), "key_ops"},
		"an unknown type":                    {ed.with("kty", "AKP").text(t), "not one JSON Web Key"},
		"no type":                            {ed.without("kty").text(t), "not one JSON Web Key"},
		"an unknown curve":                   {ec.with("crv", "secp256k1").text(t), "RFC 7518"},
		"P-224":                              {ec.with("crv", "P-224").text(t), "RFC 7518"},
		"X25519":                             {ed.with("crv", "X25519").with("x", base64url(x25519.PublicKey().Bytes())).text(t), "not known"},
		"an unknown algorithm":               {rsaKey.with("alg", "RS1").text(t), "RS1"},
		"an algorithm of encryption":         {rsaKey.with("alg", "RSA-OAEP").text(t), "RSA-OAEP"},
		"none":                               {ed.with("alg", "none").text(t), "none"},
		"an algorithm of secrets":            {rsaKey.with("alg", "HS256").text(t), "HS256"},
		"the algorithm of another curve":     {ec.with("alg", "ES384").text(t), "ES384"},
		"an algorithm of absurd length":      {ec.with("alg", strings.Repeat("x", 60<<10)).text(t), "xxx"},
		"RSA of 1024 bits":                   {publishedAs(t, "bad", short).text(t), "1024 bits"},
		"a point off its curve":              {ec.with("x", ec["y"]).text(t), "not on its curve"},
		"a point of small order":             {ed.with("x", base64url(make([]byte, 32))).text(t), "one byte repeated"},
		"the id of another key":              {publishedAs(t, "good", anEdKey()).text(t), "another key"},
		"the id of the same key":             {good.text(t), "another key"},
		"an id that is too long":             {ed.with("kid", strings.Repeat("x", 1025)).text(t), "1024 bytes"},
		"an empty id":                        {ed.with("kid", "").text(t), "empty id"},
		"an id that is a number":             {ed.with("kid", 7).text(t), "not one JSON Web Key"},
		"a member in capitals":               {ed.with("ALG", "EdDSA").text(t), "by case alone"},
		"null":                               {"null", ""},
		"a text":                             {`"key"`, ""},
		"a set":                              {jwksText(t, ed), "JWK Set"},
		"a key of more than 64 KiB":          {ed.with("x-pad", strings.Repeat("x", 64<<10)).text(t), "too long"},
		"a certificate instead of its key":   {`{"kty":"RSA","kid":"bad","x5u":"https://issuer.example.com/cert"}`, "not one JSON Web Key"},
		"RSA whose exponent is over 31 bits": {rsaKey.with("e", base64url([]byte{1, 0, 0, 0, 1})).text(t), "exponent"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.publish(`{"keys":[` + good.text(t) + "," + test.key + `]}`)
			require.NoError(t, i.verify("good", anotherEdKey()))
			require.Equal(t, 1, i.fetches())
			require.Contains(t, i.logged(), "key 2: ")
			require.Contains(t, i.logged(), test.says)
			require.Less(t, len(i.logged()), 1000)
			for _, secret := range slices.Concat(secretsOf(t, aSecret()), secretsOf(t, anEdKey()), secretsOf(t, aP256Key()), secretsOf(t, anRSAKey())) {
				requireHidden(t, i.logged(), secret)
			}
			require.ErrorIs(t, i.verify("bad", anEdKey()), keys.ErrUnknownKey)

			if strings.Contains(test.key, `"good"`) {
				return
			}
			i = newIssuer(t)
			i.publish(`{"keys":[` + test.key + "," + good.text(t) + `]}`)
			require.NoError(t, i.verify("good", anotherEdKey()))
			require.Contains(t, i.logged(), "key 1: ")
		})
	}
}

func TestOfTwoKeysOfOneIDTheFirstThatCanBeUsedCounts(t *testing.T) {
	i := newIssuer(t)
	i.publish(jwksText(t, publishedAs(t, "a", anRSAKey()).with("use", "enc"), publishedAs(t, "a", anEdKey()), publishedAs(t, "a", anotherEdKey())))
	require.NoError(t, i.verify("a", anEdKey()))
	require.ErrorIs(t, i.verify("a", anotherEdKey()), keys.ErrSignature)
}

func TestAKeyWithoutAnIDVerifiesTokensOfEveryID(t *testing.T) {
	i := newIssuer(t)
	without := jwkOf(t, anEdKey().Public())
	i.publish(jwksText(t, without, without, jwkOf(t, anotherEdKey().Public())))
	for _, kid := range []string{"", "any"} {
		require.NoError(t, i.verify(kid, anEdKey()))
		require.NoError(t, i.verify(kid, anotherEdKey()), "there may be several")
	}
	require.Equal(t, 1, i.fetches())
	require.Contains(t, i.logged(), "key 2: another key", "but not the same one again")
}

func TestATokenWithoutAnIDCausesNoFetch(t *testing.T) {
	i := newIssuer(t)
	i.publish(first(t))
	require.ErrorIs(t, i.verify("", anEdKey()), keys.ErrUnknownKey, "a key with an id wants it")
	require.Equal(t, 1, i.fetches())
}

func TestAnIDThatNoKeyCanHaveCausesNoFetch(t *testing.T) {
	i := newIssuer(t)
	longest := strings.Repeat("x", 1024)
	i.publish(jwksText(t, publishedAs(t, longest, anEdKey())))
	require.NoError(t, i.verify(longest, anEdKey()))
	require.ErrorIs(t, i.verify(longest+"x", anEdKey()), keys.ErrUnknownKey)
	require.Equal(t, 1, i.fetches())
}

// TestHowLongKeysAreFresh lets Run renew keys; it comes up to a tenth too early.
func TestHowLongKeysAreFresh(t *testing.T) {
	for name, test := range map[string]struct {
		header []string
		fresh  time.Duration
	}{
		"nothing said":            {nil, 5 * time.Minute},
		"nothing of the kind":     {[]string{"Cache-Control", "public, immutable"}, 5 * time.Minute},
		"max-age":                 {[]string{"Cache-Control", "public, max-age=600, must-revalidate"}, 10 * time.Minute},
		"max-age in capitals":     {[]string{"Cache-Control", "MAX-AGE=600"}, 10 * time.Minute},
		"max-age in quotes":       {[]string{"Cache-Control", `max-age="600"`}, 10 * time.Minute},
		"max-age of a proxy":      {[]string{"Cache-Control", "max-age=600", "Age", "120"}, 8 * time.Minute},
		"an age that is none":     {[]string{"Cache-Control", "max-age=600", "Age", "-120"}, 10 * time.Minute},
		"older than it may be":    {[]string{"Cache-Control", "max-age=600", "Age", "700"}, time.Minute},
		"0":                       {[]string{"Cache-Control", "max-age=0"}, time.Minute},
		"a second":                {[]string{"Cache-Control", "max-age=1"}, time.Minute},
		"less than nothing":       {[]string{"Cache-Control", "max-age=-600"}, time.Minute},
		"a word":                  {[]string{"Cache-Control", "max-age=soon"}, time.Minute},
		"a year":                  {[]string{"Cache-Control", "max-age=31536000"}, time.Hour},
		"for ever":                {[]string{"Cache-Control", "max-age=9000000000000000000"}, time.Hour},
		"beyond all numbers":      {[]string{"Cache-Control", "max-age=90000000000000000000000"}, time.Hour},
		"no-store":                {[]string{"Cache-Control", "no-store, max-age=600"}, time.Minute},
		"no-cache":                {[]string{"Cache-Control", "max-age=600, no-cache"}, time.Minute},
		"the clock is a year off": {[]string{"Cache-Control", "max-age=600", "Date", "Fri, 01 Jan 1999 00:00:00 GMT", "Expires", "Fri, 01 Jan 1999 00:10:00 GMT"}, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, i *issuer) {
				i.publish(first(t), test.header...)
				defer i.run(t)()
				require.Equal(t, 1, i.fetches(), "before anybody asks")
				for range 20 {
					time.Sleep(test.fresh + time.Second)
				}
				synctest.Wait()
				require.GreaterOrEqual(t, i.fetches(), 20)
				for n := range i.fetches() - 1 {
					between := i.at[n+1].Sub(i.at[n])
					require.GreaterOrEqual(t, between, test.fresh*9/10)
					require.LessOrEqual(t, between, test.fresh)
				}
			})
		})
	}
}

func TestKeysAreFetchedTwiceAtLeastBeforeTheyAreTooOld(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t), "Cache-Control", "max-age=3600")
		defer i.run(t)()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Greater(t, i.fetches(), 20)
		require.NotContains(t, i.logged(), "too old")
	}, keys.WithMaxStale(time.Minute))
}

func TestWithRunNoRequestOfAKnownKeyWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t))
		defer i.run(t)()
		i.answer(slowly(time.Hour, nil))
		for range 600 {
			before := time.Now()
			require.NoError(t, i.verify("first", anEdKey()))
			require.Equal(t, before, time.Now())
			time.Sleep(time.Second)
		}
		require.Greater(t, i.fetches(), 2, "though there were fetches that hung")
		require.Contains(t, i.logged(), "context deadline exceeded")
	})
}

func TestARequestOfAKnownKeyCostsNoMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(both(t))
		defer i.run(t)()
		require.Zero(t, testing.AllocsPerRun(100, func() { i.Keys(context.Background(), "second") }))
	})
}

func TestWithoutRunTheFirstRequestFetchesAndLaterOnesDoNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.answer(slowly(time.Second, serving(first(t))))
		require.Zero(t, i.fetches())
		hundred := func() {
			var group sync.WaitGroup
			for range 100 {
				group.Go(func() { assert.NoError(t, i.verify("first", anEdKey())) })
			}
			group.Wait()
		}
		before := time.Now()
		hundred()
		require.Equal(t, time.Second, time.Since(before), "one wait for all")
		require.Equal(t, 1, i.fetches())

		time.Sleep(5 * time.Minute)
		i.answer(slowly(time.Second, serving(both(t))))
		before = time.Now()
		hundred()
		require.Equal(t, before, time.Now(), "renewed behind their back")
		time.Sleep(2 * time.Second)
		hundred()
		require.Equal(t, 2, i.fetches(), "once for all")
		require.NoError(t, i.verify("second", anotherEdKey()))
		require.Equal(t, 2, i.fetches())

		time.Sleep(time.Hour)
		require.Equal(t, 2, i.fetches(), "nobody asks, nothing is fetched")
	})
}

func TestAnIssuerThatIsDownIsAskedLessAndLess(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		defer i.run(t)()
		for range 20 * 60 * 10 {
			time.Sleep(100 * time.Millisecond)
			before := time.Now()
			wontSay(t, i.verify("first", anEdKey()))
			require.Equal(t, before, time.Now(), "and nobody waits for it")
		}
		synctest.Wait()
		most := time.Second
		for n := range i.fetches() - 1 {
			between := i.at[n+1].Sub(i.at[n])
			require.GreaterOrEqual(t, between, most/2)
			require.LessOrEqual(t, between, most+100*time.Millisecond)
			most = min(2*most, time.Minute)
		}
		require.InDelta(t, 30, i.fetches(), 12)
		require.Equal(t, i.fetches(), strings.Count(i.logged(), "cannot be fetched"))

		i.publish(first(t))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NoError(t, i.verify("first", anEdKey()))
		require.Equal(t, 1, strings.Count(i.logged(), "can be fetched again"))

		i.answer(nil)
		before := i.fetches()
		time.Sleep(5*time.Minute + 10*time.Second)
		synctest.Wait()
		require.GreaterOrEqual(t, i.fetches(), before+4, "another outage begins anew")
	})
}

func TestTheLastGoodKeysStayUntilTheyAreTooOld(t *testing.T) {
	for name, run := range map[string]bool{"with Run": true, "without Run": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, i *issuer) {
				i.publish(first(t))
				if run {
					defer i.run(t)()
				}
				require.NoError(t, i.verify("first", anEdKey()))
				i.answer(nil)
				time.Sleep(time.Hour - time.Millisecond)
				synctest.Wait()
				require.NoError(t, i.verify("first", anEdKey()))
				time.Sleep(2 * time.Millisecond)
				wontSay(t, i.verify("first", anEdKey()))
				require.Equal(t, 1, strings.Count(i.logged(), "too old"), "the pager is told once")
				time.Sleep(time.Hour)
				wontSay(t, i.verify("first", anEdKey()))

				i.publish(first(t))
				time.Sleep(time.Minute)
				require.NoError(t, i.verify("first", anEdKey()))
			}, keys.WithMaxStale(time.Hour))
		})
	}
}

func TestARemoteThatNobodyAsksIsNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t))
		require.NoError(t, i.verify("first", anEdKey()))
		time.Sleep(24 * time.Hour)
		require.NotContains(t, i.logged(), "level=ERROR")
		i.answer(slowly(time.Second, serving(both(t))))
		before := time.Now()
		require.NoError(t, i.verify("first", anEdKey()))
		require.Equal(t, time.Second, time.Since(before), "too old for a day: as at the start")
	})
}

func TestKeysThatAreFoundUnchangedAreNotOld(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.answer(etagged(first(t), `"1"`))
		defer i.run(t)()
		for range 100 {
			time.Sleep(time.Hour)
			require.NoError(t, i.verify("first", anEdKey()))
		}
		require.NotContains(t, i.logged(), "too old")
	}, keys.WithMaxStale(time.Hour))
}

// etagged answers 304, and nothing else, to whoever has the text.
func etagged(text, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		serving(text, "ETag", etag, "Cache-Control", "max-age=600")(w, r)
	}
}

// TestOnlyAChangeOfKeysIsANewSet asks once per renewal.
func TestOnlyAChangeOfKeysIsANewSet(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		defer i.run(t)()
		set := func() *keys.Set {
			time.Sleep(11 * time.Minute)
			synctest.Wait()
			set, err := i.Keys(t.Context(), "first")
			require.NoError(t, err)
			return set
		}
		i.publish(both(t))
		before := set()
		i.publish(both(t) + "\n")
		require.Same(t, before, set(), "the same keys")
		i.publish(jwksText(t, publishedAs(t, "second", anotherEdKey()), publishedAs(t, "first", anEdKey()).with("use", "sig")))
		require.Same(t, before, set(), "in another order and written otherwise")

		i.answer(etagged(both(t), `"1"`))
		require.Same(t, before, set())
		count := i.fetches()
		require.Same(t, before, set())
		require.Equal(t, count+1, i.fetches(), "304 says nothing of Cache-Control: what was said holds")
		require.Equal(t, `"1"`, i.asked[count].Get("If-None-Match"))

		i.publish(first(t))
		fewer := set()
		require.NotSame(t, before, fewer, "a key that went")
		require.ErrorIs(t, i.verify("second", anotherEdKey()), keys.ErrUnknownKey)

		i.publish(jwksText(t, publishedAs(t, "first", anotherEdKey())))
		replaced := set()
		require.NotSame(t, fewer, replaced, "another key under the id")
		require.NoError(t, i.verify("first", anotherEdKey()))
		require.ErrorIs(t, i.verify("first", anEdKey()), keys.ErrSignature)

		i.publish(jwksText(t, publishedAs(t, "first", anotherEdKey()), publishedAs(t, "second", anEdKey())))
		require.NotSame(t, replaced, set(), "a key that came")
		require.Equal(t, 4, strings.Count(i.logged(), "the keys are those"), i.logged())

		renamed := set()
		i.publish(jwksText(t, publishedAs(t, "first", anotherEdKey()), publishedAs(t, "third", anEdKey())))
		require.NotSame(t, renamed, set(), "the same key under another id")

		i.publish(jwksText(t, publishedAs(t, "first", anRSAKey()).with("alg", "PS256")))
		pss := set()
		i.publish(jwksText(t, publishedAs(t, "first", anRSAKey())))
		require.NotSame(t, pss, set(), "another algorithm")
		i.publish(jwksText(t, publishedAs(t, "first", anRSAKey()), jwkOf(t, aSecret())))
		require.Same(t, set(), set())
		require.Contains(t, i.logged(), "key 2: ", "what is left out is told though the keys are the same")
	})
}

func TestAReplacedKeyIsForgottenByAnAuthThatRemembersItsTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t))
		defer i.run(t)()
		auth, old := ringAuth(t, i), tokenBy(t, key("EdDSA").WithID("first"))
		for range 3 {
			_, err := auth.Verify(t.Context(), old, "demo")
			require.NoError(t, err)
		}
		i.publish(jwksText(t, publishedAs(t, "first", anotherEdKey())))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		_, err := auth.Verify(t.Context(), old, "demo")
		require.ErrorIs(t, err, jwtauth.ErrSignature)
		_, err = auth.Verify(t.Context(), tokenBy(t, anotherKey("EdDSA").WithID("first")), "demo")
		require.NoError(t, err)
	})
}

// warm is a Remote in a bubble that has the first key, with and without Run.
func warm(t *testing.T, test func(t *testing.T, i *issuer)) {
	for name, run := range map[string]bool{"with Run": true, "without Run": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, i *issuer) {
				i.publish(first(t), "Cache-Control", "max-age=3600")
				if run {
					defer i.run(t)()
				}
				require.NoError(t, i.verify("first", anEdKey()))
				test(t, i)
			})
		})
	}
}

func TestANewKeyIsFetchedOnceForAllWhoNeedIt(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		i.answer(slowly(time.Second, serving(both(t), "Cache-Control", "max-age=3600")))
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { assert.NoError(t, i.verify("second", anotherEdKey())) })
		}
		group.Wait()
		require.Equal(t, 2, i.fetches())
		require.Equal(t, "no-cache", i.asked[1].Get("Cache-Control"), "past caches that lack it")
		require.Empty(t, i.asked[0].Get("Cache-Control"))
	})
}

func TestAnUnknownIDIsFetchedOnceForAllWhoNameIt(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		i.answer(slowly(time.Second, serving(first(t), "Cache-Control", "max-age=3600")))
		before := time.Now()
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { assert.ErrorIs(t, i.verify("unknown", anEdKey()), keys.ErrUnknownKey) })
		}
		group.Wait()
		require.Equal(t, time.Second, time.Since(before))
		require.Equal(t, 2, i.fetches())
	})
}

// TestNoRaceMakesASecondFetch lets fetches end while others are about to begin.
func TestNoRaceMakesASecondFetch(t *testing.T) {
	before, after := first(t), both(t)
	for range 300 {
		i := newIssuer(t)
		i.publish(before)
		require.NoError(t, i.verify("first", anEdKey()))
		i.publish(after)
		var group sync.WaitGroup
		for n := range 50 {
			group.Go(func() {
				_, err := i.Keys(context.Background(), []string{"first", "second"}[n%2])
				assert.NoError(t, err)
			})
		}
		group.Wait()
		require.Equal(t, 2, i.fetches())
		require.NoError(t, i.verify("second", anotherEdKey()))
	}
}

func TestAFetchThatCameBeforeTheNewKeyDoesNotDecide(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		i.answer(slowly(2*time.Second, serving(first(t))))
		go i.verify("unknown", anEdKey())
		time.Sleep(time.Second)
		i.answer(slowly(time.Second, serving(both(t))))
		before := time.Now()
		require.NoError(t, i.verify("second", anotherEdKey()))
		require.Equal(t, 2*time.Second, time.Since(before))
		require.Equal(t, 3, i.fetches())
	})
}

func TestAnIDThatStaysUnknownIsAskedForOnceInAWhile(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		before := i.fetches()
		for range 10 * 60 { // ten minutes
			require.ErrorIs(t, i.verify("retired", anotherEdKey()), keys.ErrUnknownKey)
			require.ErrorIs(t, i.verify("retired as well", anotherEdKey()), keys.ErrUnknownKey)
			time.Sleep(time.Second)
		}
		require.Equal(t, 2*20, i.fetches()-before, "every 30 seconds for each")
		i.publish(jwksText(t, publishedAs(t, "first", anEdKey()), publishedAs(t, "retired", anotherEdKey())))
		time.Sleep(30 * time.Second)
		require.NoError(t, i.verify("retired", anotherEdKey()), "and found when it is back")
	})
}

func TestRandomIDsNeitherFloodTheIssuerNorKeepANewKeyOut(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		count := i.fetches()
		flood := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				i.Keys(t.Context(), rand.Text())
				if _, err := i.Keys(t.Context(), "first"); err != nil {
					t.Fatalf("others notice it: %v", err)
				}
			}
		}
		flood(30 * time.Second)
		require.Equal(t, 5+5, i.fetches()-count, "five at once, then one every five seconds")
		flood(10 * time.Minute)
		require.InDelta(t, 5+5+12*10, i.fetches()-count, 2)
		if err := i.verify(rand.Text(), anEdKey()); !errors.Is(err, keys.ErrUnknownKey) {
			wontSay(t, err)
		}

		flood(time.Second)
		wontSay(t, i.verify("second", anotherEdKey()))
		i.publish(both(t))
		published := time.Now()
		for {
			err := i.verify("second", anotherEdKey())
			if err == nil {
				break
			}
			wontSay(t, err)
			flood(10 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(published), 5*time.Second)

		time.Sleep(time.Minute)
		count = i.fetches()
		for range 100 {
			i.verify(rand.Text(), anEdKey())
		}
		require.LessOrEqual(t, i.fetches()-count, 6, "a rest of a minute is no credit for more")
	})
}

func TestAnUnknownIDDuringAnOutageIsNeverCalledWrong(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		require.ErrorIs(t, i.verify("unknown", anEdKey()), keys.ErrUnknownKey)
		i.answer(nil)
		count := i.fetches()
		time.Sleep(30 * time.Second)
		for range 600 {
			wontSay(t, i.verify("unknown", anEdKey()))
			wontSay(t, i.verify("second", anotherEdKey()))
			require.NoError(t, i.verify("first", anEdKey()))
			time.Sleep(time.Second)
		}
		require.InDelta(t, 20, i.fetches()-count, 8, "and backs off")
		i.publish(both(t))
		time.Sleep(time.Minute)
		require.NoError(t, i.verify("second", anotherEdKey()))
		require.ErrorIs(t, i.verify("unknown", anEdKey()), keys.ErrUnknownKey)
	})
}

func TestAFetchThatTakesTooLongEndsForAllWhoWait(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		i.answer(slowly(time.Hour, nil))
		before := time.Now()
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { assert.ErrorIs(t, i.verify("second", anotherEdKey()), context.DeadlineExceeded) })
		}
		group.Wait()
		require.Equal(t, keys.DefaultFetchTimeout, time.Since(before))
		require.Equal(t, 2, i.fetches())
	})
}

func TestABodyThatComesTooSlowlyEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote, err := keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(&http.Client{Transport: drip{}}),
			keys.WithFetchTimeout(3*time.Second), keys.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(t, err)
		before := time.Now()
		_, err = remote.Keys(t.Context(), "first")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "broke off")
		require.Equal(t, 3*time.Second, time.Since(before))
	})
}

func TestOfAnEndlessBodyOnlyTheBeginningIsRead(t *testing.T) {
	read := new(atomic.Int64)
	remote, err := keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(&http.Client{Transport: endless{read}}),
		keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	_, err = remote.Keys(t.Context(), "first")
	require.ErrorContains(t, err, "more than 1048576 bytes")
	require.LessOrEqual(t, read.Load(), int64(1<<20+1))
}

// endless answers with blanks, for ever.
type endless struct{ read *atomic.Int64 }

func (e endless) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: e}, nil
}

func (e endless) Read(b []byte) (int, error) {
	if e.read.Add(int64(len(b))) > 64<<20 {
		return 0, errors.New("all of this was read")
	}
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

func (endless) Close() error { return nil }

// drip answers with a byte per second, for ever.
type drip struct{ ctx context.Context }

func (drip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: drip{r.Context()}}, nil
}

func (d drip) Read(b []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second):
		b[0] = ' '
		return 1, nil
	}
}

func (drip) Close() error { return nil }

func TestRunEndsWithItsContextAndTheRemoteGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, i.Run(ended), context.Canceled)
		synctest.Wait()
		require.Zero(t, i.fetches(), "nothing is begun that is over")

		i.answer(slowly(time.Second, serving(first(t))))
		stop := i.run(t)
		before := time.Now()
		stop()
		require.Equal(t, before, time.Now(), "in the middle of a fetch")

		time.Sleep(time.Second)
		require.NoError(t, i.verify("first", anEdKey()))
		require.Equal(t, 1, i.fetches())
		time.Sleep(5 * time.Minute)
		require.NoError(t, i.verify("first", anEdKey()))
		synctest.Wait()
		require.Equal(t, 2, i.fetches(), "as without Run")
		time.Sleep(time.Second)
	})
}

func TestRunMayRunTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t))
		stop := i.run(t)
		defer i.run(t)()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.InDelta(t, 12.5, i.fetches(), 2)
		stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.InDelta(t, 25, i.fetches(), 4, "the other one goes on")
	})
}

// TestAClockThatJumpsChangesNothing lets the wall clock of the Auth jump; the Remote
// has none.
func TestAClockThatJumpsChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t), "Cache-Control", "max-age=3600")
		defer i.run(t)()
		var jump atomic.Int64
		clock := func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
		auth, err := jwtauth.New(i, jwtauth.WithClock(clock))
		require.NoError(t, err)
		for _, years := range []time.Duration{0, 20, -20} {
			jump.Store(int64(years * 365 * 24 * time.Hour))
			signer, err := jwtauth.New(key("EdDSA").WithID("first"), jwtauth.WithClock(clock))
			require.NoError(t, err)
			token, err := signer.Issue("demo")
			require.NoError(t, err)
			_, err = auth.Verify(t.Context(), token, "demo")
			require.NoError(t, err)
		}
		require.Equal(t, 1, i.fetches())
	})
}

// asking is a logger that asks the Remote whose reports it takes, as one does that
// sends them to a server that wants tokens.
type asking struct {
	slog.Handler
	remote *keys.Remote
}

func (a *asking) Handle(ctx context.Context, r slog.Record) error {
	a.remote.Keys(ctx, "the logger's")
	return nil
}

func TestALoggerMayUseTheRemote(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		a := &asking{Handler: slog.NewTextHandler(io.Discard, nil)}
		var err error
		i.Remote, err = keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(&http.Client{Transport: i}), keys.WithLogger(slog.New(a)))
		require.NoError(t, err)
		a.remote = i.Remote
		wontSay(t, i.verify("first", anEdKey()))
		i.publish(first(t))
		time.Sleep(time.Second)
		require.NoError(t, i.verify("first", anEdKey()))
	})
}

func TestTheDefaultLoggerIsTheOneOfItsDay(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	i := new(issuer)
	remote, err := keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(&http.Client{Transport: i}))
	require.NoError(t, err)
	slog.SetDefault(slog.New(slog.NewTextHandler(i, nil)))
	_, err = remote.Keys(t.Context(), "")
	require.ErrorIs(t, err, errDown)
	require.Contains(t, i.logged(), "cannot be fetched")
}

func TestTheCallersClientIsNotChanged(t *testing.T) {
	client := &http.Client{}
	_, err := keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(client))
	require.NoError(t, err)
	require.Nil(t, client.CheckRedirect)
}

// TestManyUseARemoteThatChanges is for the race detector.
func TestManyUseARemoteThatChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t), "Cache-Control", "max-age=60")
		stop := i.run(t)
		var group sync.WaitGroup
		for n := range 20 {
			group.Go(func() {
				for m := range 50 {
					assert.NoError(t, i.verify("first", anEdKey()))
					i.verify(fmt.Sprint("second", n, m%3), anEdKey())
					i.verify("second", anEdKey())
					time.Sleep(time.Duration(n+1) * time.Second)
				}
			})
		}
		for range 10 {
			for _, change := range []func(){
				func() { i.publish(both(t)) },
				func() { i.answer(nil) },
				func() { i.answer(slowly(time.Second, etagged(first(t), `"1"`))) },
				stop,
				func() { stop = i.run(t) },
			} {
				change()
				time.Sleep(20 * time.Second)
			}
		}
		group.Wait()
		stop()
	})
}

// FuzzReadRemote gives a Remote answers that nobody chose.
func FuzzReadRemote(f *testing.F) {
	ed, private := publishedAs(f, "first", anEdKey()), jwkOf(f, anEdKey()).with("kid", "first")
	for _, text := range []string{
		"", "{}", `{"keys":[]}`, `{"keys":[null]}`, first(f), both(f),
		jwksText(f, private),
		jwksText(f, private, ed),
		jwksText(f, publishedAs(f, "first", anotherEdKey()), private),
		jwksText(f, jwkOf(f, aSecret()).with("kid", "first").with("alg", "HS256")),
		jwksText(f, jwkOf(f, aP256Key().Public()), publishedAs(f, "r", anRSAKey()).with("use", "enc")),
		jwksText(f, ed.with("key_ops", []string{"verify"}).with("alg", "EdDSA").with("use", "sig")),
	} {
		f.Add([]byte(text))
	}
	for _, refused := range refusedJWKs(f) {
		f.Add([]byte(`{"keys":[` + refused.text + `]}`))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		remote, err := keys.NewRemote("https://issuer.example.com", keys.WithLogger(slog.New(slog.DiscardHandler)),
			keys.WithHTTPClient(&http.Client{Transport: fixedAnswer(text)}))
		if err != nil {
			t.Fatal(err)
		}
		set, err := remote.Keys(t.Context(), "")
		if (set == nil) == (err == nil) {
			t.Fatalf("both or neither: %v %v", set, err)
		}
		if err != nil {
			return
		}
		if _, _, err := set.SigningKey(); !errors.Is(err, keys.ErrNoSigningKey) {
			t.Fatalf("it can sign: %v", err)
		}
		judgeTaken(t, text, set)
	})
}

// judgeTaken fails if the set verifies what a key of the text signed that has anything
// private, unless its public half is there as well.
func judgeTaken(t *testing.T, text []byte, set *keys.Set) {
	t.Helper()
	var answer struct{ Keys []map[string]any }
	if json.Unmarshal(text, &answer) != nil {
		t.Fatal("taken from what is no JSON")
	}
	open := 0
	for _, one := range answer.Keys {
		hasPrivate := slices.ContainsFunc(slices.Collect(maps.Keys(one)), func(name string) bool {
			return slices.Contains([]string{"d", "k", "p", "q", "dp", "dq", "qi", "oth"}, name)
		})
		if !hasPrivate {
			open++
		}
	}
	if open == 0 {
		t.Fatalf("taken from private keys alone: %s", text)
	}
	for _, alg := range algorithms {
		if isSymmetric(alg) && !errors.Is(set.Verify(alg, "first", message, independentSign(t, alg, aSecret(), message)), keys.ErrUnknownKey) {
			t.Fatalf("a secret is taken: %s", text)
		}
	}
}

type fixedAnswer string

func (a fixedAnswer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

// RFC 7517, section 4.5: keys of different types may have one id.
func TestKeysOfOneIDAndTwoAlgorithmsAreTwo(t *testing.T) {
	ed, rsa := publishedAs(t, "a", anEdKey()), publishedAs(t, "a", anRSAKey())
	for _, text := range []string{jwksText(t, ed, rsa), jwksText(t, rsa, ed)} {
		i := newIssuer(t)
		i.publish(text)
		set, err := i.Keys(t.Context(), "a")
		require.NoError(t, err)
		require.NoError(t, i.verify("a", anEdKey()))
		require.ErrorIs(t, set.Verify("RS256", "a", message, []byte("x")), keys.ErrSignature, "there is one to judge by")
		require.NotContains(t, i.logged(), "another key before it")
	}
}

// A request found out that the server is down: Run need not wait for the next renewal.
func TestRunTriesAgainWhatARequestCouldNotFetch(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		stop := i.run(t)
		defer stop()
		i.answer(nil)
		wontSay(t, i.verify("second", anotherEdKey()))
		count := i.fetches()
		i.publish(both(t))
		time.Sleep(2 * time.Second)
		require.Greater(t, i.fetches(), count)
		require.NoError(t, i.verify("second", anotherEdKey()))
		require.Contains(t, i.logged(), "can be fetched again")
	})
}

// Each of several unknown ids is told by its own fetch, which waits for the others'.
func TestManyUnknownIDsAtOnceAreToldApart(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		i.answer(slowly(time.Second, serving(both(t))))
		verdicts := make(chan error, 3)
		for _, kid := range []string{"one", "two", "three"} {
			go func() { verdicts <- i.verify(kid, anEdKey()) }()
		}
		for range 3 {
			require.ErrorIs(t, <-verdicts, keys.ErrUnknownKey)
		}
	})
}

func TestRemote_FollowsFewRedirectsAndOnlyOnItsHost(t *testing.T) {
	for name, test := range map[string]struct {
		hops     []string // where each answer leads
		followed bool
	}{
		"none":                                {nil, true},
		"five on the host":                    {[]string{"/1", "/2", "/3", "/4", "/5"}, true},
		"six on the host":                     {[]string{"/1", "/2", "/3", "/4", "/5", "/6"}, false},
		"without end":                         {slices.Repeat([]string{"/jwks"}, 50), false},
		"to the host in capitals":             {[]string{"https://ISSUER.example.com/1"}, true},
		"to another host":                     {[]string{"https://evil.example.com/1"}, false},
		"to another host and back":            {[]string{"https://evil.example.com/1", "https://issuer.example.com/2"}, false},
		"to another host at the second":       {[]string{"/1", "https://evil.example.com/2"}, false},
		"to a host that begins alike":         {[]string{"https://issuer.example.com.evil.example/1"}, false},
		"to a subdomain":                      {[]string{"https://a.issuer.example.com/1"}, false},
		"to another port":                     {[]string{"https://issuer.example.com:8443/1"}, false},
		"to a host behind a name":             {[]string{"https://issuer.example.com@evil.example/1"}, false},
		"to another host without a scheme":    {[]string{"//evil.example.com/1"}, false},
		"to plain HTTP":                       {[]string{"http://issuer.example.com/1"}, false},
		"to plain HTTP at the second":         {[]string{"/1", "http://issuer.example.com/2"}, false},
		"to a scheme that fetches from disks": {[]string{"file:///etc/passwd"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			next := 0
			i.answer(func(w http.ResponseWriter, r *http.Request) {
				if next < len(test.hops) {
					next++
					redirecting(test.hops[next-1])(w, r)
					return
				}
				serving(first(t))(w, r)
			})
			err := i.verify("first", anEdKey())
			if test.followed {
				require.NoError(t, err)
				return
			}
			wontSay(t, err)
			require.LessOrEqual(t, next, 6)
		})
	}
}

func TestRemote_LeavesOutKeysThatMakeVerificationExpensive(t *testing.T) {
	rsaOf := func(bits int, kid string) jwkMembers {
		n := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), uint(bits-1)), big.NewInt(1))
		key := jwkOf(t, &rsa.PublicKey{N: n, E: 65537})
		if kid != "" {
			key = key.with("kid", kid)
		}
		return key
	}
	kinds := map[string]func() jwkMembers{
		"Ed25519": func() jwkMembers {
			public, _, err := ed25519.GenerateKey(nil)
			require.NoError(t, err)
			return jwkOf(t, public)
		},
		"ECDSA": func() jwkMembers {
			return jwkOf(t, must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).Public())
		},
	}
	bits := 2048
	kinds["RSA"] = func() jwkMembers { bits++; return rsaOf(bits, "") }
	for name, another := range kinds {
		t.Run("a fifth key without an id, "+name, func(t *testing.T) {
			i := newIssuer(t)
			all := []jwkMembers{another(), another(), another(), another()}
			i.publish(jwksText(t, append(all, publishedAs(t, "first", anEdKey()))...))
			require.NoError(t, i.verify("first", anEdKey()))
			require.NotContains(t, i.logged(), "key 4: ", "four are taken")

			i = newIssuer(t)
			all = append(all, another(), publishedAs(t, "first", anEdKey()), another())
			i.publish(jwksText(t, all...))
			require.NoError(t, i.verify("first", anEdKey()))
			require.Contains(t, i.logged(), "key 5: 4 keys before it")
			require.Contains(t, i.logged(), "key 7: 4 keys before it")
		})
	}
	t.Run("many keys with ids", func(t *testing.T) {
		i := newIssuer(t)
		var all []jwkMembers
		for n := range 50 {
			all = append(all, kinds["Ed25519"]().with("kid", fmt.Sprint(n)))
		}
		i.publish(jwksText(t, append(all, publishedAs(t, "first", anEdKey()))...))
		require.NoError(t, i.verify("first", anEdKey()))
		require.Contains(t, i.logged(), `"left out"=[]`)
	})
	for bits, taken := range map[int]bool{8192: true, 8193: false, 16384: false} {
		t.Run(fmt.Sprint("an RSA key of ", bits, " bits"), func(t *testing.T) {
			i := newIssuer(t)
			i.publish(jwksText(t, rsaOf(bits, "large"), publishedAs(t, "first", anEdKey())))
			require.NoError(t, i.verify("first", anEdKey()))
			require.Equal(t, !taken, strings.Contains(i.logged(), "8192 are the most"), i.logged())
		})
	}
}

// panics is a body whose reading panics.
type panics struct{ io.ReadCloser }

func (panics) Read([]byte) (int, error) { panic("in Read") }

// roundTrip is a transport of a test's own.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A caller's client runs in a goroutine of the Remote, where a panic would end the
// process, and nothing else would end the fetch.
func TestRemote_AClientThatPanicsIsAnOutage(t *testing.T) {
	const secret = "a-secret-of-the-query"
	redirect := func(*http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		redirecting("/moved")(w, nil)
		return w.Result(), nil
	}
	for name, client := range map[string]*http.Client{
		"the transport panics":               {Transport: roundTrip(func(r *http.Request) (*http.Response, error) { panic("cannot fetch " + r.URL.String()) })},
		"the transport panics with an error": {Transport: roundTrip(func(r *http.Request) (*http.Response, error) { panic(errors.New(r.URL.RawQuery)) })},
		"the transport mistakes a type":      {Transport: roundTrip(func(r *http.Request) (*http.Response, error) { return any(r).(*http.Response), nil })},
		"the transport ends the goroutine":   {Transport: roundTrip(func(r *http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil })},
		"the body panics": {Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: panics{http.NoBody}, Request: r}, nil
		})},
		"CheckRedirect panics": {Transport: roundTrip(redirect), CheckRedirect: func(*http.Request, []*http.Request) error { panic("no") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs := new(issuer)
				broken := true
				transport := client.Transport
				own := *client
				own.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					if broken {
						return transport.RoundTrip(r)
					}
					w := httptest.NewRecorder()
					serving(first(t))(w, r)
					return w.Result(), nil
				})
				remote, err := keys.NewRemote("https://issuer.example.com/jwks?key="+secret, keys.WithHTTPClient(&own), keys.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
				require.NoError(t, err)
				for range 2 { // nor does it go on for those who come later
					_, err = remote.Keys(t.Context(), "first")
					require.ErrorContains(t, err, "the HTTP client")
					require.NotContains(t, err.Error(), secret)
				}
				require.Contains(t, logs.logged(), "cannot be fetched")
				require.NotContains(t, logs.logged(), secret)

				broken = false
				time.Sleep(time.Minute)
				_, err = remote.Keys(t.Context(), "first")
				require.NoError(t, err)
			})
		})
	}
}

func TestRemote_IsFreedOnceItIsDropped(t *testing.T) {
	freed := func() (weak.Pointer[keys.Remote], weak.Pointer[keys.Set]) {
		i := newIssuer(t, keys.WithMaxStale(24*time.Hour))
		i.publish(first(t))
		set, err := i.Keys(t.Context(), "first")
		require.NoError(t, err)
		return weak.Make(i.Remote), weak.Make(set)
	}
	remote, set := freed()
	for range 100 {
		if runtime.GC(); remote.Value() == nil && set.Value() == nil {
			return
		}
	}
	require.Fail(t, "something holds it")
}
