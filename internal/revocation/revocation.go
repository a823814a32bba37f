// Package revocation is what an Auth and a revocation list tell each other, and no user
// needs to know.
package revocation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// List is what a revocation list does for an Auth besides answering it.
type List interface {
	// Stamp returns when a token that is issued now was issued, in microseconds since
	// 1970: later than everything that was revoked before.
	Stamp(now time.Time) int64
	// MaxLifetime returns how long a token may live that the list is asked about.
	MaxLifetime() time.Duration
	// Marks returns the marks of a token, which an Auth keeps with it.
	Marks(issuer, id, session, subject, container string) Marks
	// Clear reports whether the list surely holds nothing about a token with these
	// marks. If it cannot tell, it returns false.
	Clear(Marks) bool
}

// Marks belong to one token and one list.
type Marks [4]uint64

// Link ties a list to the Auths that ask it. A list embeds it: its only method is not
// exported, and is promoted to every type that embeds the list. It is safe for
// concurrent use.
type Link struct {
	list  List
	owner any
	mu    sync.Mutex // held while writing
	auths atomic.Pointer[auths]
}

// auths is what all of them say together. It never changes.
type auths struct {
	issuers map[string]time.Duration
	any     bool // an Auth accepts tokens of any issuer
}

func (l *Link) link() *Link { return l }

// Connect completes the link that a list embeds. owner is the list as an Auth gets it.
func Connect(l *Link, owner any, list List) { l.owner, l.list = owner, list }

func linkOf(checker any) *Link {
	if linked, ok := checker.(interface{ link() *Link }); ok {
		return linked.link()
	}
	return nil
}

// Of returns the list that a checker is or embeds, nil for none. A type that embeds a
// list may have a Revoked of its own, so whole reports whether the checker is the list
// itself: only then may its marks take the place of asking it.
func Of(checker any) (list List, whole bool) {
	l := linkOf(checker)
	if l == nil || l.list == nil {
		return nil, false
	}
	return l.list, checker == l.owner
}

// Tell tells a checker, if it is or embeds a list, about an Auth that asks it: which
// issuers it accepts, "" if it does not look at issuers. Each has how far ahead of the
// clock here the iat of its tokens may lie: 0 where they are issued here.
func Tell(checker any, issuers map[string]time.Duration) {
	l := linkOf(checker)
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := &auths{issuers: map[string]time.Duration{}}
	if before := l.auths.Load(); before != nil {
		all.issuers, all.any = maps.Clone(before.issuers), before.any
	}
	for issuer, ahead := range issuers {
		all.issuers[issuer] = max(all.issuers[issuer], ahead)
		all.any = all.any || issuer == ""
	}
	l.auths.Store(all)
}

// Ahead returns how far ahead of the clock here an iat of an issuer may lie: the most of
// all where the issuer is not known, and least where no Auth was told of.
func Ahead(l *Link, issuer string, least time.Duration) time.Duration {
	all := l.auths.Load()
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
func Unknown(l *Link, issuer string, ofToken bool) string {
	all := l.auths.Load()
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

// Issue is what the options of one token set.
type Issue struct {
	Subject, SessionID, ID *string
	Audience               []string
	TTL                    time.Duration
	NotBefore              time.Time
	Private                map[string]any

	// IssuedAt is iat, from which the lifetime counts, and Stamp is what a revocation
	// up to now compares. The zero time is now. Only package session sets them: for a
	// refresh token that is issued again as it was, and that only continues a login.
	IssuedAt, Stamp time.Time
}

type unobserved struct{}

// Unobserved returns a context whose decisions are neither counted nor logged: those by
// which this library checks its own work.
func Unobserved(ctx context.Context) context.Context {
	return context.WithValue(ctx, unobserved{}, true)
}

// IsUnobserved reports whether a context came from [Unobserved].
func IsUnobserved(ctx context.Context) bool { return ctx.Value(unobserved{}) != nil }
