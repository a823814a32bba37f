package revoke_test

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// The four revocations, of alice and demo.
var revocations = map[string]func(l *revoke.List, issuer string) error{
	"RevokeToken": func(l *revoke.List, issuer string) error {
		return l.RevokeToken(context.Background(), issuer, "an id", time.Now().Add(time.Hour))
	},
	"RevokeSession": func(l *revoke.List, issuer string) error {
		return l.RevokeSession(context.Background(), issuer, "a session")
	},
	"RevokeSubject": func(l *revoke.List, issuer string) error {
		return l.RevokeSubject(context.Background(), issuer, "alice")
	},
	"RevokeContainer": func(l *revoke.List, issuer string) error {
		return l.RevokeContainer(context.Background(), issuer, "demo")
	},
}

func TestRevoke_ForAnIssuerThatNoAuthHas(t *testing.T) {
	const other = "https://idp.example.com"
	type opts = []jwtauth.Option
	withIssuer, withBoth := opts{jwtauth.WithIssuer(issuer)}, opts{jwtauth.WithIssuer(issuer), jwtauth.WithTrustedIssuer(other, keys.HS256([]byte(strings.Repeat("k", 16)+strings.Repeat("x", 16))))}
	all, none := "RevokeToken RevokeSession RevokeSubject RevokeContainer", ""
	for name, test := range map[string]struct {
		auths  []opts
		issuer string
		works  string // the revocations that do
	}{
		"no Auth asks the list, as in an operator's process":     {nil, issuer, all},
		"the Auth has that issuer":                               {[]opts{withIssuer}, issuer, all},
		"the Auth has another issuer":                            {[]opts{withIssuer}, other, none},
		"the Auth has an issuer, and none is named":              {[]opts{withIssuer}, "", none},
		"the Auth has no issuer, and none is named":              {[]opts{nil}, "", all},
		"the Auth has no issuer, and takes tokens that have one": {[]opts{nil}, issuer, "RevokeToken RevokeSession"},
		"the Auth trusts that issuer":                            {[]opts{withBoth}, other, all},
		"the Auth trusts another issuer, and has that one":       {[]opts{withBoth}, issuer, all},
		"the second of two Auths has that issuer":                {[]opts{nil, withIssuer}, issuer, all},
		"the first of two Auths has that issuer":                 {[]opts{withIssuer, nil}, issuer, all},
		"an issuer in another case":                              {[]opts{withIssuer}, strings.ToUpper(issuer), none},
		"an issuer with a slash behind":                          {[]opts{withIssuer}, issuer + "/", none},
		"issuer and subject run together":                        {[]opts{withIssuer}, issuer + "alice", none},
	} {
		for method, do := range revocations {
			t.Run(name+", "+method, func(t *testing.T) {
				log := newNetwork()
				list := newList(t, log)
				require.NoError(t, list.Sync(t.Context()))
				for _, opts := range test.auths {
					_, err := jwtauth.New(keys.HS256(secret), append(opts, jwtauth.WithRevocations(list))...)
					require.NoError(t, err)
				}
				err := do(list, test.issuer)
				page, sinceErr := log.Since(t.Context(), "", 10)
				require.NoError(t, sinceErr)
				if strings.Contains(test.works, method) {
					require.NoError(t, err)
					require.Len(t, page.Entries, 1)
					return
				}
				require.ErrorIs(t, err, revoke.ErrIssuer)
				require.ErrorContains(t, err, method)
				require.Empty(t, page.Entries)
			})
		}
	}
}

func TestRevoke_AnIssuerThatNobodyHasIsNamedWithThoseThatThereAre(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	newAuth(t, list)
	err := list.RevokeContainer(t.Context(), "https://api.example.org", "demo")
	require.ErrorContains(t, err, `"https://api.example.org"`)
	require.ErrorContains(t, err, `"`+issuer+`"`)
}

// embedding is a checker of a user's own.
type embedding struct {
	*revoke.List
	name string
}

func TestRevoke_AListThatIsEmbeddedKnowsItsIssuers(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer(issuer), jwtauth.WithRevocations(embedding{list, "mine"}))
	require.NoError(t, err)
	require.ErrorIs(t, list.RevokeSubject(t.Context(), "", "alice"), revoke.ErrIssuer)
}

// An Auth whose New failed asks nothing.
func TestRevoke_AnAuthThatWasNeverMadeHasNoIssuer(t *testing.T) {
	list := newList(t, revoke.NewMemory())
	_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithIssuer("https://api.example.org"), jwtauth.WithMaxLifetime(15*24*time.Hour), jwtauth.WithRevocations(list))
	require.Error(t, err)
	newAuth(t, list)
	require.ErrorIs(t, list.RevokeSubject(t.Context(), "https://api.example.org", "alice"), revoke.ErrIssuer)
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

