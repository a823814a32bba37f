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

// What a Remote reads out of an answer, and how it compares it with what it has.

// freshFor returns for how long an answer may be used (RFC 9111, section 5.2), within
// our bounds. If the answer does not say, that is byDefault.
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
	// At half time there are tries left before the keys are too old.
	return min(max(fresh, leastFresh), mostFresh, r.maxStale/2)
}

// seconds reads a number of seconds, and returns 0 for a value that is none. A number
// that is too large for any integer is large (RFC 9111, section 1.2.2).
func seconds(text string) time.Duration {
	n, err := strconv.ParseInt(text, 10, 64) // a range error comes with the nearest integer
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return time.Duration(min(max(n, 0), 1<<30)) * time.Second
}

// readRemote returns the keys of a JWK Set that can be used, and why it left out the
// others.
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
		if err != nil { // which may repeat the key's alg, of any length
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

// checkCost refuses a key that makes the verification of a token expensive, also of a
// forged one: a token is verified by every key without an id that has its algorithm.
func (s *Set) checkCost(k Key) error {
	if public, ok := k.m.public.(*rsa.PublicKey); ok && public.N.BitLen() > maxRemoteRSABits {
		return fmt.Errorf("its %d bits take long to verify by; %d are the most", public.N.BitLen(), maxRemoteRSABits)
	}
	alike := 0
	for _, m := range s.keys {
		if k.ID() == "" && m.id == "" && m.algorithm.name == k.Algorithm() {
			alike++
		}
	}
	if alike >= maxWithoutID {
		return fmt.Errorf("%d keys before it have its algorithm and no id, which are the most; an id would help", alike)
	}
	return nil
}

// checkDuplicate refuses a key that the set has already, and one under the id and the
// algorithm of another: their order would decide which of them verifies a token.
func (s *Set) checkDuplicate(k Key) error {
	likewise := func(m *material) bool {
		return k.ID() != "" && m.id == k.ID() && m.algorithm.name == k.Algorithm()
	}
	if slices.ContainsFunc(s.keys, likewise) || s.has(k.m) {
		return errors.New("another key before it has its id and algorithm, or is the same")
	}
	return nil
}

// privateMembers are those that no public key has (RFC 7518, section 6).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func readRemoteKey(text []byte) (Key, error) {
	members, err := readMembers(text)
	if err != nil {
		return Key{}, err
	}
	for _, private := range privateMembers {
		if _, is := members[private]; is {
			return Key{}, errors.New("a secret or a private key, which nobody should publish")
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

// mayKnow reports whether a set can verify tokens with that id.
func (s *Set) mayKnow(kid string) bool {
	return kid == "" || slices.ContainsFunc(s.keys, func(m *material) bool { return m.id == "" || m.id == kid })
}

// same reports whether two sets verify the same, in whatever order their keys are.
func (s *Set) same(other *Set) bool {
	within := func(a, b *Set) bool {
		return !slices.ContainsFunc(a.keys, func(m *material) bool { return !b.has(m) })
	}
	return within(s, other) && within(other, s)
}

// has reports whether a set has that very key, under that id.
func (s *Set) has(m *material) bool {
	return slices.ContainsFunc(s.keys, func(other *material) bool { return other.id == m.id && other.sameKey(m) })
}

func (s *Set) ids() (ids []string) {
	for _, m := range s.keys {
		ids = append(ids, m.id)
	}
	return ids
}
