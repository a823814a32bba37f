package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// Generate returns a new key pair or secret for an algorithm (RFC 7518, section 3.1). RSA
// keys have 3072 bits. The ID of a key pair is its RFC 7638 thumbprint. The ID of a
// secret is random, since a thumbprint would be a hash of the secret. An unknown
// algorithm is an error. The key is only in memory: use [LoadOrCreate] or [Ring.Save] to
// keep one.
func Generate(alg string) (Key, error) {
	key, err := generate(alg)
	if err != nil {
		return Key{}, fmt.Errorf("keys: Generate: %w", err)
	}
	return key, nil
}

func generate(alg string) (Key, error) {
	raw, err := generateRaw(alg)
	if err != nil {
		return Key{}, err
	}
	if secret, ok := raw.([]byte); ok {
		return HS256(secret).WithAlgorithm(alg).WithID(rand.Text()), nil
	}
	return identify(Signer(raw.(crypto.Signer)).WithAlgorithm(alg))
}

func generateRaw(alg string) (any, error) {
	switch alg {
	case "HS256", "HS384", "HS512":
		secret := make([]byte, 64)
		_, err := rand.Read(secret)
		return secret, err
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("the algorithm %q is not known; EdDSA, ES256 and HS256 are good choices", alg)
}

// identify gives an asymmetric key without an ID its RFC 7638 thumbprint. A secret gets
// no ID: a thumbprint would be a hash of it.
func identify(k Key) (Key, error) {
	if k.Err() != nil || k.ID() != "" || k.m.secret != nil {
		return k, k.Err()
	}
	public, err := jwk.FromRaw(k.m.public)
	if err != nil {
		return Key{}, err
	}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return Key{}, err
	}
	return k.WithID(base64.RawURLEncoding.EncodeToString(thumbprint)), nil
}

// privateJWK returns the key as it is kept in a file: whole, or the public half of a key
// that only verifies.
func (m *material) privateJWK() (jwk.Key, error) {
	switch {
	case m.secret != nil:
		key, err := m.jwk(m.secret())
		if err == nil && !m.signs {
			err = key.Set(jwk.KeyOpsKey, jwk.KeyOperationList{jwk.KeyOpVerify})
		}
		return key, err
	case m.signer == nil:
		return m.publicJWK()
	}
	switch private := m.signer().(type) {
	case *rsa.PrivateKey:
		if len(private.Primes) != 2 {
			return nil, fmt.Errorf("the RSA key %q has %d primes; only one with 2 can be written", m.id, len(private.Primes))
		}
		return m.jwk(private)
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
		return m.jwk(private)
	}
	return nil, fmt.Errorf("the private key %q is kept by its signer, such as a KMS; only one in memory can be written", m.id)
}

// publicJWK returns the key as published in a JWK Set. It is built from the public key
// alone, so it cannot contain anything private.
func (m *material) publicJWK() (jwk.Key, error) { return m.jwk(m.public) }

func (m *material) jwk(raw any) (jwk.Key, error) {
	key, err := jwk.FromRaw(raw)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{jwk.KeyIDKey: m.id, jwk.AlgorithmKey: m.algorithm.name, jwk.KeyUsageKey: "sig"} {
		if value == "" {
			continue // a secret without an ID
		}
		if err := key.Set(name, value); err != nil {
			return nil, err
		}
	}
	return key, nil
}
