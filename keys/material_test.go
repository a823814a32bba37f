package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

func TestHS256_SaysWhatIsWrongWithABadSecret(t *testing.T) {
	pemText := publicForms(t, anRSAKey().Public())[1]
	jwkText, err := json.Marshal(jwkOf(t, aP256Key().Public()))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		secret []byte
		alg    string
		says   []string
	}{
		"nil for HS256":                    {nil, "HS256", []string{"0 bytes", "at least 32"}},
		"nil for HS384":                    {nil, "HS384", []string{"0 bytes", "at least 48"}},
		"nil for HS512":                    {nil, "HS512", []string{"0 bytes", "at least 64"}},
		"no bytes":                         {[]byte{}, "HS256", []string{"0 bytes", "at least 32"}},
		"a password":                       {[]byte("correct horse"), "HS256", []string{"13 bytes", "at least 32"}},
		"one byte too few for HS256":       {aSecret()[:31], "HS256", []string{"HS256", "31 bytes", "at least 32"}},
		"one byte too few for HS384":       {aSecret()[:47], "HS384", []string{"HS384", "47 bytes", "at least 48"}},
		"one byte too few for HS512":       {aSecret()[:63], "HS512", []string{"HS512", "63 bytes", "at least 64"}},
		"enough for HS256, not for HS384":  {aSecret()[:32], "HS384", []string{"32 bytes", "at least 48"}},
		"zeros":                            {make([]byte, 64), "HS256", []string{"one byte repeated", "random"}},
		"a letter repeated":                {bytes.Repeat([]byte("x"), 64), "HS512", []string{"one byte repeated", "64 random"}},
		"PEM text":                         {pemText, "HS256", []string{"PEM", "ParsePEM"}},
		"PEM text behind blank lines":      {append([]byte("\n \n"), pemText...), "HS384", []string{"PEM", "ParsePEM"}},
		"PEM text behind what openssl say": {append([]byte("Bag Attributes: <none>\n"), pemText...), "HS512", []string{"PEM", "ParsePEM"}},
		"a JWK":                            {jwkText, "HS256", []string{"JWK", "ParseJWK"}},
		"a JWK behind blanks":              {append([]byte(" \n\t"), jwkText...), "HS384", []string{"JWK", "ParseJWK"}},
		"a JWK Set":                        {slices.Concat([]byte(`{"keys":[`), jwkText, []byte("]}")), "HS512", []string{"JWK", "ParseJWK"}},
	} {
		t.Run(name, func(t *testing.T) {
			construct := map[string]func([]byte) keys.Key{"HS256": keys.HS256, "HS384": keys.HS384, "HS512": keys.HS512}[c.alg]
			k := construct(c.secret)
			requireBad(t, k, c.says...)
			requireSilent(t, k, c.secret)
		})
	}
}

func TestHS256_TakesASecretOfTheLeastLength(t *testing.T) {
	require.NoError(t, keys.HS256(aSecret()[:32]).Err())
	require.NoError(t, keys.HS384(aSecret()[:48]).Err())
	require.NoError(t, keys.HS512(aSecret()[:64]).Err())
	require.NoError(t, keys.HS256([]byte("{not a JWK, but text of some length}")).Err())
	require.NoError(t, keys.HS256(append(make([]byte, 31), 1)).Err(), "only one byte repeated must count as not random")
}

// changedRSA and changedECDSA return a copy of the shared key, with a mistake made by change.
func changedRSA(change func(*rsa.PrivateKey)) *rsa.PrivateKey {
	original := anRSAKey()
	changed := &rsa.PrivateKey{
		PublicKey:   rsa.PublicKey{N: original.N, E: original.E},
		D:           original.D,
		Primes:      slices.Clone(original.Primes),
		Precomputed: original.Precomputed,
	}
	change(changed)
	return changed
}

