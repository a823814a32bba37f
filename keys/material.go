package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // makes the hashes of every algorithm available
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// algorithm is what RFC 7518, section 3.1, and RFC 8037 specify for one name.
type algorithm struct {
	name   string
	hash   crypto.Hash
	pss    bool           // RSASSA-PSS
	curve  elliptic.Curve // of ECDSA
	secret int            // the fewest bytes of a secret
}

var algorithms = []algorithm{
	{name: "HS256", hash: crypto.SHA256, secret: 32},
	{name: "HS384", hash: crypto.SHA384, secret: 48},
	{name: "HS512", hash: crypto.SHA512, secret: 64},
	{name: "RS256", hash: crypto.SHA256},
	{name: "RS384", hash: crypto.SHA384},
	{name: "RS512", hash: crypto.SHA512},
	{name: "PS256", hash: crypto.SHA256, pss: true},
	{name: "PS384", hash: crypto.SHA384, pss: true},
	{name: "PS512", hash: crypto.SHA512, pss: true},
	{name: "ES256", hash: crypto.SHA256, curve: elliptic.P256()},
	{name: "ES384", hash: crypto.SHA384, curve: elliptic.P384()},
	{name: "ES512", hash: crypto.SHA512, curve: elliptic.P521()},
	{name: "EdDSA"},
	{name: "Ed25519"}, // another name of EdDSA for such a key (RFC 9864, section 2.2)
}

const (
	minRSABits = 2048  // RFC 7518, sections 3.3 and 3.5
	maxRSABits = 16384 // beyond, one verification takes too long to be safe

	maxRSAExponent = 1<<31 - 1 // beyond, crypto/rsa verifies nothing
)

// material is what a Key points to. It never changes once newKey has made it.
type material struct {
	err       error
	algorithm algorithm
	id        string
	signs     bool

	secret concealed[[]byte]        // nil unless for HMAC
	proven bool                     // checkPrivate has checked the signer, or wrapped it
	public crypto.PublicKey         // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or nil for HMAC
	signer concealed[crypto.Signer] // nil for HMAC and for a public key

	sign   func(message []byte) ([]byte, error)
	verify func(message, signature []byte) error
	set    *Set
}

// concealed keeps a value where fmt cannot print it. For a field that is not
// exported, such as a Key in a caller's own struct, fmt calls no String method and
// prints all that it reaches. Of a func it prints only the address.
type concealed[T any] func() T

func conceal[T any](v T) concealed[T] { return func() T { return v } }

// newKey checks m and completes it. alg "" means the algorithm that the key's type
// fixes.
func newKey(m material, alg string) Key {
	if m.secret == nil {
		if err := m.checkKeyPair(); err != nil {
			return badKey("keys: %w", err)
		}
	}
	kind, fitting := m.kind()
	if alg == "" {
		alg = fitting[0]
	}
	if !slices.Contains(fitting, alg) {
		return badKey("keys: the algorithm %q does not fit %s, which takes %s", alg, kind, strings.Join(fitting, ", "))
	}
	m.algorithm = algorithms[slices.IndexFunc(algorithms, func(a algorithm) bool { return a.name == alg })]
	if m.secret != nil {
		if err := checkSecret(m.secret(), m.algorithm); err != nil {
			return badKey("keys: %w", err)
		}
	}
	if err := m.arm(); err != nil {
		return badKey("keys: %w", err)
	}
	m.set = &Set{keys: []*material{&m}}
	if m.signs {
		m.set.active = &m
	}
	return Key{&m}
}

// kind returns what the key is, and the algorithms that fit it, its own first.
func (m *material) kind() (kind string, fitting []string) {
	switch public := m.public.(type) {
	case *rsa.PublicKey:
		return "an RSA key", []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		for _, a := range algorithms {
			if a.curve == public.Curve {
				return "a key on " + a.curve.Params().Name, []string{a.name}
			}
		}
	case ed25519.PublicKey:
		return "an Ed25519 key", []string{"EdDSA", "Ed25519"}
	}
	return "a secret", []string{"HS256", "HS384", "HS512"}
}

// checkSecret rejects a secret that is too short, and a value that is a mistake rather
// than a secret: the content of a key file, or a buffer that no bytes were written to. An
// attacker may know the content of a key file, above all of a public key, and could then
// forge tokens.
func checkSecret(secret []byte, a algorithm) error {
	switch {
	case bytes.Contains(secret, []byte("-----BEGIN ")):
		return fmt.Errorf("the secret for %s is PEM; give it to ParsePEM, or random bytes to %s", a.name, a.name)
	case bytes.HasPrefix(bytes.TrimSpace(secret), []byte("{")) && bytes.Contains(secret, []byte(`"kty"`)):
		return fmt.Errorf("the secret for %s is a JWK; give it to ParseJWK, or random bytes to %s", a.name, a.name)
	case len(secret) < a.secret:
		return fmt.Errorf("the secret for %s has %d bytes; it needs at least %d random ones", a.name, len(secret), a.secret)
	case oneByteRepeated(secret):
		return fmt.Errorf("the secret for %s is one byte repeated; it needs at least %d random ones", a.name, a.secret)
	}
	return nil
}

