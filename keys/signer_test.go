package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

func TestASignerThatHidesItsPrivateKeySigns(t *testing.T) {
	forEach(t, algorithms[3:], func(t *testing.T, alg string) {
		signer := hidden(private(alg).(crypto.Signer))
		for _, k := range []keys.Key{
			keys.Signer(signer).WithAlgorithm(alg),
			keys.Signer(&signer).WithAlgorithm(alg),
			keys.Signer(signer).WithAlgorithm(alg).WithID("a"),
		} {
			require.NoError(t, k.Err())
			set := setOf(t, k)
			signature := signed(t, set, message)
			require.NoError(t, set.Verify(alg, "a", message, signature))
			require.True(t, independentVerify(alg, signer.public, message, signature))
		}
	})
}

func TestASignerIsAskedForExactlyWhatItsAlgorithmNeeds(t *testing.T) {
	forEach(t, algorithms[3:], func(t *testing.T, alg string) {
		signer := hidden(private(alg).(crypto.Signer))
		genuine := signer.sign
		signer.sign = func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			if isEd25519(alg) {
				require.Zero(t, opts.HashFunc(), "Ed25519 takes the message itself")
				require.Equal(t, message, digest)
				return genuine(random, digest, opts)
			}
			hash, wanted := hashOf(alg, message)
			require.Equal(t, hash, opts.HashFunc())
			require.Equal(t, wanted, digest)
			pss, isPSS := opts.(*rsa.PSSOptions)
			require.Equal(t, strings.HasPrefix(alg, "PS"), isPSS)
			if isPSS {
				require.Contains(t, []int{rsa.PSSSaltLengthEqualsHash, hash.Size()}, pss.SaltLength)
			}
			return genuine(random, digest, opts)
		}
		signed(t, setOf(t, keys.Signer(signer).WithAlgorithm(alg)), message)
	})
}

// crypto.Signer does not say whether Public returns a pointer.
func TestASignerMayGiveItsPublicKeyByValue(t *testing.T) {
	for alg, byValue := range map[string]crypto.PublicKey{
		"RS256": anRSAKey().PublicKey,
		"PS256": anRSAKey().PublicKey,
		"ES256": aP256Key().PublicKey,
		"ES512": aP521Key().PublicKey,
	} {
		t.Run(alg, func(t *testing.T) {
			signer := hidden(private(alg).(crypto.Signer))
			signer.public = byValue
			set := setOf(t, keys.Signer(signer).WithAlgorithm(alg))
			require.NoError(t, set.Verify(alg, "", message, signed(t, set, message)))
		})
	}
}

func TestALyingSignerIsAnErrorAndNeverASignature(t *testing.T) {
	answer := func(signature []byte) func(*testing.T, string) kms {
		return func(_ *testing.T, alg string) kms {
			signer := hidden(private(alg).(crypto.Signer))
			signer.sign = func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return signature, nil }
			return signer
		}
	}
	der := func(r, s *big.Int) []byte {
		encoded, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			panic(err)
		}
		return encoded
	}
	absurd := new(big.Int).Lsh(big.NewInt(1), 100_000)
	for name, lie := range map[string]func(t *testing.T, alg string) kms{
		"nothing at all":                     answer(nil),
		"no bytes":                           answer([]byte{}),
		"garbage":                            answer([]byte("garbage")),
		"64 zero bytes":                      answer(make([]byte, 64)),
		"256 zero bytes":                     answer(make([]byte, 256)),
		"an ASN.1 signature of absurd size":  answer(der(absurd, absurd)),
		"an absurd r alone":                  answer(der(absurd, big.NewInt(1))),
		"an ASN.1 signature below zero":      answer(der(big.NewInt(-1), big.NewInt(-1))),
		"an ASN.1 signature of zeros":        answer(der(new(big.Int), new(big.Int))),
		"an ASN.1 sequence of nothing":       answer([]byte{0x30, 0}),
		"the right bytes with one behind it": tampered(func(b []byte) []byte { return append(b, 0) }),
		"the right bytes but for one bit":    tampered(func(b []byte) []byte { return flipped(b, len(b)-1) }),
		"another key's signature": func(_ *testing.T, alg string) kms {
			signer := hidden(anotherPrivate(alg).(crypto.Signer))
			signer.public = private(alg).(crypto.Signer).Public()
			return signer
		},
		"the signature of another message": func(_ *testing.T, alg string) kms {
			signer := hidden(private(alg).(crypto.Signer))
			genuine := signer.sign
			signer.sign = func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				return genuine(random, flipped(digest, 0), opts)
			}
			return signer
		},
	} {
		t.Run(name, func(t *testing.T) {
			forEach(t, algorithms[3:], func(t *testing.T, alg string) {
				k := keys.Signer(lie(t, alg)).WithAlgorithm(alg)
				require.NoError(t, k.Err())
				signature, err := setOf(t, k).Sign(message)
				require.ErrorContains(t, err, "does not verify")
				require.ErrorContains(t, err, "keys_test.kms", "it names the type to look at")
				require.Nil(t, signature)
			})
		})
	}
}

