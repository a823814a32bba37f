package keys_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// slowly returns a handler that waits before it answers. It stops waiting if the client
// hangs up.
func slowly(d time.Duration, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			then(w, r)
		case <-r.Context().Done():
		}
	}
}

// wontSay requires an error that does not blame the token for an unknown key or a wrong
// signature.
func wontSay(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	require.NotErrorIs(t, err, keys.ErrUnknownKey)
	require.NotErrorIs(t, err, keys.ErrSignature)
}

func TestRemote_VerifiesWhatItsIssuerSigns(t *testing.T) {
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

// This test sends requests through the middleware, during outages and between them: with a
// good token, with a forged one, and with a token of an unknown key.
func TestRemote_AnOutageIs503AndNeverBlamesTheToken(t *testing.T) {
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
		unknown := tokenBy(t, anotherKey("EdDSA").WithID("unknown"))

		for _, token := range []string{good, bad, unknown} {
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
		require.Equal(t, http.StatusForbidden, ask(unknown).Code)
		_, err = auth.Issue("demo")
		require.ErrorIs(t, err, jwtauth.ErrNoSigningKey)

		i.answer(nil)
		time.Sleep(time.Minute)
		require.Equal(t, http.StatusOK, ask(good).Code, "down later")
		require.Equal(t, http.StatusForbidden, ask(bad).Code)
		require.Equal(t, http.StatusServiceUnavailable, ask(unknown).Code, "the token may be signed by a new key")

		time.Sleep(keys.DefaultMaxStale - 2*time.Minute)
		again := tokenBy(t, key("EdDSA").WithID("first"))
		require.Equal(t, http.StatusOK, ask(again).Code)
		time.Sleep(2 * time.Minute)
		require.Equal(t, http.StatusServiceUnavailable, ask(again).Code, "a cached token must be answered with 503 too")
		require.Equal(t, http.StatusServiceUnavailable, ask(bad).Code)
		i.publish(first(t))
		time.Sleep(time.Minute)
		require.Equal(t, http.StatusOK, ask(again).Code)
	})
}

// badAnswers returns bad responses of a server that can be reached, and words that the error
// must contain.
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
		"unchanged, without a question": {status(304), "answered 304"},
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

// tlsIssuer starts a TLS server whose answer can be changed, and returns a Remote for it.
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
		keys.WithLogger(slog.New(slog.NewTextHandler(&i.log, nil))),
		keys.WithFetchTimeout(time.Minute),
	}, opts...)
	var err error
	i.Remote, err = keys.NewRemote(server.URL+"/jwks", opts...)
	require.NoError(t, err)
	return i, server
}

func TestRemote_ABadAnswerIsAnOutageAndTheLastGoodKeysStay(t *testing.T) {
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

func TestRemote_LeavesAServerThatHangs(t *testing.T) {
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
			if i.fetches() > 0 { // otherwise the TLS handshake already took too long
				<-left
			}
		})
	}
}

func TestRemote_ARequestWaitsNoLongerThanItsContextAndTheFetchGoesOn(t *testing.T) {
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
	require.Equal(t, 1, i.fetches(), "the keys must come from the fetch whose request was cancelled")
}

func TestRemote_TheCaseOfAHostDoesNotMatterInARedirect(t *testing.T) {
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

func TestRemote_FollowsARedirectThatStaysOnTheHost(t *testing.T) {
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
	require.ErrorContains(t, i.verify("first", anEdKey()), "none at all", "the caller's CheckRedirect must be able to forbid a redirect")
}

func TestInsecureAllowHTTP_AllowsPlainHTTP(t *testing.T) {
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
	require.NoError(t, err, "a redirect from HTTP to HTTPS must be followed")
}

func TestNewRemote_Refuses(t *testing.T) {
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
	require.ErrorContains(t, err, "plain HTTP", "all errors must be reported at once")
}

func TestRemote_ATokenWithoutAnIDCausesNoFetch(t *testing.T) {
	i := newIssuer(t)
	i.publish(first(t))
	require.ErrorIs(t, i.verify("", anEdKey()), keys.ErrUnknownKey, "a key with an ID must not verify a token without one")
	require.Equal(t, 1, i.fetches())
}

func TestRemote_AnIDThatNoKeyCanHaveCausesNoFetch(t *testing.T) {
	i := newIssuer(t)
	longest := strings.Repeat("x", 1024)
	i.publish(jwksText(t, publishedAs(t, longest, anEdKey())))
	require.NoError(t, i.verify(longest, anEdKey()))
	require.ErrorIs(t, i.verify(longest+"x", anEdKey()), keys.ErrUnknownKey)
	require.Equal(t, 1, i.fetches())
}

func TestRemote_WithRunNoRequestOfAKnownKeyWaits(t *testing.T) {
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
		require.Greater(t, i.fetches(), 2, "there must have been fetches, all of which hung")
		require.Contains(t, i.logged(), "context deadline exceeded")
	})
}

