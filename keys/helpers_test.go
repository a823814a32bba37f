// Package keys_test judges package keys from outside. The second opinion on
// every signature is the standard library's.
package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

var message = []byte("header.payload")

var algorithms = []string{
	"HS256", "HS384", "HS512",
	"RS256", "RS384", "RS512",
	"PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512",
	"EdDSA", "Ed25519",
}

// Keys are dear to make, so every test takes the same ones.
var (
	aSecret, anotherSecret   = once(newSecret), once(newSecret)
	anRSAKey, anotherRSAKey  = once(newRSA), once(newRSA)
	aP256Key, anotherP256Key = once(newECDSA(elliptic.P256())), once(newECDSA(elliptic.P256()))
	aP384Key, anotherP384Key = once(newECDSA(elliptic.P384())), once(newECDSA(elliptic.P384()))
	aP521Key, anotherP521Key = once(newECDSA(elliptic.P521())), once(newECDSA(elliptic.P521()))
	anEdKey, anotherEdKey    = once(newEd25519), once(newEd25519)
)

func once[T any](generate func() (T, error)) func() T {
	return sync.OnceValue(func() T {
		key, err := generate()
		if err != nil {
			panic(err)
		}
		return key
	})
}

func newSecret() ([]byte, error) {
	secret := make([]byte, 64)
	_, err := rand.Read(secret)
	return secret, err
}

func newRSA() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

func newECDSA(curve elliptic.Curve) func() (*ecdsa.PrivateKey, error) {
	return func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(curve, rand.Reader) }
}

func newEd25519() (ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return private, err
}

// private returns the shared key for alg: a []byte or a crypto.Signer.
func private(alg string) any {
	switch alg {
	case "HS256", "HS384", "HS512":
		return aSecret()
	case "ES256":
		return aP256Key()
	case "ES384":
		return aP384Key()
	case "ES512":
		return aP521Key()
	case "EdDSA", "Ed25519":
		return anEdKey()
	}
	return anRSAKey()
}

// anotherPrivate returns another key of the same kind.
func anotherPrivate(alg string) any {
	switch alg {
	case "HS256", "HS384", "HS512":
		return anotherSecret()
	case "ES256":
		return anotherP256Key()
	case "ES384":
		return anotherP384Key()
	case "ES512":
		return anotherP521Key()
	case "EdDSA", "Ed25519":
		return anotherEdKey()
	}
	return anotherRSAKey()
}

func public(private any) any {
	if signer, ok := private.(crypto.Signer); ok {
		return signer.Public()
	}
	return private
}

func pointerTo[T any](v T) *T { return &v }

// secretsOf returns what nobody may print.
func secretsOf(t testing.TB, private any) [][]byte {
	t.Helper()
	switch private := private.(type) {
	case []byte:
		return [][]byte{private}
	case *rsa.PrivateKey:
		return [][]byte{private.D.Bytes(), private.Primes[0].Bytes(), private.Primes[1].Bytes()}
	case *ecdsa.PrivateKey:
		d, err := private.Bytes()
		require.NoError(t, err)
		return [][]byte{d}
	case ed25519.PrivateKey:
		return [][]byte{private.Seed()}
	}
	panic(fmt.Sprintf("no such key: %T", private))
}

// publicForms returns the forms in which a public key goes around.
func publicForms(t testing.TB, public any) [][]byte {
	t.Helper()
	pkix, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	forms := [][]byte{pkix, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})}
	switch public := public.(type) {
	case *rsa.PublicKey:
		pkcs1 := x509.MarshalPKCS1PublicKey(public)
		return append(forms, pkcs1, pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}), public.N.Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		require.NoError(t, err)
		return append(forms, point)
	case ed25519.PublicKey:
		return append(forms, public)
	}
	panic(fmt.Sprintf("no such key: %T", public))
}

func isSymmetric(alg string) bool { return strings.HasPrefix(alg, "HS") }

func isEd25519(alg string) bool { return alg == "EdDSA" || alg == "Ed25519" }

func keyOf(alg string, private any) keys.Key {
	if secret, ok := private.([]byte); ok {
		return keys.HS256(secret).WithAlgorithm(alg)
	}
	return keys.Signer(private.(crypto.Signer)).WithAlgorithm(alg)
}

func key(alg string) keys.Key        { return keyOf(alg, private(alg)) }
func anotherKey(alg string) keys.Key { return keyOf(alg, anotherPrivate(alg)) }

func setOf(t testing.TB, source keys.Source) *keys.Set {
	t.Helper()
	set, err := source.Keys(t.Context(), "")
	require.NoError(t, err)
	return set
}

