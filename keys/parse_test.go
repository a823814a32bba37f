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
	"encoding/json"
	"encoding/pem"
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

// requireSameKey checks a parsed key by using it. The key must verify a signature that the
// standard library made with the original private key. If signs is true, the standard
// library must verify a signature of the key. Otherwise the key must not be able to sign.
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

func sec1(t testing.TB, private *ecdsa.PrivateKey) []byte {
	t.Helper()
	return armoured("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(private)))
}

// certificate returns a certificate that expired long ago, because ParsePEM ignores dates.
func certificate(t testing.TB, private crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}
	return armoured("CERTIFICATE", must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)))
}

func TestParsePEM_ReadsWhatTheStandardLibraryWrites(t *testing.T) {
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

func TestParsePEM_RefusesWhatIsNotOneGoodKey(t *testing.T) {
	edText, ecText := pkcs8(t, anEdKey()), sec1(t, aP256Key())
	broken := bytes.Replace(edText, []byte("\nM"), []byte("\n*"), 1)
	require.NotEqual(t, edText, broken)
	//lint:ignore SA1019 the test checks that the error tells an encrypted key from a broken one
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
		"data after the key":              {append(bytes.Clone(edText), "text"...), "data after the key"},
		"half a key behind the key":       {append(bytes.Clone(edText), ecText[:40]...), "data after the key"},
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
			require.Error(t, k.Err(), "a rejected text must give a bad key")
			for _, private := range []any{anEdKey(), aP256Key(), anRSAKey(), short, p224} {
				for _, secret := range secretsOf(t, private) {
					requireHidden(t, err.Error(), secret)
				}
			}
		})
	}

	_, err = keys.ParsePEM(append(bytes.Clone(edText), bytes.Repeat([]byte("\n"), 64<<10-len(edText))...))
	require.NoError(t, err, "64 KiB must not be too long")
}

// openssl runs the openssl command in dir.
func openssl(t *testing.T, dir string, args ...string) {
	t.Helper()
	command := exec.Command("openssl", args...)
	command.Dir = dir
	output, err := command.CombinedOutput()
	require.NoError(t, err, "openssl %s: %s", strings.Join(args, " "), output)
}

