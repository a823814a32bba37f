package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// LoadOrCreate returns the private key in the JWK file at path, and makes one
// of the given algorithm, with an id, where there is no file yet. Of any number
// of processes that start at once one makes the key and all return it: the file
// appears whole or not at all. Its folder must exist.
//
// It is an error if the file holds another algorithm than alg, a public key, or
// anything but a key; and, other than on Windows, if anyone but its owner may
// read or write it: a key that others could read is no key. Nothing is ever
// overwritten.
func LoadOrCreate(path, alg string) (Key, error) {
	key, err := load(path, alg)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path, alg); err == nil {
			key, err = load(path, alg)
		}
	}
	if err != nil {
		return Key{}, fmt.Errorf("keys: LoadOrCreate: %w", err)
	}
	return key, nil
}

func load(path, alg string) (Key, error) {
	data, err := readPrivate(path)
	if err != nil {
		return Key{}, err
	}
	key, err := ParseJWK(data)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	if !key.m.signs {
		return Key{}, fmt.Errorf("%s holds a key that cannot sign; it needs a private one", path)
	}
	if key.Algorithm() != alg {
		return Key{}, fmt.Errorf("%s holds a key for %s, and %q was asked for; name that, or another file", path, key.Algorithm(), alg)
	}
	return key, nil
}

// readPrivate reads a file that only its owner may touch. The mode is that of
// the open file, so that nobody can swap it in between.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s has mode %04o, so that others than its owner may touch it; chmod 600 it, and make a new key if anyone could have read it", path, mode)
	}
	return io.ReadAll(io.LimitReader(f, maxKeyText+1))
}

// create writes a new key beside path and links it there. A link, unlike a
// rename, fails where a file is: whoever comes second takes the first one's.
func create(path, alg string) error {
	data, err := generateJWK(alg)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, bytes.NewReader(data))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the new name survive a power cut, where folders can be synced.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// generateJWK makes a new private key. Its id is the key's RFC 7638 thumbprint;
// of a secret it is random, since a thumbprint would be a hash of the secret.
func generateJWK(alg string) ([]byte, error) {
	raw, err := generate(alg)
	if err != nil {
		return nil, err
	}
	key, err := jwk.FromRaw(raw)
	if err != nil {
		return nil, err
	}
	kid := rand.Text()
	if _, secret := raw.([]byte); !secret {
		thumbprint, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, err
		}
		kid = base64.RawURLEncoding.EncodeToString(thumbprint)
	}
	for name, value := range map[string]string{jwk.AlgorithmKey: alg, jwk.KeyIDKey: kid, jwk.KeyUsageKey: "sig"} {
		if err := key.Set(name, value); err != nil {
			return nil, err
		}
	}
	return json.MarshalIndent(key, "", "  ")
}

func generate(alg string) (any, error) {
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
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("the algorithm %q is not known; EdDSA, ES256 and HS256 are good choices", alg)
}
