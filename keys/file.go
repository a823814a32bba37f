package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// LoadOrCreate returns the private key or secret in the JWK file at path. If there is no
// file, it creates one, with a key from [Generate]. If many processes start at once, one
// of them creates the key and all return it: the file appears whole or not at all. Its
// folder must exist. An existing file is never overwritten.
//
// LoadOrCreate returns an error if the file holds a key of another algorithm, a key that
// cannot sign, or no key. Except on Windows, it also returns one if users other than the
// file's owner have any permission for it.
func LoadOrCreate(path, alg string) (Key, error) {
	key, err := load(path, alg)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKey(path, alg); err == nil {
			key, err = load(path, alg)
		}
	}
	if err != nil {
		return Key{}, fmt.Errorf("keys: LoadOrCreate: %w", err)
	}
	return key, nil
}

func load(path, alg string) (Key, error) {
	data, err := readPrivate(path, ownerOnly, maxKeyBytes)
	if err != nil {
		return Key{}, err
	}
	key, err := ParseJWK(data)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	if !key.m.signs {
		return Key{}, fmt.Errorf("%s holds a key that cannot sign; it needs a private key or a secret", path)
	}
	if key.Algorithm() != alg {
		return Key{}, fmt.Errorf("%s holds a key for %s, and not for %q; ask for the algorithm of the file, or name another file", path, key.Algorithm(), alg)
	}
	return key, nil
}

// Permissions that a file of keys must not have. With ownerOnly only its owner may use
// it. With groupReads its group may read it, too.
const (
	ownerOnly  fs.FileMode = 0o077
	groupReads fs.FileMode = 0o037
)

// readPrivate reads a file of at most limit bytes that has none of the permissions in
// forbidden. It checks the mode of the open file, so that the file cannot be swapped
// between the check and the read.
func readPrivate(path string, forbidden fs.FileMode, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for a writer
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s has mode %04o, which gives other users access; chmod 600 it (defaultMode: 0400 where Kubernetes mounts it), and make a new key if anyone could have read it", path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is too long for keys; it may have at most %d bytes", path, limit)
	}
	return data, err
}

func createKey(path, alg string) error {
	key, err := generate(alg)
	if err != nil {
		return err
	}
	private, err := key.m.privateJWK()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(private, "", "  ")
	if err != nil {
		return err
	}
	return create(path, data)
}

// create writes a new file at path. If there is one already, it leaves that as it is and
// returns nil, so the second of two processes uses the file of the first. os.Link, unlike
// os.Rename, does not replace a file.
func create(path string, data []byte) error {
	return place(path, data, func(tmp string) error {
		if err := os.Link(tmp, path); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// replace writes the file at path, whether or not there is one.
func replace(path string, data []byte) error {
	return place(path, data, func(tmp string) error { return os.Rename(tmp, path) })
}

// place writes data to a temporary file beside path, with mode 0600, and calls as with its
// name. as links or renames it to path, so the file appears whole or not at all.
func place(path string, data []byte, as func(tmp string) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, bytes.NewReader(data))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := as(tmp.Name()); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in the folder survive a power cut, on systems that can sync
// folders.
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