func TestParsePEM_ReadsWhatOpenSSLWrites(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl command here")
	}
	dir := t.TempDir()
	run := func(args string) { openssl(t, dir, strings.Fields(args)...) }
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(filepath.Join(dir, name))) }

	for name, c := range map[string]struct {
		alg      string
		generate string // creates NAME.pem
		then     []string
	}{
		"rsa": {"RS256", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem", []string{
			"rsa -in rsa.pem -traditional -out rsa.1.private",
			"rsa -in rsa.pem -RSAPublicKey_out -out rsa.2.public",
		}},
		"p256": {"ES256", "ecparam -name prime256v1 -genkey -out p256.pem", []string{ // the file begins with EC PARAMETERS
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
		t.Run("rejected: "+name, func(t *testing.T) {
			run(c.generate)
			_, err := keys.ParsePEM(read(name))
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestParseJWK_ReadsEveryKindOfKey(t *testing.T) {
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

func TestParseJWK_WithoutAlgTakesTheAlgorithmOfTheType(t *testing.T) {
	for alg, original := range map[string]any{
		"HS256": aSecret(), "RS256": anRSAKey(), "ES256": aP256Key(), "ES384": aP384Key(), "ES512": aP521Key(), "EdDSA": anEdKey(),
	} {
		k, err := keys.ParseJWK([]byte(jwkOf(t, original).text(t)))
		require.NoError(t, err)
		requireSameKey(t, k, alg, original, true)
	}
}

func TestParseJWK_OfRSAMayLackWhatFollowsFromThePrimes(t *testing.T) {
	for _, missing := range [][]string{{"dp"}, {"dq"}, {"qi"}, {"dp", "dq", "qi"}} {
		k, err := keys.ParseJWK([]byte(jwkOf(t, anRSAKey()).without(missing...).text(t)))
		require.NoError(t, err)
		requireSameKey(t, k, "RS256", anRSAKey(), true)
	}
}

func TestParseJWK_RefusesWhatIsNotOneGoodKey(t *testing.T) {
	secrets := [][]byte{}
	for _, private := range []any{aSecret(), anRSAKey(), aP256Key(), anEdKey(), anotherRSAKey(), anotherP256Key(), anotherEdKey()} {
		secrets = append(secrets, secretsOf(t, private)...)
	}
	secrets = append(secrets, aSecret()[:31], aSecret()[:47], aSecret()[:63])
	for name, c := range rejectedJWKs(t) {
		t.Run(name, func(t *testing.T) {
			k, err := keys.ParseJWK([]byte(c.text))
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "keys: ")
			require.Error(t, k.Err(), "a rejected text must give a bad key")
			for _, secret := range secrets {
				requireHidden(t, err.Error(), secret)
			}
		})
	}
}

// A private key whose only key_op is "verify" counts as a public key.
func TestParseJWK_WithTheKeyOpVerifyAloneCannotSign(t *testing.T) {
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

func TestParseJWK_KeepsNoPartOfItsInput(t *testing.T) {
	for _, original := range []any{aSecret(), anEdKey()} {
		text := []byte(jwkOf(t, original).text(t))
		k, err := keys.ParseJWK(text)
		require.NoError(t, err)
		before := signed(t, setOf(t, k), message)
		clear(text)
		require.Equal(t, before, signed(t, setOf(t, k), message))
		require.False(t, slices.Contains(text, '{'))
	}
}

// requireErrorOrKey requires one of two results for any input: an error and a bad key, or
// a key that works.
func requireErrorOrKey(t *testing.T, k keys.Key, err error) {
	t.Helper()
	if err != nil {
		if k.Err() == nil {
			t.Fatalf("there is an error, but the key is not a bad key: %v", err)
		}
		return
	}
	if k.Err() != nil {
		t.Fatalf("there is no error, but the key is a bad key: %v", k.Err())
	}
	set := setOf(t, k)
	alg, kid, err := set.SigningKey()
	if err != nil {
		if set.Verify(k.Algorithm(), k.ID(), message, make([]byte, 64)) == nil {
			t.Fatal("a signature of zeros was accepted")
		}
		return
	}
	if alg != k.Algorithm() || kid != k.ID() {
		t.Fatalf("the set signs with %s %q, but the key is %s %q", alg, kid, k.Algorithm(), k.ID())
	}
	if err := set.Verify(alg, kid, message, signed(t, set, message)); err != nil {
		t.Fatalf("the key does not verify what it signed: %v", err)
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
		requireErrorOrKey(t, k, err)
	})
}

func FuzzParseJWK(f *testing.F) {
	for _, alg := range algorithms {
		f.Add([]byte(jwkOf(f, private(alg)).with("alg", alg).with("kid", "a").with("use", "sig").text(f)))
		f.Add([]byte(jwkOf(f, public(private(alg))).with("key_ops", []string{"verify"}).text(f)))
	}
	for _, refused := range rejectedJWKs(f) {
		f.Add([]byte(refused.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := keys.ParseJWK(text)
		requireErrorOrKey(t, k, err)
		if err == nil {
			return
		}
		var members map[string]any
		if json.Unmarshal(text, &members) != nil {
			return
		}
		// The error may repeat the value of alg, but not the value of a private member.
		repeated, _ := members["alg"].(string)
		for _, name := range []string{"k", "d", "p", "q", "dp", "dq", "qi"} {
			value, _ := members[name].(string)
			if len(value) >= 16 && !strings.Contains(repeated, value) && strings.Contains(err.Error(), value) {
				t.Fatalf("the error repeats %q: %v", name, err)
			}
		}
	})
}
