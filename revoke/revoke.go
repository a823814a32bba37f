// Package revoke revokes tokens before they expire: one token, those of a session,
// or all that were issued up to now to a subject or for a container. A request costs
// one look-up in memory, however long the list is and however many servers share it.
//
//	list, err := revoke.New(revoke.NewMemory())
//	auth, err := jwtauth.New(key, jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithRevocations(list))
//	...
//	err = list.RevokeToken(ctx, claims.Issuer, claims.ID, claims.ExpiresAt)
//	err = list.RevokeContainer(ctx, auth.Issuer(), "my-container")
//
// Each Auth tells its list which issuers it has. A revocation for another issuer is
// [ErrIssuer], since it would revoke nothing.
//
// [List.Handler] revokes tokens over HTTP (RFC 7009). The entries are in a [Store], a
// log that all servers append to and follow. [NewMemory] is the log of a single
// process, and is gone when that ends. The logs of packages store/sqlstore and
// store/redisstore are kept.
//
// # What is promised
//
// In the process that revokes: once a method has returned nil, every token that was
// issued before the call is rejected, and every one that is issued from then on is
// accepted, whatever the clock does. This holds for tokens that an Auth with this list
// issued: they carry a microsecond stamp. For other tokens iat counts, and one that is
// issued within the second of the revocation is rejected too. The clock of another
// issuer may be ahead, by 5 seconds or the leeway of the Auth, whichever is more: for as
// long after the revocation its new tokens are rejected.
//
// In other processes the same holds once they have read the entry. While all is well
// that takes the time of [WithInterval]. It never takes longer than the bound of
// [WithStaleness], since past it nothing is accepted any more. Their clocks may differ:
// until the entry is read, plus [WithSkew], tokens that they issue to a revoked subject
// or container may be rejected. No revoked token is accepted for that reason.
//
// It fails closed: a list that was never read, or not for too long, is an error of
// [List.Revoked], which a request sees as 503. See [InsecureAcceptStale].
package revoke

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/options"
	"github.com/joinednode/jwtauth/internal/past"
	"github.com/joinednode/jwtauth/internal/revocation"
)

// ErrStale: the log was not read for longer than the bound, or never, so that it is
// not known whether a token was revoked. jwtauth makes it ErrUnavailable.
var ErrStale = errors.New("revoke: the list is not up to date")

// ErrIssuer: the Auths that ask the list do not know the issuer of a revocation, which
// would revoke nothing.
var ErrIssuer = errors.New("revoke: no Auth with this list has the issuer")

// Defaults.
const (
	DefaultMaxLifetime = 14 * 24 * time.Hour // as long as refresh tokens live
	DefaultStaleness   = 10 * time.Second
	DefaultInterval    = 250 * time.Millisecond
	DefaultSkew        = time.Second // where processes share the log

	// margin is how much longer an entry is kept than the tokens it is about: an
	// Auth may accept them for that long after their expiry.
	margin = jwtauth.MaxLeeway
	// sessionSpare is how much longer an entry about a session is kept, so that one which
	// is revoked again needs no other for as long.
	sessionSpare = time.Hour
	// unstampedAhead is how far the iat of a token may lie ahead of the clock here, for an
	// Auth without leeway.
	unstampedAhead = 5 * time.Second
	// batch is how many entries are read at once.
	batch = 10_000
	// purgeEvery is how often expired entries are purged from the log.
	purgeEvery = time.Hour
)

// List is a revocation list, for [jwtauth.WithRevocations]. It is safe for
// concurrent use. A request that asks it takes no lock.
type List struct {
	link
	config
	store   Store
	local   bool // the store is a Memory
	seen    set
	started time.Time   // what the times below count from, by the monotonic clock
	past    *past.Clock // by which entries are dropped

	epoch   atomic.Int64 // the highest that was applied: E of a subject or container
	stamped atomic.Int64 // the latest stamp that was given to a token
	read    atomic.Int64 // when the last successful read began, in nanoseconds since started; 0: never

	following sync.Mutex // held while the log is read
	cursor    string
	purged    time.Time

	failure   atomic.Pointer[error] // of the last read, nil if it was good
	unwritten sync.Map              // of place: what is revoked here, and not written yet
}

// link is embedded under a name of its own, so that it is no part of the API.
type link = revocation.Link

