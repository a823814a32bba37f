package jwtauthtest_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/keys"
)

const issuer = "https://api.example.com"

// configurations holds the options of several services. For each it has the container, the
// options of Issue, and the names of the tokens that Bad leaves out.
var configurations = map[string]struct {
	opts      []jwtauth.Option
	container string
	issue     []jwtauth.IssueOption
	leftOut   []string
}{
	"no options": {container: "demo", leftOut: []string{"of another issuer"}},
	"everything that is compared": {
		opts: []jwtauth.Option{jwtauth.WithIssuer(issuer), jwtauth.WithAudience("api"), jwtauth.WithTypes("invite+jwt"),
			jwtauth.WithContainerClaim("tenant"), jwtauth.WithTTL(time.Hour)},
		container: "demo",
		issue:     []jwtauth.IssueOption{jwtauth.Subject("alice"), jwtauth.Claim("big", uint64(1<<63)), jwtauth.Claim("markup", "<&>")},
	},
	"several audiences": {
		opts:      []jwtauth.Option{jwtauth.WithIssuer(issuer), jwtauth.WithAudience("api", "web", "other-than-api")},
		container: "a container/ü",
	},
	"another issuer that is trusted": {
		opts: []jwtauth.Option{jwtauth.WithIssuer(issuer),
			jwtauth.WithTrustedIssuer("https://id.example.com", keys.HS256([]byte("0123456789abcdef0123456789abcdef")))},
		container: "demo",
	},
	"no containers": {
		opts:    []jwtauth.Option{jwtauth.WithAnyContainer(), jwtauth.WithIssuer(issuer)},
		leftOut: []string{"of another container"},
	},
	"no containers, though one is named": {
		opts:      []jwtauth.Option{jwtauth.WithAnyContainer()},
		container: "demo",
		leftOut:   []string{"of another issuer", "of another container"},
	},
	"the largest leeway": {
		opts:      []jwtauth.Option{jwtauth.WithLeeway(5 * time.Minute), jwtauth.WithIssuer(issuer)},
		container: "demo",
	},
	"the largest leeway and the shortest life": {
		opts:      []jwtauth.Option{jwtauth.WithLeeway(5 * time.Minute), jwtauth.WithIssuer(issuer), jwtauth.WithTTL(time.Second)},
		container: "demo",
	},
	"revocations of tokens with the longest life": {
		opts:      []jwtauth.Option{jwtauth.WithRevocations(none{}), jwtauth.WithIssuer(issuer), jwtauth.WithMaxLifetime(jwtauth.DefaultTTL)},
		container: "demo",
		issue:     []jwtauth.IssueOption{jwtauth.TTL(jwtauth.DefaultTTL)},
	},
	"an nbf": {
		opts:      []jwtauth.Option{jwtauth.WithIssuer(issuer)},
		container: "demo",
		issue:     []jwtauth.IssueOption{jwtauth.NotBefore(new(jwtauthtest.Clock).Now())},
	},
}

// none is a revocation list without entries.
type none struct{}

func (none) Revoked(context.Context, jwtauth.Claims) (bool, error) { return false, nil }

// sentinels holds all errors with which a token can be rejected.
var sentinels = []error{
	jwtauth.ErrMalformed, jwtauth.ErrUnknownKey, jwtauth.ErrSignature, jwtauth.ErrType, jwtauth.ErrExpired,
	jwtauth.ErrNotYetValid, jwtauth.ErrIssuer, jwtauth.ErrAudience, jwtauth.ErrContainer, jwtauth.ErrNoContainer,
	jwtauth.ErrRevoked, jwtauth.ErrUnavailable, jwtauth.ErrNoToken,
}

// only requires that an error is want, and none of the other sentinels.
func only(t *testing.T, want, err error) {
	t.Helper()
	for _, sentinel := range sentinels {
		require.Equal(t, sentinel == want, errors.Is(err, sentinel), "%v, not %v", err, sentinel)
	}
}

// object is one decoded part of a token.
type object map[string]any

func read(t *testing.T, part string) (o object) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	require.NoError(t, err)
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	require.NoError(t, d.Decode(&o))
	return o
}

