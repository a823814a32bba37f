// Package keys_test tests package keys from outside. The standard library makes and verifies
// the signatures to compare with.
package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
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

// All tests share these keys, because generating them takes long.
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

// secretsOf returns the values that must never be printed.
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

// publicForms returns the forms in which programs hold a public key.
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

func key(alg string) keys.Key { return keyOf(alg, private(alg)) }

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

// hashOf returns the hash function of an algorithm, and the digest of the message. It panics
// for EdDSA, which signs the message itself.
func hashOf(alg string, message []byte) (crypto.Hash, []byte) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	h := hash.New()
	h.Write(message)
	return hash, h.Sum(nil)
}

// independentVerify reports whether a signature is correct by RFC 7518, section 3, and RFC
// 8037. It uses only the standard library.
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

// independentSign signs a message by RFC 7518, section 3, and RFC 8037. It uses only the
// standard library.
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

// join returns an ECDSA signature in the form of RFC 7518, section 3.4: r and s, each padded
// to the length of a coordinate. split is the inverse of join.
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

// kms is a crypto.Signer that hides its private key, as a KMS or an HSM does.
type kms struct {
	public crypto.PublicKey
	sign   func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (k kms) Public() crypto.PublicKey { return k.public }

func (k kms) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.sign(random, digest, opts)
}

func hidden(private crypto.Signer) kms { return kms{private.Public(), private.Sign} }

// requireHidden fails if text holds the secret: as it is, in hex, in base64, or as a list of
// decimal numbers.
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

// requireSilent fails if a fmt verb prints the secret of the key or its set. It also
// prints them as unexported fields, for which fmt calls no String method.
func requireSilent(t testing.TB, k keys.Key, secret []byte) {
	t.Helper()
	set, _ := k.Keys(t.Context(), "") // nil for a bad key
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

// requireBad requires that k is a bad key: its error contains each of the strings in says,
// and no method of k works.
func requireBad(t *testing.T, k keys.Key, says ...string) {
	t.Helper()
	err := k.Err()
	require.Error(t, err)
	for _, words := range says {
		require.ErrorContains(t, err, words)
	}
	require.True(t, strings.HasPrefix(err.Error(), "keys: ") || strings.HasPrefix(err.Error(), "keys."), err.Error())

	set, keysErr := k.Keys(t.Context(), "")
	require.Equal(t, err, keysErr)
	require.Nil(t, set)
	require.Empty(t, k.Algorithm())
	require.Empty(t, k.ID())
	require.Equal(t, "bad key", k.String())
	require.Equal(t, err, k.WithID("a").Err(), "no later call may hide the first mistake")
	require.Equal(t, err, k.WithID("").Err())
	require.Equal(t, err, k.WithAlgorithm("HS256").Err())
}

// requireAlone fails unless the file at path is the only one in its folder.
func requireAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, filepath.Base(path), entries[0].Name())
}

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

// publicKey returns the key with which a service verifies what key(alg) signs. For HMAC,
// that is key(alg) itself.
func publicKey(alg string) keys.Key {
	if isSymmetric(alg) {
		return key(alg)
	}
	return keys.Verifier(public(private(alg))).WithAlgorithm(alg)
}

// flipped returns a copy with one bit of byte i changed. Which bit depends on i.
func flipped(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 1 << (i % 8)
	return b
}

