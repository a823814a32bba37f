// Package keys holds the keys that sign and verify tokens.
//
//	auth, err := jwtauth.New(keys.HS256(secret))           // one shared secret
//	auth, err := jwtauth.New(keys.Signer(privateKey))      // a key pair, KMS or HSM
//	auth, err := jwtauth.New(keys.Verifier(publicKey))     // verifies, cannot issue
//	auth, err := jwtauth.New(ring)                         // keys that rotate: see Ring, OpenRing
//	auth, err := jwtauth.New(remote)                       // keys that another service publishes: see Remote
//
// A key has exactly one algorithm, fixed when it is made. A token that names
// another algorithm is rejected: what a token says about itself never chooses how
// it is verified (RFC 8725, section 3.1). "none" does not exist here.
//
// The functions that make a Key report what is wrong with it through [Key.Err],
// not at once. jwtauth.New returns that error, so that keys can be written in
// place. Only functions that read input (a file, PEM, a JWK) return an error of
// their own.
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

// Errors that the methods of a [Set] return, for errors.Is. Package jwtauth has
// them under the same names.
var (
	// ErrUnknownKey: no key of the set has the token's algorithm and key id.
	ErrUnknownKey = errors.New("jwtauth: no key for the token's alg and kid")
	// ErrSignature: no key that fits the token verifies its signature.
	ErrSignature = errors.New("jwtauth: wrong signature")
	// ErrNoSigningKey: the set can verify, but not sign.
	ErrNoSigningKey = errors.New("jwtauth: no key that can sign")
)

// Source returns the keys to verify and sign with. [Key], [Ring] and [Remote] are
// sources. A custom source returns a set that it got from one of them.
//
// Keys is called on every request, by any number of goroutines, so it should cost no
// more than an atomic load; [Remote] says when it waits. kid is the id that the token
// names. It is "" if the token names none, and if a token is to be signed. A source may
// ignore it. A change of keys is a new *Set: holders of the old one tell by its
// identity. An error means "cannot know now". The request is then answered with 503: it
// fails closed, and never blames the token.
type Source interface {
	Keys(ctx context.Context, kid string) (*Set, error)
}

// Set is an immutable set of keys, of which one may sign. It is safe for
// concurrent use. A Set comes from a [Source]; its zero value holds no key.
type Set struct {
	keys   []*material
	active *material // nil if none can sign
}

// SigningKey returns the algorithm (RFC 7518, section 3.1) and the id of the key
// that signs. The id is "" if the key has none. If no key signs, the error is
// [ErrNoSigningKey].
func (s *Set) SigningKey() (alg, kid string, err error) {
	if s.active == nil {
		return "", "", ErrNoSigningKey
	}
	return s.active.algorithm.name, s.active.id, nil
}

// Sign signs with the set's signing key. It returns [ErrNoSigningKey], or the
// error of a [crypto.Signer].
func (s *Set) Sign(message []byte) ([]byte, error) {
	if s.active == nil {
		return nil, ErrNoSigningKey
	}
	return s.active.sign(message)
}

// Verify verifies a signature. It uses only keys of exactly this algorithm, and a
// key that has an id only if kid is that id. It returns nil, [ErrUnknownKey] or
// [ErrSignature], and fails closed.
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

// Key is one key with its algorithm and, if it has one, its id. It is an
// immutable value, safe for concurrent use, and a [Source] of itself alone. Its
// zero value is a bad key. It never prints its secret.
type Key struct {
	m *material
}

// HS256 returns a key for HMAC with SHA-256. The secret must be at least 32
// random bytes (RFC 7518, section 3.2), and not a value that only looks like a
// key, such as PEM. It is copied. Make one with
//
//	openssl rand -base64 32
//
// and decode it, or let [LoadOrCreate] keep it in a file.
func HS256(secret []byte) Key { return symmetric(secret, "HS256") }

// HS384 is [HS256] with SHA-384 and at least 48 bytes.
func HS384(secret []byte) Key { return symmetric(secret, "HS384") }

// HS512 is [HS256] with SHA-512 and at least 64 bytes.
func HS512(secret []byte) Key { return symmetric(secret, "HS512") }

func symmetric(secret []byte, alg string) Key {
	return newKey(material{secret: conceal(slices.Clone(secret)), signs: true}, alg)
}

// Signer returns a key that signs and verifies. The key's type fixes its
// algorithm: Ed25519 is EdDSA (RFC 8037), P-256 ES256, P-384 ES384, P-521
// ES512, RSA of 2048 bits or more RS256; see [Key.WithAlgorithm] for others.
//
// Any crypto.Signer will do, so the private key may live in a KMS or an HSM. The
// signer must be safe for concurrent use. Each of its signatures is verified
// before it is used: a wrong one is an error, never a token that every verifier
// rejects. An RSA or ECDSA private key in memory is used where it is, not copied:
// leave it unchanged from then on.
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

// Verifier returns a key that verifies only: an Auth made of it refuses to
// issue. The algorithm is chosen as by [Signer].
func Verifier(pub crypto.PublicKey) Key {
	if isNil(pub) {
		return badKey("keys.Verifier: the public key is nil; give it one, such as an ed25519.PublicKey")
	}
	return newKey(material{public: pub}, "")
}

// WithID returns the key with an id. That key writes the id into the kid header
// of what it signs (RFC 7515, section 4.1.4), and verifies only tokens that carry
// it. A key without an id writes none, and ignores the kid of what it verifies.
// An id is any string of valid UTF-8 that is not empty.
func (k Key) WithID(kid string) Key {
	if k.Err() != nil {
		return k
	}
	if kid == "" {
		return badKey("keys: WithID was given an empty id; leave it out for a key without one")
	}
	if !utf8.ValidString(kid) { // encoding/json would write another id into the token
		return badKey("keys: WithID was given an id that is not valid UTF-8; a hex or base64url text will do")
	}
	m := *k.m
	m.id = kid
	return newKey(m, m.algorithm.name)
}

// WithAlgorithm returns the key with another algorithm (RFC 7518, section 3.1),
// which must fit it: RS256, RS384, RS512, PS256, PS384 or PS512 for RSA,
// HS256, HS384 or HS512 for a secret that is long enough, and EdDSA or Ed25519 for an
// Ed25519 key. Those are two names of one algorithm (RFC 9864): a token must say the one
// that its key has. For every other key one algorithm fits.
func (k Key) WithAlgorithm(alg string) Key {
	if k.Err() != nil {
		return k
	}
	if alg == "" {
		return badKey("keys: WithAlgorithm was given an empty name; leave it out for the algorithm that the key's type fixes")
	}
	return newKey(*k.m, alg)
}

// Algorithm returns the key's algorithm (RFC 7518, section 3.1), "" for a bad
// key.
func (k Key) Algorithm() string {
	if k.Err() != nil {
		return ""
	}
	return k.m.algorithm.name
}

// ID returns the key's id, "" if it has none.
func (k Key) ID() string {
	if k.Err() != nil {
		return ""
	}
	return k.m.id
}

// Err returns what is wrong with the key and what would be right, or nil if
// nothing is wrong. jwtauth.New returns it.
func (k Key) Err() error {
	if k.m == nil {
		return errors.New("keys: the key is the zero Key; make one with HS256, Signer, Verifier, ParsePEM, ParseJWK or LoadOrCreate")
	}
	return k.m.err
}

// Keys returns the set that holds this key alone, always the same one, or
// [Key.Err]. It makes a Key a [Source].
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
