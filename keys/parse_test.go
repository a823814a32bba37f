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
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

// requireSameKey judges a key that was read by what it does: it verifies what
// the original private key signs by the standard library and, if it is a
// private one, the other way round.
func requireSameKey(t *testing.T, k keys.Key, alg string, original any, signs bool) {
	t.Helper()
	require.NoError(t, k.Err())
	require.Equal(t, alg, k.Algorithm())
	set := setOf(t, k)
	require.NoError(t, set.Verify(alg, k.ID(), message, independentSign(t, alg, original, message)))
	require.Error(t, set.Verify(alg, k.ID(), message, independentSign(t, alg, anotherPrivate(alg), message)))
	signature, err := set.Sign(message)
	if !signs {
		require.Equal(t, keys.ErrNoSigningKey, err)
		return
	}
	require.NoError(t, err)
	require.True(t, independentVerify(alg, public(original), message, signature))
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

func sec1(t testing.TB, private *ecdsa.PrivateKey) []byte {
	t.Helper()
	return armoured("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(private)))
}

func pkix(t testing.TB, public any) []byte {
	t.Helper()
	return armoured("PUBLIC KEY", must[[]byte](t)(x509.MarshalPKIXPublicKey(public)))
}

// certificate makes one that is long expired: dates are not judged.
func certificate(t testing.TB, private crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}
	return armoured("CERTIFICATE", must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)))
}