func armoured(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

func pkcs8(t testing.TB, private any) []byte {
	t.Helper()
	return armoured("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(private)))
}

func pkix(t testing.TB, public any) []byte {
	t.Helper()
	return armoured("PUBLIC KEY", must[[]byte](t)(x509.MarshalPKIXPublicKey(public)))
}

// jwkMembers are the members of a JWK (RFC 7517, section 4).
type jwkMembers map[string]any

func (m jwkMembers) with(name string, value any) jwkMembers {
	m = maps.Clone(m)
	m[name] = value
	return m
}

func (m jwkMembers) without(names ...string) jwkMembers {
	m = maps.Clone(m)
	for _, name := range names {
		delete(m, name)
	}
	return m
}

func (m jwkMembers) text(t testing.TB) string {
	t.Helper()
	return string(must[[]byte](t)(json.Marshal(m)))
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwkOf returns a key of the standard library in the form of RFC 7518, section 6, and RFC
// 8037, section 2.
func jwkOf(t testing.TB, key any) jwkMembers {
	t.Helper()
	switch key := key.(type) {
	case []byte:
		return jwkMembers{"kty": "oct", "k": base64url(key)}
	case *rsa.PublicKey:
		return jwkMembers{"kty": "RSA", "n": base64url(key.N.Bytes()), "e": base64url(big.NewInt(int64(key.E)).Bytes())}
	case *rsa.PrivateKey:
		return jwkOf(t, key.Public()).with("d", base64url(key.D.Bytes())).
			with("p", base64url(key.Primes[0].Bytes())).with("q", base64url(key.Primes[1].Bytes())).
			with("dp", base64url(key.Precomputed.Dp.Bytes())).with("dq", base64url(key.Precomputed.Dq.Bytes())).
			with("qi", base64url(key.Precomputed.Qinv.Bytes()))
	case *ecdsa.PublicKey:
		point := must[[]byte](t)(key.Bytes()) // the byte 4, X and Y
		middle := 1 + coordinateSize(key.Curve)
		return jwkMembers{"kty": "EC", "crv": key.Curve.Params().Name, "x": base64url(point[1:middle]), "y": base64url(point[middle:])}
	case *ecdsa.PrivateKey:
		return jwkOf(t, key.Public()).with("d", base64url(must[[]byte](t)(key.Bytes())))
	case ed25519.PublicKey:
		return jwkMembers{"kty": "OKP", "crv": "Ed25519", "x": base64url(key)}
	case ed25519.PrivateKey:
		return jwkOf(t, key.Public()).with("d", base64url(key.Seed()))
	}
	t.Fatalf("no such key: %T", key)
	return nil
}

// rejectedJWK holds a JWK that ParseJWK rejects, and words that the error must contain.
type rejectedJWK struct{ text, says string }

func rejectedJWKs(t testing.TB) map[string]rejectedJWK {
	secret, rsaKey, ec, ed := jwkOf(t, aSecret()), jwkOf(t, anRSAKey()), jwkOf(t, aP256Key()), jwkOf(t, anEdKey())
	rsaPublic, ecPublic, edPublic := jwkOf(t, anRSAKey().Public()), jwkOf(t, aP256Key().Public()), jwkOf(t, anEdKey().Public())
	otherRSA, otherEC, otherEd := jwkOf(t, anotherRSAKey()), jwkOf(t, anotherP256Key()), jwkOf(t, anotherEdKey())
	big33 := base64url(append([]byte{1}, make([]byte, 32)...))
	x25519 := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	behind := func(m jwkMembers, more string) string {
		return strings.TrimSuffix(m.text(t), "}") + "," + more + "}"
	}

	refused := map[string]rejectedJWK{
		"nothing":                  {"", "not a JSON object"},
		"blanks":                   {" \n", "not a JSON object"},
		"null":                     {"null", "not a JSON object"},
		"an array of keys":         {"[" + secret.text(t) + "]", "not a JSON object"},
		"a string":                 {`"` + aSecretText() + `"`, "not a JSON object"},
		"PEM":                      {string(pkcs8(t, anEdKey())), "not a JSON object"},
		"an empty object":          {"{}", "kty"},
		"half a key":               {ed.text(t)[:40], "does not parse"},
		"two keys":                 {ed.text(t) + ec.text(t), "data behind"},
		"data after the key":       {ed.text(t) + "x", "data behind"},
		"a NUL behind the key":     {ed.text(t) + "\x00", "data behind"},
		"text before the key":      {"x" + ed.text(t), "not a JSON object"},
		"a byte order mark":        {"\ufeff" + ed.text(t), "not a JSON object"},
		"invalid UTF-8":            {behind(ed, `"kid":"`+"\xff"+`"`), "UTF-8"},
		"a lone surrogate":         {behind(ed, `"kid":"\ud800"`), "surrogate"},
		"a JWK Set":                {`{"keys":[` + ed.text(t) + `]}`, "JWK Set"},
		"an empty JWK Set":         {`{"keys":[]}`, "JWK Set"},
		"a JWK Set and a key":      {behind(ed, `"keys":[]`), "JWK Set"},
		"longer than 64 KiB":       {secret.text(t) + strings.Repeat(" ", 64<<10), "too long"},
		"an unknown kty":           {secret.with("kty", "PQC").text(t), "kty"},
		"a kty in lower case":      {rsaKey.with("kty", "rsa").text(t), "kty"},
		"a kty that is a number":   {secret.with("kty", 1).text(t), "kty"},
		"a kty of another type":    {ec.with("kty", "OKP").text(t), ""},
		"a secret in place of kty": {secret.with("kty", aSecretText()).text(t), "kty"},
		"a secret in place of crv": {ec.with("crv", ec["d"]).text(t), ""},
		"no kty":                   {secret.without("kty").text(t), "kty"},
		"a member twice":           {behind(secret, `"k":"AAAA"`), "twice"},
		"kid twice":                {behind(secret.with("kid", "a"), `"kid":"b"`), "twice"},
		"alg twice, once escaped":  {behind(secret.with("alg", "HS256"), `"\u0061lg":"HS512"`), "twice"},
		"a nested name twice":      {behind(secret, `"x-ours":{"a":1,"a":2}`), "twice"},
		"an empty kid":             {secret.with("kid", "").text(t), "empty id"},
		"a kid that is null":       {secret.with("kid", nil).text(t), "empty id"},
		"a kid that is a number":   {secret.with("kid", 7).text(t), "kty"},
		"an empty alg":             {secret.with("alg", "").text(t), "empty name"},
		"an alg that is null":      {rsaKey.with("alg", nil).text(t), "empty name"},
		"alg none":                 {secret.with("alg", "none").text(t), "does not fit"},
		"HS256 for an RSA key":     {rsaPublic.with("alg", "HS256").text(t), "does not fit"},
		"RS256 for a secret":       {secret.with("alg", "RS256").text(t), "does not fit"},
		"ES384 for P-256":          {ec.with("alg", "ES384").text(t), "does not fit"},
		"ES256 for Ed25519":        {ed.with("alg", "ES256").text(t), "does not fit"},
		"RSA-OAEP for RSA":         {rsaKey.with("alg", "RSA-OAEP").text(t), "does not fit"},
		"an alg in lower case":     {ed.with("alg", "eddsa").text(t), "does not fit"},
		"use enc":                  {ed.with("use", "enc").text(t), `"sig"`},
		"an empty use":             {ed.with("use", "").text(t), `"sig"`},
		"use in capitals":          {ed.with("use", "SIG").text(t), `"sig"`},
		"a use that is null":       {ed.with("use", nil).text(t), `"sig"`},

		"no key_ops at all allowed":          {ed.with("key_ops", []string{}).text(t), "key_ops"},
		"key_ops that are null":              {ed.with("key_ops", nil).text(t), "key_ops"},
		"key_ops that are a string":          {ed.with("key_ops", "sign").text(t), "kty"},
		"key_ops for something else":         {ed.with("key_ops", []string{"encrypt", "decrypt"}).text(t), "key_ops"},
		"key_ops in capitals":                {ed.with("key_ops", []string{"Sign", "VERIFY"}).text(t), "key_ops"},
		"key_ops that name sign twice":       {ed.with("key_ops", []string{"sign", "verify", "sign"}).text(t), "twice"},
		"a public key that may only sign":    {edPublic.with("key_ops", []string{"sign"}).text(t), `"verify"`},
		"a secret that may only sign":        {secret.with("key_ops", []string{"sign"}).text(t), `"verify"`},
		"a secret that may only encrypt":     {secret.with("key_ops", []string{"encrypt"}).text(t), `"verify"`},
		"a public key that may only encrypt": {rsaPublic.with("key_ops", []string{"encrypt"}).text(t), `"verify"`},

		"a secret without k":                       {secret.without("k").text(t), "kty"},
		"a k of no bytes":                          {secret.with("k", "").text(t), "0 bytes"},
		"a k that is null":                         {secret.with("k", nil).text(t), "0 bytes"},
		"a k that is a number":                     {secret.with("k", 12345678).text(t), "kty"},
		"a k that is no base64url":                 {secret.with("k", strings.Repeat("*", 64)).text(t), "kty"},
		"a k of 31 bytes":                          {jwkOf(t, aSecret()[:31]).text(t), "31 bytes"},
		"a k of 47 bytes for HS384":                {jwkOf(t, aSecret()[:47]).with("alg", "HS384").text(t), "47 bytes"},
		"a k of 63 bytes for HS512":                {jwkOf(t, aSecret()[:63]).with("alg", "HS512").text(t), "63 bytes"},
		"a k of 31 bytes for HS512":                {jwkOf(t, aSecret()[:31]).with("alg", "HS512").text(t), "HS512 has 31 bytes"},
		"a k of zeros":                             {jwkOf(t, make([]byte, 32)).text(t), "one byte repeated"},
		"a k that is PEM text":                     {jwkOf(t, pkix(t, anEdKey().Public())).text(t), "PEM"},
		"RSA of 1024 bits":                         {rsaPublic.with("n", base64url(anRSAKey().Primes[0].Bytes())).text(t), "1024 bits"},
		"RSA without n":                            {rsaPublic.without("n").text(t), "kty"},
		"RSA without e":                            {rsaPublic.without("e").text(t), "kty"},
		"RSA private without n":                    {rsaKey.without("n").text(t), "kty"},
		"RSA with exponent 1":                      {rsaPublic.with("e", "AQ").text(t), "exponent"},
		"RSA with an even exponent":                {rsaPublic.with("e", "AQAA").text(t), "exponent"},
		"RSA with an exponent of 32 bits":          {rsaPublic.with("e", base64url([]byte{0xff, 0xff, 0xff, 0xff})).text(t), "exponent"},
		"RSA with an exponent of 65 bits":          {rsaPublic.with("e", base64url([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})).text(t), "exponent"},
		"RSA private with such a one":              {rsaKey.with("e", base64url([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})).text(t), "exponent"},
		"RSA with another's d":                     {rsaKey.with("d", otherRSA["d"]).text(t), "public half"},
		"RSA with another's n":                     {rsaKey.with("n", otherRSA["n"]).text(t), "public half"},
		"RSA with another's p":                     {rsaKey.with("p", otherRSA["p"]).text(t), "public half"},
		"RSA with another's dp":                    {rsaKey.with("dp", otherRSA["dp"]).text(t), "public half"},
		"RSA with another's qi":                    {rsaKey.with("qi", otherRSA["qi"]).text(t), "public half"},
		"RSA with d alone":                         {rsaKey.without("p", "q", "dp", "dq", "qi").text(t), `"p" and "q"`},
		"RSA without p":                            {rsaKey.without("p").text(t), `"p" and "q"`},
		"RSA without q":                            {rsaKey.without("q").text(t), `"p" and "q"`},
		"RSA with an empty p":                      {rsaKey.with("p", "").text(t), `"p" and "q"`},
		"RSA with an empty d":                      {rsaKey.with("d", "").text(t), "public half"},
		"RSA with a d that is null":                {rsaKey.with("d", nil).text(t), "public half"},
		"EC without crv":                           {ec.without("crv").text(t), "kty"},
		"EC without x":                             {ecPublic.without("x").text(t), "kty"},
		"EC without y":                             {ecPublic.without("y").text(t), "kty"},
		"EC private without x":                     {ec.without("x").text(t), "kty"},
		"EC on secp256k1":                          {ecPublic.with("crv", "secp256k1").text(t), ""},
		"EC on P-224":                              {ecPublic.with("crv", "P-224").text(t), ""},
		"EC on a curve in lower case":              {ecPublic.with("crv", "p-256").text(t), ""},
		"EC on another's curve":                    {ecPublic.with("crv", "P-384").text(t), ""},
		"EC on an OKP curve":                       {ecPublic.with("crv", "Ed25519").text(t), ""},
		"EC with another's d":                      {ec.with("d", otherEC["d"]).text(t), "public half"},
		"EC with another's d that may only verify": {ec.with("d", otherEC["d"]).with("key_ops", []string{"verify"}).text(t), "public half"},
		"EC with an empty d":                       {ec.with("d", "").text(t), "public half"},
		"EC with a d that is null":                 {ec.with("d", nil).text(t), "public half"},
		"EC with a d past the order":               {ec.with("d", base64url(bytes.Repeat([]byte{0xff}, 32))).text(t), "public half"},
		"EC with a d of 33 bytes":                  {ec.with("d", big33).text(t), "public half"},
		"EC with another's y":                      {ecPublic.with("y", otherEC["y"]).text(t), "curve"},
		"EC with x and y swapped":                  {ecPublic.with("x", ecPublic["y"]).with("y", ecPublic["x"]).text(t), "curve"},
		"EC with an x of 33 bytes":                 {ecPublic.with("x", big33).text(t), "curve"},
		"EC at infinity":                           {ecPublic.with("x", "AA").with("y", "AA").text(t), "curve"},
		"OKP without crv":                          {edPublic.without("crv").text(t), "kty"},
		"OKP without x":                            {edPublic.without("x").text(t), "kty"},
		"OKP private without x":                    {ed.without("x").text(t), "kty"},
		"OKP with another's d":                     {ed.with("d", otherEd["d"]).text(t), "members"},
		"OKP with a d too short":                   {ed.with("d", "AAAA").text(t), "members"},
		"OKP with an empty d":                      {ed.with("d", "").text(t), "members"},
		"OKP with an x too short":                  {edPublic.with("x", "AAAA").text(t), "3 bytes"},
		"OKP with an x of zeros":                   {edPublic.with("x", base64url(make([]byte, 32))).text(t), "one byte repeated"},
		"OKP on an EC curve":                       {edPublic.with("crv", "P-256").text(t), ""},
		"OKP on Ed448":                             {edPublic.with("crv", "Ed448").text(t), ""},
		"OKP on X25519":                            {edPublic.with("crv", "X25519").with("x", base64url(x25519.PublicKey().Bytes())).text(t), "Ed25519"},
		"OKP private on X25519": {jwkMembers{"kty": "OKP", "crv": "X25519", "x": base64url(x25519.PublicKey().Bytes()),
			"d": base64url(x25519.Bytes())}.text(t), "Ed25519"},
	}
	// encoding/json ignores case, and would read these names as registered members.
	for name, folded := range map[string]string{
		"kid": "KID", "alg": "Alg", "use": "USE", "keys": "Keys",
		"kty": "\u212aty", "key_ops": "key_op\u017f", "k": "\u212a", "d": "D", "n": "N", "crv": "CRV", "x": "X",
	} {
		refused["a member "+folded] = rejectedJWK{ed.with(folded, "a").text(t), `"` + name + `" by case alone`}
	}
	return refused
}

func aSecretText() string { return base64url(aSecret()) }

// issuer is a Remote together with its server, which needs no network. It records the
// header and the time of each request, and the log of the Remote.
type issuer struct {
	*keys.Remote

	mu      sync.Mutex
	handler http.HandlerFunc // nil if the server is down
	asked   []http.Header
	at      []time.Time
	log     logBuffer
}

var errDown = errors.New("connection refused")

// newIssuer returns an issuer whose server is down, so that its Remote has no keys yet.
func newIssuer(t testing.TB, opts ...keys.RemoteOption) *issuer {
	t.Helper()
	i := new(issuer)
	opts = append([]keys.RemoteOption{
		keys.WithHTTPClient(&http.Client{Transport: i}),
		keys.WithLogger(slog.New(slog.NewTextHandler(&i.log, nil))),
	}, opts...)
	var err error
	i.Remote, err = keys.NewRemote("https://issuer.example.com/jwks", opts...)
	require.NoError(t, err)
	return i
}

// inBubble calls test with a new issuer, in a synctest bubble. The test fails if it leaves a
// goroutine behind for longer than a fetch may take.
func inBubble(t *testing.T, test func(t *testing.T, i *issuer), opts ...keys.RemoteOption) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(keys.DefaultFetchTimeout)
		test(t, newIssuer(t, opts...))
	})
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked, i.at = append(i.asked, r.Header), append(i.at, time.Now())
	handler := i.handler
	i.mu.Unlock()
	if handler == nil {
		return nil, errDown
	}
	w := httptest.NewRecorder()
	handler(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// logged returns what the Remote has logged.
func (i *issuer) logged() string { return i.log.String() }

// logBuffer keeps what a logger writes. It is safe for concurrent use.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// take returns what was logged since the previous call of take.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func (i *issuer) fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.at)
}

func (i *issuer) answer(handler http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handler = handler
}

// publish makes the server respond with text. header holds the names and values of header
// fields in turn.
func (i *issuer) publish(text string, header ...string) { i.answer(serving(text, header...)) }

func serving(text string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for pair := range slices.Chunk(header, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		io.WriteString(w, text)
	}
}

// run runs the Remote until the test ends or stop is called.
func (i *issuer) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- i.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
}