func TestRemote_ARequestOfAKnownKeyAllocatesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(both(t))
		defer i.run(t)()
		require.Zero(t, testing.AllocsPerRun(100, func() { i.Keys(context.Background(), "second") }))
	})
}

func TestRemote_WithoutRunTheFirstRequestFetchesAndLaterOnesDoNotWait(t *testing.T) {
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
		require.Equal(t, time.Second, time.Since(before), "all requests must wait for the same fetch")
		require.Equal(t, 1, i.fetches())

		time.Sleep(5 * time.Minute)
		i.answer(slowly(time.Second, serving(both(t))))
		before = time.Now()
		hundred()
		require.Equal(t, before, time.Now(), "no request may wait while the keys are renewed")
		time.Sleep(2 * time.Second)
		hundred()
		require.Equal(t, 2, i.fetches(), "all requests must share one fetch")
		require.NoError(t, i.verify("second", anotherEdKey()))
		require.Equal(t, 2, i.fetches())

		time.Sleep(time.Hour)
		require.Equal(t, 2, i.fetches(), "without requests, nothing may be fetched")
	})
}

func TestRemote_AsksAnIssuerThatIsDownLessAndLess(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		defer i.run(t)()
		for range 20 * 60 * 10 {
			time.Sleep(100 * time.Millisecond)
			before := time.Now()
			wontSay(t, i.verify("first", anEdKey()))
			require.Equal(t, before, time.Now(), "no request may wait for the next try")
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
		require.GreaterOrEqual(t, i.fetches(), before+4, "a new outage must begin with short intervals again")
	})
}

func TestRemote_TheLastGoodKeysStayUntilTheyAreTooOld(t *testing.T) {
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
				require.Equal(t, 1, strings.Count(i.logged(), "too old"), "the log must say only once that the keys are too old")
				time.Sleep(time.Hour)
				wontSay(t, i.verify("first", anEdKey()))

				i.publish(first(t))
				time.Sleep(time.Minute)
				require.NoError(t, i.verify("first", anEdKey()))
			}, keys.WithMaxStale(time.Hour))
		})
	}
}

func TestRemote_WithoutRequestsIsNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t))
		require.NoError(t, i.verify("first", anEdKey()))
		time.Sleep(24 * time.Hour)
		require.NotContains(t, i.logged(), "level=ERROR")
		i.answer(slowly(time.Second, serving(both(t))))
		before := time.Now()
		require.NoError(t, i.verify("first", anEdKey()))
		require.Equal(t, time.Second, time.Since(before), "keys that are a day old must be fetched before they are used")
	})
}

func TestRemote_KeysThatAreFoundUnchangedAreNotOld(t *testing.T) {
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

func TestRemote_AReplacedKeyIsDroppedByAnAuthThatCachesItsTokens(t *testing.T) {
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

// warm calls test with a Remote that has fetched the key "first": once with Run, and once
// without.
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

func TestRemote_FetchesANewKeyOnceForAllRequests(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		i.answer(slowly(time.Second, serving(both(t), "Cache-Control", "max-age=3600")))
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { assert.NoError(t, i.verify("second", anotherEdKey())) })
		}
		group.Wait()
		require.Equal(t, 2, i.fetches())
		require.Equal(t, "no-cache", i.asked[1].Get("Cache-Control"), "the fetch must bypass caches that lack the new key")
		require.Empty(t, i.asked[0].Get("Cache-Control"))
	})
}