func TestParsePEMReadsWhatTheStandardLibraryWrites(t *testing.T) {
	rsaKey := anRSAKey()
	type form struct {
		alg   string
		text  []byte
		signs bool
	}
	forms := map[string]form{
		"RSA in PKCS #1":          {"RS256", armoured("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), true},
		"RSA public in PKCS #1":   {"RS256", armoured("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), false},
		"text before the key":     {"RS256", append([]byte("Bag Attributes\n    localKeyID: 01\n"), pkcs8(t, rsaKey)...), true},
		"blank lines behind it":   {"RS256", append(pkcs8(t, rsaKey), " \r\n\t\n"...), true},
		"line ends of Windows":    {"RS256", bytes.ReplaceAll(pkcs8(t, rsaKey), []byte("\n"), []byte("\r\n")), true},
		"no line end at the end":  {"RS256", bytes.TrimSpace(pkcs8(t, rsaKey)), true},
		"a header in the block":   {"RS256", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{"Comment": "ours"}, Bytes: x509PKIX(t, rsaKey.Public())}), false},
		"EC parameters before it": {"ES256", append(armoured("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), sec1(t, aP256Key())...), true},
		"EC parameters behind it": {"ES256", append(sec1(t, aP256Key()), armoured("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7})...), true},
		"P-256 in SEC 1":          {"ES256", sec1(t, aP256Key()), true},
		"P-384 in SEC 1":          {"ES384", sec1(t, aP384Key()), true},
		"P-521 in SEC 1":          {"ES512", sec1(t, aP521Key()), true},
	}
	for _, alg := range []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"} {
		forms["PKCS #8 for "+alg] = form{alg, pkcs8(t, private(alg)), true}
		forms["PKIX for "+alg] = form{alg, pkix(t, public(private(alg))), false}
		forms["a certificate for "+alg] = form{alg, certificate(t, private(alg).(crypto.Signer)), false}
	}
	for name, c := range forms {
		t.Run(name, func(t *testing.T) {
			k, err := keys.ParsePEM(c.text)
			require.NoError(t, err)
			require.Empty(t, k.ID())
			requireSameKey(t, k, c.alg, private(c.alg), c.signs)
			if c.alg == "RS256" {
				requireSameKey(t, k.WithAlgorithm("PS512").WithID("a"), "PS512", private(c.alg), c.signs)
			}
			for _, secret := range secretsOf(t, private(c.alg)) {
				requireSilent(t, k, secret)
			}
		})
	}
}

func x509PKIX(t testing.TB, public any) []byte {
	t.Helper()
	return must[[]byte](t)(x509.MarshalPKIXPublicKey(public))
}

func TestParsePEMRefusesWhatIsNotOneGoodKey(t *testing.T) {
	edText, ecText := pkcs8(t, anEdKey()), sec1(t, aP256Key())
	broken := bytes.Replace(edText, []byte("\nM"), []byte("\n*"), 1)
	require.NotEqual(t, edText, broken)
	//lint:ignore SA1019 whether such keys are told from broken ones is what is tested
	legacy, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(anRSAKey()), []byte("password"), x509.PEMCipherAES256)
	require.NoError(t, err)
	short := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	x25519 := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))

	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"nothing":                         {nil, "-----BEGIN"},
		"an empty file":                   {[]byte{}, "-----BEGIN"},
		"text":                            {[]byte("not a key"), "-----BEGIN"},
		"a JWK":                           {[]byte(`{"kty":"OKP"}`), "-----BEGIN"},
		"DER instead of PEM":              {x509PKIX(t, anEdKey().Public()), "-----BEGIN"},
		"EC parameters alone":             {armoured("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), "holds a key"},
		"half a key":                      {edText[:len(edText)/2], "whole"},
		"a broken key":                    {broken, "whole"},
		"two keys":                        {append(bytes.Clone(edText), ecText...), "more than one key"},
		"the same key twice":              {append(bytes.Clone(edText), edText...), "more than one key"},
		"a private key and its public":    {append(bytes.Clone(edText), pkix(t, anEdKey().Public())...), "more than one key"},
		"a key and a certificate":         {append(bytes.Clone(edText), certificate(t, anEdKey())...), "more than one key"},
		"a chain of certificates":         {append(certificate(t, anEdKey()), certificate(t, aP256Key())...), "more than one key"},
		"text behind the key":             {append(bytes.Clone(edText), "text"...), "text behind the key"},
		"half a key behind the key":       {append(bytes.Clone(edText), ecText[:40]...), "text behind the key"},
		"a broken key before the key":     {append(bytes.Clone(broken), ecText...), "does not parse"},
		"half a key before the key":       {append(bytes.Clone(edText[:60]), append([]byte("\n"), ecText...)...), "does not parse"},
		"a key encrypted the old way":     {pem.EncodeToMemory(legacy), "openssl pkey"},
		"a key encrypted by PKCS #8":      {armoured("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), "openssl pkey"},
		"an OpenSSH key":                  {armoured("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00")), "OPENSSH PRIVATE KEY"},
		"a certificate request":           {armoured("CERTIFICATE REQUEST", []byte{0x30, 0}), "CERTIFICATE REQUEST"},
		"a block without a name":          {armoured("", []byte{0x30, 0}), "PUBLIC KEY"},
		"a name in lower case":            {armoured("private key", []byte{0x30, 0}), `"private key"`},
		"PKCS #8 of nothing":              {armoured("PRIVATE KEY", nil), "does not parse"},
		"PKCS #8 of garbage":              {armoured("PRIVATE KEY", []byte("garbage")), "does not parse"},
		"PKCS #1 of garbage":              {armoured("RSA PRIVATE KEY", []byte("garbage")), "does not parse"},
		"SEC 1 of garbage":                {armoured("EC PRIVATE KEY", []byte("garbage")), "does not parse"},
		"PKIX of garbage":                 {armoured("PUBLIC KEY", []byte("garbage")), "does not parse"},
		"PKCS #1 public of garbage":       {armoured("RSA PUBLIC KEY", []byte("garbage")), "does not parse"},
		"a certificate of garbage":        {armoured("CERTIFICATE", []byte("garbage")), "does not parse"},
		"PKCS #8 under the name of SEC 1": {bytes.ReplaceAll(pkcs8(t, aP256Key()), []byte("PRIVATE KEY"), []byte("EC PRIVATE KEY")), "does not parse"},
		"a private key said to be public": {bytes.ReplaceAll(edText, []byte("PRIVATE"), []byte("PUBLIC")), "does not parse"},
		"RSA of 1024 bits":                {pkcs8(t, short), "1024 bits"},
		"RSA public of 1024 bits":         {pkix(t, short.Public()), "1024 bits"},
		"P-224":                           {pkcs8(t, p224), "P-224"},
		"X25519":                          {pkcs8(t, x25519), "ecdh.PrivateKey"},
		"X25519 public":                   {pkix(t, x25519.PublicKey()), "ecdh.PublicKey"},
		"an Ed25519 key never filled in":  {pkix(t, make(ed25519.PublicKey, 32)), "one byte repeated"},
		"64 KiB and a byte":               {append(bytes.Clone(edText), bytes.Repeat([]byte("\n"), 64<<10+1-len(edText))...), "65537 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := keys.ParsePEM(c.text)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "keys: ")
			require.Error(t, k.Err(), "what came of it is not to be used")
			for _, private := range []any{anEdKey(), aP256Key(), anRSAKey(), short, p224} {
				for _, secret := range secretsOf(t, private) {
					requireHidden(t, err.Error(), secret)
				}
			}
		})
	}

	_, err = keys.ParsePEM(append(bytes.Clone(edText), bytes.Repeat([]byte("\n"), 64<<10-len(edText))...))
	require.NoError(t, err, "64 KiB are not too long")
}

// openssl runs the real command in dir.
func openssl(t *testing.T, dir string, args ...string) {
	t.Helper()
	command := exec.Command("openssl", args...)
	command.Dir = dir
	output, err := command.CombinedOutput()
	require.NoError(t, err, "openssl %s: %s", strings.Join(args, " "), output)
}

func TestParsePEMReadsWhatOpenSSLWrites(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl command here")
	}
	dir := t.TempDir()
	run := func(args string) { openssl(t, dir, strings.Fields(args)...) }
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(filepath.Join(dir, name))) }

	for name, c := range map[string]struct {
		alg      string
		generate string // writes NAME.pem
		then     []string
	}{
		"rsa": {"RS256", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem", []string{
			"rsa -in rsa.pem -traditional -out rsa.1.private",
			"rsa -in rsa.pem -RSAPublicKey_out -out rsa.2.public",
		}},
		"p256": {"ES256", "ecparam -name prime256v1 -genkey -out p256.pem", []string{ // EC PARAMETERS first
			"pkcs8 -topk8 -nocrypt -in p256.pem -out p256.1.private",
			"ec -in p256.pem -no_public -out p256.2.private",
		}},
		"p384":    {"ES384", "ecparam -name secp384r1 -genkey -noout -out p384.pem", nil},
		"p521":    {"ES512", "ecparam -name secp521r1 -genkey -out p521.pem", nil},
		"ed25519": {"EdDSA", "genpkey -algorithm ED25519 -out ed25519.pem", nil},
	} {
		t.Run(name, func(t *testing.T) {
			run(c.generate)
			run("pkey -in " + name + ".pem -pubout -out " + name + ".public")
			run("req -x509 -new -key " + name + ".pem -subj /CN=test -out " + name + ".certificate.public")
			for _, args := range c.then {
				run(args)
			}
			private, err := keys.ParsePEM(read(name + ".pem"))
			require.NoError(t, err)
			require.Equal(t, c.alg, private.Algorithm())
			signature := signed(t, setOf(t, private), message)

			files, err := filepath.Glob(filepath.Join(dir, name+".*"))
			require.NoError(t, err)
			for _, file := range files {
				k, err := keys.ParsePEM(must[[]byte](t)(os.ReadFile(file)))
				require.NoError(t, err, file)
				require.NoError(t, setOf(t, k).Verify(c.alg, "", message, signature), file)
				_, err = setOf(t, k).Sign(message)
				require.Equal(t, strings.HasSuffix(file, "public"), err != nil, file)
			}
		})
	}

	require.NoError(t, os.WriteFile(filepath.Join(dir, "ours.pem"), pkcs8(t, anRSAKey()), 0o600))
	for name, c := range map[string]struct{ generate, says string }{
		"encrypted":  {"genpkey -algorithm ED25519 -aes256 -pass pass:password -out encrypted", "openssl pkey"},
		"old":        {"rsa -in ours.pem -traditional -aes256 -passout pass:password -out old", "openssl pkey"},
		"x25519":     {"genpkey -algorithm X25519 -out x25519", "not known"},
		"ed448":      {"genpkey -algorithm ED448 -out ed448", "does not parse"},
		"secp256k1":  {"ecparam -name secp256k1 -genkey -out secp256k1", "does not parse"},
		"p224":       {"ecparam -name secp224r1 -genkey -out p224", "P-224"},
		"explicit":   {"ecparam -name prime256v1 -genkey -param_enc explicit -out explicit", "does not parse"},
		"parameters": {"ecparam -name prime256v1 -out parameters", "holds a key"},
		"short":      {"genrsa -out short 1024", "1024 bits"},
		"rsa-pss":    {"genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:1024 -out rsa-pss", "does not parse"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			run(c.generate)
			_, err := keys.ParsePEM(read(name))
			require.ErrorContains(t, err, c.says)
		})
	}
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

// jwkOf writes a key of the standard library as RFC 7518, section 6, and
// RFC 8037, section 2, say.
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
		point := must[[]byte](t)(key.Bytes()) // 4, X, Y
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

func TestParseJWKReadsEveryKindOfKey(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		original := private(alg)
		read := func(m jwkMembers) keys.Key {
			t.Helper()
			return must[keys.Key](t)(keys.ParseJWK([]byte(m.text(t))))
		}
		full := jwkOf(t, original).with("alg", alg).with("kid", "2026-a").with("use", "sig")

		k := read(full)
		require.Equal(t, "2026-a", k.ID())
		requireSameKey(t, k, alg, original, true)
		require.Empty(t, read(full.without("kid")).ID())
		for _, secret := range secretsOf(t, original) {
			requireSilent(t, k, secret)
		}

		requireSameKey(t, read(full.without("use", "kid")), alg, original, true)
		requireSameKey(t, read(full.without("use").with("key_ops", []string{"sign", "verify"})), alg, original, true)
		requireSameKey(t, read(full.with("key_ops", []string{"verify"})), alg, original, false)
		requireSameKey(t, read(full.with("ext", true).with("x-ours", []any{1, nil, jwkMembers{"kid": "b"}})), alg, original, true)
		if isSymmetric(alg) {
			return
		}
		requireSameKey(t, read(full.with("key_ops", []string{"sign"})), alg, original, true)
		public := jwkOf(t, public(original)).with("alg", alg)
		requireSameKey(t, read(public), alg, original, false)
		requireSameKey(t, read(public.with("key_ops", []string{"verify"})), alg, original, false)
	})
}