func changedECDSA(change func(*ecdsa.PrivateKey)) *ecdsa.PrivateKey {
	original := aP256Key()
	changed := &ecdsa.PrivateKey{
		PublicKey: ecdsa.PublicKey{Curve: original.Curve, X: original.X, Y: original.Y},
		D:         original.D,
	}
	change(changed)
	return changed
}

// over31Bits is a variable, because a constant of this size does not fit an int of 32 bits.
// On such systems it is converted to a negative exponent, which is rejected too.
var over31Bits int64 = 1<<31 + 1

func TestSigner_SaysWhatIsWrongWithABadRSAKey(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	exponent := func(e int) func(*rsa.PrivateKey) { return func(k *rsa.PrivateKey) { k.E = e } }
	modulus := func(n *big.Int) func(*rsa.PrivateKey) { return func(k *rsa.PrivateKey) { k.N = n } }
	for name, c := range map[string]struct {
		key  *rsa.PrivateKey
		says []string
	}{
		"1024 bits":                       {short, []string{"1024 bits", "2048"}},
		"one bit too few":                 {changedRSA(modulus(new(big.Int).Rsh(anRSAKey().N, 1))), []string{"2047 bits", "2048"}},
		"bits beyond reason":              {changedRSA(modulus(new(big.Int).Lsh(big.NewInt(1), 16384))), []string{"16385 bits", "16384"}},
		"an even modulus":                 {changedRSA(modulus(new(big.Int).Sub(anRSAKey().N, big.NewInt(1)))), []string{"even modulus", "make a new one"}},
		"a negative modulus":              {changedRSA(modulus(new(big.Int).Neg(anRSAKey().N))), []string{"no modulus"}},
		"the modulus zero":                {changedRSA(modulus(new(big.Int))), []string{"no modulus"}},
		"no modulus":                      {changedRSA(modulus(nil)), []string{"no modulus"}},
		"nothing in it":                   {new(rsa.PrivateKey), []string{"no modulus"}},
		"exponent 0":                      {changedRSA(exponent(0)), []string{"exponent", "65537"}},
		"exponent 1, which signs nothing": {changedRSA(exponent(1)), []string{"exponent", "65537"}},
		"exponent 2":                      {changedRSA(exponent(2)), []string{"exponent", "65537"}},
		"an even exponent":                {changedRSA(exponent(65536)), []string{"exponent", "65537"}},
		"a negative exponent":             {changedRSA(exponent(-65537)), []string{"exponent", "65537"}},
		"an exponent that crypto/rsa verifies nothing with": {changedRSA(exponent(int(over31Bits))), []string{"exponent", "65537"}},
	} {
		t.Run(name, func(t *testing.T) {
			requireBad(t, keys.Signer(c.key), c.says...)
			requireBad(t, keys.Signer(hidden(c.key)), c.says...)
			requireBad(t, keys.Verifier(c.key.Public()), c.says...)
			requireBad(t, keys.Verifier(c.key.PublicKey), c.says...)
			if c.key.D != nil {
				requireSilent(t, keys.Signer(c.key), c.key.D.Bytes())
			}
		})
	}
}

func TestVerifier_TakesAnRSAKeyOf2048BitsAndExponent3(t *testing.T) {
	require.Equal(t, 2048, anRSAKey().N.BitLen())
	require.NoError(t, keys.Signer(anRSAKey()).Err())
	require.NoError(t, keys.Verifier(&rsa.PublicKey{N: anRSAKey().N, E: 3}).Err())
	require.NoError(t, keys.Verifier(&rsa.PublicKey{N: anRSAKey().N, E: 1<<31 - 1}).Err())
	longest := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 16383), big.NewInt(1))
	require.NoError(t, keys.Verifier(&rsa.PublicKey{N: longest, E: 65537}).Err())
}