func signed(t testing.TB, set *keys.Set, message []byte) []byte {
	t.Helper()
	signature, err := set.Sign(message)
	require.NoError(t, err)
	return signature
}

// hashOf returns the hash of every algorithm but that of Ed25519, and the digest.
func hashOf(alg string, message []byte) (crypto.Hash, []byte) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	h := hash.New()
	h.Write(message)
	return hash, h.Sum(nil)
}

// independentVerify is RFC 7518, section 3, by the standard library alone.
func independentVerify(alg string, public any, message, signature []byte) bool {
	if public, ok := public.(ed25519.PublicKey); ok {
		return isEd25519(alg) && ed25519.Verify(public, message, signature)
	}
	hash, digest := hashOf(alg, message)
	switch public := public.(type) {
	case []byte:
		mac := hmac.New(hash.New, public)
		mac.Write(message)
		return hmac.Equal(mac.Sum(nil), signature)
	case *rsa.PublicKey:
		if strings.HasPrefix(alg, "PS") {
			return rsa.VerifyPSS(public, hash, digest, signature, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
		}
		return rsa.VerifyPKCS1v15(public, hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		r, s, ok := split(public.Curve, signature)
		return ok && ecdsa.Verify(public, digest, r, s)
	}
	panic(fmt.Sprintf("no such key: %T", public))
}

// independentSign is the counterpart of independentVerify.
func independentSign(t testing.TB, alg string, private any, message []byte) (signature []byte) {
	t.Helper()
	if private, ok := private.(ed25519.PrivateKey); ok {
		return ed25519.Sign(private, message)
	}
	var err error
	hash, digest := hashOf(alg, message)
	switch private := private.(type) {
	case []byte:
		mac := hmac.New(hash.New, private)
		mac.Write(message)
		signature = mac.Sum(nil)
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return signPSS(t, alg, private, message, hash.Size())
		}
		signature, err = rsa.SignPKCS1v15(nil, private, hash, digest)
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, private, digest)
		signature = join(private.Curve, r, s)
	}
	require.NoError(t, err)
	return signature
}

func signPSS(t testing.TB, alg string, private *rsa.PrivateKey, message []byte, saltLength int) []byte {
	t.Helper()
	hash, digest := hashOf(alg, message)
	signature, err := rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: saltLength})
	require.NoError(t, err)
	return signature
}

func coordinateSize(curve elliptic.Curve) int { return (curve.Params().BitSize + 7) / 8 }

// join and split are RFC 7518, section 3.4: r and s, each as long as a
// coordinate.
func join(curve elliptic.Curve, r, s *big.Int) []byte {
	size := coordinateSize(curve)
	both := make([]byte, 2*size)
	r.FillBytes(both[:size])
	s.FillBytes(both[size:])
	return both
}

func split(curve elliptic.Curve, signature []byte) (r, s *big.Int, ok bool) {
	size := coordinateSize(curve)
	if len(signature) != 2*size {
		return nil, nil, false
	}
	return new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]), true
}

// kms hides its private key, as a KMS or an HSM does: it is nothing but a
// crypto.Signer.
type kms struct {
	public crypto.PublicKey
	sign   func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (k kms) Public() crypto.PublicKey { return k.public }

func (k kms) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.sign(random, digest, opts)
}

func hidden(private crypto.Signer) kms { return kms{private.Public(), private.Sign} }

// requireHidden fails if text holds the secret in any form that printing could
// give it.
func requireHidden(t testing.TB, text string, secret []byte) {
	t.Helper()
	if len(secret) == 0 {
		return
	}
	decimal := fmt.Sprint(secret)
	for _, form := range []string{
		string(secret),
		hex.EncodeToString(secret),
		strings.ToUpper(hex.EncodeToString(secret)),
		base64.StdEncoding.EncodeToString(secret),
		base64.RawURLEncoding.EncodeToString(secret),
		decimal[1 : len(decimal)-1],
	} {
		require.False(t, strings.Contains(text, form), "the secret is printed")
	}
}

// requireSilent fails if the key or its set prints the secret by any verb, be it
// in a field that is not exported, of which fmt asks no String method.
func requireSilent(t testing.TB, k keys.Key, secret []byte) {
	t.Helper()
	set, _ := k.Keys(t.Context(), "") // nil of a bad key
	values := []any{k, &k, []keys.Key{k}, struct{ Key keys.Key }{k}, struct{ key keys.Key }{k}, set, &set, struct{ set *keys.Set }{set}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%f", "%p"} {
		for _, value := range values {
			requireHidden(t, fmt.Sprintf(verb, value), secret)
		}
	}
	if err := k.Err(); err != nil {
		requireHidden(t, err.Error(), secret)
	}
}