// sign returns a token signed with jwtauthtest.Key.
func sign(t *testing.T, header, claims object) string {
	t.Helper()
	encode := func(o object) string {
		text, err := json.Marshal(o)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	message := encode(header) + "." + encode(claims)
	set, err := jwtauthtest.Key().Keys(t.Context(), "")
	require.NoError(t, err)
	signature, err := set.Sign([]byte(message))
	require.NoError(t, err)
	return message + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// put copies a member from a valid token, or deletes it if the valid token has no such
// member.
func (o object) put(name string, good object) {
	if o[name] = good[name]; o[name] == nil {
		delete(o, name)
	}
}

// repairs holds, for each bad token, the members to replace before the token is signed
// again. For some tokens, the signature is the only defect. For tokens with a wrong time,
// the clock moves instead.
var repairs = map[string]struct {
	header, claims string
	clock          time.Duration
}{
	"cut short":                   {},
	"that is unsigned":            {header: "alg kid"},
	"of another algorithm":        {header: "alg"},
	"of an unknown key":           {header: "kid"},
	"forged with another key":     {},
	"changed after it was signed": {},
	"without an expiry":           {claims: "exp"},
	"of another type":             {header: "typ"},
	"that has expired":            {clock: -5*time.Minute - time.Second},
	"that is not valid yet":       {clock: 5*time.Minute + time.Second},
	"of another issuer":           {claims: "iss"},
	"for another audience":        {claims: "aud"},
	"of another container":        {claims: "container tenant"},
}

func TestABadTokenIsRefusedForOneThingAlone(t *testing.T) {
	for name, c := range configurations {
		for _, offset := range []time.Duration{0, time.Second - 1} {
			t.Run(fmt.Sprintf("%s, %v into a second", name, offset), func(t *testing.T) {
				t.Parallel()
				auth := jwtauthtest.New(t, c.opts...)
				auth.Clock.Advance(offset)
				good := auth.Token(c.container, c.issue...)
				_, err := auth.Verify(t.Context(), good, c.container)
				require.NoError(t, err)
				parts := strings.Split(good, ".")
				goodHeader, goodClaims := read(t, parts[0]), read(t, parts[1])

				var names []string
				for _, bad := range auth.Bad(c.container, c.issue...) {
					names = append(names, bad.Name)
					_, err := auth.Verify(t.Context(), bad.Token, c.container)
					only(t, bad.Err, err)

					repair, known := repairs[bad.Name]
					require.True(t, known, bad.Name)
					parts := strings.Split(bad.Token, ".")
					header, claims := read(t, parts[0]), read(t, parts[1])
					for member := range strings.FieldsSeq(repair.header) {
						header.put(member, goodHeader)
					}
					for member := range strings.FieldsSeq(repair.claims) {
						claims.put(member, goodClaims)
					}
					token := bad.Token
					if repair.clock == 0 {
						token = sign(t, header, claims)
					}
					require.NotEqual(t, repair.clock == 0, token == bad.Token)
					auth.Clock.Advance(repair.clock)
					_, err = auth.Verify(t.Context(), token, c.container)
					require.NoError(t, err, "a token %s, after the repair", bad.Name)
					auth.Clock.Advance(-repair.clock)

					// All other members must equal those of a valid token.
					for _, member := range []string{"iat", "nbf", "exp", "jti"} {
						delete(claims, member)
						delete(goodClaims, member)
					}
					if repair.clock == 0 {
						require.Equal(t, goodClaims, claims, bad.Name)
						require.Equal(t, goodHeader, header, bad.Name)
					}
					goodClaims = read(t, strings.Split(good, ".")[1])
				}
				var want []string
				for _, name := range order {
					if !slices.Contains(c.leftOut, name) {
						want = append(want, name)
					}
				}
				require.Equal(t, want, names)
			})
		}
	}
}

// order is the order of the names that Bad returns.
var order = []string{
	"cut short", "that is unsigned", "of another algorithm", "of an unknown key", "forged with another key",
	"changed after it was signed", "without an expiry", "of another type", "that has expired",
	"that is not valid yet", "of another issuer", "for another audience", "of another container",
}

// Verify rejects these tokens for their signature alone. This test requires that the rest of
// each token is what an attacker would send.
func TestWhatAttackersSendIsWhatTheyWouldSend(t *testing.T) {
	auth := jwtauthtest.New(t)
	parts := strings.Split(auth.Unsigned("demo"), ".")
	require.Len(t, parts, 3)
	require.Equal(t, object{"alg": "none", "typ": "JWT"}, read(t, parts[0]))
	require.Empty(t, parts[2])

	seed := sha256.Sum256([]byte("the key of jwtauthtest, known to everyone"))
	public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	deceived, err := jwtauth.New(keys.HS256(public), jwtauth.WithClock(auth.Clock.Now))
	require.NoError(t, err)
	_, err = deceived.Verify(t.Context(), auth.WrongAlgorithm("demo"), "demo")
	require.NoError(t, err, "an Auth that uses the public key as a secret must accept the token")
	anybody, err := jwtauth.New(keys.Verifier(public), jwtauth.WithClock(auth.Clock.Now))
	require.NoError(t, err)
	_, err = anybody.Verify(t.Context(), auth.Token("demo"), "demo")
	require.NoError(t, err)

	require.Len(t, strings.Split(auth.Forged("demo"), ".")[2], len(strings.Split(auth.Token("demo"), ".")[2]))
}

func TestEveryRouteRefusesEveryBadTokenWhereverItIsCarried(t *testing.T) {
	auth := jwtauthtest.New(t, jwtauth.WithIssuer(issuer), jwtauth.WithExtractors(
		jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromQuery("token"), jwtauth.FromCookie("session")))
	var ran, ok bool
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran = true
		_, ok = jwtauth.FromContext(r.Context())
	})
	mux := http.NewServeMux()
	mux.Handle("/private/{container}", auth.Private(handler))
	mux.Handle("/public/{container}", auth.Public(handler))
	mux.Handle("/optional/{container}", auth.Optional(handler))

	carried := map[string]func(target, token string) *http.Request{
		"in the header": func(target, token string) *http.Request { return jwtauthtest.Request("GET", target, token) },
		"in the query":  func(target, token string) *http.Request { return jwtauthtest.QueryRequest("GET", target, token) },
		"in a cookie": func(target, token string) *http.Request {
			r := jwtauthtest.Request("GET", target, "")
			r.AddCookie(&http.Cookie{Name: "session", Value: token})
			return r
		},
	}
	bad := auth.Bad("demo")
	require.Len(t, bad, len(order))
	for where, carry := range carried {
		for _, policy := range []string{"private", "public", "optional"} {
			target := "/" + policy + "/demo?q=1"
			serve := func(token string) int {
				ran, ok = false, false
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, carry(target, token))
				return w.Code
			}
			serve(auth.Token("demo"))
			require.True(t, ok, "a good token %s, %s", where, policy)
			for _, b := range bad {
				status := serve(b.Token)
				require.False(t, ok, "a token %s, %s, %s", b.Name, where, policy)
				require.Equal(t, policy == "public", ran, "a token %s, %s, %s", b.Name, where, policy)
				require.Equal(t, policy == "public", status == http.StatusOK, "a token %s, %s, %s", b.Name, where, policy)
			}
		}
	}
}