// verify signs a message with private, and returns the result of verifying it with the keys
// of the Remote, as if it were a token with this kid.
func (i *issuer) verify(kid string, private ed25519.PrivateKey) error {
	set, err := i.Keys(context.Background(), kid)
	if err != nil {
		return err
	}
	return set.Verify("EdDSA", kid, message, ed25519.Sign(private, message))
}

func publishedAs(t testing.TB, kid string, private crypto.Signer) jwkMembers {
	t.Helper()
	return jwkOf(t, private.Public()).with("kid", kid)
}

// first returns a JWK Set with one key, whose ID is "first". both returns a JWK Set with
// that key and another one, whose ID is "second".
func first(t testing.TB) string { return jwksText(t, publishedAs(t, "first", anEdKey())) }

func both(t testing.TB) string {
	return jwksText(t, publishedAs(t, "first", anEdKey()), publishedAs(t, "second", anotherEdKey()))
}

// roundTripper is a function that serves as the transport of an HTTP client.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// etagged returns a handler that serves text. It responds with 304 if the client already has
// the text with this ETag.
func etagged(text, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		serving(text, "ETag", etag, "Cache-Control", "max-age=600")(w, r)
	}
}

func newRing(t testing.TB, active keys.Key, others ...keys.Key) *keys.Ring {
	t.Helper()
	ring, err := keys.NewRing(active, others...)
	require.NoError(t, err)
	return ring
}

