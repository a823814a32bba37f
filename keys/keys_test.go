package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

// forEach runs a parallel subtest for each algorithm.
func forEach(t *testing.T, algs []string, test func(t *testing.T, alg string)) {
	t.Helper()
	for _, alg := range algs {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			test(t, alg)
		})
	}
}

func TestWhatAKeySignsVerifiesHereAndByTheStandardLibrary(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		set := setOf(t, key(alg))
		for _, message := range [][]byte{message, {}, nil, make([]byte, 100_000)} {
			signature := signed(t, set, message)
			require.NoError(t, set.Verify(alg, "", message, signature))
			require.True(t, independentVerify(alg, public(private(alg)), message, signature))
		}
	})
}

func TestWhatTheStandardLibrarySignsVerifies(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		signature := independentSign(t, alg, private(alg), message)
		require.NoError(t, setOf(t, key(alg)).Verify(alg, "", message, signature))
		require.NoError(t, setOf(t, publicKey(alg)).Verify(alg, "", message, signature))
	})
}

// publicKey returns the key that verifies what key(alg) signs; a secret has no
// such half.
func publicKey(alg string) keys.Key {
	if isSymmetric(alg) {
		return key(alg)
	}
	return keys.Verifier(public(private(alg))).WithAlgorithm(alg)
}

func TestAChangedMessageOrSignatureIsRefused(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		set := setOf(t, key(alg))
		signature := signed(t, set, message)
		refused := func(message, signature []byte) {
			t.Helper()
			require.Equal(t, keys.ErrSignature, set.Verify(alg, "", message, signature))
		}
		for i := range message {
			refused(flipped(message, i), signature)
		}
		for i := range signature {
			refused(message, flipped(signature, i))
		}
		refused(message[:len(message)-1], signature)
		refused(append(slices.Clone(message), 0), signature)
		refused(message, signature[:len(signature)-1])
		refused(message, signature[1:])
		refused(message, append(slices.Clone(signature), 0))
		refused(message, append([]byte{0}, signature...))
		refused(message, append(slices.Clone(signature), signature...))
		refused(message, make([]byte, len(signature)))
		refused(message, []byte{})
		refused(message, nil)
		refused(message, signed(t, setOf(t, anotherKey(alg)), message))
	})
}

// flipped returns a copy with one bit of byte i changed, another one from byte
// to byte.
func flipped(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 1 << (i % 8)
	return b
}

func TestEveryOtherNameOfAnAlgorithmIsAnUnknownKey(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		set := setOf(t, key(alg))
		signature := signed(t, set, message)
		names := append([]string{
			"", "none", "None", "NONE", "nOnE", "null", "*", "ES256K", "Ed25519", "Ed448", "RSA-OAEP", "HS1",
			strings.ToLower(alg), alg + " ", " " + alg, alg + "\x00", alg[:len(alg)-1], alg + alg,
		}, algorithms...)
		for _, name := range names {
			if name != alg {
				require.Equal(t, keys.ErrUnknownKey, set.Verify(name, "", message, signature), name)
				require.Equal(t, keys.ErrUnknownKey, set.Verify(name, "", message, nil), name)
			}
		}
	})
}