func TestWithAnyContainerARuleComparesTheContainerThatItNames(t *testing.T) {
	auth := jwtauthtest.New(t, jwtauth.WithAnyContainer())
	_, err := auth.Verify(t.Context(), auth.WrongContainer("demo"), "demo")
	only(t, jwtauth.ErrContainer, err)
	_, err = auth.Verify(t.Context(), auth.WrongContainer("demo"), "")
	require.NoError(t, err, "without a container to compare, every container must be accepted")
}

func TestNewTakesTheClockFromNobodyElse(t *testing.T) {
	opts := make([]jwtauth.Option, 1, 2)
	opts[0] = jwtauth.WithClock(time.Now)
	auth := jwtauthtest.New(t, opts...)
	require.Nil(t, opts[:2][1], "New must not write behind the caller's options")
	require.Equal(t, auth.Clock.Now(), auth.Claims("demo").IssuedAt)
	require.Equal(t, time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC), auth.Clock.Now())
	require.NotSame(t, auth.Clock, jwtauthtest.New(t).Clock)
}

func TestForMakesTokensForAnAuthWithOptionsOfItsOwn(t *testing.T) {
	auth := jwtauthtest.New(t)
	service, err := jwtauth.New(jwtauthtest.Key(), jwtauth.WithClock(auth.Clock.Now), jwtauth.WithIssuer(issuer),
		jwtauth.WithAudience("api"), jwtauth.WithTypes("invite+jwt"), jwtauth.WithContainerClaim("tenant"))
	require.NoError(t, err)
	tokens := auth.For(service)
	require.Same(t, service, tokens.Auth)
	require.Same(t, auth.Clock, tokens.Clock)
	bad := tokens.Bad("demo")
	require.Len(t, bad, len(order))
	for _, b := range bad {
		_, err := service.Verify(t.Context(), b.Token, "demo")
		only(t, b.Err, err)
	}
	require.Equal(t, "demo", tokens.Claims("demo").Container)
}

