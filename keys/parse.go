package keys

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/joinednode/jwtauth/internal/strict"
)

// maxKeyBytes is the most that is read as a key, in bytes. The largest RSA key takes less
// than 20 KiB.
const maxKeyBytes = 64 << 10

// ParsePEM reads one key or certificate. A private key (PKCS #8, PKCS #1 or SEC 1) signs
// and verifies. A public key (PKIX, PKCS #1 or X.509) only verifies. A certificate only
// supplies its key: its dates and issuer are not checked. Two keys, an encrypted key, a
// broken block before a key, and data after the key are errors.
func ParsePEM(data []byte) (Key, error) {
	key, err := parsePEM(data)
	if err != nil {
		return Key{}, fmt.Errorf("keys: ParsePEM: %w", err)
	}
	return key, key.Err()
}

func parsePEM(data []byte) (Key, error) {
	if len(data) > maxKeyBytes {
		return Key{}, fmt.Errorf("%d bytes are too long for a key", len(data))
	}
	begun := bytes.Count(data, []byte("-----BEGIN "))
	var key *Key
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		begun--
		if block.Type == "EC PARAMETERS" { // openssl writes it before the key; the key repeats it
			continue
		}
		if key != nil {
			return Key{}, errors.New("more than one key; pass only the key you mean")
		}
		k, err := parseBlock(block)
		if err != nil {
			return Key{}, err
		}
		key = &k
	}
	switch {
	case key == nil:
		return Key{}, errors.New("no PEM block that holds a key; it needs a whole one, from -----BEGIN to -----END")
	case len(bytes.TrimSpace(data)) > 0:
		return Key{}, errors.New("data after the key")
	case begun != 0: // pem.Decode skips a broken block, which may be the intended key
		return Key{}, errors.New("a PEM block that does not parse, before the key")
	}
	return *key, nil
}

func parseBlock(block *pem.Block) (Key, error) {
	if block.Headers["DEK-Info"] != "" || block.Type == "ENCRYPTED PRIVATE KEY" {
		return Key{}, errors.New("the key is encrypted; decrypt it first: openssl pkey -in FILE -out PLAIN")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	default:
		return Key{}, fmt.Errorf("a PEM block of type %q; it needs PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY, PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", block.Type)
	}
	if err != nil {
		// x509's errors tell of structure, not of key material.
		return Key{}, fmt.Errorf("the block %s does not parse: %w", block.Type, err)
	}
	return fromStandard(key), nil
}

// fromStandard returns the Key for a key of the standard library. Every crypto.Signer
// that gets here is a private key.
func fromStandard(key any) Key {
	if signer, ok := key.(crypto.Signer); ok {
		return Signer(signer)
	}
	return Verifier(key)
}

// ParseJWK reads one JSON Web Key (RFC 7517). A private or symmetric key signs and
// verifies, a public one only verifies. Its kid becomes the key's ID. Its alg becomes the
// algorithm, which must fit the key. Without alg it is HS256, or that of [Signer]. If it
// has a use, that must be "sig". If it has key_ops, a private key needs "sign" or
// "verify" in them, and any other key needs "verify". Without "sign" it only verifies. A
// JWK Set is an error, and so are duplicate members, and a member whose name differs only
// in case from one that a key is made of.
func ParseJWK(data []byte) (Key, error) {
	key, err := parseJWK(data)
	if err != nil {
		return Key{}, fmt.Errorf("keys: ParseJWK: %w", err)
	}
	return key, key.Err()
}

