// Package revoke revokes tokens before they expire: one token, those of a session, or all
// that were issued so far to a subject or for a container. A request costs only look-ups
// in memory, however long the list is and however many servers share it.
//
//	list, err := revoke.New(revoke.NewMemory())
//	if err != nil {
//		log.Fatal(err)
//	}
//	go list.Run(ctx)
//	auth, err := jwtauth.New(key, jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithRevocations(list))
//	if err != nil {
//		log.Fatal(err)
//	}
//	err = list.RevokeToken(ctx, claims.Issuer, claims.ID, claims.ExpiresAt)
//	err = list.RevokeContainer(ctx, auth.Issuer(), "my-container")
//
// Most programs need only [New], [List.Run] and one of [List.RevokeToken],
// [List.RevokeSubject] and [List.RevokeContainer], or [List.Handler]. [List.Sync] and
// [List.Status] are for servers with a readiness check or monitoring. [List.ExpireAccess]
// lets sessions go on, and is for changes of roles.
//
// The entries are in a [Store], a log that all servers append to and follow. [NewMemory]
// is the log of one process, and is gone when the process ends. Packages store/sqlstore
// and store/redisstore have lasting logs.
//
// Each Auth tells its list which issuers it accepts. Revoking for another issuer would
// revoke nothing, and is [ErrIssuer]. For an Auth without jwtauth.WithIssuer, revoke a
// token or a session by the iss of the token, and a subject or a container by the issuer
// "", which reaches only tokens without iss. Before the first Auth is made, the list
// accepts every issuer.
//
// # What is promised
//
// In the process that revokes: once a method has returned nil, every token that it
// revokes and that was issued before the call is rejected. A token issued from then on to
// a revoked subject or container is accepted, whatever the clock does. This holds for
// tokens that an Auth with this list issued, since they carry a stamp in microseconds.
//
// For other tokens iat counts, so one that is issued within the second of the revocation
// is rejected, too. The clock of another issuer may be ahead, by 5 seconds or the leeway
// of the Auth, whichever is more. For that long after the revocation, plus [WithSkew],
// its new tokens may be rejected.
//
// In other processes the same holds once they have read the entry. That usually takes at
// most the time of [WithInterval]. It never takes longer than [WithStaleness], since
// after that time no token is accepted any more. The clocks of the processes may differ
// by up to WithSkew: until the entry is read, plus WithSkew, tokens that they issue to a
// revoked subject or container may be rejected. Revoked tokens are never accepted for
// that reason.
//
// A list fails closed: if its log was never read, or not within WithStaleness,
// [List.Revoked] returns an error, and requests get 503. See [InsecureAcceptStale].
//
// # Revocation over HTTP
//
// [List.Handler] implements RFC 7009. A client posts the parameter token in a form
// (application/x-www-form-urlencoded). token_type_hint is ignored: the handler finds out
// the kind of a token by itself.
//
// authorize is called for every well-formed request, before the response tells anything
// about the token. It gets the claims of an authentic token of auth or of another
// [TokenKind], even of one that is not valid yet, expired or revoked. For any other token
// it gets the zero Claims. It does two things, in this order:
//
//   - It authenticates the client by the request alone (HTTP Basic, a session, a client
//     certificate), and returns an error if that fails. So a client that is not
//     authenticated gets the same response for every token, and learns nothing.
//   - It compares the client with the claims, such as c.Container, and returns an error
//     if the token belongs to another client. For the zero Claims it returns nil: nothing
//     is revoked, and RFC 7009, section 2.2, requires 200.
//
// An authenticated client thus learns whether a token is authentic and another client's,
// as it would by sending the token to any route. If every client that holds a token may
// revoke it, authorize returns nil at once. The request that authorize gets contains
// neither the query nor the token. Further parameters of the body are in its PostForm.
//
// All responses have Cache-Control: no-store. Errors have the form of RFC 6749, section
// 5.2:
//
//   - 200, empty: the token is rejected from now on. Or auth rejected it before, since it
//     is not authentic, names another issuer or audience, has expired or is revoked.
//   - 400 invalid_request: another media type, a form that does not parse, no token, or
//     more than one. A token in the query does not count.
//   - 400 unsupported_token_type (RFC 7009, section 2.2.1): a token without a jti, or with
//     a jti or iss longer than [MaxText], which cannot be revoked on its own, or an
//     authentic token of a type that neither auth nor another TokenKind accepts. Nothing
//     is revoked.
//   - 403 access_denied: authorize returned an error, or the request comes from a page of
//     another origin (see [http.CrossOriginProtection]), even one that auth trusts.
//   - 405: the method is not POST. 413: the body is larger than 64 KiB.
//   - 500 server_error: auth does not use this list, and still accepts the token.
//   - 503 temporarily_unavailable with Retry-After: authorize returned
//     [jwtauth.ErrUnavailable], keys or revocations cannot be consulted, or the store or
//     another TokenKind failed. The client must assume that the token is still valid, and
//     try again.
//
// It fails closed: 200 for a live token means that the entry is in the store, or that its
// TokenKind has revoked it. No response and no log line contains a token.
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