func ringAuth(t testing.TB, source keys.Source) *jwtauth.Auth {
	t.Helper()
	auth, err := jwtauth.New(source)
	require.NoError(t, err)
	return auth
}

// published returns the keys in the JWK Set that a ring serves.
func published(t testing.TB, ring *keys.Ring) []map[string]any {
	t.Helper()
	w := httptest.NewRecorder()
	ring.JWKS().ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
	require.Equal(t, http.StatusOK, w.Code)
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &set))
	require.NotNil(t, set.Keys, "a set without keys must have an empty list, not null")
	return set.Keys
}

// jwksText returns a JWK Set of keys in the form of jwkOf.
func jwksText(t testing.TB, all ...jwkMembers) string {
	t.Helper()
	var texts []string
	for _, one := range all {
		texts = append(texts, one.text(t))
	}
	return `{"keys":[` + strings.Join(texts, ",") + `]}`
}

func requireAccepted(t testing.TB, source keys.Source, token string) {
	t.Helper()
	_, err := ringAuth(t, source).Verify(t.Context(), token, "demo")
	require.NoError(t, err)
}

func requireUnknown(t testing.TB, source keys.Source, token string) {
	t.Helper()
	_, err := ringAuth(t, source).Verify(t.Context(), token, "demo")
	require.ErrorIs(t, err, jwtauth.ErrUnknownKey)
}

func tokenBy(t testing.TB, source keys.Source) string {
	t.Helper()
	token, err := ringAuth(t, source).Issue("demo")
	require.NoError(t, err)
	return token
}
