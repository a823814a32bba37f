package keys_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

func TestSet_VerifiesWhatItSignsAsTheStandardLibraryDoes(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		set := setOf(t, key(alg))
		for _, message := range [][]byte{message, {}, nil, make([]byte, 100_000)} {
			signature := signed(t, set, message)
			require.NoError(t, set.Verify(alg, "", message, signature))
			require.True(t, independentVerify(alg, public(private(alg)), message, signature))
		}
	})
}

func TestSet_VerifiesWhatTheStandardLibrarySigns(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		signature := independentSign(t, alg, private(alg), message)
		require.NoError(t, setOf(t, key(alg)).Verify(alg, "", message, signature))
		require.NoError(t, setOf(t, publicKey(alg)).Verify(alg, "", message, signature))
	})
}

func TestSet_RejectsAChangedMessageOrSignature(t *testing.T) {
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

func TestSet_HasNoKeyForAnyOtherNameOfAnAlgorithm(t *testing.T) {
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

// Two algorithms of one family must not accept each other's signatures, even with the
// same key.
func TestSet_RejectsASignatureOfTheSameKeyByAnotherAlgorithm(t *testing.T) {
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

// A well-known forgery uses the verifier's public key, which an attacker may have, as an
// HMAC secret.
func TestSet_RejectsAnHMACWithThePublicKeyAsItsSecret(t *testing.T) {
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

func TestKey_AlgorithmIsFixedByTheKeysType(t *testing.T) {
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

func TestKey_WithAnIDVerifiesOnlyWhatCarriesIt(t *testing.T) {
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

func TestKey_WithoutAnIDIgnoresKid(t *testing.T) {
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

func TestKey_WithIDAndWithAlgorithmLeaveTheirReceiverUnchanged(t *testing.T) {
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

func TestVerifier_VerifiesAndCannotSign(t *testing.T) {
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

func TestKey_SetIsAlwaysTheSame(t *testing.T) {
	k := keys.HS256(aSecret())
	set := setOf(t, k)
	again, err := k.Keys(t.Context(), "any id")
	require.NoError(t, err)
	require.Same(t, set, again)
	require.NotSame(t, set, setOf(t, keys.HS256(aSecret())), "another Key must have another set, even with the same secret")
}

func TestSet_ZeroValueHoldsNoKey(t *testing.T) {
	var set keys.Set
	require.Equal(t, keys.ErrUnknownKey, set.Verify("HS256", "", message, nil))
	_, err := set.Sign(message)
	require.Equal(t, keys.ErrNoSigningKey, err)
	_, _, err = set.SigningKey()
	require.Equal(t, keys.ErrNoSigningKey, err)
}

func TestSet_AnyKeyThatFitsMayVerify(t *testing.T) {
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
	require.Equal(t, signatureA, signed(t, set, message), "the first key must sign")

	set = keys.SetOf(a, sameID)
	require.NoError(t, set.Verify("HS256", "a", message, signatureA))
	require.NoError(t, set.Verify("HS256", "a", message, signatureB), "if one key fails, the next one with the ID must be tried")

	_, err := keys.SetOf(ed, a).Sign(message)
	require.Equal(t, keys.ErrNoSigningKey, err, "no other key may sign if the first one cannot")
}

func TestSet_DeterministicAlgorithmsSignAlikeEachTime(t *testing.T) {
	forEach(t, []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "EdDSA"}, func(t *testing.T, alg string) {
		set := setOf(t, key(alg))
		require.Equal(t, signed(t, set, message), signed(t, set, message))
		require.Equal(t, independentSign(t, alg, private(alg), message), signed(t, set, message))
	})
}

func TestKey_IsIndependentOfWhatItWasMadeOf(t *testing.T) {
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
			correct := independentSign(t, c.alg, private(c.alg), message)
			require.NoError(t, setOf(t, k).Verify(c.alg, "a", message, correct))
			if _, _, err := setOf(t, k).SigningKey(); err == nil {
				require.Equal(t, correct, signed(t, setOf(t, k), message))
			}
		}
	}
}

func TestKey_PrintsItsAlgorithmAndIDAndNoSecret(t *testing.T) {
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

func TestKey_IsSafeForConcurrentUse(t *testing.T) {
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

func TestKey_WhatIsNoKeyAtAllIsABadKey(t *testing.T) {
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	p256, err := aP256Key().ECDH()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		key  keys.Key
		says []string
	}{
		"the zero Key":                   {keys.Key{}, []string{"zero Key", "HS256", "Signer", "Verifier", "ParsePEM", "ParseJWK", "LoadOrCreate"}},
		"a nil signer":                   {keys.Signer(nil), []string{"nil", "private key"}},
		"a nil *rsa.PrivateKey":          {keys.Signer((*rsa.PrivateKey)(nil)), []string{"nil", "private key"}},
		"a nil *ecdsa.PrivateKey":        {keys.Signer((*ecdsa.PrivateKey)(nil)), []string{"nil", "private key"}},
		"a nil ed25519.PrivateKey":       {keys.Signer(ed25519.PrivateKey(nil)), []string{"nil", "private key"}},
		"a nil *ed25519.PrivateKey":      {keys.Signer((*ed25519.PrivateKey)(nil)), []string{"nil", "private key"}},
		"a nil pointer to a KMS":         {keys.Signer((*kms)(nil)), []string{"nil", "private key"}},
		"a nil public key":               {keys.Verifier(nil), []string{"nil", "ed25519.PublicKey"}},
		"a nil *rsa.PublicKey":           {keys.Verifier((*rsa.PublicKey)(nil)), []string{"nil"}},
		"a nil *ecdsa.PublicKey":         {keys.Verifier((*ecdsa.PublicKey)(nil)), []string{"nil"}},
		"a nil ed25519.PublicKey":        {keys.Verifier(ed25519.PublicKey(nil)), []string{"nil"}},
		"an empty RSA public key":        {keys.Verifier(rsa.PublicKey{}), []string{"no modulus"}},
		"an empty ECDSA public key":      {keys.Verifier(ecdsa.PublicKey{}), []string{"no curve"}},
		"an X25519 public key":           {keys.Verifier(x25519.PublicKey()), []string{"*ecdh.PublicKey", "RSA, ECDSA", "Ed25519"}},
		"an X25519 private key":          {keys.Verifier(x25519), []string{"*ecdh.PrivateKey"}},
		"a P-256 key for key agreement":  {keys.Verifier(p256.PublicKey()), []string{"*ecdh.PublicKey"}},
		"a string":                       {keys.Verifier("a string"), []string{"type string", "RSA, ECDSA"}},
		"a secret for a verifier":        {keys.Verifier(aSecret()), []string{"[]uint8", "RSA, ECDSA"}},
		"a private key for a verifier":   {keys.Verifier(anRSAKey()), []string{"*rsa.PrivateKey"}},
		"a Key in a Key":                 {keys.Verifier(keys.HS256(aSecret())), []string{"keys.Key"}},
		"a signer without a public key":  {keys.Signer(kms{}), []string{"<nil>"}},
		"a signer of a string":           {keys.Signer(kms{public: "a string"}), []string{"string"}},
		"a signer that is a pair of nil": {keys.Signer(kms{public: (*ecdsa.PublicKey)(nil)}), []string{"no curve"}},
	} {
		t.Run(name, func(t *testing.T) {
			requireBad(t, c.key, c.says...)
			requireSilent(t, c.key, aSecret())
			requireSilent(t, c.key, x25519.Bytes())
		})
	}
}

func TestKey_WithAnAlgorithmThatDoesNotFitIsABadKey(t *testing.T) {
	for _, alg := range algorithms {
		k := key(alg)
		for _, other := range append([]string{"none", "ES256K", "RSA-OAEP", "dir", strings.ToLower(alg), alg + " "}, algorithms...) {
			if k.WithAlgorithm(other).Err() != nil {
				requireBad(t, k.WithAlgorithm(other), "does not fit", other, "takes", alg[:2])
				continue
			}
			require.True(t, slices.ContainsFunc([][]string{algorithms[:3], algorithms[3:9], algorithms[12:], {alg}}, func(family []string) bool {
				return slices.Contains(family, alg) && slices.Contains(family, other)
			}), "%s with %s", alg, other)
		}
		requireBad(t, k.WithAlgorithm(""), "empty name", "leave it out")
		require.NoError(t, k.Err())
	}
	requireBad(t, keys.HS256(aSecret()[:32]).WithAlgorithm("HS512"), "32 bytes", "at least 64")
}

func TestKey_WithABadIDIsABadKey(t *testing.T) {
	for _, alg := range []string{"HS256", "RS256", "EdDSA"} {
		requireBad(t, key(alg).WithID(""), "empty id", "leave it out")
		for _, kid := range []string{"\xff", "a\xc3", "\xed\xa0\x80"} {
			requireBad(t, key(alg).WithID(kid), "UTF-8")
		}
		for _, secret := range secretsOf(t, private(alg)) {
			requireSilent(t, key(alg).WithID(""), secret)
		}
	}
	for _, kid := range []string{"a", " ", "ключ", "2026-01-01T00:00:00Z", "\"quoted\"", "\x00"} {
		require.Equal(t, kid, key("EdDSA").WithID(kid).ID())
	}
}

func FuzzVerify(f *testing.F) {
	for i, alg := range algorithms {
		f.Add(uint8(i), "", message, []byte(nil))
		f.Add(uint8(i), "a", message, make([]byte, len(independentSign(f, alg, private(alg), message))))
		f.Add(uint8(i), "a", message, independentSign(f, alg, anotherPrivate(alg), message))
		f.Add(uint8(i), "b", []byte{}, []byte{1})
	}
	sets := make([]*keys.Set, len(algorithms))
	for i, alg := range algorithms {
		sets[i] = setOf(f, key(alg).WithID("a"))
	}
	f.Fuzz(func(t *testing.T, index uint8, kid string, message, bytes []byte) {
		i := int(index) % len(algorithms)
		alg, set := algorithms[i], sets[i]
		wanted := keys.ErrSignature
		if kid != "a" {
			wanted = keys.ErrUnknownKey
		}
		if err := set.Verify(alg, kid, message, bytes); err != wanted {
			t.Fatalf("%s: an arbitrary signature: %v", alg, err)
		}
		correct := signed(t, set, message)
		changed := xored(correct, bytes)
		if string(changed) == string(correct) {
			return
		}
		if err := set.Verify(alg, kid, message, changed); err != wanted {
			t.Fatalf("%s: a changed signature: %v", alg, err)
		}
		if err := set.Verify(alg, kid, append(message, 0), correct); err != wanted {
			t.Fatalf("%s: the signature of another message: %v", alg, err)
		}
	})
}

// xored returns signature XOR change. If change is longer, its last bytes are appended.
func xored(signature, change []byte) []byte {
	changed := make([]byte, max(len(signature), len(change)))
	copy(changed, signature)
	for i, b := range change {
		changed[i] ^= b
	}
	return changed
}

// vector is an example from an RFC: a token, and the key that signed it.
type vector struct {
	Name    string
	RFC     string `json:"source"`
	JWK     json.RawMessage
	Alg     string
	Token   string
	Payload string
}

// vectors reads the examples, which the tests of package strict also use.
func vectors(t *testing.T) []vector {
	t.Helper()
	files, err := filepath.Glob("../internal/strict/testdata/rfc/*.json")
	require.NoError(t, err)
	all := make([]vector, len(files))
	rfcs := ""
	for i, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &all[i]), file)
		rfcs += all[i].RFC + "\n"
	}
	for _, rfc := range []string{"RFC 7515", "RFC 7520", "RFC 8037"} {
		require.Contains(t, rfcs, rfc)
	}
	return all
}

// apart splits the token. It returns the bytes that were signed, the signature, and the kid
// of the header.
func (v vector) apart(t *testing.T) (signed, signature []byte, kid string) {
	t.Helper()
	segments := strings.Split(v.Token, ".")
	require.Len(t, segments, 3)
	decoded := make([][]byte, 3)
	for i, segment := range segments {
		var err error
		decoded[i], err = base64.RawURLEncoding.DecodeString(segment)
		require.NoError(t, err)
	}
	var header struct{ Alg, Kid string }
	require.NoError(t, json.Unmarshal(decoded[0], &header))
	require.Equal(t, v.Alg, header.Alg)
	require.Equal(t, v.Payload, string(decoded[1]))
	return []byte(segments[0] + "." + segments[1]), decoded[2], header.Kid
}

func TestSet_VerifiesTheExamplesOfTheRFCs(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.RFC+", "+v.Name, func(t *testing.T) {
			t.Parallel()
			input, signature, kid := v.apart(t)
			k, err := keys.ParseJWK(v.JWK)
			require.NoError(t, err)
			k = k.WithAlgorithm(v.Alg) // the examples' keys name no algorithm, and one RSA key serves several
			set := setOf(t, k)
			require.NoError(t, set.Verify(v.Alg, kid, input, signature))
			require.Equal(t, kid, k.ID(), "the token and the key of an example must have the same kid")

			for i := range input {
				require.Equal(t, keys.ErrSignature, set.Verify(v.Alg, kid, flipped(input, i), signature))
			}
			for i := range signature {
				require.Equal(t, keys.ErrSignature, set.Verify(v.Alg, kid, input, flipped(signature, i)))
			}
			for _, alg := range algorithms {
				if alg != v.Alg {
					require.Equal(t, keys.ErrUnknownKey, set.Verify(alg, kid, input, signature))
				}
			}
			if kid != "" {
				require.Equal(t, keys.ErrUnknownKey, set.Verify(v.Alg, "", input, signature))
				require.Equal(t, keys.ErrUnknownKey, set.Verify(v.Alg, kid+"x", input, signature))
			}

			own := signed(t, set, input)
			require.NoError(t, set.Verify(v.Alg, kid, input, own))
			if slices.Contains([]string{"HS256", "RS256", "EdDSA"}, v.Alg) {
				require.Equal(t, signature, own, "this algorithm has one signature for one message")
			} else {
				require.NotEqual(t, signature, own, "this algorithm signs with fresh randomness")
			}
		})
	}
}

// The examples must also verify with only the public half of their keys.
func TestSet_VerifiesTheExamplesOfTheRFCsWithThePublicKeyAlone(t *testing.T) {
	for _, v := range vectors(t) {
		if isSymmetric(v.Alg) {
			continue
		}
		t.Run(v.RFC+", "+v.Name, func(t *testing.T) {
			var members jwkMembers
			require.NoError(t, json.Unmarshal(v.JWK, &members))
			k, err := keys.ParseJWK([]byte(members.without("d", "p", "q", "dp", "dq", "qi").with("alg", v.Alg).text(t)))
			require.NoError(t, err)
			input, signature, kid := v.apart(t)
			set := setOf(t, k)
			require.NoError(t, set.Verify(v.Alg, kid, input, signature))
			_, err = set.Sign(input)
			require.Equal(t, keys.ErrNoSigningKey, err)
		})
	}
}