// ErrStale: the log was never read, or not within [WithStaleness], so it is not known
// whether a token was revoked. Package jwtauth wraps it in ErrUnavailable.
var ErrStale = errors.New("revoke: the list is not up to date")

// ErrIssuer: no Auth that uses the list has the issuer, so revoking would have no effect.
var ErrIssuer = errors.New("revoke: no Auth that uses this list has the issuer")

// The defaults of the options.
const (
	DefaultMaxLifetime = 14 * 24 * time.Hour // the default lifetime of refresh tokens
	DefaultStaleness   = 10 * time.Second
	DefaultInterval    = 250 * time.Millisecond
	DefaultSkew        = time.Second // with a shared log

	// margin is how much longer an entry is kept than the tokens it is about. An Auth
	// with leeway may accept them for that long after their expiry.
	margin = jwtauth.MaxLeeway
	// sessionSpare is how much longer still an entry about a session is kept, so that a
	// session which is revoked again within that time needs no new entry.
	sessionSpare = time.Hour
	// unstampedAhead is how far the iat of a token may be ahead of this clock, for an
	// Auth without leeway.
	unstampedAhead = 5 * time.Second
	// batch is how many entries are read at once.
	batch = 10_000
	// purgeEvery is how often expired entries are purged from the log.
	purgeEvery = time.Hour
)

// List is a revocation list, for [jwtauth.WithRevocations]. It is safe for concurrent
// use. A look-up takes no lock.
type List struct {
	link
	config
	store   Store
	local   bool // the store is a Memory
	seen    set
	started time.Time   // the start of the times below, by the monotonic clock
	past    *past.Clock // decides when entries are dropped; never ahead

	epoch   atomic.Int64 // the highest epoch of an entry in the log, as far as it was read
	stamped atomic.Int64 // the latest stamp of an issued token
	read    atomic.Int64 // when the last successful read began, in nanoseconds since started; 0 for never

	following turn // held while the log is read
	cursor    string
	purged    time.Time

	failure   atomic.Pointer[error] // the error of the last read, or nil
	unwritten sync.Map              // a set of places: revoked here, and perhaps not written to the log
}

// link is embedded under an unexported name, so that it is not part of the API.
type link = revocation.Link

// New returns a list of the entries in the store's log. It does not read the log: until
// [List.Run] or [List.Sync] has read it, [List.Revoked] returns [ErrStale]. A list over
// [NewMemory] needs neither. It knows all entries at once and is never stale. When it
// revokes, it purges expired entries, at most once an hour.
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
	l := &List{config: c, store: store, local: local, started: time.Now(), past: past.New(c.clock), following: make(turn, 1)}
	revocation.Connect(&l.link, l, (*inner)(l))
	l.purged = l.past.Now()
	l.seen.init()
	if local {
		memory.follow(l.apply)
		l.read.Store(forever)
	}
	return l, nil
}

// forever is the time of a read that never becomes stale.
const forever = 1<<63 - 1

