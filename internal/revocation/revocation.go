// Package revocation is what an Auth and a revocation list tell each other, and no user
// needs to know.
package revocation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Told is what Auths have told a list of themselves. A list embeds it: its only method is
// not exported, and is promoted to whatever embeds the list. It is safe for concurrent
// use.
type Told struct {
	mu    sync.Mutex // held while writing
	auths atomic.Pointer[auths]
}

// auths is what all of them say together. It never changes.
type auths struct {
	issuers map[string]time.Duration
	any     bool // an Auth takes tokens of any issuer
}

func (t *Told) told() *Told { return t }

// Tell tells a checker, if it is or embeds a list, about an Auth that asks it: which
// issuers it accepts, "" if it does not look at issuers. Each has how far ahead of the
// clock here the iat of its tokens may lie: 0 where they are issued here.
func Tell(checker any, issuers map[string]time.Duration) {
	list, ok := checker.(interface{ told() *Told })
	if !ok {
		return
	}
	t := list.told()
	t.mu.Lock()
	defer t.mu.Unlock()
	all := &auths{issuers: map[string]time.Duration{}}
	if before := t.auths.Load(); before != nil {
		all.issuers, all.any = maps.Clone(before.issuers), before.any
	}
	for issuer, ahead := range issuers {
		all.issuers[issuer] = max(all.issuers[issuer], ahead)
		all.any = all.any || issuer == ""
	}
	t.auths.Store(all)
}

// Ahead returns how far ahead of the clock here an iat of an issuer may lie: the most of
// all where the issuer is not known, and least where no Auth was told of.
func Ahead(t *Told, issuer string, least time.Duration) time.Duration {
	all := t.auths.Load()
	if all == nil {
		return least
	}
	if ahead, known := all.issuers[issuer]; known {
		return ahead
	}
	for _, ahead := range all.issuers {
		least = max(least, ahead)
	}
	return least
}

// Unknown returns which issuers the Auths have, in words, if an issuer is none of them,
// else "". Where no Auth was told of, any may be right. A token's own issuer is known to an
// Auth that does not look at issuers.
func Unknown(t *Told, issuer string, ofToken bool) string {
	all := t.auths.Load()
	if all == nil || ofToken && all.any {
		return ""
	}
	if _, known := all.issuers[issuer]; known {
		return ""
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all.issuers)) {
		names = append(names, fmt.Sprintf("%q", name))
	}
	return strings.Join(names, ", ")
}
