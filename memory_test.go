package jwtauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// remember presents a token that is good for the container demo, and checks that
// it is remembered from then on.
func remember(t testing.TB, auth *jwtauth.Auth, token string) {
	t.Helper()
	_, err := auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.True(t, auth.Remembers(token))
	_, err = auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
}

// A token that is remembered must escape nothing that can change while it
// lives.
func TestARememberedTokenIsJudgedAnewBy(t *testing.T) {
	ctx := context.Background()
	outage := errors.New("outage")
	// present is what the service does with the token, in both of its ways.
	present := func(t *testing.T, auth *jwtauth.Auth, token, container string, want error) {
		t.Helper()
		_, err := auth.Verify(ctx, token, container)
		require.ErrorIs(t, err, want)
		_, s := serve(auth.Private, request("GET", "/run/"+container+"/notify", bearer(token)))
		require.Equal(t, want == nil, s.ran)
	}

	t.Run("time: it expires", func(t *testing.T) {
		at := now
		auth := newAuth(t, jwtauth.WithClock(func() time.Time { return at }))
		token := mustIssue(t, auth, "demo", jwtauth.TTL(time.Minute))
		remember(t, auth, token)
		at = now.Add(time.Minute - 1)
		present(t, auth, token, "demo", nil)
		at = now.Add(time.Minute)
		present(t, auth, token, "demo", jwtauth.ErrExpired)
		require.False(t, auth.Remembers(token), "it will not be good again")
		present(t, auth, token, "demo", jwtauth.ErrExpired)
	})
	t.Run("time: the clock is set back to before its nbf and its iat", func(t *testing.T) {
		at := now
		auth := newAuth(t, jwtauth.WithClock(func() time.Time { return at }))
		for _, token := range []string{
			sign(header, claimsJSON(map[string]any{"nbf": now.Unix(), "iat": nil})),
			sign(header, claimsJSON(nil)),
		} {
			at = now
			remember(t, auth, token)
			at = now.Add(-time.Minute)
			present(t, auth, token, "demo", jwtauth.ErrNotYetValid)
			at = now
			present(t, auth, token, "demo", nil)
		}
	})
	t.Run("revocation", func(t *testing.T) {
		var revoked bool
		var err error
		auth := newAuth(t, jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return revoked, err })))
		token := mustIssue(t, auth, "demo")
		remember(t, auth, token)
		revoked = true
		present(t, auth, token, "demo", jwtauth.ErrRevoked)
		revoked, err = false, outage
		present(t, auth, token, "demo", jwtauth.ErrUnavailable)
		err = nil
		present(t, auth, token, "demo", nil)
	})
	t.Run("container", func(t *testing.T) {
		auth := newAuth(t)
		token := mustIssue(t, auth, "demo")
		remember(t, auth, token)
		present(t, auth, token, "other", jwtauth.ErrContainer)
		present(t, auth, token, "Demo", jwtauth.ErrContainer)
		present(t, auth, token, "demo", nil)
	})
	t.Run("its key, which is retired", func(t *testing.T) {
		key := keys.HS256(secret).WithID("first")
		ring, err := keys.NewRing(key)
		require.NoError(t, err)
		auth, err := jwtauth.New(ring, atNow())
		require.NoError(t, err)
		token := mustIssue(t, auth, "demo")
		remember(t, auth, token)
		require.NoError(t, ring.Rotate(keys.HS256([]byte(strings.Repeat("another!", 4))).WithID("second")))
		present(t, auth, token, "demo", nil)
		remember(t, auth, mustIssue(t, auth, "demo"))
		require.NoError(t, ring.Retire("first"))
		present(t, auth, token, "demo", jwtauth.ErrUnknownKey)
		require.NoError(t, ring.Add(key))
		present(t, auth, token, "demo", nil)
	})
	t.Run("its key, which another one replaces under the same id", func(t *testing.T) {
		key := keys.HS256(secret).WithID("the-id")
		auth, err := jwtauth.New(sourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) { return key.Keys(ctx, kid) }), atNow())
		require.NoError(t, err)
		token := mustIssue(t, auth, "demo")
		remember(t, auth, token)
		key = keys.HS256([]byte(strings.Repeat("another!", 4))).WithID("the-id")
		present(t, auth, token, "demo", jwtauth.ErrSignature)
	})
	t.Run("the source of keys, which is out", func(t *testing.T) {
		key, asked := keys.HS256(secret).WithID("the-id"), []string(nil)
		var err error
		auth, newErr := jwtauth.New(sourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
			asked = append(asked, kid)
			set, _ := key.Keys(ctx, kid)
			return set, err
		}), atNow())
		require.NoError(t, newErr)
		token := mustIssue(t, auth, "demo")
		remember(t, auth, token)
		asked = nil
		present(t, auth, token, "demo", nil)
		require.Equal(t, []string{"the-id", "the-id"}, asked, "once a verdict, and with the key that it is about")
		err = outage
		present(t, auth, token, "demo", jwtauth.ErrUnavailable)
		err = nil
		present(t, auth, token, "demo", nil)
	})
	t.Run("the source of keys, which is asked once whatever it says", func(t *testing.T) {
		key, asked := keys.HS256(secret), 0
		var err error
		auth, newErr := jwtauth.New(sourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
			asked++
			set, _ := key.Keys(ctx, kid)
			return set, err
		}), atNow())
		require.NoError(t, newErr)
		token := mustIssue(t, auth, "demo")
		ask := func(want error) {
			t.Helper()
			asked = 0
			_, err := auth.Verify(ctx, token, "demo")
			require.ErrorIs(t, err, want)
			require.Equal(t, 1, asked)
		}
		remember(t, auth, token)
		err = outage
		ask(jwtauth.ErrUnavailable)
		err, key = nil, keys.HS256(secret)
		ask(nil)
		key = keys.HS256([]byte(strings.Repeat("another!", 4)))
		ask(jwtauth.ErrSignature)
		require.False(t, auth.Remembers(token), "a retired key is nothing to keep")
	})
	t.Run("its text, byte for byte", func(t *testing.T) {
		auth := newAuth(t)
		token := mustIssue(t, auth, "demo")
		remember(t, auth, token)
		for i := range token {
			other := []byte(token)
			if other[i]++; token[i] == 'z' {
				other[i] = 'a'
			}
			_, err := auth.Verify(ctx, string(other), "demo")
			require.Error(t, err, "a change of byte %d", i)
		}
		for _, other := range []string{token[:len(token)-1], token + "A", token + "=", " " + token, token + "." + token} {
			_, err := auth.Verify(ctx, other, "demo")
			require.Error(t, err)
		}
	})
}

