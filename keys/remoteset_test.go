package keys_test

import (
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
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

// This test publishes each bad key before and after a good one. The good key must be used,
// and the log must say why the bad one is left out.
func TestRemote_LeavesOutKeysThatCannotBeUsed(t *testing.T) {
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

func TestRemote_OfTwoKeysOfOneIDTheFirstThatCanBeUsedCounts(t *testing.T) {
	i := newIssuer(t)
	i.publish(jwksText(t, publishedAs(t, "a", anRSAKey()).with("use", "enc"), publishedAs(t, "a", anEdKey()), publishedAs(t, "a", anotherEdKey())))
	require.NoError(t, i.verify("a", anEdKey()))
	require.ErrorIs(t, i.verify("a", anotherEdKey()), keys.ErrSignature)
}

func TestRemote_AKeyWithoutAnIDVerifiesTokensOfEveryID(t *testing.T) {
	i := newIssuer(t)
	without := jwkOf(t, anEdKey().Public())
	i.publish(jwksText(t, without, without, jwkOf(t, anotherEdKey().Public())))
	for _, kid := range []string{"", "any"} {
		require.NoError(t, i.verify(kid, anEdKey()))
		require.NoError(t, i.verify(kid, anotherEdKey()), "several keys without an ID must all be used")
	}
	require.Equal(t, 1, i.fetches())
	require.Contains(t, i.logged(), "key 2: another key", "a key that comes twice must be left out the second time")
}

// This test measures how often Run fetches. Run renews keys after nine tenths of the time
// for which they are fresh, or later, but always within that time.
func TestRemote_HowLongKeysAreFresh(t *testing.T) {
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
				require.Equal(t, 1, i.fetches(), "Run must fetch before the first request")
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

func TestRemote_FetchesKeysTwiceAtLeastBeforeTheyAreTooOld(t *testing.T) {
	inBubble(t, func(t *testing.T, i *issuer) {
		i.publish(first(t), "Cache-Control", "max-age=3600")
		defer i.run(t)()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Greater(t, i.fetches(), 20)
		require.NotContains(t, i.logged(), "too old")
	}, keys.WithMaxStale(time.Minute))
}

// This test changes what is published, and lets Run renew the keys before each request.
func TestRemote_OnlyAChangeOfKeysIsANewSet(t *testing.T) {
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
		require.Same(t, before, set(), "the text changed, but the keys are the same")
		i.publish(jwksText(t, publishedAs(t, "second", anotherEdKey()), publishedAs(t, "first", anEdKey()).with("use", "sig")))
		require.Same(t, before, set(), "the keys are the same, in another order and with another member")

		i.answer(etagged(both(t), `"1"`))
		require.Same(t, before, set())
		count := i.fetches()
		require.Same(t, before, set())
		require.Equal(t, count+1, i.fetches(), "a 304 without Cache-Control must leave the earlier max-age in force")
		require.Equal(t, `"1"`, i.asked[count].Get("If-None-Match"))

		i.publish(first(t))
		fewer := set()
		require.NotSame(t, before, fewer, "a key was removed")
		require.ErrorIs(t, i.verify("second", anotherEdKey()), keys.ErrUnknownKey)

		i.publish(jwksText(t, publishedAs(t, "first", anotherEdKey())))
		replaced := set()
		require.NotSame(t, fewer, replaced, "another key has the ID")
		require.NoError(t, i.verify("first", anotherEdKey()))
		require.ErrorIs(t, i.verify("first", anEdKey()), keys.ErrSignature)

		i.publish(jwksText(t, publishedAs(t, "first", anotherEdKey()), publishedAs(t, "second", anEdKey())))
		require.NotSame(t, replaced, set(), "a key was added")
		require.Equal(t, 4, strings.Count(i.logged(), "the keys are those"), i.logged())

		renamed := set()
		i.publish(jwksText(t, publishedAs(t, "first", anotherEdKey()), publishedAs(t, "third", anEdKey())))
		require.NotSame(t, renamed, set(), "a key has another ID")

		i.publish(jwksText(t, publishedAs(t, "first", anRSAKey()).with("alg", "PS256")))
		pss := set()
		i.publish(jwksText(t, publishedAs(t, "first", anRSAKey())))
		require.NotSame(t, pss, set(), "a key has another algorithm")
		i.publish(jwksText(t, publishedAs(t, "first", anRSAKey()), jwkOf(t, aSecret())))
		require.Same(t, set(), set())
		require.Contains(t, i.logged(), "key 2: ", "a key that is left out must be logged even if the others are unchanged")
	})
}

// FuzzReadRemote gives a Remote arbitrary responses. The set that it makes of one must not
// be able to sign, and must not hold anything private.
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
	for _, refused := range rejectedJWKs(f) {
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
			t.Fatalf("Keys must return a set or an error, and not both: %v, %v", set, err)
		}
		if err != nil {
			return
		}
		if _, _, err := set.SigningKey(); !errors.Is(err, keys.ErrNoSigningKey) {
			t.Fatalf("a set of public keys can sign: %v", err)
		}
		requireNothingPrivate(t, text, set)
	})
}

// requireNothingPrivate fails if each key in the JWK Set has a private member, or if the set
// that was made of it holds a secret.
func requireNothingPrivate(t *testing.T, text []byte, set *keys.Set) {
	t.Helper()
	var answer struct{ Keys []map[string]any }
	if json.Unmarshal(text, &answer) != nil {
		t.Fatal("a set was made of a text that is not JSON")
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
		t.Fatalf("a set was made of only private keys: %s", text)
	}
	for _, alg := range algorithms {
		if isSymmetric(alg) && !errors.Is(set.Verify(alg, "first", message, independentSign(t, alg, aSecret(), message)), keys.ErrUnknownKey) {
			t.Fatalf("the set holds a secret: %s", text)
		}
	}
}

type fixedAnswer string

func (a fixedAnswer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

// RFC 7517, section 4.5: keys of different types may have the same ID.
func TestRemote_KeysOfOneIDAndTwoAlgorithmsAreTwo(t *testing.T) {
	ed, rsa := publishedAs(t, "a", anEdKey()), publishedAs(t, "a", anRSAKey())
	for _, text := range []string{jwksText(t, ed, rsa), jwksText(t, rsa, ed)} {
		i := newIssuer(t)
		i.publish(text)
		set, err := i.Keys(t.Context(), "a")
		require.NoError(t, err)
		require.NoError(t, i.verify("a", anEdKey()))
		require.ErrorIs(t, set.Verify("RS256", "a", message, []byte("x")), keys.ErrSignature, "the RSA key must be used too")
		require.NotContains(t, i.logged(), "another key before it")
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
			require.NotContains(t, i.logged(), "key 4: ", "four keys without an ID must be used")

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
