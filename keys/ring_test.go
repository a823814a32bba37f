package keys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

func TestRing_RotationRejectsNoGoodToken(t *testing.T) {
	first, second := key("EdDSA").WithID("first"), key("ES256").WithID("second")
	ring := newRing(t, first)
	auth := ringAuth(t, ring)
	issue := func() string {
		token, err := auth.Issue("demo")
		require.NoError(t, err)
		return token
	}
	verify := func(token string) error {
		_, err := auth.Verify(t.Context(), token, "demo")
		return err
	}

	before := issue()
	require.NoError(t, ring.Add(second))
	require.Len(t, published(t, ring), 2, "a key must be published before it signs")
	waiting := issue()
	bySecond, err := ringAuth(t, second).Issue("demo")
	require.NoError(t, err)
	require.NoError(t, verify(bySecond), "a key must verify before it signs")

	require.NoError(t, ring.Rotate(second))
	after := issue()
	for _, token := range []string{before, waiting, after, bySecond} {
		require.NoError(t, verify(token))
	}
	_, err = ringAuth(t, second).Verify(t.Context(), after, "demo")
	require.NoError(t, err, "the second key signs now")

	require.NoError(t, ring.Retire("first"))
	require.ErrorIs(t, verify(before), jwtauth.ErrUnknownKey)
	require.ErrorIs(t, verify(waiting), jwtauth.ErrUnknownKey)
	require.NoError(t, verify(after))
	require.Len(t, published(t, ring), 1)
}

func TestRing_AChangeIsANewSetAndNoChangeIsNone(t *testing.T) {
	ring := newRing(t, key("EdDSA"))
	set := func() *keys.Set {
		set, err := ring.Keys(t.Context(), "any")
		require.NoError(t, err)
		return set
	}
	before := set()
	require.Same(t, before, set())
	require.Error(t, ring.Retire("unknown"))
	require.Same(t, before, set(), "a change that fails must not replace the set")
	require.NoError(t, ring.Add(key("ES256")))
	require.NotSame(t, before, set())
}