func TestOnlyAcceptedTokensAreRemembered(t *testing.T) {
	auth := newAuth(t, jwtauth.WithRevocations(checkerFunc(func(_ context.Context, c jwtauth.Claims) (bool, error) {
		return c.ID == "revoked", nil
	})))
	refused := badTokens()
	refused["revoked"] = struct {
		token string
		want  error
	}{sign(header, claimsJSON(map[string]any{"jti": "revoked"})), jwtauth.ErrRevoked}
	for name, bad := range refused {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				_, err := auth.Verify(t.Context(), bad.token, "demo")
				require.ErrorIs(t, err, bad.want)
			}
			// A genuine token of another container is one that was accepted, but
			// for this request.
			require.Equal(t, bad.want == jwtauth.ErrContainer, auth.Remembers(bad.token))
		})
	}
	require.False(t, newAuth(t).Remembers(goodToken()))
}

func TestAnAuthWithoutACacheRemembersNothing(t *testing.T) {
	auth := newAuth(t, jwtauth.WithCache(0))
	for range 2 {
		_, err := auth.Verify(t.Context(), goodToken(), "demo")
		require.NoError(t, err)
	}
	require.False(t, auth.Remembers(goodToken()))
}

func TestCachesThatCannotBe(t *testing.T) {
	for _, n := range []int{-1, 1<<24 + 1} {
		_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithCache(n))
		require.ErrorContains(t, err, fmt.Sprintf("WithCache(%d): it must lie between 0, which turns it off, and 16777216", n))
	}
}