func TestSigner_SaysWhatIsWrongWithABadECDSAKey(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	point := func(x, y *big.Int) func(*ecdsa.PrivateKey) {
		return func(k *ecdsa.PrivateKey) { k.X, k.Y = x, y }
	}
	curve := func(c elliptic.Curve) func(*ecdsa.PrivateKey) {
		return func(k *ecdsa.PrivateKey) { k.Curve = c }
	}
	good := aP256Key()
	p := good.Curve.Params().P
	for name, c := range map[string]struct {
		key  *ecdsa.PrivateKey
		says []string
	}{
		"P-224":                             {p224, []string{"P-224", "P-256, P-384 or P-521"}},
		"a curve of one's own":              {changedECDSA(curve(&elliptic.CurveParams{Name: "secp256k1"})), []string{"secp256k1", "P-256"}},
		"no curve":                          {changedECDSA(curve(nil)), []string{"no curve"}},
		"a typed nil curve":                 {changedECDSA(curve((*elliptic.CurveParams)(nil))), []string{"no curve"}},
		"no X":                              {changedECDSA(point(nil, good.Y)), []string{"no point"}},
		"no Y":                              {changedECDSA(point(good.X, nil)), []string{"no point"}},
		"nothing in it":                     {new(ecdsa.PrivateKey), []string{"no curve"}},
		"X and Y swapped":                   {changedECDSA(point(good.Y, good.X)), []string{"not on its curve"}},
		"the point at infinity":             {changedECDSA(point(new(big.Int), new(big.Int))), []string{"not on its curve"}},
		"a point a little off":              {changedECDSA(point(good.X, new(big.Int).Add(good.Y, big.NewInt(1)))), []string{"not on its curve"}},
		"a negative coordinate":             {changedECDSA(point(good.X, new(big.Int).Neg(good.Y))), []string{"not on its curve"}},
		"a coordinate past the field":       {changedECDSA(point(new(big.Int).Add(good.X, p), good.Y)), []string{"not on its curve"}},
		"an absurdly large coordinate":      {changedECDSA(point(new(big.Int).Lsh(good.X, 10_000), good.Y)), []string{"not on its curve"}},
		"a P-256 point said to be of P-384": {changedECDSA(curve(elliptic.P384())), []string{"not on its curve"}},
	} {
		t.Run(name, func(t *testing.T) {
			requireBad(t, keys.Signer(c.key), c.says...)
			requireBad(t, keys.Signer(hidden(c.key)), c.says...)
			requireBad(t, keys.Verifier(c.key.Public()), c.says...)
			requireBad(t, keys.Verifier(c.key.PublicKey), c.says...)
			if c.key.D != nil {
				requireSilent(t, keys.Signer(c.key), c.key.D.Bytes())
			}
		})
	}
}

func TestSigner_SaysWhatIsWrongWithABadEd25519Key(t *testing.T) {
	good := anEdKey()
	for name, c := range map[string]struct {
		key  keys.Key
		says []string
	}{
		"a private key of no bytes":          {keys.Signer(ed25519.PrivateKey{}), []string{"0 bytes", "64"}},
		"a seed taken for a private key":     {keys.Signer(ed25519.PrivateKey(good.Seed())), []string{"32 bytes", "64"}},
		"a private key too short for a seed": {keys.Signer(good[:31]), []string{"31 bytes", "64"}},
		"a private key one byte short":       {keys.Signer(good[:63]), []string{"63 bytes", "64"}},
		"a private key one byte long":        {keys.Signer(append(slices.Clone(good), 0)), []string{"65 bytes", "64"}},
		"a pointer to a short private key":   {keys.Signer(pointerTo(good[:31])), []string{"31 bytes", "64"}},
		"a pointer to a nil private key":     {keys.Signer(new(ed25519.PrivateKey)), []string{"0 bytes", "64"}},
		"a private key of zeros":             {keys.Signer(make(ed25519.PrivateKey, 64)), []string{"one byte repeated"}},
		"a public key of no bytes":           {keys.Verifier(ed25519.PublicKey{}), []string{"0 bytes", "32"}},
		"a public key one byte short":        {keys.Verifier(good[33:]), []string{"ed25519.PrivateKey"}},
		"a public key of 31 bytes":           {keys.Verifier(ed25519.PublicKey(good[33:])), []string{"31 bytes", "32"}},
		"a public key of 33 bytes":           {keys.Verifier(ed25519.PublicKey(good[31:])), []string{"33 bytes", "32"}},
		"a public key never filled in":       {keys.Verifier(make(ed25519.PublicKey, 32)), []string{"one byte repeated", "never filled in"}},
	} {
		t.Run(name, func(t *testing.T) {
			requireBad(t, c.key, c.says...)
			requireSilent(t, c.key, good.Seed())
		})
	}
}

