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

// Ring is a [Source] of several keys that change at run time. One key signs, and
// all verify: each the tokens that carry its id, and a secret without an id the
// tokens that carry any or none. A rotation that rejects no good token takes three
// steps, with the time in between that verifiers need to learn of a new key:
//
//	ring.Add(next)          // published and verifies, does not sign yet
//	ring.Rotate(next)       // signs; the one before still verifies
//	ring.Retire(oldID)      // once its tokens have expired
//
// The keys may be kept in a file, by [OpenRing], [LoadOrCreateRing] and
// [Ring.Save]; every process that has the file and calls [Ring.Run] takes part.
//
// A Ring is safe for concurrent use. Reading takes no lock. A token that was signed
// just before a change is verified by the keys that are there just after it. A
// change that fails changes nothing.
type Ring struct {
	files   sync.Mutex // held while a file is read or written; never taken under mu
	mu      sync.Mutex // held while current is changed, so never for long
	current atomic.Pointer[ringState]
	file    *ringFile // nil unless the ring was opened from one
}

// ringState is one state of a ring. It is complete before any reader sees it.
type ringState struct {
	set  *Set
	jwks []byte // the public keys as a JWK Set
	etag string
}

// NewRing returns a ring in which active signs and all keys verify. A bad key, an
// active key that cannot sign, two keys of one id and two secrets without an id are
// errors.
//
// An asymmetric key without an id gets one, its RFC 7638 thumbprint. What such a key
// signed outside of a ring names no key, and is rejected by the ring: until that has
// expired, ask an Auth of the bare key as well.
func NewRing(active Key, others ...Key) (*Ring, error) {
	state, err := newRingState(append([]Key{active}, others...))
	if err != nil {
		return nil, fmt.Errorf("keys: NewRing: %w", err)
	}
	r := new(Ring)
	r.current.Store(state)
	return r, nil
}

// Keys returns the ring's keys as they are now. It never fails, and is one
// atomic load.
func (r *Ring) Keys(context.Context, string) (*Set, error) {
	return r.current.Load().set, nil
}

// IDs returns the ids of the ring's keys, that of the key that signs first. The id
// of a secret without one is "".
func (r *Ring) IDs() []string {
	var ids []string
	for _, m := range r.current.Load().set.keys {
		ids = append(ids, m.id)
	}
	return ids
}

// Key returns the ring's key with an id, or false if there is none. It is meant for
// [Ring.Rotate] to a key that another program added.
func (r *Ring) Key(kid string) (Key, bool) {
	ring := r.current.Load().set.ring()
	if i := indexOf(ring, kid); i >= 0 {
		return ring[i], true
	}
	return Key{}, false
}

// Add lets a key verify, and publishes it if it is asymmetric. A key whose id the
// ring has already is an error.
func (r *Ring) Add(k Key) error {
	return r.change("Add", func(ring []Key) ([]Key, error) { return append(ring, k), nil })
}

// Rotate makes next the key that signs. The key before it goes on verifying. next
// may be in the ring already, by Add, and must then be that very key. Another key
// under its id is an error, since tokens of the first would be rejected.
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

// Retire removes a key: its tokens are rejected from now on. kid "" means the key
// without an id. It is an error to retire the key that signs, one that the ring does
// not have, or one whose tokens would still verify, by the same secret without an id.
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
				return nil, fmt.Errorf("the same secret is in the ring without an id, and would verify the tokens of %q still; retire that too, first", kid)
			}
			return ring, nil
		}
	})
}

// change replaces the ring's keys, of which the first signs, by what edit returns
// for a copy of them.
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

// ring returns the keys of a set, to be changed.
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
			return nil, fmt.Errorf("two keys have the id %q; an id names one key, and only one key may be without", k.ID())
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

// sameKey reports whether tokens of one verify by the other.
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

// JWKS returns a handler for /.well-known/jwks.json. It serves the public keys of
// the ring as a JWK Set (RFC 7517, section 5), also those that do not sign yet or
// any more. Secrets are never in it. Verifiers may cache it for five minutes, so
// wait at least as long between Add and Rotate.
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