func TestRing_NamesAsymmetricKeysByTheirThumbprint(t *testing.T) {
	// The key and its thumbprint are those of RFC 8037, appendix A.3.
	public, err := keys.ParseJWK([]byte(`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	require.NoError(t, err)
	ring := newRing(t, public)
	require.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", published(t, ring)[0]["kid"])
	require.ErrorContains(t, ring.Add(public), "two keys have the id")
	require.NoError(t, ring.Rotate(public), "rotating to the key that already signs must be allowed")
}

func TestRing_Refuses(t *testing.T) {
	secret, another := key("HS256"), anotherKey("HS256")
	signing := key("EdDSA").WithID("a")
	verifying := keys.Verifier(aP256Key().Public()).WithID("v")
	for name, test := range map[string]struct {
		run  func() error
		want string
	}{
		"a bad active key":            {func() error { _, err := keys.NewRing(keys.Key{}); return err }, "zero Key"},
		"a bad other key":             {func() error { _, err := keys.NewRing(signing, keys.HS256(nil)); return err }, "0 bytes"},
		"an active key for verifying": {func() error { _, err := keys.NewRing(verifying); return err }, "cannot sign"},
		"two secrets without an id":   {func() error { _, err := keys.NewRing(secret, another); return err }, "only one key may be without"},
		"two keys of one id":          {func() error { _, err := keys.NewRing(signing, secret.WithID("a")); return err }, `"a"`},
		"adding a bad key":            {func() error { return newRing(t, signing).Add(keys.Key{}) }, "Ring.Add: keys: the key is the zero Key"},
		"adding an id twice":          {func() error { return newRing(t, signing).Add(verifying.WithID("a")) }, `"a"`},
		"rotating to a bad key":       {func() error { return newRing(t, signing).Rotate(keys.Key{}) }, "zero Key"},
		"rotating to one that cannot": {func() error { return newRing(t, signing, verifying).Rotate(verifying) }, "cannot sign"},
		"another key under an id":     {func() error { return newRing(t, signing).Rotate(anotherKey("EdDSA").WithID("a")) }, "another key"},
		"another secret under an id":  {func() error { return newRing(t, secret.WithID("s")).Rotate(another.WithID("s")) }, "another key"},
		"another kind under an id":    {func() error { return newRing(t, signing).Rotate(secret.WithID("a")) }, "another key"},
		"another algorithm of a key":  {func() error { return newRing(t, key("RS256").WithID("r")).Rotate(key("PS256").WithID("r")) }, "another key"},
		"retiring the key that signs": {func() error { return newRing(t, signing, verifying).Retire("a") }, "rotate to another"},
		"retiring half of a secret":   {func() error { return newRing(t, signing, secret.WithID("s"), secret).Retire("s") }, "without an id"},
		"retiring what is not there":  {func() error { return newRing(t, signing).Retire("") }, "no key"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, test.run(), test.want) })
	}
}

func TestRing_AKeyThatOnlyVerifiedMayCarryOnSigning(t *testing.T) {
	ring := newRing(t, key("EdDSA"), keys.Verifier(aP256Key().Public()).WithID("es"))
	require.NoError(t, ring.Rotate(key("ES256").WithID("es")))
	auth := ringAuth(t, ring)
	token, err := auth.Issue("demo")
	require.NoError(t, err)
	_, err = auth.Verify(t.Context(), token, "demo")
	require.NoError(t, err)
	require.Len(t, published(t, ring), 2)
}

func TestRing_RetiresAKeyWithoutAnID(t *testing.T) {
	ring := newRing(t, key("EdDSA"), key("HS256"))
	require.NoError(t, ring.Retire(""))
	require.Error(t, ring.Retire(""))
}

// members holds the members that a public key may have (RFC 7517, RFC 7518, RFC 8037).
var members = map[string]bool{"kty": true, "kid": true, "alg": true, "use": true, "n": true, "e": true, "crv": true, "x": true, "y": true}

func TestRing_JWKSPublishesNothingPrivate(t *testing.T) {
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			ring := newRing(t, key(alg).WithID("k"), anotherKey("EdDSA"))
			all := published(t, ring)
			wanted := 2
			if isSymmetric(alg) {
				wanted = 1
			}
			require.Len(t, all, wanted)
			for _, one := range all {
				require.Equal(t, "sig", one["use"])
				require.NotEqual(t, "oct", one["kty"])
				for member := range one {
					require.True(t, members[member], "the member %q", member)
				}
			}
			if wanted == 2 {
				require.Equal(t, alg, all[0]["alg"])
				text, err := json.Marshal(all[0])
				require.NoError(t, err)
				verifier, err := keys.ParseJWK(text)
				require.NoError(t, err)
				token, err := ringAuth(t, ring).Issue("demo")
				require.NoError(t, err)
				_, err = ringAuth(t, verifier).Verify(t.Context(), token, "demo")
				require.NoError(t, err, "the published key must verify what the ring signs")
			}
		})
	}
	require.Empty(t, published(t, newRing(t, key("HS256"))))
}

func TestRing_JWKSOverHTTP(t *testing.T) {
	ring := newRing(t, key("EdDSA"))
	server := httptest.NewServer(ring.JWKS())
	defer server.Close()
	send := func(method, etag string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		require.NoError(t, err)
		r.Header.Set("If-None-Match", etag)
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		response.Body.Close()
		return response
	}
	get := send("GET", "")
	require.Equal(t, http.StatusOK, get.StatusCode)
	require.Equal(t, "application/jwk-set+json", get.Header.Get("Content-Type"))
	require.Equal(t, "nosniff", get.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "public, max-age=300", get.Header.Get("Cache-Control"))
	etag := get.Header.Get("ETag")
	require.NotEmpty(t, etag)
	head := send("HEAD", "")
	require.Equal(t, http.StatusOK, head.StatusCode)
	require.Equal(t, get.ContentLength, head.ContentLength)
	require.Equal(t, http.StatusNotModified, send("GET", etag).StatusCode)
	require.NoError(t, ring.Rotate(key("ES256")))
	require.Equal(t, http.StatusOK, send("GET", etag).StatusCode, "a change of the keys must change the ETag")
	post := send("POST", "")
	require.Equal(t, http.StatusMethodNotAllowed, post.StatusCode)
	require.Equal(t, "GET, HEAD", post.Header.Get("Allow"))
}

func TestRing_MakesAllChangesThatComeAtOnce(t *testing.T) {
	ring := newRing(t, key("EdDSA").WithID("first"))
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			if err := ring.Add(key("HS256").WithID(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.Len(t, ring.IDs(), 65)
}

// fixedSource is a source that always returns the same set.
type fixedSource struct{ set *keys.Set }

func (s fixedSource) Keys(context.Context, string) (*keys.Set, error) { return s.set, nil }

// This test rotates as fast as it can while eight goroutines issue and verify. A token must
// be accepted as long as its key is in the ring. It must be rejected if its key was retired
// before Verify was called.
func TestRing_RotationUnderLoad(t *testing.T) {
	const rotations = 300
	name := func(i int) string { return fmt.Sprint("key-", i) }
	at := func(i int) keys.Key { return key([]string{"EdDSA", "ES256", "HS256"}[i%3]).WithID(name(i)) }
	ring := newRing(t, at(0))
	auth := ringAuth(t, ring)
	retired := tokenBy(t, ring)
	require.NoError(t, ring.Rotate(at(1)))
	require.NoError(t, ring.Retire(name(0)))
	done, ctx := make(chan struct{}), context.Background()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				token, err := auth.Issue("demo")
				if err != nil {
					t.Error(err)
					return
				}
				// The key may have been retired since. But if the ring still has the key after
				// Verify, it also had the key during Verify.
				_, verdict := auth.Verify(ctx, token, "demo")
				set, _ := ring.Keys(ctx, "")
				if frozen := ringAuth(t, fixedSource{set}); verdict != nil {
					if _, err := frozen.Verify(ctx, token, "demo"); err == nil {
						t.Error("a good token was rejected:", verdict)
						return
					}
				}
				if _, err := auth.Verify(ctx, retired, "demo"); err == nil {
					t.Error("a token of a retired key was accepted")
					return
				}
			}
		})
	}
	for i := 2; i <= rotations; i++ {
		token, err := auth.Issue("demo")
		require.NoError(t, err)
		require.NoError(t, ring.Add(at(i)))
		require.NoError(t, ring.Rotate(at(i)))
		_, err = auth.Verify(ctx, token, "demo")
		require.NoError(t, err, "signed just before a rotation")
		require.NoError(t, ring.Retire(name(i-1)))
		_, err = auth.Verify(ctx, token, "demo")
		require.ErrorIs(t, err, jwtauth.ErrUnknownKey, "retired")
	}
	close(done)
	group.Wait()
}