// The same bytes as a key never make two algorithms of one family alike.
func TestASignatureOfTheSameKeyByAnotherAlgorithmIsRefused(t *testing.T) {
	for _, family := range [][]string{
		{"HS256", "HS384", "HS512"},
		{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
	} {
		forEach(t, family, func(t *testing.T, alg string) {
			for _, other := range family {
				if other != alg {
					signature := signed(t, setOf(t, key(other)), message)
					require.Equal(t, keys.ErrSignature, setOf(t, key(alg)).Verify(alg, "", message, signature), other)
				}
			}
		})
	}
}

// The oldest forgery of this kind: the verifier's public key, which everybody
// may have, used as the secret of HS256.
func TestAnHMACWithThePublicKeyAsItsSecretIsRefused(t *testing.T) {
	forEach(t, algorithms[3:], func(t *testing.T, alg string) {
		set := setOf(t, publicKey(alg))
		for _, secret := range publicForms(t, public(private(alg))) {
			for _, hs := range algorithms[:3] {
				forged := independentSign(t, hs, secret, message)
				require.Equal(t, keys.ErrUnknownKey, set.Verify(hs, "", message, forged))
				require.Equal(t, keys.ErrSignature, set.Verify(alg, "", message, forged))
			}
		}
	})
}

func TestAnAlgorithmIsFixedByTheKeysType(t *testing.T) {
	for name, c := range map[string]struct {
		key keys.Key
		alg string
	}{
		"32 bytes for HS256":            {keys.HS256(aSecret()[:32]), "HS256"},
		"48 bytes for HS384":            {keys.HS384(aSecret()[:48]), "HS384"},
		"64 bytes for HS512":            {keys.HS512(aSecret()), "HS512"},
		"an RSA private key":            {keys.Signer(anRSAKey()), "RS256"},
		"an RSA public key":             {keys.Verifier(anRSAKey().Public()), "RS256"},
		"an RSA public key by value":    {keys.Verifier(anRSAKey().PublicKey), "RS256"},
		"a P-256 private key":           {keys.Signer(aP256Key()), "ES256"},
		"a P-384 private key":           {keys.Signer(aP384Key()), "ES384"},
		"a P-521 private key":           {keys.Signer(aP521Key()), "ES512"},
		"a P-256 public key":            {keys.Verifier(aP256Key().Public()), "ES256"},
		"an ECDSA public key by value":  {keys.Verifier(aP384Key().PublicKey), "ES384"},
		"an Ed25519 private key":        {keys.Signer(anEdKey()), "EdDSA"},
		"a pointer to an Ed25519 key":   {keys.Signer(pointerTo(anEdKey())), "EdDSA"},
		"an Ed25519 public key":         {keys.Verifier(anEdKey().Public()), "EdDSA"},
		"a secret with another HMAC":    {keys.HS256(aSecret()).WithAlgorithm("HS512"), "HS512"},
		"an RSA key with PSS":           {keys.Signer(anRSAKey()).WithAlgorithm("PS384"), "PS384"},
		"the algorithm it has already":  {keys.Signer(anEdKey()).WithAlgorithm("EdDSA"), "EdDSA"},
		"back to the first one":         {keys.Signer(anRSAKey()).WithAlgorithm("PS384").WithAlgorithm("RS256"), "RS256"},
		"an id leaves the algorithm be": {keys.Signer(anRSAKey()).WithAlgorithm("PS512").WithID("a"), "PS512"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, c.key.Err())
			require.Equal(t, c.alg, c.key.Algorithm())
			alg, _, err := setOf(t, c.key).SigningKey()
			if err == nil {
				require.Equal(t, c.alg, alg)
			}
		})
	}
}

func TestAKeyWithAnIDWantsIt(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		k := key(alg).WithID("2026-a")
		require.Equal(t, "2026-a", k.ID())
		set := setOf(t, k)
		signature := signed(t, set, message)
		require.NoError(t, set.Verify(alg, "2026-a", message, signature))
		for _, kid := range []string{"", "2026-b", "2026-A", "2026-a ", "2026", "2026-a\x00"} {
			require.Equal(t, keys.ErrUnknownKey, set.Verify(alg, kid, message, signature), kid)
		}
		require.Equal(t, keys.ErrSignature, set.Verify(alg, "2026-a", message, flipped(signature, 0)))

		name, kid, err := set.SigningKey()
		require.NoError(t, err)
		require.Equal(t, []string{alg, "2026-a"}, []string{name, kid})
	})
}

func TestAKeyWithoutAnIDIgnoresKid(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		k := key(alg)
		require.Empty(t, k.ID())
		set := setOf(t, k)
		signature := signed(t, set, message)
		for _, kid := range []string{"", "2026-a", "../../etc/passwd", "' OR 1=1"} {
			require.NoError(t, set.Verify(alg, kid, message, signature), kid)
		}
		_, kid, err := set.SigningKey()
		require.NoError(t, err)
		require.Empty(t, kid)
	})
}

func TestWithIDAndWithAlgorithmLeaveTheKeyTheyAreCalledOnAlone(t *testing.T) {
	k := keys.Signer(anRSAKey())
	set := setOf(t, k)
	renamed, changed := k.WithID("a"), k.WithAlgorithm("PS256")
	require.Equal(t, []string{"RS256", ""}, []string{k.Algorithm(), k.ID()})
	require.Equal(t, []string{"RS256", "a"}, []string{renamed.Algorithm(), renamed.ID()})
	require.Equal(t, []string{"PS256", ""}, []string{changed.Algorithm(), changed.ID()})
	require.Same(t, set, setOf(t, k))
	require.NotSame(t, set, setOf(t, renamed))
	require.Equal(t, "b", renamed.WithID("b").ID())
}

func TestAVerifierVerifiesAndCannotSign(t *testing.T) {
	forEach(t, algorithms[3:], func(t *testing.T, alg string) {
		for _, k := range []keys.Key{publicKey(alg), publicKey(alg).WithID("a")} {
			set := setOf(t, k)
			_, _, err := set.SigningKey()
			require.Equal(t, keys.ErrNoSigningKey, err)
			_, err = set.Sign(message)
			require.Equal(t, keys.ErrNoSigningKey, err)
			require.NoError(t, set.Verify(alg, "a", message, signed(t, setOf(t, key(alg)), message)))
		}
	})
}