func TestRemote_FetchesAnUnknownIDOnceForAllRequests(t *testing.T) {
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

// In this test, a fetch ends while other requests are about to start one. The new key must
// still be fetched only once.
func TestRemote_NoRaceMakesASecondFetch(t *testing.T) {
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

func TestRemote_AFetchThatCameBeforeTheNewKeyDoesNotDecide(t *testing.T) {
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

func TestRemote_AsksOnceInAWhileForAnIDThatStaysUnknown(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		before := i.fetches()
		for range 10 * 60 { // ten minutes
			require.ErrorIs(t, i.verify("retired", anotherEdKey()), keys.ErrUnknownKey)
			require.ErrorIs(t, i.verify("retired as well", anotherEdKey()), keys.ErrUnknownKey)
			time.Sleep(time.Second)
		}
		require.Equal(t, 2*20, i.fetches()-before, "each ID must cause a fetch every 30 seconds")
		i.publish(jwksText(t, publishedAs(t, "first", anEdKey()), publishedAs(t, "retired", anotherEdKey())))
		time.Sleep(30 * time.Second)
		require.NoError(t, i.verify("retired", anotherEdKey()), "a key that is published again must be found")
	})
}

func TestRemote_RandomIDsNeitherFloodTheIssuerNorKeepANewKeyOut(t *testing.T) {
	warm(t, func(t *testing.T, i *issuer) {
		count := i.fetches()
		flood := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				i.Keys(t.Context(), rand.Text())
				if _, err := i.Keys(t.Context(), "first"); err != nil {
					t.Fatalf("a request of a known key failed: %v", err)
				}
			}
		}
		flood(30 * time.Second)
		require.Equal(t, 5+5, i.fetches()-count, "five fetches at once, then one every five seconds")
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
		require.LessOrEqual(t, i.fetches()-count, 6, "a minute without requests must not allow a larger burst")
	})
}

func TestRemote_AnUnknownIDDuringAnOutageIsNeverCalledWrong(t *testing.T) {
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
		require.InDelta(t, 20, i.fetches()-count, 8, "the Remote must try less and less often")
		i.publish(both(t))
		time.Sleep(time.Minute)
		require.NoError(t, i.verify("second", anotherEdKey()))
		require.ErrorIs(t, i.verify("unknown", anEdKey()), keys.ErrUnknownKey)
	})
}

func TestRemote_AFetchThatTakesTooLongEndsForAllRequests(t *testing.T) {
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

func TestRemote_ABodyThatComesTooSlowlyEndsInTime(t *testing.T) {
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

func TestRemote_ReadsOnlyTheBeginningOfAnEndlessBody(t *testing.T) {
	read := new(atomic.Int64)
	remote, err := keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(&http.Client{Transport: endless{read}}),
		keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	_, err = remote.Keys(t.Context(), "first")
	require.ErrorContains(t, err, "more than 1048576 bytes")
	require.LessOrEqual(t, read.Load(), int64(1<<20+1))
}

// endless is a transport whose responses have itself as their body, which consists of spaces
// and never ends. read counts the bytes that were read.
type endless struct{ read *atomic.Int64 }

func (e endless) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: e}, nil
}

func (e endless) Read(b []byte) (int, error) {
	if e.read.Add(int64(len(b))) > 64<<20 {
		return 0, errors.New("64 MiB were read")
	}
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

func (endless) Close() error { return nil }

// drip is a transport whose responses have a drip as their body, which sends one byte per
// second and never ends.
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

func TestRemote_RunEndsWithItsContextAndTheRemoteGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, i.Run(ended), context.Canceled)
		synctest.Wait()
		require.Zero(t, i.fetches(), "Run must not start a fetch after its context has ended")

		i.answer(slowly(time.Second, serving(first(t))))
		stop := i.run(t)
		before := time.Now()
		stop()
		require.Equal(t, before, time.Now(), "Run must end at once, even during a fetch")

		time.Sleep(time.Second)
		require.NoError(t, i.verify("first", anEdKey()))
		require.Equal(t, 1, i.fetches())
		time.Sleep(5 * time.Minute)
		require.NoError(t, i.verify("first", anEdKey()))
		synctest.Wait()
		require.Equal(t, 2, i.fetches(), "the request must start a fetch, as without Run")
		time.Sleep(time.Second)
	})
}

