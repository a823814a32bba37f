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
	maxRingBytes   = 1 << 20     // bytes of a file
	followInterval = time.Second // between two looks at it
	followReports  = 60          // looks between two reports of one and the same failure
)

// ringFile is what a ring that was opened from a file knows of it.
type ringFile struct {
	path string
	seen [sha256.Size]byte // hash of the content last read or written; under Ring.files
}

// OpenRing returns the ring that a file holds: a JWK Set (RFC 7517, section 5)
// of private keys or secrets, of which the first signs, and of public keys that
// only verify. The file may be one that [Ring.Save] wrote, or a mounted secret.
// The ring changes with it while [Ring.Run] runs; without Run it stays as it
// was opened.
//
// It fails closed. A file that is not there, that holds no key, or that holds one
// which [ParseJWK] or [NewRing] would refuse is an error. So is, other than on
// Windows, a file that users other than its owner may write, or that users other
// than its owner and group may read. It does not check which user the owner is. A
// secret that Kubernetes mounts needs defaultMode 0400, and fsGroup where the
// process is not root; a subPath mount never changes.
func OpenRing(path string) (*Ring, error) {
	r, err := openRing(path)
	if err != nil {
		return nil, fmt.Errorf("keys: OpenRing: %w", err)
	}
	return r, nil
}

// LoadOrCreateRing is [OpenRing], and makes the file if there is none yet, with one
// new key of the given algorithm: see [Generate]. If many processes start at once,
// one of them makes the key and all return it. A file that is there is never written
// to, and may hold keys of other algorithms.
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

// Save writes the ring to a file that [OpenRing] reads, secrets and private keys
// included; of a key that only verifies, its public half. The file is replaced
// whole: a process that reads it meanwhile has the old one or the new one. The new
// file belongs to the user that saves, with mode 0600, whatever it was before.
//
// It is an error, and nothing is written, if a private key is not in memory but in
// a KMS or an HSM. The same holds if the file is the one that the ring was opened
// from, and holds something else than the ring read there: another program's change,
// such as a retirement, would be undone. Open the file again then. The look and the
// write are two steps, so let one program at a time change a file.
//
// To change a file that processes follow, open it by [OpenRing], change that ring
// and save it, and let [Ring.Run] bring the change to the rings in use. A change of
// one of those rings could be undone by the file before it is saved.
func (r *Ring) Save(path string) error {
	r.files.Lock() // of two calls, the later one writes the later keys
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
		return fmt.Errorf("it could not be opened again: %w", err)
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

// throughLinks returns what a link leads to. To replace the link itself would leave
// programs behind that read what it led to.
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

// privateJWKS returns the set as a JWK Set, private halves included, the key that
// signs first.
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

// Run follows the file that the ring was opened from, until ctx ends. It returns the
// error of ctx. Every second it looks whether the file holds something else, by
// whatever way it came there. If so, it replaces the keys by those of the file, also
// keys that Add, Rotate and Retire changed and that were not saved there. A rotation
// of a fleet is then three changes of the file, with the times of [Ring] between
// them, counted from when the last process has the file.
//
// A file that is missing, half-written or otherwise one that [OpenRing] would refuse
// changes nothing. The keys stay, and the error is logged by [slog.Default] at once
// and then every minute. So a key that is to be retired verifies until the file is
// whole again.
//
// Run of a ring that was not opened from a file is an error.
func (r *Ring) Run(ctx context.Context) error {
	if r.file == nil {
		return errors.New("keys: Ring.Run: the ring does not come from a file; make it with OpenRing or LoadOrCreateRing, or leave Run out")
	}
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	var last string // the failure at hand
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
			slog.Default().InfoContext(ctx, "jwtauth: the keys are those of the file, of which the first signs", "file", r.file.path, "kids", r.IDs())
		case err == nil && last != "":
			last = ""
			slog.Default().InfoContext(ctx, "jwtauth: the file of keys can be used again; the keys stay as they are", "file", r.file.path, "kids", r.IDs())
		}
	}
}

// follow takes the keys over from the file if it holds something else than
// before. A change of the ring does not wait for the disk meanwhile.
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
