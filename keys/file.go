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

// LoadOrCreate returns the private key in the JWK file at path. If there is no
// file yet, it makes one, with a key of the given algorithm that has an id. If many
// processes start at once, one of them makes the key and all return it: the file
// appears whole or not at all. Its folder must exist.
//
// It is an error if the file holds another algorithm than alg, a public key, or
// anything except a key. Other than on Windows, it is also an error if any user
// except its owner may read or write it: a key that other users could read is no
// key. Nothing is ever overwritten.
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
		return Key{}, fmt.Errorf("%s holds a key that cannot sign; it needs a private one", path)
	}
	if key.Algorithm() != alg {
		return Key{}, fmt.Errorf("%s holds a key for %s, and %q was asked for; name that, or another file", path, key.Algorithm(), alg)
	}
	return key, nil
}

// The permissions that a file of keys must not have, if only its owner may use it,
// or if its group may read it besides.
const (
	ownerOnly  fs.FileMode = 0o077
	groupReads fs.FileMode = 0o037
)

// readPrivate reads a file of at most limit bytes that has none of the
// permissions in forbidden. It checks the mode of the open file, so that the file
// cannot be swapped in between.
func readPrivate(path string, forbidden fs.FileMode, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // to open a pipe would wait for a writer
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
		return nil, fmt.Errorf("%s has mode %04o, so that others may touch it; chmod 600 it (defaultMode: 0400 where Kubernetes mounts it), and make a new key if anyone could have read it", path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is too long for keys; it may have %d bytes", path, limit)
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

// create makes the file path, unless there is one. A link, unlike a rename,
// fails where a file is: the process that comes second uses the first one's.
func create(path string, data []byte) error {
	return place(path, data, func(tmp string) error {
		if err := os.Link(tmp, path); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// replace makes the file path, whether there is one or not.
func replace(path string, data []byte) error {
	return place(path, data, func(tmp string) error { return os.Rename(tmp, path) })
}

// place writes data to a new file beside path, of mode 0600, and calls as to give
// it that name: the file appears whole or not at all.
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