func TestTheSetOfAKeyIsAlwaysTheSame(t *testing.T) {
	k := keys.HS256(aSecret())
	set := setOf(t, k)
	again, err := k.Keys(t.Context(), "any id")
	require.NoError(t, err)
	require.Same(t, set, again)
	require.NotSame(t, set, setOf(t, keys.HS256(aSecret())), "another Key is another source")
}

func TestTheZeroSetHoldsNoKey(t *testing.T) {
	var set keys.Set
	require.Equal(t, keys.ErrUnknownKey, set.Verify("HS256", "", message, nil))
	_, err := set.Sign(message)
	require.Equal(t, keys.ErrNoSigningKey, err)
	_, _, err = set.SigningKey()
	require.Equal(t, keys.ErrNoSigningKey, err)
}

func TestOfSeveralKeysAnyThatFitsMayVerify(t *testing.T) {
	a, b := keys.HS256(aSecret()).WithID("a"), keys.HS256(anotherSecret()).WithID("b")
	sameID := keys.HS256(anotherSecret()).WithID("a")
	ed := keys.Verifier(anEdKey().Public()).WithID("a")
	signatureA, signatureB := signed(t, setOf(t, a), message), signed(t, setOf(t, b), message)

	set := keys.SetOf(a, b, ed)
	require.NoError(t, set.Verify("HS256", "a", message, signatureA))
	require.NoError(t, set.Verify("HS256", "b", message, signatureB))
	require.Equal(t, keys.ErrSignature, set.Verify("HS256", "a", message, signatureB))
	require.Equal(t, keys.ErrSignature, set.Verify("EdDSA", "a", message, signatureA))
	require.Equal(t, keys.ErrUnknownKey, set.Verify("EdDSA", "b", message, signatureB))
	require.Equal(t, keys.ErrUnknownKey, set.Verify("HS256", "c", message, signatureA))
	require.Equal(t, signatureA, signed(t, set, message), "the first one signs")

	set = keys.SetOf(a, sameID)
	require.NoError(t, set.Verify("HS256", "a", message, signatureA))
	require.NoError(t, set.Verify("HS256", "a", message, signatureB), "one that fails leaves the next one its turn")

	_, err := keys.SetOf(ed, a).Sign(message)
	require.Equal(t, keys.ErrNoSigningKey, err, "no other key steps in for one that cannot sign")
}

func TestPSSWithASaltOfAnotherLengthIsRefused(t *testing.T) {
	forEach(t, []string{"PS256", "PS384", "PS512"}, func(t *testing.T, alg string) {
		hash, _ := hashOf(alg, nil)
		for _, set := range []*keys.Set{setOf(t, key(alg)), setOf(t, publicKey(alg))} {
			for _, salt := range []int{1, 20, hash.Size() - 1, hash.Size() + 1, longestSalt(hash)} {
				signature := signPSS(t, alg, anRSAKey(), message, salt)
				require.Equal(t, keys.ErrSignature, set.Verify(alg, "", message, signature), "%d bytes of salt", salt)
			}
			require.NoError(t, set.Verify(alg, "", message, signPSS(t, alg, anRSAKey(), message, hash.Size())))
		}
	})
}

// longestSalt is as long as fits. It is said, since rsa.PSSSaltLengthAuto means the hash's
// length where only FIPS 140-3 is allowed.
func longestSalt(hash crypto.Hash) int { return anRSAKey().Size() - hash.Size() - 2 }

func ecdsaKeys() map[string]*ecdsa.PrivateKey {
	return map[string]*ecdsa.PrivateKey{"ES256": aP256Key(), "ES384": aP384Key(), "ES512": aP521Key()}
}

func TestAnECDSASignatureIsTwoNumbersOfFixedLength(t *testing.T) {
	for alg, private := range ecdsaKeys() {
		t.Run(alg, func(t *testing.T) {
			set := setOf(t, keys.Signer(private))
			curve, n := private.Curve, private.Curve.Params().N
			signature := signed(t, set, message)
			require.Len(t, signature, 2*coordinateSize(curve))
			r, s, _ := split(curve, signature)

			der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
			require.NoError(t, err)
			_, digest := hashOf(alg, message)
			require.True(t, ecdsa.VerifyASN1(&private.PublicKey, digest, der), "the test's own DER form")

			zero, one := new(big.Int), big.NewInt(1)
			size := coordinateSize(curve)
			fits := func(x *big.Int) bool { return len(x.Bytes()) <= size }
			forms := map[string][]byte{
				"the DER form":              der,
				"r alone":                   signature[:size],
				"r longer by a zero byte":   append([]byte{0}, signature...),
				"both longer by a zero":     slices.Concat([]byte{0}, signature[:size], []byte{0}, signature[size:]),
				"s and r in the other turn": join(curve, s, r),
				"r zero":                    join(curve, zero, s),
				"s zero":                    join(curve, r, zero),
				"both zero":                 join(curve, zero, zero),
				"both one":                  join(curve, one, one),
				"r the curve's order":       join(curve, n, s),
				"s the curve's order":       join(curve, r, n),
				"both the curve's order":    join(curve, n, n),
			}
			if sum := new(big.Int).Add(s, n); fits(sum) {
				forms["s plus the curve's order"] = join(curve, r, sum)
			}
			for name, form := range forms {
				require.Equal(t, keys.ErrSignature, set.Verify(alg, "", message, form), name)
			}
		})
	}
}