func oneByteRepeated(b []byte) bool { return bytes.Count(b, b[:1]) == len(b) }

// checkKeyPair rejects weak, broken and unknown keys. It brings the public key into the
// one form that the other functions expect.
func (m *material) checkKeyPair() error {
	switch public := m.public.(type) {
	case rsa.PublicKey:
		m.public = &public
	case ecdsa.PublicKey:
		m.public = &public
	case ed25519.PublicKey:
		m.public = slices.Clone(public)
	}
	switch public := m.public.(type) {
	case *rsa.PublicKey:
		if public == nil || public.N == nil || public.N.Sign() <= 0 {
			return errors.New("the RSA key has no modulus")
		}
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("the RSA key has %d bits; it needs %d to %d", bits, minRSABits, maxRSABits)
		}
		if public.E < 3 || public.E > maxRSAExponent || public.E%2 == 0 || public.N.Bit(0) == 0 {
			return errors.New("the RSA key has an even modulus, or an exponent that is even, below 3 or over 31 bits; make a new one, whose exponent is 65537")
		}
	case *ecdsa.PublicKey:
		if public == nil || isNil(public.Curve) || public.X == nil || public.Y == nil {
			return errors.New("the ECDSA key has no curve or no point")
		}
		if !slices.ContainsFunc(algorithms, func(a algorithm) bool { return a.curve == public.Curve }) {
			return fmt.Errorf("the ECDSA key is on %s; it needs P-256, P-384 or P-521", public.Curve.Params().Name)
		}
		if _, err := public.ECDH(); err != nil {
			return errors.New("the ECDSA key's point is not on its curve")
		}
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize {
			return fmt.Errorf("the Ed25519 public key has %d bytes; it needs %d", len(public), ed25519.PublicKeySize)
		}
		if oneByteRepeated(public) {
			return errors.New("the Ed25519 public key is one byte repeated; it was never filled in")
		}
		if isWeakEd25519(public) {
			return errors.New("the Ed25519 public key lets anyone sign for it, or is not encoded as RFC 8032 requires; make a new one")
		}
	default:
		return fmt.Errorf("keys of type %T are not known; use RSA, ECDSA on P-256, P-384 or P-521, or Ed25519", m.public)
	}
	return m.checkPrivate()
}

// isWeakEd25519 reports whether a public key is a point of small order, for which
// signatures can be made without a private key, or is not the canonical encoding of its
// point (RFC 8032, section 5.1.3). It ignores the sign of x, the highest bit: both points
// with such a y have small order.
func isWeakEd25519(public ed25519.PublicKey) bool {
	y := slices.Clone(public)
	y[31] &= 0x7f
	slices.Reverse(y)
	if bytes.Compare(y, edP) >= 0 {
		return true
	}
	return slices.ContainsFunc(smallOrderY, func(small []byte) bool { return bytes.Equal(y, small) })
}

// edP is the order of Ed25519's field, and smallOrderY are the y of its points of order
// 1, 2, 4 and 8; all big-endian.
var (
	edP         = unhex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed")
	smallOrderY = [][]byte{
		unhex("0000000000000000000000000000000000000000000000000000000000000001"),
		unhex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec"),
		unhex("0000000000000000000000000000000000000000000000000000000000000000"),
		unhex("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826"),
		unhex("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7"),
	}
)

func unhex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic("keys: " + err.Error()) // impossible: every argument is a constant
	}
	return b
}

// checkPrivate rejects a private key in memory that does not belong to its public half.
// Go's own checks differ between versions, so the key also signs once, and the public
// half verifies that. For any other signer, each signature is verified when it is made.
func (m *material) checkPrivate() error {
	if m.signer == nil || m.proven {
		return nil
	}
	mismatch := errors.New("the private key does not belong to its public half, or is broken")
	switch private := m.signer().(type) {
	case *rsa.PrivateKey:
		// Go 1.25's Validate accepts precomputed values without comparing them to the fields.
		fields := rsa.PrivateKey{PublicKey: private.PublicKey, D: private.D, Primes: private.Primes}
		if private.D == nil || fields.Validate() != nil || !signs(private, m.public) {
			return mismatch
		}
	case *ecdsa.PrivateKey:
		if private.D == nil || private.D.Sign() <= 0 || !signs(private, m.public) {
			return mismatch
		}
		d, err := private.Bytes()
		if err != nil {
			return mismatch
		}
		same, err := ecdsa.ParseRawPrivateKey(private.Curve, d)
		if err != nil || !same.PublicKey.Equal(m.public) {
			return mismatch
		}
	case ed25519.PrivateKey:
		if !private.Equal(ed25519.NewKeyFromSeed(private.Seed())) || !signs(private, m.public) {
			return mismatch
		}
	default:
		m.signer = conceal[crypto.Signer](provenSigner{private, m.public})
	}
	m.proven = true
	return nil
}

