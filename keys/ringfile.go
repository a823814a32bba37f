package keys

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

const (
	maxRingBytes   = 1 << 20     // the largest file
	followInterval = time.Second // between two checks of the file
	followReports  = 60          // checks between two log lines about the same failure
)

// ringFile is what a ring knows about the file that it was opened from.
type ringFile struct {
	path string
	seen [sha256.Size]byte // hash of the content last taken over or written; under Ring.files
}

// OpenRing returns the ring in a file: a JWK Set (RFC 7517, section 5) whose first key
// signs. The others may also be public keys, which only verify. The file may be one that
// [Ring.Save] wrote, or a mounted secret. The ring follows it while [Ring.Run] runs.
//
// OpenRing fails closed. It returns an error if there is no file, or if [ParseJWK] or
// [NewRing] would reject its keys. Except on Windows, it also returns one if users other
// than the file's owner may write it, or users other than its owner and group may read
// it. It does not check who the owner is.
func OpenRing(path string) (*Ring, error) {
	r, err := openRing(path)
	if err != nil {
		return nil, fmt.Errorf("keys: OpenRing: %w", err)
	}
	return r, nil
}

// LoadOrCreateRing is like [OpenRing], and creates the file if there is none, with one
// new key of the given algorithm (see [Generate]). If many processes start at once, one
// of them creates the file and all open it. LoadOrCreateRing never writes an existing
// file, which may hold keys of other algorithms.
func LoadOrCreateRing(path, alg string) (*Ring, error) {
	r, err := openRing(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createRing(path, alg); err == nil {
			r, err = openRing(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("keys: LoadOrCreateRing: %w", err)
	}
	return r, nil
}

func openRing(path string) (*Ring, error) {
	r := &Ring{file: &ringFile{path: path}}
	_, err := r.follow()
	return r, err
}

func createRing(path, alg string) error {
	key, err := generate(alg)
	if err != nil {
		return err
	}
	state, err := newRingState([]Key{key})
	if err != nil {
		return err
	}
	data, err := state.set.privateJWKS()
	if err != nil {
		return err
	}
	return create(path, data)
}

// Save writes the ring to a file that [OpenRing] reads, including secrets and private
// keys. The file is replaced as a whole: a reader sees the old one or the new one. It
// gets mode 0600 and belongs to the user who saves.
//
// Save writes nothing and returns an error if a private key is not in memory (KMS, HSM).
// It does the same if the ring was opened from this file, and the file has changed since
// the ring last read or wrote it. Saving would undo the change: open the file again.
func (r *Ring) Save(path string) error {
	r.files.Lock() // so that of two calls the later one writes the later keys
	defer r.files.Unlock()
	if err := r.save(path); err != nil {
		return fmt.Errorf("keys: Ring.Save: %w", err)
	}
	return nil
}

func (r *Ring) save(path string) error {
	data, err := r.current.Load().set.privateJWKS()
	if err != nil {
		return err
	}
	if _, err := readRing(data); err != nil {
		return fmt.Errorf("the file could not be opened again: %w", err)
	}
	if path, err = throughLinks(path); err != nil {
		return err
	}
	own := r.file != nil && sameFile(path, r.file.path)
	if own {
		now, err := readPrivate(path, groupReads, maxRingBytes)
		if err != nil {
			return err
		}
		if sha256.Sum256(now) != r.file.seen {
			return fmt.Errorf("%s has changed since the ring read it; open it again", path)
		}
	}
	if err := replace(path, data); err != nil {
		return err
	}
	if own {
		r.file.seen = sha256.Sum256(data)
	}
	return nil
}

// throughLinks returns the file that a link leads to, or path if there is none. If the
// link itself were replaced, programs that read the file by its own name would keep the
// old keys.
func throughLinks(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	return target, err
}

func sameFile(path, other string) bool {
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := os.Stat(other)
	return err == nil && os.SameFile(a, b)
}

// privateJWKS returns the set as a JWK Set with private keys, beginning with the key that
// signs.
func (s *Set) privateJWKS() ([]byte, error) {
	var file struct {
		Keys []jwk.Key `json:"keys"`
	}
	for _, m := range s.keys {
		key, err := m.privateJWK()
		if err != nil {
			return nil, err
		}
		file.Keys = append(file.Keys, key)
	}
	return json.MarshalIndent(file, "", "  ")
}

func readRing(data []byte) (*ringState, error) {
	ring, err := parseJWKSet(data)
	if err != nil {
		return nil, err
	}
	return newRingState(ring)
}

// Run follows the file that the ring was opened from until ctx ends, and returns the
// error of ctx. Every second it checks whether the file has changed. If so, the file's
// keys replace all keys of the ring. That undoes what Add, Rotate and Retire have changed
// since the ring was last saved to the file.
//
// If [OpenRing] would reject the file, the keys stay as they are. Run logs the error to
// [slog.Default] at once and then every minute. A key to be retired verifies until the
// file is good again. For a ring not opened from a file, Run returns an error at once.
func (r *Ring) Run(ctx context.Context) error {
	if r.file == nil {
		return errors.New("keys: Ring.Run: the ring does not come from a file; make it with OpenRing or LoadOrCreateRing, or leave Run out")
	}
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	var last string // the current failure
	for looks := 0; ; looks++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		changed, err := r.follow()
		switch {
		case err != nil && (err.Error() != last || looks >= followReports):
			last, looks = err.Error(), 0
			slog.Default().ErrorContext(ctx, "jwtauth: the file of keys cannot be used; the keys stay as they are", "error", err)
		case err == nil && changed:
			last = ""
			slog.Default().InfoContext(ctx, "jwtauth: the keys are those of the file, and the first one signs", "file", r.file.path, "kids", r.IDs())
		case err == nil && last != "":
			last = ""
			slog.Default().InfoContext(ctx, "jwtauth: the file of keys can be used again; the keys stay as they are", "file", r.file.path, "kids", r.IDs())
		}
	}
}

// follow replaces the ring's keys if the file has changed. It does not hold r.mu while it
// reads, so changes of the ring need not wait for the disk.
func (r *Ring) follow() (changed bool, err error) {
	r.files.Lock()
	defer r.files.Unlock()
	data, err := readPrivate(r.file.path, groupReads, maxRingBytes)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(data)
	if r.current.Load() != nil && sum == r.file.seen {
		return false, nil
	}
	state, err := readRing(data)
	if err != nil {
		return false, fmt.Errorf("%s: %w", r.file.path, err)
	}
	r.file.seen = sum
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.Store(state)
	return true, nil
}