func TestForWorksByTheClockOfTheAuth(t *testing.T) {
	service, err := jwtauth.New(jwtauthtest.Key(), jwtauth.WithIssuer(issuer))
	require.NoError(t, err)
	for _, b := range jwtauthtest.New(t).For(service).Bad("demo") {
		_, err := service.Verify(t.Context(), b.Token, "demo")
		only(t, b.Err, err)
	}
}

// fatal is a TB that records its failure message.
type fatal struct{ message string }

func (*fatal) Helper() {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

// failure returns the failure message of a test.
func failure(t *testing.T, run func(t jwtauthtest.TB)) string {
	t.Helper()
	var f fatal
	require.PanicsWithValue(t, &f, func() { run(&f) }, "the test must fail")
	return f.message
}

func TestWhatCannotBeMadeIsFatalAndSaysWhy(t *testing.T) {
	verifies, err := jwtauth.New(keys.Verifier(keyPair(t)))
	require.NoError(t, err)
	anothers, err := jwtauth.New(keys.HS256([]byte("0123456789abcdef0123456789abcdef")))
	require.NoError(t, err)
	anotherID, err := jwtauth.New(jwtauthtest.Key().WithID("another"))
	require.NoError(t, err)

	for name, test := range map[string]struct {
		run  func(t jwtauthtest.TB)
		want []string
	}{
		"an option that jwtauth.New refuses": {func(t jwtauthtest.TB) { jwtauthtest.New(t, jwtauth.WithIssuer("")) },
			[]string{"jwtauthtest: New: ", "WithIssuer"}},
		"an empty container": {func(t jwtauthtest.TB) { jwtauthtest.New(t).Token("") },
			[]string{"jwtauthtest: Token: ", "the container is empty"}},
		"an empty container of bad tokens": {func(t jwtauthtest.TB) { jwtauthtest.New(t).Bad("") },
			[]string{"jwtauthtest: Bad: ", "the container is empty"}},
		"an option that Issue refuses": {func(t jwtauthtest.TB) { jwtauthtest.New(t).Expired("demo", jwtauth.Subject("")) },
			[]string{"jwtauthtest: Expired: ", "Subject"}},
		"a wrong issuer where none is compared": {func(t jwtauthtest.TB) { jwtauthtest.New(t).WrongIssuer("demo") },
			[]string{"jwtauthtest: WrongIssuer: ", "jwtauth.WithIssuer"}},
		"a container that is not the empty one": {func(t jwtauthtest.TB) { jwtauthtest.New(t, jwtauth.WithAnyContainer()).WrongContainer("") },
			[]string{"jwtauthtest: WrongContainer: ", "the container is empty"}},
		"a token that expired before 1970": {func(t jwtauthtest.TB) {
			auth := jwtauthtest.New(t)
			auth.Clock.Set(time.Unix(0, 0).Add(jwtauth.DefaultTTL + 5*time.Minute - 1))
			auth.Expired("demo")
		}, []string{"jwtauthtest: Expired: ", "1970", "set the clock"}},
		"claims of a token that is refused": {func(t jwtauthtest.TB) {
			auth := jwtauthtest.New(t)
			auth.Claims("demo", jwtauth.NotBefore(auth.Clock.Now().Add(time.Hour)))
		}, []string{"jwtauthtest: Claims: ", "not valid yet"}},
		"claims by themselves of such a token": {func(t jwtauthtest.TB) {
			jwtauthtest.Claims(t, "demo", jwtauth.Subject(""))
		}, []string{"jwtauthtest: Claims: ", "Subject"}},
		"a context with such claims": {func(t jwtauthtest.TB) {
			jwtauthtest.Context(t, "demo", jwtauth.Audience("elsewhere"))
		}, []string{"jwtauthtest: Context: ", "wrong audience"}},
		"an Auth that is nil":                {func(t jwtauthtest.TB) { jwtauthtest.New(t).For(nil) }, []string{"jwtauthtest: For: ", "nil"}},
		"an Auth that cannot sign":           {func(t jwtauthtest.TB) { jwtauthtest.New(t).For(verifies) }, []string{"jwtauthtest: For: ", "no key that can sign"}},
		"an Auth with another key":           {func(t jwtauthtest.TB) { jwtauthtest.New(t).For(anothers) }, []string{"jwtauthtest: For: ", "jwtauthtest.Key()"}},
		"an Auth with the key by another id": {func(t jwtauthtest.TB) { jwtauthtest.New(t).For(anotherID) }, []string{"jwtauthtest: For: ", "jwtauthtest.Key()"}},
	} {
		t.Run(name, func(t *testing.T) {
			message := failure(t, test.run)
			for _, want := range test.want {
				require.Contains(t, message, want)
			}
		})
	}
}

func TestAnExpiredTokenCanBeMadeFromTheFirstMomentOn(t *testing.T) {
	auth := jwtauthtest.New(t)
	auth.Clock.Set(time.Unix(0, 0).Add(jwtauth.DefaultTTL + 5*time.Minute))
	for _, opts := range [][]jwtauth.IssueOption{nil, {jwtauth.NotBefore(time.Unix(0, 0))}} {
		_, err := auth.Verify(t.Context(), auth.Expired("demo", opts...), "demo")
		only(t, jwtauth.ErrExpired, err)
	}
}

func TestClaimsWithoutAnAuth(t *testing.T) {
	require.Empty(t, jwtauthtest.Claims(t, "").Container)
	ctx := jwtauthtest.Context(t, "demo", jwtauth.Subject("alice"))
	claims, ok := jwtauth.FromContext(ctx)
	require.True(t, ok)
	require.Equal(t, "alice", claims.Subject)
	var own struct{ Container string }
	require.NoError(t, claims.Decode(&own))
	require.Equal(t, "demo", own.Container)
}

func TestRequests(t *testing.T) {
	for name, test := range map[string]struct {
		r             *http.Request
		uri           string
		authorization []string
	}{
		"a token in the header":              {jwtauthtest.Request("PUT", "/a?b=c", "x.y.z"), "/a?b=c", []string{"Bearer x.y.z"}},
		"no token in the header":             {jwtauthtest.Request("PUT", "/a?b=c", ""), "/a?b=c", nil},
		"a token in the query":               {jwtauthtest.QueryRequest("PUT", "/a", "x.y.z"), "/a?token=x.y.z", nil},
		"a token behind a query":             {jwtauthtest.QueryRequest("PUT", "/a?b=c", "x.y.z"), "/a?b=c&token=x.y.z", nil},
		"no token in the query":              {jwtauthtest.QueryRequest("PUT", "/a?b=c", ""), "/a?b=c", nil},
		"a token that would end a parameter": {jwtauthtest.QueryRequest("PUT", "/a", "x&token=y z"), "/a?token=x%26token%3Dy+z", nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, "PUT", test.r.Method)
			require.Equal(t, test.uri, test.r.RequestURI)
			require.Equal(t, test.uri, test.r.URL.String())
			require.Equal(t, test.authorization, test.r.Header["Authorization"])
		})
	}
}

