package keys_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/joinednode/jwtauth/keys"
)

// judgeRead judges what a parser made of text that nobody chose: either an error
// and nothing to use, or a key that works.
func judgeRead(t *testing.T, k keys.Key, err error) {
	t.Helper()
	if err != nil {
		if k.Err() == nil {
			t.Fatalf("an error, and a key to use: %v", err)
		}
		return
	}
	if k.Err() != nil {
		t.Fatalf("no error, and a bad key: %v", k.Err())
	}
	set := setOf(t, k)
	alg, kid, err := set.SigningKey()
	if err != nil {
		if set.Verify(k.Algorithm(), k.ID(), message, make([]byte, 64)) == nil {
			t.Fatal("zeros are a signature")
		}
		return
	}
	if alg != k.Algorithm() || kid != k.ID() {
		t.Fatalf("the set's key is %s %q, and the key %s %q", alg, kid, k.Algorithm(), k.ID())
	}
	if err := set.Verify(alg, kid, message, signed(t, set, message)); err != nil {
		t.Fatalf("it does not verify what it signed: %v", err)
	}
}

func FuzzParsePEM(f *testing.F) {
	ec := sec1(f, aP256Key())
	for _, text := range [][]byte{
		nil,
		ec,
		append(armoured("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), ec...),
		append(bytes.Clone(ec), ec...),
		append(bytes.Clone(ec[:40]), ec...),
		pkcs8(f, anRSAKey()),
		pkcs8(f, anEdKey()),
		pkcs8(f, aP521Key()),
		pkix(f, anEdKey().Public()),
		pkix(f, anRSAKey().Public()),
		certificate(f, aP384Key()),
		armoured("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := keys.ParsePEM(text)
		judgeRead(t, k, err)
	})
}

func FuzzParseJWK(f *testing.F) {
	for _, alg := range algorithms {
		f.Add([]byte(jwkOf(f, private(alg)).with("alg", alg).with("kid", "a").with("use", "sig").text(f)))
		f.Add([]byte(jwkOf(f, public(private(alg))).with("key_ops", []string{"verify"}).text(f)))
	}
	for _, refused := range refusedJWKs(f) {
		f.Add([]byte(refused.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := keys.ParseJWK(text)
		judgeRead(t, k, err)
		if err == nil {
			return
		}
		var members map[string]any
		if json.Unmarshal(text, &members) != nil {
			return
		}
		// The algorithm is the one member that an error repeats.
		repeated, _ := members["alg"].(string)
		for _, name := range []string{"k", "d", "p", "q", "dp", "dq", "qi"} {
			value, _ := members[name].(string)
			if len(value) >= 16 && !strings.Contains(repeated, value) && strings.Contains(err.Error(), value) {
				t.Fatalf("the error repeats %q: %v", name, err)
			}
		}
	})
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
			t.Fatalf("%s: bytes of no key: %v", alg, err)
		}
		genuine := signed(t, set, message)
		changed := xored(genuine, bytes)
		if string(changed) == string(genuine) {
			return
		}
		if err := set.Verify(alg, kid, message, changed); err != wanted {
			t.Fatalf("%s: a changed signature: %v", alg, err)
		}
		if err := set.Verify(alg, kid, append(message, 0), genuine); err != wanted {
			t.Fatalf("%s: the signature of another message: %v", alg, err)
		}
	})
}

// xored returns signature changed by the bytes of change, and longer by those
// that stand over.
func xored(signature, change []byte) []byte {
	changed := make([]byte, max(len(signature), len(change)))
	copy(changed, signature)
	for i, b := range change {
		changed[i] ^= b
	}
	return changed
}