// edwards holds constants of the curve of Ed25519 (RFC 8032, section 5.1). decodePoint and
// double compute with affine coordinates on it.
var edwards = struct{ p, d, sqrtMinus1 *big.Int }{
	p: new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19)),
}

func init() {
	p := edwards.p
	edwards.d = new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	edwards.d.Mod(edwards.d, p)
	edwards.sqrtMinus1 = new(big.Int).Exp(big.NewInt(2), new(big.Int).Rsh(new(big.Int).Sub(p, big.NewInt(1)), 2), p)
}

// decodePoint returns the point that 32 bytes encode. It is lenient: it reduces y modulo p,
// and ignores the sign if x is 0. ok is false if there is no such point.
func decodePoint(encoded []byte) (x, y *big.Int, ok bool) {
	p, one := edwards.p, big.NewInt(1)
	bigEndian := slices.Clone(encoded)
	slices.Reverse(bigEndian)
	negative := bigEndian[0]>>7 == 1
	bigEndian[0] &= 0x7f
	y = new(big.Int).SetBytes(bigEndian)
	y.Mod(y, p)
	yy := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(yy, one)
	v := new(big.Int).Add(new(big.Int).Mul(edwards.d, yy), one)
	xx := new(big.Int).Mul(u, v.ModInverse(v, p))
	xx.Mod(xx, p)
	if x = new(big.Int).ModSqrt(xx, p); x == nil {
		return nil, nil, false
	}
	if negative != (x.Bit(0) == 1) {
		x.Sub(p, x).Mod(x, p)
	}
	return x, y, true
}

func double(x, y *big.Int) (*big.Int, *big.Int) {
	p, one := edwards.p, big.NewInt(1)
	xx, yy := new(big.Int).Mul(x, x), new(big.Int).Mul(y, y)
	t := new(big.Int).Mul(edwards.d, new(big.Int).Mul(xx, yy))
	above := new(big.Int).Mul(new(big.Int).Mul(x, y), big.NewInt(2))
	sum := new(big.Int).Add(xx, yy)
	x3 := above.Mul(above, new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Add(one, t), p), p))
	y3 := sum.Mul(sum, new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, t), p), p))
	return x3.Mod(x3, p), y3.Mod(y3, p)
}

// smallOrder returns every encoding of a point whose order divides 8: each y of such a
// point, in all 255-bit spellings, with either sign.
func smallOrder(t *testing.T) [][]byte {
	p := edwards.p
	// Doubling a point (x, y) of order 8 gives a point of order 4, whose second coordinate
	// is 0. By the formula for doubling, x² = -y². With this, the equation of the curve
	// becomes d·y⁴ + 2y² - 1 = 0.
	root := new(big.Int).ModSqrt(new(big.Int).Mod(new(big.Int).Add(big.NewInt(1), edwards.d), p), p)
	if root == nil {
		t.Fatal("1 + d has no square root")
	}
	var ys []*big.Int
	for _, r := range []*big.Int{root, new(big.Int).Sub(p, root)} {
		yy := new(big.Int).Mul(new(big.Int).Sub(r, big.NewInt(1)), new(big.Int).ModInverse(edwards.d, p))
		if y := new(big.Int).ModSqrt(yy.Mod(yy, p), p); y != nil { // only one of the two y² is a square
			ys = append(ys, y, new(big.Int).Sub(p, y))
		}
	}
	ys = append(ys, big.NewInt(0), big.NewInt(1), new(big.Int).Sub(p, big.NewInt(1)))
	var all [][]byte
	for _, y := range ys {
		for _, spelled := range []*big.Int{y, new(big.Int).Add(y, p)} {
			if spelled.BitLen() > 255 {
				continue
			}
			for _, sign := range []byte{0, 0x80} {
				encoded := spelled.FillBytes(make([]byte, 32))
				encoded[0] |= sign
				slices.Reverse(encoded)
				all = append(all, encoded)
			}
		}
	}
	return all
}