func TestRemote_RunMayRunTwice(t *testing.T) {
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
		require.InDelta(t, 25, i.fetches(), 4, "the other Run must go on")
	})
}

// The wall clock of the Auth jumps by years in this test. A Remote does not use the wall
// clock, so it must not fetch again.
func TestRemote_AClockThatJumpsChangesNothing(t *testing.T) {
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

// asking is the log handler of a Remote. For each line it asks the same Remote for keys, as
// a handler may do that sends its lines to a server, and verifies that server's tokens.
type asking struct {
	slog.Handler
	remote *keys.Remote
}

func (a *asking) Handle(ctx context.Context, r slog.Record) error {
	a.remote.Keys(ctx, "the logger's")
	return nil
}

func TestRemote_ALoggerMayUseIt(t *testing.T) {
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

func TestRemote_LogsToTheDefaultLoggerOfTheTime(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	i := new(issuer)
	remote, err := keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(&http.Client{Transport: i}))
	require.NoError(t, err)
	slog.SetDefault(slog.New(slog.NewTextHandler(&i.log, nil)))
	_, err = remote.Keys(t.Context(), "")
	require.ErrorIs(t, err, errDown)
	require.Contains(t, i.logged(), "cannot be fetched")
}

func TestWithHTTPClient_DoesNotChangeTheClient(t *testing.T) {
	client := &http.Client{}
	_, err := keys.NewRemote("https://issuer.example.com", keys.WithHTTPClient(client))
	require.NoError(t, err)
	require.Nil(t, client.CheckRedirect)
}

// TestRemote_ThatChangesIsSafeForConcurrentUse is meant for the race detector.
func TestRemote_ThatChangesIsSafeForConcurrentUse(t *testing.T) {
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

// If a fetch for a request fails, Run must try again soon, and not wait for the next
// renewal.
func TestRemote_RunTriesAgainWhatARequestCouldNotFetch(t *testing.T) {
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

// Each of several unknown IDs needs a fetch of its own. Only one fetch runs at a time, so a
// request may also wait for the fetches of the others.
func TestRemote_TellsManyUnknownIDsApart(t *testing.T) {
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
		hops     []string // where each response redirects to
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

// panics is a body that panics when it is read.
type panics struct{ io.ReadCloser }

func (panics) Read([]byte) (int, error) { panic("in Read") }

// The caller's HTTP client runs in a goroutine of the Remote. If the client panics, the
// process must not end, and no request may wait forever.
func TestRemote_AClientThatPanicsIsAnOutage(t *testing.T) {
	const secret = "a-secret-of-the-query"
	redirect := func(*http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		redirecting("/moved")(w, nil)
		return w.Result(), nil
	}
	for name, client := range map[string]*http.Client{
		"the transport panics":               {Transport: roundTripper(func(r *http.Request) (*http.Response, error) { panic("cannot fetch " + r.URL.String()) })},
		"the transport panics with an error": {Transport: roundTripper(func(r *http.Request) (*http.Response, error) { panic(errors.New(r.URL.RawQuery)) })},
		"the transport mistakes a type":      {Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return any(r).(*http.Response), nil })},
		"the transport ends the goroutine":   {Transport: roundTripper(func(r *http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil })},
		"the body panics": {Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: panics{http.NoBody}, Request: r}, nil
		})},
		"CheckRedirect panics": {Transport: roundTripper(redirect), CheckRedirect: func(*http.Request, []*http.Request) error { panic("no") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs := new(logBuffer)
				broken := true
				transport := client.Transport
				own := *client
				own.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
					if broken {
						return transport.RoundTrip(r)
					}
					w := httptest.NewRecorder()
					serving(first(t))(w, r)
					return w.Result(), nil
				})
				remote, err := keys.NewRemote("https://issuer.example.com/jwks?key="+secret, keys.WithHTTPClient(&own), keys.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
				require.NoError(t, err)
				for range 2 { // a later request must not wait for the failed fetch either
					_, err = remote.Keys(t.Context(), "first")
					require.ErrorContains(t, err, "the HTTP client")
					require.NotContains(t, err.Error(), secret)
				}
				require.Contains(t, logs.String(), "cannot be fetched")
				require.NotContains(t, logs.String(), secret)

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
	require.Fail(t, "something still holds the Remote or its key set")
}
