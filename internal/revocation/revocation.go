// Package revocation connects an Auth with the revocation list that it uses. Users of the
// two do not see this connection.
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

// List holds the methods of a revocation list that an Auth calls, besides Revoked.
type List interface {
	// Stamp returns the stamp of a token that is issued now, in microseconds since 1970.
	// It is later than every revocation of a subject or container that the list knows.
	Stamp(now time.Time) int64
	// MaxLifetime returns how long the list keeps revocations. Tokens may not live longer.
	MaxLifetime() time.Duration
	// Marks returns the marks of a token. An Auth keeps them with the cached token.
	Marks(issuer, id, session, subject, container string) Marks
	// Clear reports whether the list surely has no entry about a token with these marks. It
	// returns false if it cannot be sure, such as while the list is stale.
	Clear(Marks) bool
}

// Marks are hashes of one token's claims, made by one list.
type Marks [4]uint64

// Link connects a list with the Auths that use it. A list embeds a Link. The only method
// of Link is unexported, and is promoted to every type that embeds the list. A Link is
// safe for concurrent use.
type Link struct {
	list  List
	owner any
	mu    sync.Mutex // held while writing
	auths atomic.Pointer[auths]
}

// auths holds what all Auths have told the list. It is immutable.
type auths struct {
	issuers map[string]time.Duration // how far the iat of each may be ahead, as in Tell
	any     bool                     // some Auth accepts tokens of any issuer
}

func (l *Link) link() *Link { return l }

// Connect initialises the link that a list embeds. owner is the list as callers see it.
func Connect(l *Link, owner any, list List) { l.owner, l.list = owner, list }

func linkOf(checker any) *Link {
	if linked, ok := checker.(interface{ link() *Link }); ok {
		return linked.link()
	}
	return nil
}

// Of returns the list that a checker is or embeds, or nil. whole reports whether the
// checker is the list itself. A type that embeds a list may have a Revoked method of its
// own, which must be called whatever the list's marks say.
func Of(checker any) (list List, whole bool) {
	l := linkOf(checker)
	if l == nil || l.list == nil {
		return nil, false
	}
	return l.list, checker == l.owner
}

// Tell tells a list about an Auth that uses it. The keys of issuers are the issuers that
// the Auth accepts, or "" if it ignores issuers. The values say how far the iat of their
// tokens may be ahead of this server's clock: 0 for tokens issued here. Tell does nothing
// if checker neither is nor embeds a list.
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

// Ahead returns how far the iat of an issuer's tokens may be ahead of this server's
// clock. For an unknown issuer it returns the largest value of all issuers, or least if
// that is larger. If no Auth uses the list, it returns least.
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

// Unknown returns "" if some Auth accepts the issuer, and otherwise the quoted names of
// the accepted issuers, for an error text. It returns "" if no Auth uses the list, since
// any issuer may then be right. ofToken says that the issuer is the one of a single token
// or session. An Auth that ignores issuers accepts such an issuer, too.
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

// Issue holds what the options of one token set.
type Issue struct {
	Subject, SessionID, ID *string
	Audience               []string
	TTL                    time.Duration
	NotBefore              time.Time
	Private                map[string]any

	// IssuedAt is the iat, from which the lifetime counts. If it is zero, iat is now.
	// Stamp is the time that revocations are compared with. If it is zero, it is IssuedAt
	// or, if that is zero too, the list's Stamp. Only package session sets the two: a
	// refresh token that is given out again keeps its iat, and revocations are compared
	// with the time of the login.
	IssuedAt, Stamp time.Time
}

type unobserved struct{}

// Unobserved returns a context in which decisions are neither counted nor logged. The
// handler of package revoke uses it to check that a revoked token is rejected.
func Unobserved(ctx context.Context) context.Context {
	return context.WithValue(ctx, unobserved{}, true)
}

// IsUnobserved reports whether a context was made by [Unobserved].
func IsUnobserved(ctx context.Context) bool { return ctx.Value(unobserved{}) != nil }