func TestWhatOneRequestDoesToItsClaimsIsNotSeenByAnother(t *testing.T) {
	spoil := func(c jwtauth.Claims) { c.Audience[0] = "spoilt" }
	auth := newAuth(t, jwtauth.WithAudience("api"), jwtauth.WithRevocations(checkerFunc(func(_ context.Context, c jwtauth.Claims) (bool, error) {
		require.Equal(t, "api", c.Audience[0])
		spoil(c)
		return false, nil
	})))
	token := mustIssue(t, auth, "demo")
	for range 3 {
		c, err := auth.Verify(t.Context(), token, "demo")
		require.NoError(t, err)
		require.Equal(t, []string{"api"}, c.Audience)
		spoil(c)
		_, s := serve(auth.Private, request("GET", demoPath, bearer(token)))
		require.Equal(t, []string{"api"}, s.claims.Audience)
		spoil(s.claims)
	}
	c := jwtauth.Claims{Audience: []string{"api"}}
	ctx := jwtauth.NewContext(t.Context(), c)
	spoil(c)
	c, _ = jwtauth.FromContext(ctx)
	require.Equal(t, []string{"api"}, c.Audience)
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Whoever can have tokens issued must not be able to fill the memory: neither
// by their number, nor by their size, nor by what they make of a few bytes, nor
// by what the request holds besides.
func TestTheMemoryIsBoundedUnderAttack(t *testing.T) {
	const entries = 500
	for name, private := range map[string]func(i int) (claims map[string]any){
		"typical tokens": func(int) map[string]any { return map[string]any{"iss": issuer, "sub": "alice"} },
		"large tokens":   func(int) map[string]any { return map[string]any{"sub": strings.Repeat("a", 5000)} },
		"many audiences": func(int) map[string]any { return map[string]any{"aud": append(make([]string, 1500), "api")} },
		"escaped texts":  func(int) map[string]any { return map[string]any{"sub": "<" + strings.Repeat("a", 5000)} },
		"long key ids":   func(int) map[string]any { return map[string]any{} },
		"other headers":  func(int) map[string]any { return map[string]any{} },
	} {
		t.Run(name, func(t *testing.T) {
			opts := []jwtauth.Option{jwtauth.WithCache(entries)}
			if name == "many audiences" {
				opts = append(opts, jwtauth.WithAudience("api"))
			}
			auth := newAuth(t, opts...)
			header := header
			switch name {
			case "long key ids":
				header = `{"alg":"HS256","kid":"` + strings.Repeat("k", 3000) + `"}`
			case "other headers":
				header = `{"alg":"HS256","kid":"k","other":"` + strings.Repeat("o", 3000) + `"}`
			}
			before := heap()
			var last string
			for i := range 5 * entries {
				claims := private(i)
				claims["jti"] = fmt.Sprint(i)
				// A server's header fields are parts of one text.
				field := strings.Repeat("x", 20<<10) + sign(header, claimsJSON(claims))
				last = field[20<<10:]
				_, err := auth.Verify(t.Context(), last, "demo")
				require.NoError(t, err)
			}
			require.True(t, auth.Remembers(last))
			require.Less(t, heap()-before, int64(entries<<10)*5/4)
			runtime.KeepAlive(auth)
		})
	}
}

func TestARememberedRequestAllocatesLittle(t *testing.T) {
	auth := newAuth(t)
	handler := auth.Private(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := request("GET", demoPath, bearer(mustIssue(t, auth, "demo")))
	r.SetPathValue("container", "demo")
	w := discard{}
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { handler.ServeHTTP(w, r) }), 3.0)
}

// discard is a response that nobody reads.
type discard http.Header