// Revoked reports whether the token with these claims has been revoked. The error is
// jwtauth.ErrExpired if [List.ExpireAccess] ended it, and [ErrStale] if the list is stale.
func (l *List) Revoked(_ context.Context, c jwtauth.Claims) (bool, error) {
	if !l.accept && l.stale() {
		return false, ErrStale
	}
	stamp := c.Stamp
	if stamp == 0 { // another issuer's clock may be ahead, and its older tokens must be rejected too
		stamp = c.IssuedAt.Add(-revocation.Ahead(&l.link, c.Issuer, unstampedAhead)).UnixMicro()
	}
	if l.seen.has(Token, c.Issuer, c.ID, 0) ||
		l.seen.has(Session, c.Issuer, c.SessionID, 0) ||
		l.seen.has(Subject, c.Issuer, c.Subject, stamp) ||
		l.seen.has(Container, c.Issuer, c.Container, stamp) {
		return true, nil
	}
	if c.SessionID != "" && l.seen.has(Access, c.Issuer, c.Subject, stamp) {
		return false, errAccessExpired
	}
	return false, nil
}

var errAccessExpired = fmt.Errorf("%w: by ExpireAccess", jwtauth.ErrExpired)

// MaxLifetime returns the value of [WithMaxLifetime].
func (l *List) MaxLifetime() time.Duration { return l.maxLifetime }

// inner has the methods of a List that an Auth calls, apart from the API.
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

// RevokeToken revokes one token, identified by its issuer and jti. expires is its exp:
// the list keeps the revocation at least until then. It is an error if jti is empty or
// expires is zero. Nothing is written for a token that expired longer ago than
// jwtauth.MaxLeeway plus [WithSkew], since no Auth accepts it.
//
// If the store fails, or takes longer than 5 seconds to write, RevokeToken returns an
// error. This process then rejects the token, and other processes may or may not: call
// RevokeToken again. The same holds for the other three methods.
func (l *List) RevokeToken(ctx context.Context, issuer, jti string, expires time.Time) error {
	if expires.IsZero() {
		return errors.New("revoke: RevokeToken: expires is zero; give it the token's exp, Claims.ExpiresAt")
	}
	if expires.After(endOfTime) { // no token lives longer, and adding to it could overflow
		expires = endOfTime
	}
	return l.revoke(ctx, "RevokeToken", Entry{Kind: Token, Issuer: issuer, ID: jti, Expires: l.outliving(expires)})
}

// RevokeSession revokes all tokens of a session, identified by its issuer and sid. For at
// least [WithMaxLifetime] it also rejects new tokens of the session. After that the list
// may forget the session, whose tokens from before the call have then expired.
func (l *List) RevokeSession(ctx context.Context, issuer, sid string) error {
	return l.revoke(ctx, "RevokeSession", Entry{Kind: Session, Issuer: issuer, ID: sid, Expires: l.keptFor(l.latest()).Add(sessionSpare)})
}

// RevokeSubject revokes every token issued to a subject so far. With a log that processes
// share, it reads the log before it writes, and returns an error if either fails.
func (l *List) RevokeSubject(ctx context.Context, issuer, subject string) error {
	return l.revoke(ctx, "RevokeSubject", Entry{Kind: Subject, Issuer: issuer, ID: subject})
}

// RevokeContainer revokes every token issued for a container so far. It reads the log
// first, like [List.RevokeSubject].
func (l *List) RevokeContainer(ctx context.Context, issuer, container string) error {
	return l.revoke(ctx, "RevokeContainer", Entry{Kind: Container, Issuer: issuer, ID: container})
}

// ExpireAccess makes every access token of the subject's sessions expired that was issued
// so far. The sessions go on: clients refresh, and get tokens with new claims. Most
// programs call ExpireAccess of package session's Manager.
//
// Only tokens with a sid are affected. All processes that read the log must have this
// version of the library: earlier ones cannot use such an entry, and become stale.
func (l *List) ExpireAccess(ctx context.Context, issuer, subject string) error {
	return l.revoke(ctx, "ExpireAccess", Entry{Kind: Access, Issuer: issuer, ID: subject})
}

