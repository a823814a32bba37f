package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

// requireBad judges what everybody may expect of a bad key: an error that says
// what is wrong and what would be right, and nothing that works.
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
	require.Equal(t, err, k.WithID("a").Err(), "no later call hides the first mistake")
	require.Equal(t, err, k.WithID("").Err())
	require.Equal(t, err, k.WithAlgorithm("HS256").Err())
}

func TestABadSecretSaysWhatIsWrong(t *testing.T) {
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

func TestASecretOfTheLeastLengthIsEnough(t *testing.T) {
	require.NoError(t, keys.HS256(aSecret()[:32]).Err())
	require.NoError(t, keys.HS384(aSecret()[:48]).Err())
	require.NoError(t, keys.HS512(aSecret()[:64]).Err())
	require.NoError(t, keys.HS256([]byte("{not a JWK, but text of some length}")).Err())
	require.NoError(t, keys.HS256(append(make([]byte, 31), 1)).Err(), "all that is told from random is one byte repeated")
}

// changedRSA and changedECDSA return a copy of the shared key with a mistake.
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

// over31Bits is a variable, since an int of 32 bits cannot hold it as a constant. There
// it becomes another exponent that is refused.
var over31Bits int64 = 1<<31 + 1

func TestABadRSAKeySaysWhatIsWrong(t *testing.T) {
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

func TestAnRSAKeyOf2048BitsAndExponent3IsEnough(t *testing.T) {
	require.Equal(t, 2048, anRSAKey().N.BitLen())
	require.NoError(t, keys.Signer(anRSAKey()).Err())
	require.NoError(t, keys.Verifier(&rsa.PublicKey{N: anRSAKey().N, E: 3}).Err())
	require.NoError(t, keys.Verifier(&rsa.PublicKey{N: anRSAKey().N, E: 1<<31 - 1}).Err())
	longest := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 16383), big.NewInt(1))
	require.NoError(t, keys.Verifier(&rsa.PublicKey{N: longest, E: 65537}).Err())
}

func TestABadECDSAKeySaysWhatIsWrong(t *testing.T) {
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

func TestABadEd25519KeySaysWhatIsWrong(t *testing.T) {
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

// edwards is arithmetic on the curve of Ed25519 (RFC 8032, section 5.1), by math/big
// alone and in affine coordinates.
var edwards = struct{ p, d, sqrtMinus1 *big.Int }{
	p: new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19)),
}

func init() {
	p := edwards.p
	edwards.d = new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	edwards.d.Mod(edwards.d, p)
	edwards.sqrtMinus1 = new(big.Int).Exp(big.NewInt(2), new(big.Int).Rsh(new(big.Int).Sub(p, big.NewInt(1)), 2), p)
}

// decodePoint returns the point of 32 bytes as a reader does that takes y modulo p, and
// the sign of an x that is 0 for nothing. It returns false if there is none.
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

// smallOrder returns every encoding of a point whose order divides 8: such a point has a
// y of those below, in all spellings of 255 bits, with either sign.
func smallOrder(t *testing.T) [][]byte {
	p := edwards.p
	// The y of a point of order 8: doubled it has order 4, so that y is 0 there, and
	// x² = -y². From the curve's equation follows d·y⁴ + 2y² - 1 = 0.
	root := new(big.Int).ModSqrt(new(big.Int).Mod(new(big.Int).Add(big.NewInt(1), edwards.d), p), p)
	if root == nil { // then the other one
		t.Fatal("1 + d has no square root")
	}
	var ys []*big.Int
	for _, r := range []*big.Int{root, new(big.Int).Sub(p, root)} {
		yy := new(big.Int).Mul(new(big.Int).Sub(r, big.NewInt(1)), new(big.Int).ModInverse(edwards.d, p))
		if y := new(big.Int).ModSqrt(yy.Mod(yy, p), p); y != nil {
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

// Anyone can sign for a public key of small order, as the standard library shows, which
// does not look at the order of a key.
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
			require.True(t, accepted, "a forged signature")
			requireWeak(t, encoded)
		})
	}
}

// Two encodings of one key would be two keys to everything that compares bytes.
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

// requireWeak requires that a public key is refused whichever way it comes.
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

func TestAPrivateKeyThatIsNotItsPublicHalfsIsABadKey(t *testing.T) {
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

func TestWhatIsNoKeyAtAllIsABadKey(t *testing.T) {
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

func TestAnAlgorithmThatDoesNotFitIsABadKey(t *testing.T) {
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

func TestABadIDIsABadKey(t *testing.T) {
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