func (d discard) Header() http.Header       { return http.Header(d) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// The same tokens are presented by everyone while their keys come and go: a
// token of a key that is out is never accepted, one of the key that stays never
// refused.
func TestRememberedTokensUnderLoad(t *testing.T) {
	stays, goes := keys.HS256(secret).WithID("stays"), keys.HS256([]byte(strings.Repeat("another!", 4))).WithID("goes")
	ring, err := keys.NewRing(stays)
	require.NoError(t, err)
	auth, err := jwtauth.New(ring, atNow(), jwtauth.WithCache(64))
	require.NoError(t, err)
	byGoing, err := jwtauth.New(goes, atNow())
	require.NoError(t, err)
	var good, bad []string
	for range 32 {
		good, bad = append(good, mustIssue(t, auth, "demo")), append(bad, mustIssue(t, byGoing, "demo"))
	}
	var out atomic.Bool // the key that goes has gone, and does not come while this is set
	out.Store(true)
	done, ctx := make(chan struct{}), context.Background()
	var group sync.WaitGroup
	var gate sync.RWMutex // held by who relies on out
	for worker := range 8 {
		group.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := auth.Verify(ctx, good[i%len(good)], "demo"); err != nil {
					t.Error("a good token was refused:", err)
					return
				}
				gate.RLock()
				_, err := auth.Verify(ctx, bad[i%len(bad)], "demo")
				if (err == nil) == out.Load() {
					t.Error("a retired key:", out.Load(), err)
				}
				gate.RUnlock()
			}
		})
	}
	for range 300 {
		gate.Lock()
		require.NoError(t, ring.Add(goes))
		out.Store(false)
		gate.Unlock()
		runtime.Gosched()
		gate.Lock()
		require.NoError(t, ring.Retire("goes"))
		out.Store(true)
		gate.Unlock()
	}
	close(done)
	group.Wait()
}

// Sources that make new sets all the time must not fill the memory with old
// ones, nor keep secrets that were retired.
func TestNoSetOfKeysIsKeptForItsTokens(t *testing.T) {
	const entries = 500
	var others []keys.Key
	for i := range 20 {
		others = append(others, keys.HS256(secret).WithID(fmt.Sprint(i)))
	}
	auth, err := jwtauth.New(sourceFunc(func(ctx context.Context, kid string) (*keys.Set, error) {
		ring, err := keys.NewRing(keys.HS256(secret), others...)
		if err != nil {
			return nil, err
		}
		return ring.Keys(ctx, kid)
	}), atNow(), jwtauth.WithCache(entries))
	require.NoError(t, err)
	before := heap()
	for range entries {
		_, err := auth.Verify(t.Context(), mustIssue(t, auth, "demo"), "demo")
		require.NoError(t, err)
	}
	require.Less(t, heap()-before, int64(entries<<10)*5/4)
	runtime.KeepAlive(auth)
}

// After a good token, one whose header is as long, or begins alike, is read as
// if it were the first.
func TestAHeaderThatIsKnownIsKnownToTheLastByte(t *testing.T) {
	known := `{"alg":"HS256","kid":"one","typ":"JWT"}`
	for name, other := range map[string]string{
		"another type":         `{"alg":"HS256","kid":"one","typ":"XXX"}`,
		"another key id":       `{"alg":"HS256","kid":"two","typ":"JWT"}`,
		"another algorithm":    `{"alg":"HS384","kid":"one","typ":"JWT"}`,
		"a critical extension": `{"alg":"HS256","crit":[1],"typ":"JWT"}`,
		"one more member":      `{"alg":"HS256","kid":"one","typ":"JWT","x":1}`,
		"the known one twice":  known + known,
	} {
		t.Run(name, func(t *testing.T) {
			key := keys.HS256(secret).WithID("one")
			fresh, err := jwtauth.New(key, atNow())
			require.NoError(t, err)
			used, err := jwtauth.New(key, atNow())
			require.NoError(t, err)
			_, err = used.Verify(t.Context(), sign(known, claimsJSON(nil)), "demo")
			require.NoError(t, err)
			_, want := fresh.Verify(t.Context(), sign(other, claimsJSON(nil)), "demo")
			_, got := used.Verify(t.Context(), sign(other, claimsJSON(nil)), "demo")
			if name != "one more member" {
				require.Error(t, want)
			}
			require.Equal(t, want, got)
		})
	}
}