func (l *List) revoke(ctx context.Context, method string, e Entry) error {
	if e.ID == "" {
		return fmt.Errorf("revoke: %s: the id is empty; it needs a jti, sid, sub or container", method)
	}
	if len(e.ID) > MaxText || len(e.Issuer) > MaxText {
		return fmt.Errorf("revoke: %s: the issuer or the id has more than %d bytes, which are the most", method, MaxText)
	}
	if have := revocation.Unknown(&l.link, e.Issuer, !e.Kind.hasEpoch()); have != "" {
		return fmt.Errorf("revoke: %s: %w %q, so nothing would be revoked; the issuer must be one of %s (\"\" stands for an Auth without jwtauth.WithIssuer)", method, ErrIssuer, e.Issuer, have)
	}
	if e.Kind == Token && e.Expires.Before(l.past.Now()) {
		return nil // the token has expired, too
	}
	if l.isKnown(e) {
		return nil // revoking a token again and again must not make the log grow
	}
	if e.Kind.hasEpoch() {
		l.setEpoch(&e)
	}
	l.unwritten.Store(e.place(), true)
	l.reject(e) // in this process, even if the log fails
	var errs []error
	if e.Kind.hasEpoch() && !l.local {
		// Other processes issue stamps later than the epochs that they know, whatever
		// their clocks say. This process may not have read those epochs yet.
		errs = append(errs, l.Sync(ctx))
		l.setEpoch(&e)
		l.reject(e)
	}
	if err := errors.Join(append(errs, l.append(ctx, e))...); err != nil {
		return fmt.Errorf("revoke: %s: %w", method, err)
	}
	l.unwritten.Delete(e.place())
	// Not earlier: this makes the tokens issued from now on have later stamps, and an
	// entry of another process reaches those only if that process can read this entry.
	raise(&l.epoch, e.Epoch)
	if l.local {
		if err := l.following.take(ctx); err == nil {
			defer l.following.leave()
			l.purge(ctx)
		}
	}
	return nil
}

// isKnown reports whether the log already holds an entry that revokes the same token or
// session for as long. An entry that could not be written is not known, so that it is
// written when the same is revoked again.
func (l *List) isKnown(e Entry) bool {
	if e.Kind.hasEpoch() {
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

// place identifies what an entry is about.
type place struct {
	kind       Kind
	issuer, id string
}

func (e Entry) place() place { return place{e.Kind, e.Issuer, e.ID} }

// appendTimeout is how long a revocation waits for the store to write, so that no request
// hangs.
const appendTimeout = 5 * time.Second

func (l *List) append(ctx context.Context, e Entry) error {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	return l.store.Append(ctx, e)
}

// setEpoch sets the epoch of an entry, and until when it is kept. No token that was issued
// before has a later stamp.
func (l *List) setEpoch(e *Entry) {
	e.Epoch = l.latest()
	e.Expires = l.keptFor(e.Epoch)
}

// latest returns the latest stamp that any process may have issued, if the clocks differ
// by no more than skew and this process has read the log.
func (l *List) latest() int64 {
	return max(l.clock().Add(l.skew).UnixMicro(), l.epoch.Load()+1, l.stamped.Load())
}

// keptFor returns until when an entry that revokes tokens up to a stamp must be kept.
func (l *List) keptFor(stamp int64) time.Time {
	return l.outliving(time.UnixMicro(stamp).Add(l.maxLifetime))
}

// outliving returns the Expires of an entry whose tokens have all expired at the time
// gone.
func (l *List) outliving(gone time.Time) time.Time {
	if kept := gone.Add(margin + l.skew); kept.Before(endOfTime) {
		return kept
	}
	return endOfTime
}

// reject makes this process reject the tokens of an entry until the entry expires. The
// same entry may come again later, in any order.
func (l *List) reject(e Entry) { l.seen.add(e, l.past.Now().UnixMicro()) }

// apply takes over an entry of the log.
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
	// Ready reports whether [List.Revoked] checks tokens. If not, it returns [ErrStale].
	// With [InsecureAcceptStale] a list is always ready: use Age and Err.
	Ready bool
	// Age is how long ago the last successful read of the log began, -1 for never. It is
	// 0 for a list over [NewMemory].
	Age time.Duration
	// Entries is the number of entries of all kinds. Some may have expired.
	Entries int
	// Err is the error of the last read, nil if it succeeded or there was none.
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
