// Package keys holds the keys that sign and verify tokens. A [Key] is a shared secret, a
// key pair or a public key. A [Ring] and a [Remote] hold keys that change at run time.
//
//	auth, err := jwtauth.New(keys.HS256(secret))           // one shared secret
//	auth, err := jwtauth.New(keys.Signer(privateKey))      // a key pair, KMS or HSM
//	auth, err := jwtauth.New(keys.Verifier(publicKey))     // verifies, cannot issue
//
//	ring, err := keys.LoadOrCreateRing("keys.jwks", "EdDSA") // keys that rotate
//	go ring.Run(ctx)
//	auth, err := jwtauth.New(ring)
//
//	remote, err := keys.NewRemote("https://issuer.example.com/.well-known/jwks.json")
//	go remote.Run(ctx)
//	auth, err := jwtauth.New(remote, jwtauth.WithIssuer("https://issuer.example.com"))
//
// Most programs need only [LoadOrCreate] or [HS256], later [LoadOrCreateRing], and
// [NewRemote] for tokens of another service.
//
// A key has exactly one algorithm, fixed when it is made. A token that names another
// algorithm is rejected: what a token says about itself never chooses how it is verified
// (RFC 8725, section 3.1). "none" does not exist here.
//
// A function that returns only a Key reports what is wrong with it through [Key.Err], and
// jwtauth.New returns that error. So keys can be written in place. Functions that read
// input (a file, PEM, a JWK) and [Generate] also return an error.
//
// # Rotating the keys of a ring
//
// A [Ring] has one or more keys: one signs, and all verify. A rotation that rejects no
// good token takes three steps.
//
//	ring.Add(next)          // next is published and verifies, and does not sign yet
//	ring.Rotate(next)       // once every verifier has next; the old key still verifies
//	ring.Retire(oldID)      // once the old key's tokens have expired
//
// To rotate the keys of many processes, change the file that they follow: open it with
// [OpenRing], change that ring, and call [Ring.Save]. [Ring.Run] brings the change to the
// rings in use. Each of the three steps is one change of the file. The time between two
// steps counts from when the last process has read it.
//
// Let only one program at a time change a file: Save checks whether the file has changed,
// and another program could write it between that check and the write. If a process
// changes the ring on which it calls Run, a change of the file can undo that before it is
// saved.
//
// A secret that Kubernetes mounts as the file needs defaultMode 0400, and fsGroup if the
// process does not run as root. Kubernetes never updates a subPath mount.
//
// # Keys that another service publishes
//
// With [Remote.Run], a [Remote] fetches keys before they are needed, and renews them
// before they are old. Without it, the first requests wait for a fetch. Later a request
// starts a fetch in the background if one is due, and still uses the old keys.
//
// A request waits for the network only if there are no keys, or if its token names an
// unknown key ID, which may be that of a new key. All such requests share one fetch. If
// the fetch fails, or unknown IDs were asked for too often, the request is answered with
// 503. An ID that a fetch did not bring is rejected without another fetch for 30 seconds.
//
// While the server cannot be reached or its answers are unusable, the last good keys are
// used until they are older than [WithMaxStale]. After that every token is answered with
// 503.
//
// A key that the server withdraws or replaces verifies until the next successful fetch.
// The server's Cache-Control says when a fetch is due, and without it one is due every
// five minutes. The time between two fetches is about a minute at least, an hour at most,
// and never more than half of WithMaxStale.
//
// A Remote uses each public key of the set with the algorithm that the key's alg or else
// its type fixes (see [Signer]). It leaves out and logs:
//   - secrets and private keys,
//   - keys that [ParseJWK] rejects: malformed or too short ones, and those whose use,
//     key_ops or alg is unknown or not for signatures, or whose kid is empty,
//   - RSA keys of more than 8192 bits, and IDs of more than 1024 bytes,
//   - a second key with the ID and algorithm of another, and a key that is there twice,
//   - a fifth key without an ID for one algorithm.
//
// A set of more than 256 keys or 1 MiB, and one without a usable key, count as an outage.
// A key without an ID verifies tokens of any ID. If the set has one, no ID is unknown, so
// only a renewal finds new keys.
//
// So an issuer publishes a new key first. It signs with the key once all cached answers
// without it have expired. Until a fetch brings the new key, its tokens are rejected if
// it replaces another key under the same ID, or if a cache on the way hides it.
package keys

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// The errors of a [Set]'s methods, for [errors.Is]. Package jwtauth has them under the
// same names.
var (
	// ErrUnknownKey: no key of the set has the token's algorithm and key ID.
	ErrUnknownKey = errors.New("jwtauth: no key for the token's alg and kid")
	// ErrSignature: no key that fits the token verifies its signature.
	ErrSignature = errors.New("jwtauth: wrong signature")
	// ErrNoSigningKey: the set can verify, and cannot sign.
	ErrNoSigningKey = errors.New("jwtauth: no key that can sign")
)