// Revocations up to now, and tokens of clocks that are ahead: none may outlive them.
func TestRevoke_UpToNowHitsTokensOfClocksThatAreAhead(t *testing.T) {
	const other = "https://idp.example.com"
	theirs := keys.HS256([]byte("fedcba9876543210fedcba9876543210"))
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	trusting := func(opts ...jwtauth.Option) func(*revoke.List, *wallClock) []jwtauth.Option {
		return func(*revoke.List, *wallClock) []jwtauth.Option {
			return append(opts, jwtauth.WithIssuer(issuer), jwtauth.WithTrustedIssuer(other, theirs))
		}
	}
	for name, test := range map[string]struct {
		key    keys.Source // of the Auth
		opts   func(*revoke.List, *wallClock) []jwtauth.Option
		issuer string
		sign   keys.Source
		ahead  time.Duration // of the clock that issues
		stamps bool          // the issuer has a list of its own, whose stamps it writes
		until  time.Duration // after the revocation new tokens are rejected at most
	}{
		"a trusted issuer whose clock is right":           {keys.HS256(secret), trusting(), other, theirs, 0, false, 6 * time.Second},
		"a trusted issuer whose clock is a second ahead":  {keys.HS256(secret), trusting(), other, theirs, time.Second, false, 6 * time.Second},
		"a trusted issuer whose clock is 5 seconds ahead": {keys.HS256(secret), trusting(), other, theirs, 5 * time.Second, false, 6 * time.Second},
		"a trusted issuer with a leeway of a minute":      {keys.HS256(secret), trusting(jwtauth.WithLeeway(time.Minute)), other, theirs, time.Minute, false, 61 * time.Second},
		"a trusted issuer that writes stamps":             {keys.HS256(secret), trusting(), other, theirs, 5 * time.Second, true, 6 * time.Second},
		"the issuer of a key that only verifies":          {keys.Verifier(private.Public()), func(*revoke.List, *wallClock) []jwtauth.Option { return []jwtauth.Option{jwtauth.WithIssuer(issuer)} }, issuer, keys.Signer(private), 5 * time.Second, false, 6 * time.Second},
		"an issuer of one's own, before it had a list":    {keys.HS256(secret), trusting(), issuer, keys.HS256(secret), 0, false, time.Second},
	} {
		for what, revokeNow := range map[string]func(l *revoke.List) error{
			"subject":   func(l *revoke.List) error { return l.RevokeSubject(context.Background(), test.issuer, "alice") },
			"container": func(l *revoke.List) error { return l.RevokeContainer(context.Background(), test.issuer, "demo") },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				clock := newClock()
				list := newList(t, revoke.NewMemory(), revoke.WithClock(clock.read))
				auth, err := jwtauth.New(test.key, append(test.opts(list, clock), jwtauth.WithClock(clock.read), jwtauth.WithRevocations(list))...)
				require.NoError(t, err)
				ahead := func() time.Time { return clock.read().Add(test.ahead) }
				opts := []jwtauth.Option{jwtauth.WithIssuer(test.issuer), jwtauth.WithClock(ahead)}
				if test.stamps {
					opts = append(opts, jwtauth.WithRevocations(newList(t, revoke.NewMemory(), revoke.WithClock(ahead))))
				}
				elsewhere, err := jwtauth.New(test.sign, opts...)
				require.NoError(t, err)

				var before []string
				for range 10 {
					before = append(before, issue(t, elsewhere, "demo", "alice"))
					clock.move(100 * time.Millisecond)
				}
				for _, token := range before {
					require.NoError(t, verdict(auth, token))
				}
				require.NoError(t, revokeNow(list))
				for passed := time.Duration(0); passed < 2*time.Minute; passed += time.Second {
					for i, token := range before {
						require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, "token %d after %v", i, passed)
					}
					clock.move(time.Second)
				}
				clock.move(-2*time.Minute + test.until)
				require.NoError(t, verdict(auth, issue(t, elsewhere, "demo", "alice")), "a new token")
			})
		}
	}
}

// A trusted issuer's stamp could lie at the end of time.
func TestRevoke_AStampOfATrustedIssuerCountsForNothing(t *testing.T) {
	const other = "https://idp.example.com"
	list := newList(t, revoke.NewMemory())
	auth := newAuth(t, list, jwtauth.WithTrustedIssuer(other, jwtauthtest.Key()))
	now := time.Now()
	token := signed(t, map[string]any{
		"iss": other, "sub": "alice", "container": "demo", "jti": "x",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "iat_us": now.Add(24 * time.Hour).UnixMicro(),
	})
	require.Zero(t, claimsOf(t, auth, token).Stamp)
	require.NoError(t, list.RevokeSubject(t.Context(), other, "alice"))
	require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked)
}