// signs reports whether a private key makes a signature that its public half verifies.
func signs(private crypto.Signer, public crypto.PublicKey) (ok bool) {
	defer func() {
		if recover() != nil { // crypto/rsa panics on numbers that are not a key
			ok = false
		}
	}()
	probe, opts := sha256.Sum256([]byte("jwtauth: does this key sign?")), crypto.SignerOpts(crypto.SHA256)
	if _, is := public.(ed25519.PublicKey); is {
		opts = crypto.Hash(0)
	}
	_, err := provenSigner{private, public}.Sign(rand.Reader, probe[:], opts)
	return err == nil
}

// arm decides once how the key signs and verifies. It uses jwx's signer and verifier for
// the algorithm, with two exceptions. PSS is verified here, since jwx accepts any length
// of salt and RFC 7518, section 3.5, requires that of the hash. HMAC is computed here,
// since jwx hashes the secret again for every token.
func (m *material) arm() error {
	if m.secret != nil {
		m.armHMAC()
		return nil
	}
	a, public := m.algorithm, m.public
	known := jwa.SignatureAlgorithm(a.name) // the name that jwx uses
	if a.name == "Ed25519" {
		known = jwa.EdDSA
	}
	verifier, err := jws.NewVerifier(known)
	if err != nil {
		return err
	}
	m.verify = func(message, signature []byte) error { return verifier.Verify(message, signature, public) }
	if a.pss {
		m.verify = func(message, signature []byte) error {
			return verifyRSA(public.(*rsa.PublicKey), a.digest(message), signature, pssOptions(a.hash))
		}
	}
	if !m.signs {
		return nil
	}
	private := m.signer()
	signer, err := jws.NewSigner(known)
	if err != nil {
		return err
	}
	m.sign = func(message []byte) ([]byte, error) { return signer.Sign(message, private) }
	return nil
}

// keyedHash is an HMAC that keeps its secret, and room for its sum.
type keyedHash struct {
	hash.Hash
	sum [64]byte // of SHA-512, the longest
}

func (m *material) armHMAC() {
	secret, a := m.secret(), m.algorithm
	pool := &sync.Pool{New: func() any { return &keyedHash{Hash: hmac.New(a.hash.New, secret)} }}
	// use passes the sum of a message to a function. The sum is overwritten afterwards.
	use := func(message []byte, with func(sum []byte)) {
		h := pool.Get().(*keyedHash)
		defer pool.Put(h)
		h.Reset()
		h.Write(message)
		with(h.Sum(h.sum[:0]))
	}
	m.verify = func(message, signature []byte) error {
		err := ErrSignature
		use(message, func(sum []byte) {
			if hmac.Equal(sum, signature) {
				err = nil
			}
		})
		return err
	}
	if m.signs {
		m.sign = func(message []byte) (signature []byte, err error) {
			use(message, func(sum []byte) { signature = bytes.Clone(sum) })
			return signature, nil
		}
	}
}

func (a algorithm) digest(message []byte) []byte {
	h := a.hash.New()
	h.Write(message)
	return h.Sum(nil)
}

func pssOptions(hash crypto.Hash) *rsa.PSSOptions {
	return &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash}
}

func verifyRSA(public *rsa.PublicKey, digest, signature []byte, opts crypto.SignerOpts) error {
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		return rsa.VerifyPSS(public, opts.HashFunc(), digest, signature, pss)
	}
	return rsa.VerifyPKCS1v15(public, opts.HashFunc(), digest, signature)
}

// provenSigner verifies each signature of its signer, for signers that this package
// cannot look into. It does so before jwx parses the signature, since jwx panics on an
// ECDSA signature of absurd size.
type provenSigner struct {
	crypto.Signer
	public crypto.PublicKey
}

// Public returns the key that was checked when the Key was made, even if the signer
// returns another one later.
func (s provenSigner) Public() crypto.PublicKey { return s.public }

func (s provenSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := s.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, err
	}
	var ok bool
	switch public := s.public.(type) {
	case *rsa.PublicKey:
		ok = verifyRSA(public, digest, signature, opts) == nil
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(public, digest, signature)
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, digest, signature) // for Ed25519 the "digest" is the message
	}
	if !ok {
		return nil, fmt.Errorf("the signer (%T) gave a signature that its own public key does not verify", s.Signer)
	}
	return signature, nil
}

// isNil reports whether v is nil, or an interface that holds a nil pointer, slice, map or
// func.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Func, reflect.Interface:
		return r.IsNil()
	default:
		return false
	}
}
