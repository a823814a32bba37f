package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// TestRecheck_OfAKeyThatIsGone has a stream outlive its token's key, which may have
// leaked: the stream must end. Each case changes the keys, and says what Recheck returns
// then, for claims of a token that was first seen, and of one that was cached.
func TestRecheck_OfAKeyThatIsGone(t *testing.T) {
	leaked, next := mustGet(keys.Generate("EdDSA")), mustGet(keys.Generate("EdDSA"))
	another := mustGet(keys.Generate("EdDSA"))
	const other = "https://idp.example.com"
	type change struct {
		source keys.Source
		issue  keys.Source // what issues the token; nil: source
		change func(t *testing.T)
		issuer string
		want   error
	}
	for name, build := range map[string]func(t *testing.T) change{
		"a ring retires the key": func(t *testing.T) change {
			ring := mustGet(keys.NewRing(leaked, next))
			return change{ring, nil, func(t *testing.T) {
				require.NoError(t, ring.Rotate(next))
				require.NoError(t, ring.Retire(leaked.ID()))
			}, issuer, jwtauth.ErrUnknownKey}
		},
		"a ring rotates, and keeps the key": func(t *testing.T) change {
			ring := mustGet(keys.NewRing(leaked, next))
			return change{ring, nil, func(t *testing.T) { require.NoError(t, ring.Rotate(next)) }, issuer, nil}
		},
		"a ring gets one more key": func(t *testing.T) change {
			ring := mustGet(keys.NewRing(leaked))
			return change{ring, nil, func(t *testing.T) { require.NoError(t, ring.Add(next)) }, issuer, nil}
		},
		"a JWK Set of an issuer drops the key": func(t *testing.T) change {
			remote, publish := published(t, leaked, next)
			return change{remote, leaked, func(t *testing.T) { publish(next) }, issuer, jwtauth.ErrUnknownKey}
		},
		"a JWK Set of an issuer has another key under the id": func(t *testing.T) change {
			remote, publish := published(t, leaked)
			return change{remote, leaked, func(t *testing.T) { publish(another.WithID(leaked.ID())) }, issuer, jwtauth.ErrSignature}
		},
		"a JWK Set of an issuer stays": func(t *testing.T) change {
			remote, publish := published(t, leaked)
			return change{remote, leaked, func(t *testing.T) { publish(leaked, next) }, issuer, nil}
		},
		"the source cannot answer": func(t *testing.T) change {
			down := false
			return change{sourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
				if down {
					return nil, errors.New("down")
				}
				return leaked.Keys(ctx, kid)
			}), nil, func(*testing.T) { down = true }, issuer, jwtauth.ErrUnavailable}
		},
		"a trusted issuer's JWK Set drops the key": func(t *testing.T) change {
			remote, publish := published(t, leaked, next)
			return change{remote, leaked, func(t *testing.T) { publish(next) }, other, jwtauth.ErrUnknownKey}
		},
		"a trusted issuer's keys stay, and one's own go": func(t *testing.T) change {
			return change{leaked, nil, func(*testing.T) {}, other, nil}
		},
	} {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cached: %v", name, cached), func(t *testing.T) {
				c := build(t)
				opts := []jwtauth.Option{jwtauth.WithIssuer(issuer), jwtauth.WithAnyContainer()}
				own := c.source
				if c.issuer == other {
					ring := mustGet(keys.NewRing(next))
					own, opts = ring, append(opts, jwtauth.WithTrustedIssuer(other, c.source))
					c.change = func(change func(*testing.T)) func(*testing.T) {
						return func(t *testing.T) { change(t); require.NoError(t, ring.Rotate(another)) }
					}(c.change)
				}
				auth, err := jwtauth.New(own, opts...)
				require.NoError(t, err)
				issuing, err := jwtauth.New(orElse(c.issue, c.source), jwtauth.WithIssuer(c.issuer), jwtauth.WithAnyContainer())
				require.NoError(t, err)
				token := mustIssue(t, issuing, "")
				claims, err := auth.VerifyAnyContainer(t.Context(), token)
				require.NoError(t, err)
				if cached {
					claims, err = auth.VerifyAnyContainer(t.Context(), token)
					require.NoError(t, err)
				}
				require.NoError(t, auth.Recheck(t.Context(), claims))
				c.change(t)
				for range 2 {
					require.ErrorIs(t, auth.Recheck(t.Context(), claims), c.want)
				}
			})
		}
	}
}

func orElse(a, b keys.Source) keys.Source {
	if a != nil {
		return a
	}
	return b
}