// Source returns the keys to verify and sign with. [Key], [Ring] and [Remote] are
// sources. A custom source returns a set that it got from one of them. An Auth calls Keys
// for each token, from any number of goroutines, so it should cost no more than an atomic
// load. kid is the token's key ID, or "" if the token has none or is about to be signed.
// A source may ignore it. Keys must return a new *Set exactly when the keys change:
// callers compare the pointers. If Keys returns an error, the request is denied with 503.
type Source interface {
	Keys(ctx context.Context, kid string) (*Set, error)
}

// Set is an immutable set of keys, one of which may sign. It is safe for concurrent use.
// A Set comes from a [Source]; the zero Set holds no key.
type Set struct {
	keys   []*material
	active *material // nil if none can sign
}

// SigningKey returns the algorithm (RFC 7518, section 3.1) and the ID of the key that
// signs. The ID is "" if the key has none. If no key signs, the error is
// [ErrNoSigningKey].
func (s *Set) SigningKey() (alg, kid string, err error) {
	if s.active == nil {
		return "", "", ErrNoSigningKey
	}
	return s.active.algorithm.name, s.active.id, nil
}

// Sign returns the signature of a message by the set's signing key, in the form of a JWS.
// The error is [ErrNoSigningKey], or that of a [crypto.Signer] that fails or returns a
// wrong signature.
func (s *Set) Sign(message []byte) ([]byte, error) {
	if s.active == nil {
		return nil, ErrNoSigningKey
	}
	return s.active.sign(message)
}

// Verify verifies a signature. It uses only keys of exactly this algorithm. A key with an
// ID is used only if kid is that ID. It returns nil, [ErrUnknownKey] or [ErrSignature],
// and fails closed.
func (s *Set) Verify(alg, kid string, message, signature []byte) error {
	err := ErrUnknownKey
	for _, k := range s.keys {
		if k.algorithm.name != alg || k.id != "" && k.id != kid {
			continue
		}
		if k.verify(message, signature) == nil {
			return nil
		}
		err = ErrSignature
	}
	return err
}

// Key is one key with its algorithm and, if it has one, its ID. It is immutable, safe for
// concurrent use, and a [Source] that holds only itself. The zero Key is a bad key. A Key
// never prints its secret.
type Key struct {
	m *material
}

// HS256 returns a key for HMAC with SHA-256. The secret must be at least 32 random bytes
// (RFC 7518, section 3.2). PEM, a JWK and one byte repeated are bad keys. The secret is
// copied. Make one with "openssl rand -base64 32" and decode it, or let [LoadOrCreate]
// keep one in a file.
func HS256(secret []byte) Key { return symmetric(secret, "HS256") }

// HS384 is like [HS256], with SHA-384 and at least 48 bytes.
func HS384(secret []byte) Key { return symmetric(secret, "HS384") }

// HS512 is like [HS256], with SHA-512 and at least 64 bytes.
func HS512(secret []byte) Key { return symmetric(secret, "HS512") }

func symmetric(secret []byte, alg string) Key {
	return newKey(material{secret: conceal(slices.Clone(secret)), signs: true}, alg)
}