// Anyone can sign for a public key of small order. The standard library accepts such a
// signature, since it does not check the order of a key.
func TestVerifier_RefusesEd25519KeysUnderWhichAnyoneCanSign(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1 // R is the neutral element, S is 0
	all := smallOrder(t)
	require.Len(t, all, 14)
	for _, encoded := range all {
		t.Run(hex.EncodeToString(encoded), func(t *testing.T) {
			x, y, ok := decodePoint(encoded)
			require.True(t, ok)
			for range 3 {
				x, y = double(x, y)
			}
			require.Zero(t, x.Sign(), "8 times the point is the neutral element")
			require.Zero(t, y.Cmp(big.NewInt(1)), "8 times the point is the neutral element")

			accepted := false
			for i := 0; i < 256 && !accepted; i++ {
				accepted = ed25519.Verify(encoded, []byte{byte(i)}, forged)
			}
			require.True(t, accepted, "the standard library must accept a forged signature")
			requireWeak(t, encoded)
		})
	}
}

// Two encodings of one key would be two keys for every program that compares bytes.
func TestVerifier_RefusesEd25519KeysThatAreNotCanonical(t *testing.T) {
	points := 0
	for beyond := range int64(19) {
		for _, sign := range []byte{0, 0x80} {
			encoded := new(big.Int).Add(edwards.p, big.NewInt(beyond)).FillBytes(make([]byte, 32))
			encoded[0] |= sign
			slices.Reverse(encoded)
			if _, _, ok := decodePoint(encoded); ok {
				points++
			}
			requireWeak(t, encoded)
		}
	}
	require.NotZero(t, points)
	good := anEdKey().Public().(ed25519.PublicKey)
	require.NoError(t, keys.Verifier(good).Err())
}