// tampered is a signer that changes what it signed.
func tampered(change func([]byte) []byte) func(*testing.T, string) kms {
	return func(_ *testing.T, alg string) kms {
		signer := hidden(private(alg).(crypto.Signer))
		genuine := signer.sign
		signer.sign = func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			signature, err := genuine(random, digest, opts)
			return change(signature), err
		}
		return signer
	}
}

// An ECDSA signer owes the ASN.1 form; one that already gives RFC 7518's would
// be taken apart wrongly.
func TestAnECDSASignerThatGivesTheTwoNumbersBareIsAnError(t *testing.T) {
	signer := hidden(aP256Key())
	signer.sign = func(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
		r, s, err := ecdsa.Sign(rand.Reader, aP256Key(), digest)
		return join(aP256Key().Curve, r, s), err
	}
	_, err := setOf(t, keys.Signer(signer)).Sign(message)
	require.ErrorContains(t, err, "does not verify")
}

func TestAnRSASignerThatIgnoresWhatItIsAskedForIsAnError(t *testing.T) {
	signer := hidden(anRSAKey())
	for name, c := range map[string]struct {
		alg  string
		opts crypto.SignerOpts
	}{
		"PSS with the longest salt":   {"PS256", &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: longestSalt(crypto.SHA256)}},
		"PSS with a salt of 20 bytes": {"PS256", &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: 20}},
		"PKCS #1 instead of PSS":      {"PS256", crypto.SHA256},
		"PSS instead of PKCS #1":      {"RS256", &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: rsa.PSSSaltLengthEqualsHash}},
	} {
		t.Run(name, func(t *testing.T) {
			stubborn := signer
			stubborn.sign = func(random io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
				return signer.sign(random, digest, c.opts)
			}
			_, err := setOf(t, keys.Signer(stubborn).WithAlgorithm(c.alg)).Sign(message)
			require.ErrorContains(t, err, "does not verify")
		})
	}
}

func TestASignersOwnErrorReachesTheCaller(t *testing.T) {
	unreachable := errors.New("the KMS is unreachable")
	forEach(t, algorithms[3:], func(t *testing.T, alg string) {
		signer := hidden(private(alg).(crypto.Signer))
		signer.sign = func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
			return []byte("half a signature"), unreachable
		}
		signature, err := setOf(t, keys.Signer(signer).WithAlgorithm(alg)).Sign(message)
		require.ErrorIs(t, err, unreachable)
		require.Nil(t, signature)
	})
}

// turncoat gives the first public key once, and then the second.
type turncoat struct {
	kms
	asked  atomic.Int32
	second crypto.PublicKey
}

func (s *turncoat) Public() crypto.PublicKey {
	if s.asked.Add(1) == 1 {
		return s.public
	}
	return s.second
}

func TestASignerThatChangesItsPublicKeyIsHeldToTheFirst(t *testing.T) {
	for name, second := range map[string]crypto.PublicKey{
		"nothing":              nil,
		"a smaller curve":      aP256Key().Public(),
		"another kind of key":  anEdKey().Public(),
		"a key of no type":     "a string",
		"a typed nil pointer":  (*ecdsa.PublicKey)(nil),
		"a key without curve":  &ecdsa.PublicKey{},
		"another P-521 public": anotherP521Key().Public(),
	} {
		t.Run(name, func(t *testing.T) {
			set := setOf(t, keys.Signer(&turncoat{kms: hidden(aP521Key()), second: second}).WithID("a"))
			signature := signed(t, set, message)
			require.NoError(t, set.Verify("ES512", "a", message, signature))
			require.True(t, independentVerify("ES512", aP521Key().Public(), message, signature))
		})
	}
}

func TestAHiddenSignerIsSafeForConcurrentUse(t *testing.T) {
	forEach(t, algorithms[3:], func(t *testing.T, alg string) {
		set := setOf(t, keys.Signer(hidden(private(alg).(crypto.Signer))).WithAlgorithm(alg))
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 5 {
					signature, err := set.Sign(message)
					if err != nil {
						t.Error(err)
						return
					}
					if err := set.Verify(alg, "", message, signature); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	})
}

func TestAHiddenSignerWithABadPublicKeyIsABadKey(t *testing.T) {
	for name, public := range map[string]crypto.PublicKey{
		"none":                nil,
		"a typed nil pointer": (*rsa.PublicKey)(nil),
		"a short Ed25519 key": ed25519.PublicKey(make([]byte, 31)),
		"a symmetric key":     []byte("0123456789abcdef0123456789abcdef"),
	} {
		t.Run(name, func(t *testing.T) {
			signer := hidden(anRSAKey())
			signer.public = public
			require.Error(t, keys.Signer(signer).Err())
		})
	}
}