// Signer returns a key that signs and verifies. The key's type fixes its algorithm:
// Ed25519 is EdDSA (RFC 8037), P-256 ES256, P-384 ES384, P-521 ES512, RSA of 2048 to
// 16384 bits RS256. See [Key.WithAlgorithm] for others.
//
// s may be any [crypto.Signer] that is safe for concurrent use, such as one of a KMS or
// an HSM. Each of its signatures is verified before it is used: a wrong one is an error.
// A private key in memory is only checked once, by Signer. It must not be changed
// afterwards, since an RSA or ECDSA key is not copied.
func Signer(s crypto.Signer) Key {
	if isNil(s) {
		return badKey("keys.Signer: the signer is nil; give it a private key, such as an ed25519.PrivateKey")
	}
	if pointer, ok := s.(*ed25519.PrivateKey); ok {
		s = *pointer
	}
	if private, ok := s.(ed25519.PrivateKey); ok {
		if len(private) != ed25519.PrivateKeySize { // Public would panic
			return badKey("keys: the Ed25519 private key has %d bytes; it needs %d", len(private), ed25519.PrivateKeySize)
		}
		s = slices.Clone(private)
	}
	return newKey(material{signer: conceal(s), public: s.Public(), signs: true}, "")
}

// Verifier returns a key that only verifies: an Auth with this key cannot issue. The
// key's type fixes its algorithm, as in [Signer].
func Verifier(pub crypto.PublicKey) Key {
	if isNil(pub) {
		return badKey("keys.Verifier: the public key is nil; give it one, such as an ed25519.PublicKey")
	}
	return newKey(material{public: pub}, "")
}

// WithID returns the key with an ID, which is any non-empty string of valid UTF-8. The ID
// is the kid header of the tokens that the key signs (RFC 7515, section 4.1.4), and the
// key verifies only tokens with this kid. Tokens of a key without an ID have no kid. Such
// a key ignores the kid of the tokens that it verifies.
func (k Key) WithID(kid string) Key {
	if k.Err() != nil {
		return k
	}
	if kid == "" {
		return badKey("keys: WithID was given an empty id; leave it out for a key without one")
	}
	if !utf8.ValidString(kid) { // encoding/json would write another id into the token
		return badKey("keys: WithID was given an id that is not valid UTF-8; a hex or base64url string will do")
	}
	m := *k.m
	m.id = kid
	return newKey(m, m.algorithm.name)
}

// WithAlgorithm returns the key with another algorithm (RFC 7518, section 3.1). For RSA
// it may be RS256, RS384, RS512, PS256, PS384 or PS512. For a secret that is long enough
// it may be HS256, HS384 or HS512. For an Ed25519 key it may be EdDSA or Ed25519, two
// names of one algorithm (RFC 9864): a token must have the name that its key has. Any
// other key has only one algorithm. An algorithm that does not fit makes a bad key.
func (k Key) WithAlgorithm(alg string) Key {
	if k.Err() != nil {
		return k
	}
	if alg == "" {
		return badKey("keys: WithAlgorithm was given an empty name; leave it out for the algorithm that the key's type fixes")
	}
	return newKey(*k.m, alg)
}

// Algorithm returns the key's algorithm (RFC 7518, section 3.1), or "" for a bad key.
func (k Key) Algorithm() string {
	if k.Err() != nil {
		return ""
	}
	return k.m.algorithm.name
}

// ID returns the key's ID, or "" if it has none or is a bad key.
func (k Key) ID() string {
	if k.Err() != nil {
		return ""
	}
	return k.m.id
}

// Err returns an error that says what is wrong with the key and what would be right. It
// is nil for a good key. jwtauth.New returns it.
func (k Key) Err() error {
	if k.m == nil {
		return errors.New("keys: the key is the zero Key; make one with HS256, Signer, Verifier, ParsePEM, ParseJWK or LoadOrCreate")
	}
	return k.m.err
}

// Keys returns a set of this key alone, always the same one, or the error of [Key.Err].
// It makes a Key a [Source].
func (k Key) Keys(context.Context, string) (*Set, error) {
	if err := k.Err(); err != nil {
		return nil, err
	}
	return k.m.set, nil
}

// String describes the key without any secret.
func (k Key) String() string {
	switch {
	case k.Err() != nil:
		return "bad key"
	case k.m.id == "":
		return k.m.algorithm.name + " key"
	}
	return fmt.Sprintf("%s key %q", k.m.algorithm.name, k.m.id)
}

// GoString is [Key.String], so that %#v prints no secret either.
func (k Key) GoString() string { return k.String() }

func badKey(format string, args ...any) Key {
	return Key{&material{err: fmt.Errorf(format, args...)}}
}