func parseJWK(data []byte) (Key, error) {
	if len(data) > maxKeyBytes {
		return Key{}, fmt.Errorf("%d bytes are too long for a key", len(data))
	}
	members, err := readMembers(data)
	if err != nil {
		return Key{}, err
	}
	if _, isSet := members["keys"]; isSet {
		return Key{}, errors.New("a JWK Set, not a key; pass only the key you mean")
	}
	// The errors of jwx may repeat its input, secret included.
	parsed, err := jwk.ParseKey(data)
	if err != nil {
		return Key{}, errors.New(`not one JSON Web Key; it needs "kty" and the members of that type (RFC 7518, section 6)`)
	}
	var raw any
	if err := parsed.Raw(&raw); err != nil {
		return Key{}, errors.New("the members do not make a key (RFC 7518, section 6)")
	}
	if err := checkRSA(parsed); err != nil {
		return Key{}, err
	}
	signs, verifies, err := checkUse(parsed)
	if err != nil {
		return Key{}, err
	}
	var key Key
	switch raw := raw.(type) {
	case []byte:
		if !verifies {
			return Key{}, errors.New(`the key's key_ops lack "verify"`)
		}
		key = newKey(material{secret: conceal(raw), signs: signs}, cmp.Or(parsed.Algorithm().String(), "HS256"))
	case crypto.Signer:
		if !signs && !verifies {
			return Key{}, errors.New(`the key's key_ops have neither "sign" nor "verify"`)
		}
		if private, ok := raw.(*rsa.PrivateKey); ok && private.N.BitLen() <= maxRSABits {
			private.Precompute() // for a longer key it would take minutes
		}
		if key = Signer(raw); !signs && key.Err() == nil {
			key = Verifier(raw.Public())
		}
	default:
		if !verifies {
			return Key{}, errors.New(`the key's key_ops lack "verify"`)
		}
		key = Verifier(raw)
	}
	if _, given := parsed.Get(jwk.AlgorithmKey); given {
		key = key.WithAlgorithm(parsed.Algorithm().String())
	}
	if _, given := parsed.Get(jwk.KeyIDKey); given {
		key = key.WithID(parsed.KeyID())
	}
	return key, nil
}

// parseJWKSet reads a JWK Set (RFC 7517, section 5). If one key is bad, it returns an
// error.
func parseJWKSet(data []byte) ([]Key, error) {
	members, err := readMembers(data)
	if err != nil {
		return nil, err
	}
	var texts []json.RawMessage
	if err := json.Unmarshal(members["keys"], &texts); err != nil || len(texts) == 0 {
		return nil, errors.New(`not a JWK Set with a key in it; it needs {"keys": [ ... ]}`)
	}
	var set []Key
	for i, text := range texts {
		key, err := parseJWK(text)
		if err == nil {
			err = key.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(texts), err)
		}
		set = append(set, key)
	}
	return set, nil
}

// readMembers reads a JWK or a JWK Set strictly. encoding/json would take the last of two
// members of one name, and ignore case, so two programs could read two different keys
// from one JWK. A name that differs only in case from one that is read here is rejected:
// jwx ignores "KID", and other readers take it for the kid.
func readMembers(data []byte) (map[string]json.RawMessage, error) {
	if err := strict.Object(string(data)); err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, errors.New("JSON that does not parse")
	}
	for _, known := range []string{"kty", "use", "key_ops", "alg", "kid", "keys", "k", "crv", "x", "y", "d", "n", "e", "p", "q", "dp", "dq", "qi"} {
		for name := range members {
			if name != known && strings.EqualFold(name, known) {
				return nil, fmt.Errorf("a member that differs from %q by case alone", known)
			}
		}
	}
	return members, nil
}

// checkRSA rejects a JWK from which jwx would make another key than the one written.
func checkRSA(key jwk.Key) error {
	if public, ok := key.(interface{ E() []byte }); ok && len(bytes.TrimLeft(public.E(), "\x00")) > 4 {
		return errors.New("the RSA key's exponent is over 31 bits; make a new one, whose exponent is 65537")
	}
	if private, ok := key.(jwk.RSAPrivateKey); ok && (len(private.P()) == 0 || len(private.Q()) == 0) {
		return errors.New(`the RSA private key lacks its primes "p" and "q"`)
	}
	return nil
}

// checkUse reports whether RFC 7517, sections 4.2 and 4.3, allow the key to sign and to
// verify.
func checkUse(key jwk.Key) (signs, verifies bool, err error) {
	if _, given := key.Get(jwk.KeyUsageKey); given && key.KeyUsage() != string(jwk.ForSignature) {
		return false, false, errors.New(`the key's use is not "sig"`)
	}
	if _, given := key.Get(jwk.KeyOpsKey); !given {
		return true, true, nil
	}
	ops := key.KeyOps()
	for i, op := range ops {
		if slices.Contains(ops[:i], op) {
			return false, false, errors.New("the key's key_ops name an operation twice")
		}
	}
	return slices.Contains(ops, jwk.KeyOpSign), slices.Contains(ops, jwk.KeyOpVerify), nil
}
