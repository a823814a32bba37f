package keys

import (
	"cmp"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file reads what a Remote has fetched, and compares it with the current keys.

// freshFor returns for how long a response may be used (RFC 9111, section 5.2), or
// byDefault if the response does not say, within this package's bounds.
func (r *Remote) freshFor(header http.Header, byDefault time.Duration) time.Duration {
	fresh, forbidden := byDefault, false
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			forbidden = true
		case "max-age":
			fresh = seconds(strings.Trim(value, `"`)) - seconds(header.Get("Age"))
		}
	}
	if forbidden {
		fresh = 0
	}
	// Half of maxStale leaves time for further tries before the keys are too old.
	return min(max(fresh, leastFresh), mostFresh, r.maxStale/2)
}

// seconds parses a number of seconds. It returns 0 if there is none, and at most 1<<30: a
// number that is too large counts as a large one (RFC 9111, section 1.2.2).
func seconds(text string) time.Duration {
	n, err := strconv.ParseInt(text, 10, 64) // with a range error, n is the nearest integer
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return time.Duration(min(max(n, 0), 1<<30)) * time.Second
}

// readRemote returns the usable keys of a JWK Set, and why it left out the others.
func readRemote(text []byte) (set *Set, left []string, err error) {
	members, err := readMembers(text)
	if err != nil {
		return nil, nil, fmt.Errorf("the answer is no JWK Set: %w", err)
	}
	var texts []json.RawMessage
	if err := json.Unmarshal(members["keys"], &texts); err != nil {
		return nil, nil, errors.New(`the answer is no JWK Set; it needs {"keys": [ ... ]}`)
	}
	if len(texts) > maxKeys {
		return nil, nil, fmt.Errorf("the JWK Set has %d keys, and %d are the most", len(texts), maxKeys)
	}
	set = new(Set)
	for i, text := range texts {
		key, err := readRemoteKey(text)
		if err == nil {
			err = cmp.Or(set.checkDuplicate(key), set.checkCost(key))
		}
		if err != nil { // the error may repeat the key's alg, of any length
			left = append(left, fmt.Sprintf("key %d: %.200v", i+1, err))
			continue
		}
		set.keys = append(set.keys, key.m)
	}
	if len(set.keys) == 0 {
		return nil, nil, fmt.Errorf("the JWK Set has no key that can be used, of %d: %q", len(texts), left[:min(len(left), 3)])
	}
	return set, left, nil
}

// checkCost rejects a key that would make it expensive to verify a token, even a forged
// one. A token is tried with every key of its algorithm that has no ID.
func (s *Set) checkCost(k Key) error {
	if public, ok := k.m.public.(*rsa.PublicKey); ok && public.N.BitLen() > maxRemoteRSABits {
		return fmt.Errorf("its %d bits take too long to verify with; %d are the most", public.N.BitLen(), maxRemoteRSABits)
	}
	alike := 0
	for _, m := range s.keys {
		if k.ID() == "" && m.id == "" && m.algorithm.name == k.Algorithm() {
			alike++
		}
	}
	if alike >= maxWithoutID {
		return fmt.Errorf("%d keys before it have its algorithm and no id, and more are not used; give it an id", alike)
	}
	return nil
}

// checkDuplicate rejects a key that the set already has, and a key with the ID and
// algorithm of another. Otherwise a forged token could cost a verification by each.
func (s *Set) checkDuplicate(k Key) error {
	likewise := func(m *material) bool {
		return k.ID() != "" && m.id == k.ID() && m.algorithm.name == k.Algorithm()
	}
	if slices.ContainsFunc(s.keys, likewise) || s.has(k.m) {
		return errors.New("another key before it has its id and algorithm, or is the same")
	}
	return nil
}

// privateMembers are the JWK members that no public key has (RFC 7518, section 6).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func readRemoteKey(text []byte) (Key, error) {
	members, err := readMembers(text)
	if err != nil {
		return Key{}, err
	}
	for _, private := range privateMembers {
		if _, is := members[private]; is {
			return Key{}, errors.New("a secret or a private key, which must never be published")
		}
	}
	key, err := parseJWK(text)
	if err == nil {
		err = key.Err()
	}
	if err == nil && len(key.ID()) > maxKidLen {
		err = fmt.Errorf("its id has more than %d bytes", maxKidLen)
	}
	return key, err
}

// mayKnow reports whether a key of the set may verify a token with this key ID, or the
// token has none, so that there is no ID to fetch a key for.
func (s *Set) mayKnow(kid string) bool {
	return kid == "" || slices.ContainsFunc(s.keys, func(m *material) bool { return m.id == "" || m.id == kid })
}

// same reports whether two sets hold the same keys, in any order.
func (s *Set) same(other *Set) bool {
	within := func(a, b *Set) bool {
		return !slices.ContainsFunc(a.keys, func(m *material) bool { return !b.has(m) })
	}
	return within(s, other) && within(other, s)
}

// has reports whether the set holds this key, with the same ID.
func (s *Set) has(m *material) bool {
	return slices.ContainsFunc(s.keys, func(other *material) bool { return other.id == m.id && other.sameKey(m) })
}

func (s *Set) ids() (ids []string) {
	for _, m := range s.keys {
		ids = append(ids, m.id)
	}
	return ids
}
