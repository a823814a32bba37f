package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// Ring is a [Source] of one or more keys that change at run time. One key signs, and all
// verify. Each key verifies the tokens with its ID. A secret without an ID verifies
// tokens with any or no ID. See "Rotating the keys of a ring" in the package comment.
//
// [OpenRing] and [LoadOrCreateRing] return a ring whose keys are in a file. Every process
// that opens the file and calls [Ring.Run] follows its changes. A Ring is safe for
// concurrent use, and reading takes no lock. A change that fails changes nothing.
type Ring struct {
	files   sync.Mutex // held while a file is read or written; never taken while mu is held
	mu      sync.Mutex // held while current is changed, never for long
	current atomic.Pointer[ringState]
	file    *ringFile // nil unless the ring was opened from one
}

// ringState is one state of a ring. It is complete before a reader sees it, and never
// changes.
type ringState struct {
	set  *Set
	jwks []byte // the public keys as a JWK Set
	etag string
}

// NewRing returns a ring in which active signs and all keys verify. A bad key, an active
// key that cannot sign, two keys with one ID, and two secrets without an ID are errors.
//
// An asymmetric key without an ID gets its RFC 7638 thumbprint as ID. Tokens that it
// signed before, without an ID, have no kid, and the ring rejects them. Until they have
// expired, verify them with a second Auth that has the key alone.
func NewRing(active Key, others ...Key) (*Ring, error) {
	state, err := newRingState(append([]Key{active}, others...))
	if err != nil {
		return nil, fmt.Errorf("keys: NewRing: %w", err)
	}
	r := new(Ring)
	r.current.Store(state)
	return r, nil
}

// Keys returns the ring's current keys. It never fails, and costs one atomic load.
func (r *Ring) Keys(context.Context, string) (*Set, error) {
	return r.current.Load().set, nil
}

// IDs returns the IDs of the ring's keys, beginning with the key that signs. The ID of a
// secret without one is "".
func (r *Ring) IDs() []string {
	var ids []string
	for _, m := range r.current.Load().set.keys {
		ids = append(ids, m.id)
	}
	return ids
}

// Key returns the ring's key with this ID, or false if there is none. Use it to call
// [Ring.Rotate] with a key that another program added.
func (r *Ring) Key(kid string) (Key, bool) {
	ring := r.current.Load().set.ring()
	if i := indexOf(ring, kid); i >= 0 {
		return ring[i], true
	}
	return Key{}, false
}

// Add adds a key that verifies, and publishes it if it is asymmetric. A key whose ID the
// ring already has is an error.
func (r *Ring) Add(k Key) error {
	return r.change("Add", func(ring []Key) ([]Key, error) { return append(ring, k), nil })
}

// Rotate makes next the key that signs. The key that signed before goes on verifying.
// next may already be in the ring. If the ring has another key with the ID of next, that
// is an error, since the tokens of that key would be rejected.
func (r *Ring) Rotate(next Key) error {
	return r.change("Rotate", func(ring []Key) ([]Key, error) {
		next, err := identify(next)
		if err != nil {
			return nil, err
		}
		if i := indexOf(ring, next.ID()); i >= 0 {
			if !ring[i].m.sameKey(next.m) {
				return nil, fmt.Errorf("the ring has another key %q", next.ID())
			}
			ring = slices.Delete(ring, i, i+1)
		}
		return slices.Insert(ring, 0, next), nil
	})
}

// Retire removes a key: this ring rejects its tokens from now on. kid "" means the secret
// without an ID. It is an error to retire the key that signs, or one that the ring does
// not have. It is also an error to retire a secret that the ring has without an ID, too:
// that would still verify the tokens.
func (r *Ring) Retire(kid string) error {
	return r.change("Retire", func(ring []Key) ([]Key, error) {
		switch i := indexOf(ring, kid); i {
		case -1:
			return nil, fmt.Errorf("the ring has no key %q", kid)
		case 0:
			return nil, fmt.Errorf("the key %q signs; rotate to another one first", kid)
		default:
			retired := ring[i]
			ring = slices.Delete(ring, i, i+1)
			if j := indexOf(ring, ""); j >= 0 && ring[j].m.sameKey(retired.m) {
				return nil, fmt.Errorf("the same secret is in the ring without an id, and would still verify the tokens of %q; retire the one without an id first", kid)
			}
			return ring, nil
		}
	})
}

// change calls edit with a copy of the ring's keys, the first of which signs, and
// replaces the keys with those that edit returns.
func (r *Ring) change(method string, edit func([]Key) ([]Key, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ring, err := edit(r.current.Load().set.ring())
	if err == nil {
		var state *ringState
		if state, err = newRingState(ring); err == nil {
			r.current.Store(state)
			return nil
		}
	}
	return fmt.Errorf("keys: Ring.%s: %w", method, err)
}

// ring returns a copy of the keys of a set.
func (s *Set) ring() []Key {
	var ring []Key
	for _, m := range s.keys {
		ring = append(ring, Key{m})
	}
	return ring
}

func newRingState(ring []Key) (*ringState, error) {
	set := new(Set)
	published := struct {
		Keys []jwk.Key `json:"keys"`
	}{Keys: []jwk.Key{}} // never null
	for i, k := range ring {
		k, err := identify(k)
		if err != nil {
			return nil, err
		}
		if indexOf(ring[:i], k.ID()) >= 0 {
			return nil, fmt.Errorf("two keys have the id %q; an id names one key, and only one key may be without one", k.ID())
		}
		ring[i] = k
		set.keys = append(set.keys, k.m)
		if k.m.secret != nil {
			continue
		}
		public, err := k.m.publicJWK()
		if err != nil {
			return nil, err
		}
		published.Keys = append(published.Keys, public)
	}
	if set.active = set.keys[0]; !set.active.signs {
		return nil, errors.New("the active key cannot sign; it needs a private key or a secret")
	}
	jwks, err := json.Marshal(published)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(jwks)
	return &ringState{set: set, jwks: jwks, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}, nil
}

func indexOf(ring []Key, kid string) int {
	return slices.IndexFunc(ring, func(k Key) bool { return k.ID() == kid })
}

// sameKey reports whether two keys verify each other's tokens, if their IDs are ignored.
func (m *material) sameKey(other *material) bool {
	switch {
	case m.algorithm.name != other.algorithm.name || (m.secret == nil) != (other.secret == nil):
		return false
	case m.secret != nil:
		return bytes.Equal(m.secret(), other.secret())
	}
	public, ok := m.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(other.public)
}

// JWKS returns a handler for /.well-known/jwks.json. It serves the ring's public keys as
// a JWK Set (RFC 7517, section 5), including those that do not sign yet or no longer
// sign, and never a secret. Verifiers may cache the response for five minutes, so wait at
// least that long between Add and Rotate.
func (r *Ring) JWKS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "use GET", http.StatusMethodNotAllowed)
			return
		}
		state := r.current.Load()
		header := w.Header()
		header.Set("Content-Type", "application/jwk-set+json")
		header.Set("Cache-Control", "public, max-age=300")
		header.Set("ETag", state.etag)
		header.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(state.jwks))
	})
}