func TestAJWKWithoutAlgTakesTheAlgorithmOfItsType(t *testing.T) {
	for alg, original := range map[string]any{
		"HS256": aSecret(), "RS256": anRSAKey(), "ES256": aP256Key(), "ES384": aP384Key(), "ES512": aP521Key(), "EdDSA": anEdKey(),
	} {
		k, err := keys.ParseJWK([]byte(jwkOf(t, original).text(t)))
		require.NoError(t, err)
		requireSameKey(t, k, alg, original, true)
	}
}

func TestAnRSAJWKMayLeaveOutWhatFollowsFromItsPrimes(t *testing.T) {
	for _, missing := range [][]string{{"dp"}, {"dq"}, {"qi"}, {"dp", "dq", "qi"}} {
		k, err := keys.ParseJWK([]byte(jwkOf(t, anRSAKey()).without(missing...).text(t)))
		require.NoError(t, err)
		requireSameKey(t, k, "RS256", anRSAKey(), true)
	}
}

// refusedJWK is a text that ParseJWK refuses, and words that its error holds.
type refusedJWK struct{ text, says string }

func refusedJWKs(t testing.TB) map[string]refusedJWK {
	secret, rsaKey, ec, ed := jwkOf(t, aSecret()), jwkOf(t, anRSAKey()), jwkOf(t, aP256Key()), jwkOf(t, anEdKey())
	rsaPublic, ecPublic, edPublic := jwkOf(t, anRSAKey().Public()), jwkOf(t, aP256Key().Public()), jwkOf(t, anEdKey().Public())
	otherRSA, otherEC, otherEd := jwkOf(t, anotherRSAKey()), jwkOf(t, anotherP256Key()), jwkOf(t, anotherEdKey())
	big33 := base64url(append([]byte{1}, make([]byte, 32)...))
	x25519 := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	behind := func(m jwkMembers, more string) string {
		return strings.TrimSuffix(m.text(t), "}") + "," + more + "}"
	}

	refused := map[string]refusedJWK{
		"nothing":                  {"", "not a JSON object"},
		"blanks":                   {" \n", "not a JSON object"},
		"null":                     {"null", "not a JSON object"},
		"an array of keys":         {"[" + secret.text(t) + "]", "not a JSON object"},
		"a string":                 {`"` + aSecretText() + `"`, "not a JSON object"},
		"PEM":                      {string(pkcs8(t, anEdKey())), "not a JSON object"},
		"an empty object":          {"{}", "kty"},
		"half a key":               {ed.text(t)[:40], "does not parse"},
		"two keys":                 {ed.text(t) + ec.text(t), "data behind"},
		"text behind the key":      {ed.text(t) + "x", "data behind"},
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
	// encoding/json would take these for the members that they fold to.
	for name, folded := range map[string]string{
		"kid": "KID", "alg": "Alg", "use": "USE", "keys": "Keys",
		"kty": "\u212aty", "key_ops": "key_op\u017f", "k": "\u212a", "d": "D", "n": "N", "crv": "CRV", "x": "X",
	} {
		refused["a member "+folded] = refusedJWK{ed.with(folded, "a").text(t), `"` + name + `" by case alone`}
	}
	return refused
}

func aSecretText() string { return base64url(aSecret()) }

func TestParseJWKRefusesWhatIsNotOneGoodKey(t *testing.T) {
	secrets := [][]byte{}
	for _, private := range []any{aSecret(), anRSAKey(), aP256Key(), anEdKey(), anotherRSAKey(), anotherP256Key(), anotherEdKey()} {
		secrets = append(secrets, secretsOf(t, private)...)
	}
	secrets = append(secrets, aSecret()[:31], aSecret()[:47], aSecret()[:63])
	for name, c := range refusedJWKs(t) {
		t.Run(name, func(t *testing.T) {
			k, err := keys.ParseJWK([]byte(c.text))
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "keys: ")
			require.Error(t, k.Err(), "what came of it is not to be used")
			for _, secret := range secrets {
				requireHidden(t, err.Error(), secret)
			}
		})
	}
}

// A private key whose key_ops let it only verify is a public one from then on.
func TestKeyOpsVerifyTakesTheRightToSign(t *testing.T) {
	for _, original := range []any{aSecret(), anRSAKey(), aP256Key(), anEdKey()} {
		k, err := keys.ParseJWK([]byte(jwkOf(t, original).with("key_ops", []string{"verify"}).text(t)))
		require.NoError(t, err)
		_, _, err = setOf(t, k.WithID("a")).SigningKey()
		require.Equal(t, keys.ErrNoSigningKey, err)
		for _, secret := range secretsOf(t, original) {
			requireSilent(t, k, secret)
		}
	}
}

func TestParseJWKKeepsNoPartOfItsInput(t *testing.T) {
	for _, original := range []any{aSecret(), anEdKey()} {
		text := []byte(jwkOf(t, original).text(t))
		k, err := keys.ParseJWK(text)
		require.NoError(t, err)
		genuine := signed(t, setOf(t, k), message)
		clear(text)
		require.Equal(t, genuine, signed(t, setOf(t, k), message))
		require.False(t, slices.Contains(text, '{'))
	}
}