func TestAClockMovesOnlyWhenItIsMoved(t *testing.T) {
	var clock jwtauthtest.Clock
	start := clock.Now()
	require.Equal(t, start, clock.Now())
	clock.Advance(-time.Minute)
	require.Equal(t, start.Add(-time.Minute), clock.Now())
	clock.Set(time.Time{})
	require.True(t, clock.Now().IsZero(), "a zero time must not mean the start")
	clock.Set(time.Now())
	require.NotContains(t, clock.Now().String(), "m=", "the clock must have no monotonic reading")
}

func TestAClockIsSafeForConcurrentUse(t *testing.T) {
	auth := jwtauthtest.New(t)
	start := auth.Clock.Now()
	token := auth.Token("demo")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { auth.Clock.Advance(time.Second) })
		wg.Go(func() {
			_, err := auth.Verify(t.Context(), token, "demo")
			if err != nil || auth.Clock.Now().Before(start) {
				t.Error(err)
			}
		})
		wg.Go(func() { auth.Bad("demo") })
	}
	wg.Wait()
	require.Equal(t, start.Add(50*time.Second), auth.Clock.Now())
}

func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := jwtauthtest.New(t)
		auth.Clock.Set(time.Now())
		token := auth.Token("demo")
		time.Sleep(jwtauth.DefaultTTL)
		_, err := auth.Verify(t.Context(), token, "demo")
		require.NoError(t, err, "only the test may move the clock")
		auth.Clock.Set(time.Now())
		_, err = auth.Verify(t.Context(), token, "demo")
		only(t, jwtauth.ErrExpired, err)
		for _, bad := range auth.Bad("demo") {
			_, err := auth.Verify(t.Context(), bad.Token, "demo")
			only(t, bad.Err, err)
		}
	})
}