// mustGet is for what cannot fail.
func mustGet[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// published is the Remote of a server that publishes keys. Each publication is fetched
// when publish returns.
func published(t *testing.T, first ...keys.Key) (*keys.Remote, func(...keys.Key)) {
	var text atomic.Value
	set := func(all ...keys.Key) {
		w := httptest.NewRecorder()
		mustGet(keys.NewRing(all[0], all[1:]...)).JWKS().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		text.Store(w.Body.String())
	}
	set(first...)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, text.Load().(string))
	}))
	t.Cleanup(server.Close)
	remote, err := keys.NewRemote(server.URL, keys.WithHTTPClient(server.Client()), keys.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	return remote, func(all ...keys.Key) {
		before := mustGet(remote.Keys(t.Context(), ""))
		set(all...)
		for try := 0; mustGet(remote.Keys(t.Context(), fmt.Sprint("unknown ", try))) == before; try++ { // which fetches
			require.Less(t, try, 4)
		}
	}
}

// Claims that were not read from a token have no key to ask for.
func TestRecheck_OfClaimsOfNoToken(t *testing.T) {
	asked := false
	auth, err := jwtauth.New(sourceFunc(func(context.Context, string) (*keys.Set, error) {
		asked = true
		return nil, errors.New("down")
	}), atNow())
	require.NoError(t, err)
	require.NoError(t, auth.Recheck(t.Context(), jwtauth.Claims{Subject: "alice", ExpiresAt: now.Add(time.Hour)}))
	require.ErrorIs(t, auth.Recheck(t.Context(), jwtauth.Claims{Subject: "alice", ExpiresAt: now}), jwtauth.ErrExpired)
	require.False(t, asked)
}

// Claims are printed, logged and compared.
func TestClaims_HoldTheirTokenWhereNothingShowsIt(t *testing.T) {
	auth, token := newAuth(t), goodToken()
	first, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	second, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, first, second)
	again, err := newAuth(t).Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Equal(t, first.Subject, again.Subject)
	holder := struct{ C jwtauth.Claims }{first}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{first, &first, holder, &holder, []jwtauth.Claims{first}} {
			text := fmt.Sprintf(format, v)
			require.NotContains(t, text, token)
			require.NotContains(t, text, token[len(token)-20:], "its signature")
		}
	}
	text, err := json.Marshal(first)
	require.NoError(t, err)
	require.NotContains(t, string(text), token[len(token)-20:])
}

func TestClaims_KeepNoRetiredKeyAlive(t *testing.T) {
	old := mustGet(keys.Generate("EdDSA"))
	ring := mustGet(keys.NewRing(old))
	auth, err := jwtauth.New(ring, jwtauth.WithAnyContainer())
	require.NoError(t, err)
	claims, err := auth.VerifyAnyContainer(t.Context(), mustIssue(t, auth, ""))
	require.NoError(t, err)
	set := weak.Make(mustGet(ring.Keys(t.Context(), "")))
	require.NoError(t, ring.Rotate(mustGet(keys.Generate("EdDSA"))))
	mustIssue(t, auth, "") // an Auth keeps the header of the keys that sign
	for try := 0; set.Value() != nil; try++ {
		require.Less(t, try, 100, "something holds the set")
		runtime.GC()
	}
	require.NoError(t, auth.Recheck(t.Context(), claims))
}

// odd is a checker with a part that cannot be compared.
type odd struct {
	jwtauth.RevocationChecker
	part any
}

func TestNew_TakesACheckerThatCannotBeCompared(t *testing.T) {
	revoked := checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return true, nil })
	list, err := revoke.New(revoke.NewMemory())
	require.NoError(t, err)
	require.NoError(t, list.RevokeContainer(t.Context(), "", "demo"))
	for name, part := range map[string]any{"a slice": []int{1}, "a map": map[string]int{}, "a function": func() {}, "a number": 1, "nothing": nil} {
		for kind, checker := range map[string]jwtauth.RevocationChecker{"a function": revoked, "a list": list} {
			t.Run(name+" beside "+kind, func(t *testing.T) {
				auth := newAuth(t, jwtauth.WithRevocations(odd{checker, part}))
				_, err := auth.Verify(t.Context(), goodToken(), "demo")
				require.ErrorIs(t, err, jwtauth.ErrRevoked)
			})
		}
	}
}

func TestIssue_TheStampIsNoClaimOfOnesOwn(t *testing.T) {
	for _, name := range []string{"iat_us", "IAT_US", "Iat_us"} {
		_, err := newAuth(t).Issue("demo", jwtauth.Claim(name, now.Add(time.Hour).UnixMicro()))
		require.ErrorContains(t, err, "reserved", name)
	}
}