// New returns a list of what is in the store's log. It reads nothing yet: until
// [List.Run] or [List.Sync] has read the log, [List.Revoked] returns [ErrStale].
// A list over [NewMemory] needs neither: it knows all entries at once, is never
// stale, and drops what has expired as it revokes.
func New(store Store, opts ...Option) (*List, error) {
	if store == nil {
		return nil, errors.New("revoke: New: the store is nil; give it one, such as revoke.NewMemory()")
	}
	c := config{maxLifetime: DefaultMaxLifetime, staleness: DefaultStaleness, interval: DefaultInterval, skew: DefaultSkew, clock: time.Now}
	memory, local := store.(*Memory)
	if local {
		c.skew = 0
	}
	var errs []error
	errs = append(errs, options.Apply(&c, opts))
	if c.interval > c.staleness/4 {
		errs = append(errs, fmt.Errorf("WithInterval(%v) leaves no room for a failure within the %v of WithStaleness; it must be at most a quarter of it", c.interval, c.staleness))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("revoke: New: %w", err)
	}
	l := &List{config: c, store: store, local: local, started: time.Now(), past: past.New(c.clock)}
	revocation.Connect(&l.link, l, (*inner)(l))
	l.purged = l.past.Now()
	l.seen.init()
	if local {
		memory.follow(l.apply)
		l.read.Store(forever)
	}
	return l, nil
}

// forever is the time of a read that never gets old.
const forever = 1<<63 - 1

// Revoked reports whether the token with these claims has been revoked. Its only
// error is [ErrStale]: the list cannot say.
func (l *List) Revoked(_ context.Context, c jwtauth.Claims) (bool, error) {
	if !l.accept && l.stale() {
		return false, ErrStale
	}
	stamp := c.Stamp
	if stamp == 0 { // another issuer's clock may be ahead, and its token outlive "up to now"
		stamp = c.IssuedAt.Add(-revocation.Ahead(&l.link, c.Issuer, unstampedAhead)).UnixMicro()
	}
	return l.seen.has(Token, c.Issuer, c.ID, 0) ||
		l.seen.has(Session, c.Issuer, c.SessionID, 0) ||
		l.seen.has(Subject, c.Issuer, c.Subject, stamp) ||
		l.seen.has(Container, c.Issuer, c.Container, stamp), nil
}

// MaxLifetime returns what [WithMaxLifetime] set.
func (l *List) MaxLifetime() time.Duration { return l.maxLifetime }

// inner is a List as an Auth sees it, beside its API.
type inner List

func (i *inner) list() *List { return (*List)(i) }

func (i *inner) MaxLifetime() time.Duration { return i.maxLifetime }

func (i *inner) Marks(issuer, id, session, subject, container string) revocation.Marks {
	seen := &i.list().seen
	return revocation.Marks{seen.first(issuer, id), seen.first(issuer, session), seen.first(issuer, subject), seen.first(issuer, container)}
}

func (i *inner) Clear(m revocation.Marks) bool {
	return (i.accept || !i.list().stale()) && i.list().seen.lacks(m)
}

func (i *inner) Stamp(now time.Time) int64 {
	stamp := max(now.UnixMicro(), i.epoch.Load()+1)
	raise(&i.stamped, stamp)
	return stamp
}

func raise(to *atomic.Int64, n int64) {
	for {
		was := to.Load()
		if was >= n || to.CompareAndSwap(was, n) {
			return
		}
	}
}

// RevokeToken revokes one token, identified by its issuer and jti. expires is its
// exp: the list keeps the revocation until then. It is an error if jti is empty or
// expires is zero. For a token that has expired nothing is written.
//
// If the store fails, or takes longer than 5 seconds to write, RevokeToken returns an
// error. This process then rejects the token, and other processes may or may not: call
// RevokeToken again. The same holds for the other three methods. [List.RevokeSubject]
// and [List.RevokeContainer] also read the log first.
func (l *List) RevokeToken(ctx context.Context, issuer, jti string, expires time.Time) error {
	if expires.IsZero() {
		return errors.New("revoke: RevokeToken: expires is zero; give it the token's exp, Claims.ExpiresAt")
	}
	if expires.After(endOfTime) { // to which one cannot add, and no token lives longer
		expires = endOfTime
	}
	return l.revoke(ctx, "RevokeToken", Entry{Kind: Token, Issuer: issuer, ID: jti, Expires: l.outliving(expires)})
}

// RevokeSession revokes all tokens of a session, identified by its issuer and sid:
// also those that are issued within the next [WithMaxLifetime].
func (l *List) RevokeSession(ctx context.Context, issuer, sid string) error {
	return l.revoke(ctx, "RevokeSession", Entry{Kind: Session, Issuer: issuer, ID: sid, Expires: l.keptFor(l.latest()).Add(sessionSpare)})
}

// RevokeSubject revokes every token that was issued to a subject up to now.
func (l *List) RevokeSubject(ctx context.Context, issuer, subject string) error {
	return l.revoke(ctx, "RevokeSubject", Entry{Kind: Subject, Issuer: issuer, ID: subject})
}

// RevokeContainer revokes every token of a container that was issued up to now.
func (l *List) RevokeContainer(ctx context.Context, issuer, container string) error {
	return l.revoke(ctx, "RevokeContainer", Entry{Kind: Container, Issuer: issuer, ID: container})
}