// requireWeak requires that a public key is rejected in every form in which a program can
// pass it.
func requireWeak(t *testing.T, encoded ed25519.PublicKey) {
	t.Helper()
	requireBad(t, keys.Verifier(encoded), "Ed25519")
	requireBad(t, keys.Verifier(&encoded), "type *ed25519.PublicKey")
	requireBad(t, keys.Signer(kms{public: encoded}), "Ed25519")
	x := base64.RawURLEncoding.EncodeToString(encoded)
	_, err := keys.ParseJWK([]byte(`{"kty":"OKP","crv":"Ed25519","x":"` + x + `"}`))
	require.Error(t, err)
	der, err := x509.MarshalPKIXPublicKey(encoded)
	require.NoError(t, err)
	_, err = keys.ParsePEM(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	require.ErrorContains(t, err, "Ed25519")
}

func TestSigner_RefusesAPrivateKeyThatIsNotItsPublicHalfs(t *testing.T) {
	otherEd := slices.Concat(anEdKey().Seed(), []byte(anotherEdKey().Public().(ed25519.PublicKey)))
	n := aP256Key().Curve.Params().N
	for name, private := range map[string]crypto.Signer{
		"RSA with another's modulus":            changedRSA(func(k *rsa.PrivateKey) { k.N = anotherRSAKey().N }),
		"RSA with another's modulus, bare":      changedRSA(func(k *rsa.PrivateKey) { k.N = anotherRSAKey().N; k.Precomputed = rsa.PrecomputedValues{} }),
		"RSA with another's exponent":           changedRSA(func(k *rsa.PrivateKey) { k.D = anotherRSAKey().D }),
		"RSA with another's exponent, bare":     changedRSA(func(k *rsa.PrivateKey) { k.D = anotherRSAKey().D; k.Precomputed = rsa.PrecomputedValues{} }),
		"RSA with another public exponent":      changedRSA(func(k *rsa.PrivateKey) { k.E = 3 }),
		"RSA with another's primes":             changedRSA(func(k *rsa.PrivateKey) { k.Primes = anotherRSAKey().Primes }),
		"RSA with another's precomputed values": changedRSA(func(k *rsa.PrivateKey) { k.Precomputed = anotherRSAKey().Precomputed }),
		"RSA without primes":                    changedRSA(func(k *rsa.PrivateKey) { k.Primes = nil; k.Precomputed = rsa.PrecomputedValues{} }),
		"RSA with nil primes":                   changedRSA(func(k *rsa.PrivateKey) { k.Primes = []*big.Int{nil, nil}; k.Precomputed = rsa.PrecomputedValues{} }),
		"RSA without a private exponent":        changedRSA(func(k *rsa.PrivateKey) { k.D = nil }),
		"ECDSA with another's number":           changedECDSA(func(k *ecdsa.PrivateKey) { k.D = anotherP256Key().D }),
		"ECDSA with another's point":            changedECDSA(func(k *ecdsa.PrivateKey) { k.PublicKey = anotherP256Key().PublicKey }),
		"ECDSA without a number":                changedECDSA(func(k *ecdsa.PrivateKey) { k.D = nil }),
		"ECDSA with the number zero":            changedECDSA(func(k *ecdsa.PrivateKey) { k.D = new(big.Int) }),
		"ECDSA with a negative number":          changedECDSA(func(k *ecdsa.PrivateKey) { k.D = new(big.Int).Neg(k.D) }),
		"ECDSA with a number past the order":    changedECDSA(func(k *ecdsa.PrivateKey) { k.D = new(big.Int).Add(k.D, n) }),
		"ECDSA with the order for a number":     changedECDSA(func(k *ecdsa.PrivateKey) { k.D = n }),
		"ECDSA with an absurd number":           changedECDSA(func(k *ecdsa.PrivateKey) { k.D = new(big.Int).Lsh(k.D, 10_000) }),
		"Ed25519 with another's public key":     ed25519.PrivateKey(otherEd),
	} {
		t.Run(name, func(t *testing.T) {
			k := keys.Signer(private)
			requireBad(t, k, "does not belong to its public half")
			for _, secret := range [][]byte{anRSAKey().D.Bytes(), aP256Key().D.Bytes(), anEdKey().Seed()} {
				requireSilent(t, k, secret)
			}
		})
	}
}

func TestSet_RejectsPSSWithASaltOfAnotherLength(t *testing.T) {
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

// longestSalt returns the length of the longest salt that fits, in bytes. The tests do not
// use rsa.PSSSaltLengthAuto, because in FIPS 140-3 mode it means the length of the hash.
func longestSalt(hash crypto.Hash) int { return anRSAKey().Size() - hash.Size() - 2 }

func ecdsaKeys() map[string]*ecdsa.PrivateKey {
	return map[string]*ecdsa.PrivateKey{"ES256": aP256Key(), "ES384": aP384Key(), "ES512": aP521Key()}
}

func TestSet_ECDSASignatureIsTwoNumbersOfFixedLength(t *testing.T) {
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
			require.True(t, ecdsa.VerifyASN1(&private.PublicKey, digest, der), "the DER form that this test makes must be correct")

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

// Anyone can compute a second correct ECDSA signature from the first. So a signature must
// never be used to identify a token.
func TestSet_VerifiesTheOtherOfTheTwoECDSASignatures(t *testing.T) {
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
func TestSet_RejectsASignatureOfAnotherCurve(t *testing.T) {
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

// A curve with the parameters of P-256 that is not the standard library's own value is
// rejected.
func TestVerifier_RefusesACurveThatOnlyCallsItselfP256(t *testing.T) {
	copied := *aP256Key().Public().(*ecdsa.PublicKey)
	copied.Curve = elliptic.P256().Params()
	require.Error(t, keys.Verifier(&copied).Err())
}

func TestSigner_ThatHidesItsPrivateKeySigns(t *testing.T) {
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

func TestSigner_IsAskedForExactlyWhatItsAlgorithmNeeds(t *testing.T) {
	forEach(t, algorithms[3:], func(t *testing.T, alg string) {
		signer := hidden(private(alg).(crypto.Signer))
		sign := signer.sign
		signer.sign = func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			if isEd25519(alg) {
				require.Zero(t, opts.HashFunc(), "Ed25519 takes the message itself")
				require.Equal(t, message, digest)
				return sign(random, digest, opts)
			}
			hash, wanted := hashOf(alg, message)
			require.Equal(t, hash, opts.HashFunc())
			require.Equal(t, wanted, digest)
			pss, isPSS := opts.(*rsa.PSSOptions)
			require.Equal(t, strings.HasPrefix(alg, "PS"), isPSS)
			if isPSS {
				require.Contains(t, []int{rsa.PSSSaltLengthEqualsHash, hash.Size()}, pss.SaltLength)
			}
			return sign(random, digest, opts)
		}
		signed(t, setOf(t, keys.Signer(signer).WithAlgorithm(alg)), message)
	})
}

// A crypto.Signer may return its public key as a pointer or as a value.
func TestSigner_MayGiveItsPublicKeyByValue(t *testing.T) {
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

func TestSigner_ThatLiesIsAnErrorAndNeverASignature(t *testing.T) {
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
		"the right bytes except for one bit": tampered(func(b []byte) []byte { return flipped(b, len(b)-1) }),
		"another key's signature": func(_ *testing.T, alg string) kms {
			signer := hidden(anotherPrivate(alg).(crypto.Signer))
			signer.public = private(alg).(crypto.Signer).Public()
			return signer
		},
		"the signature of another message": func(_ *testing.T, alg string) kms {
			signer := hidden(private(alg).(crypto.Signer))
			sign := signer.sign
			signer.sign = func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				return sign(random, flipped(digest, 0), opts)
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
				require.ErrorContains(t, err, "keys_test.kms", "the error must name the type of the signer")
				require.Nil(t, signature)
			})
		})
	}
}

// tampered returns a function that makes a signer. The signer applies change to each of its
// signatures.
func tampered(change func([]byte) []byte) func(*testing.T, string) kms {
	return func(_ *testing.T, alg string) kms {
		signer := hidden(private(alg).(crypto.Signer))
		sign := signer.sign
		signer.sign = func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			signature, err := sign(random, digest, opts)
			return change(signature), err
		}
		return signer
	}
}

// A crypto.Signer for ECDSA must return ASN.1. A signature already in the form of RFC
// 7518 would be parsed wrongly.
func TestSigner_OfECDSAThatGivesTheTwoNumbersBareIsAnError(t *testing.T) {
	signer := hidden(aP256Key())
	signer.sign = func(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
		r, s, err := ecdsa.Sign(rand.Reader, aP256Key(), digest)
		return join(aP256Key().Curve, r, s), err
	}
	_, err := setOf(t, keys.Signer(signer)).Sign(message)
	require.ErrorContains(t, err, "does not verify")
}

func TestSigner_OfRSAThatIgnoresWhatItIsAskedForIsAnError(t *testing.T) {
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

func TestSigner_ErrorOfItsOwnReachesTheCaller(t *testing.T) {
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

// turncoat is a signer whose Public returns one key at the first call, and second at all
// later calls.
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

func TestSigner_ThatChangesItsPublicKeyIsHeldToTheFirst(t *testing.T) {
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

func TestSigner_ThatHidesItsPrivateKeyIsSafeForConcurrentUse(t *testing.T) {
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

func TestSigner_WithABadPublicKeyIsABadKey(t *testing.T) {
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