// Whoever has an ECDSA signature can make the other one. Both are genuine, so a
// token must never be told from another by its signature.
func TestTheOtherOfTheTwoECDSASignaturesVerifiesToo(t *testing.T) {
	for alg, private := range ecdsaKeys() {
		t.Run(alg, func(t *testing.T) {
			set := setOf(t, keys.Signer(private))
			signature := signed(t, set, message)
			r, s, _ := split(private.Curve, signature)
			other := join(private.Curve, r, new(big.Int).Sub(private.Curve.Params().N, s))
			require.NotEqual(t, signature, other)
			require.NoError(t, set.Verify(alg, "", message, other))
		})
	}
}

// RFC 7518, section 3.4, ties each algorithm to one curve.
func TestASignatureOfAnotherCurveIsRefused(t *testing.T) {
	for alg, private := range ecdsaKeys() {
		for other, otherPrivate := range ecdsaKeys() {
			if other == alg {
				continue
			}
			signature := signed(t, setOf(t, keys.Signer(otherPrivate)), message)
			set := setOf(t, keys.Verifier(private.Public()))
			require.Equal(t, keys.ErrSignature, set.Verify(alg, "", message, signature))
			require.Equal(t, keys.ErrUnknownKey, set.Verify(other, "", message, signature))
		}
	}
}

func TestDeterministicAlgorithmsSignAlikeEachTime(t *testing.T) {
	forEach(t, []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "EdDSA"}, func(t *testing.T, alg string) {
		set := setOf(t, key(alg))
		require.Equal(t, signed(t, set, message), signed(t, set, message))
		require.Equal(t, independentSign(t, alg, private(alg), message), signed(t, set, message))
	})
}

func TestWhoeverMadeAKeyCannotChangeItAfterwards(t *testing.T) {
	wiped := func(b []byte) {
		for i := range b {
			b[i] = 0
		}
	}
	secret, edPrivate := slices.Clone(aSecret()), slices.Clone(anEdKey())
	edPublic := ed25519.PublicKey(slices.Clone(anEdKey()[32:]))
	hs, signer, verifier := keys.HS256(secret), keys.Signer(edPrivate), keys.Verifier(edPublic)
	wiped(secret)
	wiped(edPrivate)
	wiped(edPublic)

	for _, c := range []struct {
		key keys.Key
		alg string
	}{{hs, "HS256"}, {signer, "EdDSA"}, {verifier, "EdDSA"}} {
		for _, k := range []keys.Key{c.key, c.key.WithID("a")} {
			genuine := independentSign(t, c.alg, private(c.alg), message)
			require.NoError(t, setOf(t, k).Verify(c.alg, "a", message, genuine))
			if _, _, err := setOf(t, k).SigningKey(); err == nil {
				require.Equal(t, genuine, signed(t, setOf(t, k), message))
			}
		}
	}
}

func TestAGoodKeyPrintsItsAlgorithmAndIDAndNoSecret(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		k := key(alg)
		require.Equal(t, alg+" key", k.String())
		require.Equal(t, alg+` key "a"`, k.WithID("a").String())
		require.Equal(t, k.String(), k.GoString())
		for _, secret := range secretsOf(t, private(alg)) {
			requireSilent(t, k, secret)
			requireSilent(t, k.WithID("a"), secret)
			text, err := json.Marshal(map[string]any{"key": k, "pointer": &k})
			require.NoError(t, err)
			requireHidden(t, string(text), secret)
		}
	})
}

func TestAKeyIsSafeForConcurrentUse(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		k := key(alg)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 5 {
					set, err := k.Keys(t.Context(), "")
					if err != nil {
						t.Error(err)
						return
					}
					signature, err := set.Sign(message)
					if err != nil {
						t.Error(err)
						return
					}
					if err := set.Verify(alg, "", message, signature); err != nil {
						t.Error(err)
					}
					_ = k.WithID("a").String()
				}
			})
		}
		group.Wait()
	})
}

// Curves that are the same one, but not the standard library's own value, are
// refused rather than trusted to be what they say.
func TestACurveThatOnlyCallsItselfP256IsRefused(t *testing.T) {
	copied := *aP256Key().Public().(*ecdsa.PublicKey)
	copied.Curve = elliptic.P256().Params()
	require.Error(t, keys.Verifier(&copied).Err())
}