func (l *List) revoke(ctx context.Context, method string, e Entry) error {
	if e.ID == "" {
		return fmt.Errorf("revoke: %s: the id is empty, and would mean every token without one", method)
	}
	if len(e.ID) > MaxText || len(e.Issuer) > MaxText {
		return fmt.Errorf("revoke: %s: an issuer or an id has more than %d bytes", method, MaxText)
	}
	if have := revocation.Unknown(&l.link, e.Issuer, e.Kind == Token || e.Kind == Session); have != "" {
		return fmt.Errorf("revoke: %s: %w %q, so that nothing would be revoked; they have %s, where \"\" is one without jwtauth.WithIssuer", method, ErrIssuer, e.Issuer, have)
	}
	if e.Kind == Token && e.Expires.Before(l.past.Now()) {
		return nil // as has the token that it is about
	}
	if l.isKnown(e) {
		return nil // a token that is revoked again and again must not make the log grow
	}
	upToNow := e.Kind == Subject || e.Kind == Container
	if upToNow {
		l.setEpoch(&e)
	}
	l.unwritten.Store(e.place(), true)
	l.reject(e) // here, whatever becomes of the log
	var errs []error
	if upToNow && !l.local {
		// Other processes give stamps that lie behind the epochs that they know. This
		// process may not have read those epochs yet.
		errs = append(errs, l.Sync(ctx))
		l.setEpoch(&e)
		l.reject(e)
	}
	if err := errors.Join(append(errs, l.append(ctx, e))...); err != nil {
		return fmt.Errorf("revoke: %s: %w", method, err)
	}
	l.unwritten.Delete(e.place())
	// Not before other processes can read it: what is issued from here on has a later
	// stamp, which their entries must reach, too.
	raise(&l.epoch, e.Epoch)
	if l.local {
		l.following.Lock()
		defer l.following.Unlock()
		l.purge(ctx)
	}
	return nil
}

// isKnown reports whether the log holds an entry that hits the same tokens for as long.
// An entry that could not be written counts here, and is written when it is revoked again.
func (l *List) isKnown(e Entry) bool {
	if e.Kind != Token && e.Kind != Session {
		return false
	}
	if _, unwritten := l.unwritten.Load(e.place()); unwritten {
		return false
	}
	needed := e.Expires
	if e.Kind == Session {
		needed = needed.Add(-sessionSpare)
	}
	return l.seen.until(e) >= needed.UnixMicro()
}

// place is what an entry is about.
type place struct {
	kind       Kind
	issuer, id string
}

func (e Entry) place() place { return place{e.Kind, e.Issuer, e.ID} }

// appendTimeout is how long a revocation waits for the log, so that no request hangs
// with it.
const appendTimeout = 5 * time.Second

func (l *List) append(ctx context.Context, e Entry) error {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	return l.store.Append(ctx, e)
}

// setEpoch gives an entry an epoch. No token that was issued before has a later stamp.
func (l *List) setEpoch(e *Entry) {
	e.Epoch = l.latest()
	e.Expires = l.keptFor(e.Epoch)
}

// latest returns the latest stamp that any process may have given out.
func (l *List) latest() int64 {
	return max(l.clock().Add(l.skew).UnixMicro(), l.epoch.Load()+1, l.stamped.Load())
}

// keptFor returns until when an entry that hits tokens up to a stamp must be kept.
func (l *List) keptFor(stamp int64) time.Time {
	return l.outliving(time.UnixMicro(stamp).Add(l.maxLifetime))
}

// outliving returns the Expires of an entry about tokens that are gone at a time.
func (l *List) outliving(gone time.Time) time.Time {
	if kept := gone.Add(margin + l.skew); kept.Before(endOfTime) {
		return kept
	}
	return endOfTime
}

// reject makes this process reject what an entry hits, for good. The entry may come
// again, and out of order.
func (l *List) reject(e Entry) { l.seen.add(e, l.past.Now().UnixMicro()) }

// apply makes an entry of the log count.
func (l *List) apply(e Entry) {
	raise(&l.epoch, e.Epoch)
	l.reject(e)
}

func (l *List) now() int64 { return int64(time.Since(l.started)) + 1 }

func (l *List) stale() bool {
	switch read := l.read.Load(); read {
	case 0:
		return true
	case forever:
		return false
	default:
		return l.now()-read > int64(l.staleness)
	}
}

// Status is the state of a list, for monitoring.
type Status struct {
	// Ready: tokens are checked. If not, [List.Revoked] returns [ErrStale].
	Ready bool
	// Age is how long ago the log was last read successfully, -1 for never, and 0
	// for a list over [NewMemory].
	Age time.Duration
	// Entries is how many entries are kept, of all kinds. Some may have expired.
	Entries int
	// Err is the failure of the last read, nil if it was good.
	Err error
}

// Status returns the state of the list, for monitoring.
func (l *List) Status() Status {
	s := Status{Ready: l.accept || !l.stale(), Entries: l.seen.len()}
	switch read := l.read.Load(); read {
	case 0:
		s.Age = -1
	case forever:
	default:
		s.Age = time.Duration(l.now() - read)
	}
	if err := l.failure.Load(); err != nil {
		s.Err = *err
	}
	return s
}