func TestTheKeyIsAlwaysTheSame(t *testing.T) {
	auth, again := jwtauthtest.New(t), jwtauthtest.New(t)
	_, err := again.Verify(t.Context(), auth.Token("demo"), "demo")
	require.NoError(t, err)

	set, err := jwtauthtest.Key().Keys(t.Context(), "")
	require.NoError(t, err)
	signature, err := set.Sign([]byte("message"))
	require.NoError(t, err)
	require.Equal(t, "w-2WHCghWuwebAxL60eHzlW2JHSZi-rWoRkWyLFxdeZ", base64.RawURLEncoding.EncodeToString(signature)[:43],
		"the key must never change, since users may have stored tokens")
}

// goCommand runs the go command on a file with the given source, and returns its output.
func goCommand(t *testing.T, name, source string, args ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
	out, err := exec.Command("go", append(args, file)...).CombinedOutput()
	return string(out), err
}

func TestOutsideOfTestsEverythingWithTheKeyPanics(t *testing.T) {
	out, err := goCommand(t, "main.go", `package main

import (
	"fmt"

	"github.com/joinednode/jwtauth/jwtauthtest"
)

type tb struct{}

func (tb) Helper()               {}
func (tb) Fatalf(string, ...any) {}

func try(f func()) {
	defer func() { fmt.Println(recover()) }()
	f()
	fmt.Println("no panic")
}

func main() {
	try(func() { jwtauthtest.Key() })
	try(func() { jwtauthtest.New(tb{}) })
}
`, "run")
	require.NoError(t, err, out)
	message := "jwtauthtest: the key of this package is public, so it works only in programs built by go test\n"
	require.Equal(t, message+message, out)
}

func TestTheProgramOfThePackageCommentRuns(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "jwtauthtest.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	code := []string{`package notify_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
)

func notify(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

`}
	for line := range strings.Lines(file.Doc.Text()) {
		if strings.HasPrefix(line, "\t") {
			code = append(code, strings.TrimPrefix(line, "\t"))
		} else if len(code) > 1 && strings.TrimSpace(line) != "" {
			break
		}
	}
	out, err := goCommand(t, "notify_test.go", strings.Join(code, ""), "test", "-v")
	require.NoError(t, err, out)
	require.Contains(t, out, "--- PASS: TestNotifyIsPrivate")
}

func TestAFailureNamesTheLineOfTheTest(t *testing.T) {
	methods := []string{"Token", "Claims", "Bad", "Malformed", "Unsigned", "WrongAlgorithm", "UnknownKey", "Forged", "Tampered",
		"WithoutExpiry", "WrongType", "Expired", "NotYetValid", "WrongIssuer", "WrongAudience", "WrongContainer"}
	source := `package mine_test

import (
	"testing"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
)

func TestContext(t *testing.T) { jwtauthtest.Context(t, "demo", jwtauth.Subject("")) }
func TestNew(t *testing.T) { jwtauthtest.New(t, nil) }
func TestFor(t *testing.T) { jwtauthtest.New(t).For(nil) }

var _ jwtauth.Auth
`
	for _, method := range methods {
		source += fmt.Sprintf("func Test%s(t *testing.T) { jwtauthtest.New(t).%[1]s(\"\") }\n", method)
	}
	out, err := goCommand(t, "mine_test.go", source, "test")
	require.Error(t, err)
	for _, method := range append(methods, "Context", "New", "For") {
		require.Regexp(t, `mine_test\.go:\d+: jwtauthtest: `+method+`: `, out)
	}
	require.NotContains(t, out, "tokens.go")
	require.NotContains(t, out, "jwtauthtest.go")
}

func TestNothingButThisLibraryTestifyAndTheStandardOneIsImported(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").Output()
	require.NoError(t, err)
	for path := range strings.FieldsSeq(string(out)) {
		first, _, _ := strings.Cut(path, "/")
		ours := path == "github.com/joinednode/jwtauth" || strings.HasPrefix(path, "github.com/joinednode/jwtauth/")
		require.True(t, ours || strings.HasPrefix(path, "github.com/stretchr/testify/") || !strings.Contains(first, "."), path)
	}
}

// keyPair returns the public half of a new key pair.
func keyPair(t *testing.T) ed25519.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return public
}
