// Package session gives browsers and apps sessions that last: a login gives a
// short-lived access token for calls and a long-lived refresh token for the next
// pair, which replaces it.
//
//	sessions, err := session.New(key, session.NewMemory())
//	...
//	mux.Handle("/auth/jwt/", sessions.Handler(checkPassword))
//	mux.Handle("/api/", sessions.Require(api))
//
// [Manager.Handler] serves create/, refresh/, verify/, logout/ and sessions/ as
// JSON; [Manager.Login] and [Manager.Refresh] do the same in code. [New] takes a
// [Store]: [NewMemory] for a single process that may forget, and for processes that
// share them, or must not, those of packages store/sqlstore and store/redisstore.
// Clients keep the tokens themselves, or browsers do in cookies that no script can
// read: [WithCookies].
//
// # What is promised
//
// A right client is not logged out, whatever its tabs, its network and the store do. It
// needs no lock: any number of requests may refresh at once, and their answers may arrive
// in any order, or never. An outage of the store, of the revocation list, of a key or of a
// callback is a 503, after which the client keeps its tokens and tries again.
//
//   - A refresh token that was given less than 50 seconds ago (20 more than [WithGrace]) is
//     given again, with a fresh access token.
//   - One that was replaced less than 40 seconds ago gives its successor again.
//   - One that was replaced longer ago gives a new successor, as long as no client has used
//     the first one: its answer was lost.
//   - One that is newer than the store knows, since the store was put back from a backup or
//     lost a write in a failover, moves the session on.
//
// A thief does not stay. A token that is used after its successor was used ends the
// session, for the thief and for the client that it was stolen from, and so does a token
// whose client was given another one in its place. Logout ends the refresh token and, with
// the revocation list, the access token.
//
// # Lost answers, and what a thief gains
//
// A client that lost an answer comes back with a token that was replaced, hours later if
// it is a phone that slept. So a copy of a replaced token works until the right client
// refreshes the next time: that refresh ends the session, or the copy. A thief who uses a
// token once and never again raises no alarm if the right client comes with the same
// token. Each such refresh is a [Recovered] event.
//
// Take [WithoutRecovery] where an early alarm is worth more than a login now and then,
// such as in a bank's web page, whose clients are always online. Without recovery a client
// that asks again later than the grace must log in again.
//
// # What is not
//
// A thief who always comes within the grace of the right client, since it sees the
// traffic, holds the same tokens. It is seen only as [Retried] events until one of the two
// is late. A request that is under way for longer than 10 seconds after its client got the
// next token may be taken for a thief's. An access token opens what it
// opens, for any client that holds it, until it expires or the session ends. Clocks of processes that share a store may lie 5
// seconds apart; where subjects are revoked by a list, as far as its revoke.WithSkew says.
//
// A revocation of a subject ends the sessions that began before it, wherever they
// are refreshed afterwards. An access token that another process gives before it
// has read the entry lives until it expires.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/options"
	"github.com/joinednode/jwtauth/internal/past"
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// Types (typ) of the tokens, so that none passes for the other, nor for another kind
// of token under the same key (RFC 8725, section 3.11). Two Managers with one key
// want an issuer or an audience each: see [WithAccess].
const (
	AccessType  = "access+jwt"
	RefreshType = "refresh+jwt"
)

// Errors, for errors.Is. Others are those of package jwtauth: ErrExpired,
// ErrRevoked and those of a token that is not authentic, and ErrUnavailable if it
// cannot be known.
var (
	// ErrCredentials is what a callback of [Manager.Handler] returns for a wrong
	// password or an unknown user.
	ErrCredentials = errors.New("session: wrong credentials")
	// ErrSubjectGone is what a callback of [WithClaims] returns for a user who may no
	// longer have sessions.
	ErrSubjectGone = errors.New("session: the subject is gone")
	// ErrReused: a refresh token was used again after its time, so the session was
	// ended. It comes with jwtauth.ErrRevoked.
	ErrReused = errors.New("session: refresh token used again")
	// ErrNoSession: there is no such session of that subject.
	ErrNoSession = errors.New("session: no such session")
)

// Manager makes, refreshes and ends sessions. It is safe for concurrent use, and
// starts no goroutine.
type Manager struct {
	config
	store   Store
	access  *jwtauth.Auth
	refresh *jwtauth.Auth

	past *past.Clock // by which sessions are purged

	started time.Time
	warned  atomic.Int64 // when a store that lost writes was last logged, since started; 0: never
}

// New returns a Manager whose tokens the keys of source sign. Without options
// access tokens live 15 minutes, sessions 14 days from the last refresh and 180
// days at most, and there are no containers. Bad options are errors that say what
// was given and what would be right; all of them are reported at once.
func New(source keys.Source, store Store, opts ...Option) (*Manager, error) {
	c := config{accessTTL: DefaultAccessTTL, refreshTTL: DefaultRefreshTTL, maxAge: DefaultMaxAge, rules: rules{grace: DefaultGrace}, storeTimeout: DefaultStoreTimeout, clock: time.Now, bodies: ownBodies{}}
	var errs []error
	if store == nil {
		errs = append(errs, errors.New("the store is nil; give it one, such as session.NewMemory()"))
	}
	errs = append(errs, options.Apply(&c, opts))
	if c.noAccess && c.noRefresh {
		errs = append(errs, errors.New("WithoutAccess and WithoutRefresh leave no token; take one"))
	}
	if c.containers && c.claims == nil {
		errs = append(errs, errors.New("WithContainers needs WithClaims, which names the container of a session"))
	}
	if within := (c.rules.grace + skew) / 2; c.storeTimeout > within {
		errs = append(errs, fmt.Errorf("WithStoreTimeout(%v) is more than half of the time in which a client may ask again, which is WithGrace and %v, so that an outage could look like theft; give it %v at most", c.storeTimeout, skew, within))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("session: New: %w", err)
	}
	m := &Manager{config: c, store: timely{store, c.storeTimeout}, past: past.New(c.clock), started: time.Now()}
	if err := m.open(source); err != nil {
		return nil, fmt.Errorf("session: New: %w", err)
	}
	return m, nil
}

// open makes the two Auths, which issue and verify the tokens.
func (m *Manager) open(source keys.Source) (err error) {
	if m.list == nil {
		m.list, err = revoke.New(revoke.NewMemory(), revoke.WithClock(m.clock), revoke.WithMaxLifetime(max(m.accessTTL, m.refreshTTL, DefaultRefreshTTL)))
		if err != nil {
			return err
		}
	}
	if most := max(m.accessTTL, m.refreshTTL); m.list.MaxLifetime() < most {
		return fmt.Errorf("WithRevocations was given a list that forgets after %v, and tokens may live %v; give it revoke.WithMaxLifetime(%[2]v) or more", m.list.MaxLifetime(), most)
	}
	if m.access, err = m.openAccess(source); err != nil {
		return fmt.Errorf("access tokens: %w", err)
	}
	if err := m.findsCookie(); err != nil {
		return err
	}
	if m.refreshKeys == nil {
		m.refreshKeys = source
	}
	if m.refresh, err = m.openRefresh(); err != nil {
		return fmt.Errorf("refresh tokens: %w", err)
	}
	return nil
}

// openAccess makes the Auth of access tokens.
func (m *Manager) openAccess(source keys.Source) (*jwtauth.Auth, error) {
	defaults := []jwtauth.Option{jwtauth.WithStatus(status)}
	if m.observe != nil {
		defaults = append(defaults, jwtauth.WithObserver(m.observe))
	}
	if m.simple() {
		defaults = append(defaults, jwtauth.WithDenial(m.writeDenial(true)))
	}
	if m.containers {
		// As by default; said here, WithAnyContainer beside it is an error.
		defaults = append(defaults, jwtauth.WithContainer(func(r *http.Request) string { return r.PathValue("container") }))
	} else {
		defaults = append(defaults, jwtauth.WithAnyContainer())
	}
	cookies, forced := m.cookieOptions()
	users := m.accessOptions
	ours := m.ownOptions(AccessType, m.accessTTL)
	// Where two options set the same thing, the later one wins. So a user may replace the
	// defaults and the extractors of cookies. But no user's option may have another type of
	// token accepted, let a token outlive the revocation list, or take away the protection
	// that cookies need.
	return jwtauth.New(source, slices.Concat(defaults, cookies, users, ours, forced)...)
}

// openRefresh makes the Auth of refresh tokens. The user's options are not for them. A
// refresh token is used once, so a cache would be in vain.
func (m *Manager) openRefresh() (*jwtauth.Auth, error) {
	opts := append(m.ownOptions(RefreshType, m.refreshTTL), jwtauth.WithAnyContainer(), jwtauth.WithCache(0), jwtauth.WithStatus(status), jwtauth.WithDenial(m.writeDenial(false)))
	if issuer := m.access.Issuer(); issuer != "" {
		opts = append(opts, jwtauth.WithIssuer(issuer))
	}
	return jwtauth.New(m.refreshKeys, opts...)
}

// ownOptions returns the options of both Auths that the Manager alone decides. A token that
// was issued before a lifetime was shortened is accepted up to the lifetime of the list.
func (m *Manager) ownOptions(kind string, ttl time.Duration) []jwtauth.Option {
	return []jwtauth.Option{
		jwtauth.WithTypes(kind), jwtauth.WithTTL(ttl), jwtauth.WithMaxLifetime(m.list.MaxLifetime()),
		jwtauth.WithClock(m.clock), jwtauth.WithRevocations(m.list),
	}
}

// status returns 401 if refreshing or logging in again can help, and 403 if not.
func status(err error) int {
	if errors.Is(err, jwtauth.ErrContainer) || errors.Is(err, jwtauth.ErrCrossOrigin) || errors.Is(err, jwtauth.ErrForbidden) {
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

// Auth returns the Auth that verifies the access tokens, for Optional, Protect, Check,
// Verify and the like.
func (m *Manager) Auth() *jwtauth.Auth { return m.access }

// Require lets a request through that brings a live access token: it is the
// Private of [Manager.Auth]. Denials are 401 with the code token_not_valid, or
// not_authenticated where there is no token; 403 where no other token would help.
// Where jwtauth.WithTrustedIssuer is set, handlers that look up a subject look at
// Claims.Issuer, too.
func (m *Manager) Require(next http.Handler) http.Handler { return m.access.Private(next) }

// Pair is what a login or a refresh gives. Its JSON is that of RFC 6749, section
// 5.1, and refresh_expires_in.
type Pair struct {
	AccessToken      string `json:"access_token,omitempty"`
	RefreshToken     string `json:"refresh_token,omitempty"`
	TokenType        string `json:"token_type"`                   // always Bearer
	ExpiresIn        int64  `json:"expires_in,omitempty"`         // of the access token, in seconds
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitempty"` // of the refresh token, in seconds

	SessionID string `json:"-"`
	Subject   string `json:"-"`
}

// String hides the tokens.
func (p Pair) String() string { return "session.Pair of " + p.SessionID }

// GoString is [Pair.String].
func (p Pair) GoString() string { return p.String() }

// LogValue is [Pair.String].
func (p Pair) LogValue() slog.Value { return slog.StringValue(p.String()) }

// Login makes a session of a subject, whom the caller has authenticated, and its
// first tokens. The error is [ErrSubjectGone] if [WithClaims] says so,
// jwtauth.ErrUnavailable for an outage, or where the subject was revoked while this call
// was under way, and another for an impossible subject.
func (m *Manager) Login(ctx context.Context, subject string, opts ...LoginOption) (Pair, error) {
	pair, err := m.login(ctx, subject, opts)
	m.decided(ctx, "login", reason(err), err == nil)
	return pair, err
}

func (m *Manager) login(ctx context.Context, subject string, opts []LoginOption) (Pair, error) {
	if subject == "" || len(subject) > MaxText || !utf8.ValidString(subject) || strings.ContainsFunc(subject, unicode.IsControl) {
		return Pair{}, fmt.Errorf("session: Login: a subject must be valid UTF-8, without control characters, and have 1 to %d bytes", MaxText)
	}
	l := login{maxAge: m.maxAge}
	for i, opt := range opts {
		if opt == nil {
			return Pair{}, fmt.Errorf("session: Login: option %d is nil; leave it out", i+1)
		}
		opt(&l)
	}
	if l.maxAge < time.Second || l.maxAge > m.maxAge {
		return Pair{}, fmt.Errorf("session: Login: MaxAge(%v): it must lie between a second and the %v of WithMaxAge", l.maxAge, m.maxAge)
	}
	now := m.now()
	s := Session{ID: rand.Text(), Subject: subject, Generation: 1, Created: m.stamp(now), Rotated: now, Given: now, Label: l.label}
	s.MaxExpires = now.Truncate(time.Second).Add(l.maxAge.Truncate(time.Second))
	if m.noRefresh {
		s.MaxExpires = earlier(s.MaxExpires, now.Truncate(time.Second).Add(m.accessTTL))
	}
	s.IdleExpires = m.idle(s, now)
	says, err := m.ask(ctx, s)
	if err != nil {
		return Pair{}, fmt.Errorf("session: Login: %w", err)
	}
	pair, err := m.sign(ctx, s, says)
	if err != nil {
		return Pair{}, fmt.Errorf("session: Login: %w", err)
	}
	// What was revoked since the session began lies before what was signed meanwhile.
	switch err := m.notRevoked(ctx, jwtauth.Claims{Issuer: m.access.Issuer(), Subject: subject, SessionID: s.ID, Stamp: s.Created.UnixMicro()}); {
	case errors.Is(err, jwtauth.ErrRevoked):
		m.log().WarnContext(ctx, "session: a login was refused, since its subject was revoked meanwhile", "session", s.ID)
		return Pair{}, fmt.Errorf("session: Login: %w: the subject was revoked meanwhile", jwtauth.ErrUnavailable)
	case err != nil:
		return Pair{}, m.outage(ctx, "Login", err)
	}
	if err := m.store.Create(ctx, s); err != nil {
		return Pair{}, m.outage(ctx, "Login", err)
	}
	m.report(LoggedIn, s, "")
	return pair, nil
}

// idle returns when a session ends that is not refreshed from now on, by a clock that
// may have been set back.
func (m *Manager) idle(s Session, now time.Time) time.Time {
	return earlier(later(now, s.Rotated).Truncate(time.Second).Add(m.refreshTTL), s.MaxExpires)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// now returns the current time, truncated to the microsecond that stores keep.
func (m *Manager) now() time.Time { return m.clock().UTC().Truncate(time.Microsecond) }

// stamp returns a time that lies after everything that was revoked up to now.
func (m *Manager) stamp(now time.Time) time.Time {
	list, _ := revocation.Of(m.list)
	return time.UnixMicro(list.Stamp(now)).UTC()
}

// Logout ends a session of a subject, both of which must match. One that was ended
// before is no error. The error is [ErrNoSession] if there is none, or it has expired,
// and jwtauth.ErrUnavailable for an outage, after which it may have ended or not: call
// it again. About subjects of trusted issuers see [Manager.LogoutAll].
func (m *Manager) Logout(ctx context.Context, subject, sessionID string) error {
	if !isID(sessionID) {
		return fmt.Errorf("session: Logout: %w", ErrNoSession)
	}
	s, found, err := m.store.Get(ctx, subject, sessionID)
	if err != nil {
		return m.outage(ctx, "Logout", err)
	}
	if !found || s.RevokedAt.IsZero() && !s.live(m.now().Add(-skew)) {
		return fmt.Errorf("session: Logout: %w", ErrNoSession)
	}
	if err := m.end(ctx, subject, sessionID, ReasonLogout); err != nil {
		return m.outage(ctx, "Logout", err)
	}
	return nil
}

// isID reports whether a string may be the id of a session. Only clients send others, and
// no store is asked about them.
func isID(id string) bool {
	return len(id) == len(rand.Text()) && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// LogoutAll ends all sessions of a subject except those named, and returns how many it
// ended. A login that is under way meanwhile is not ended. The error is
// jwtauth.ErrUnavailable, if one could not be ended: call it again.
//
// If jwtauth.WithTrustedIssuer trusts other issuers, and the subject comes from a token,
// compare Claims.Issuer with Auth().Issuer() first: a subject of theirs may have the name of
// one here. The same holds for [Manager.Logout] and [Manager.Sessions].
func (m *Manager) LogoutAll(ctx context.Context, subject string, except ...string) (int, error) {
	// By the clock of another process some may live a little longer.
	all, err := m.store.List(ctx, subject, m.now().Add(-skew))
	if err != nil {
		return 0, m.outage(ctx, "LogoutAll", err)
	}
	ended := 0
	var errs []error
	for _, s := range all {
		if slices.Contains(except, s.ID) {
			continue
		}
		if err := m.end(ctx, subject, s.ID, ReasonLogout); err != nil {
			errs = append(errs, err)
			if errors.Is(err, context.DeadlineExceeded) { // and so would each that follows
				break
			}
			continue
		}
		ended++
	}
	if err := errors.Join(errs...); err != nil {
		return ended, m.outage(ctx, "LogoutAll", err)
	}
	return ended, nil
}

// end ends a session and all its tokens. The list comes first: it refuses the
// access token, and what a refresh under way still gives. Both steps may be
// repeated.
func (m *Manager) end(ctx context.Context, subject, id, reason string) error {
	if err := m.list.RevokeSession(ctx, m.access.Issuer(), id); err != nil {
		return err
	}
	was, err := m.store.Revoke(ctx, subject, id, reason, m.now())
	if err != nil || !was {
		return err
	}
	kind := LoggedOut
	if reason == ReasonReused {
		kind = Reused
	}
	m.report(kind, Session{ID: id, Subject: subject}, reason)
	return nil
}

// Sessions returns the live sessions of a subject, the one that was refreshed last
// first. The error is jwtauth.ErrUnavailable. About subjects of trusted issuers see
// [Manager.LogoutAll].
func (m *Manager) Sessions(ctx context.Context, subject string) ([]Session, error) {
	all, err := m.store.List(ctx, subject, m.now())
	if err != nil {
		return nil, m.outage(ctx, "Sessions", err)
	}
	slices.SortFunc(all, func(a, b Session) int { return b.Rotated.Compare(a.Rotated) })
	return all, nil
}

func (m *Manager) report(kind EventKind, s Session, reason string) {
	if m.events != nil {
		m.events(Event{Kind: kind, SessionID: s.ID, Subject: s.Subject, Reason: reason})
	}
}

// decided tells the observer of what m.access does not report by itself.
func (m *Manager) decided(ctx context.Context, operation, reason string, allowed bool) {
	if m.observe != nil {
		m.observe(ctx, jwtauth.Decision{Operation: operation, Allowed: allowed, Reason: reason})
	}
}

// reason returns the name of an error as WithObserver tells it.
func reason(err error) string {
	switch {
	case errors.Is(err, jwtauth.ErrUnavailable): // first: a callback's error may be any
		return jwtauth.Reason(err)
	case errors.Is(err, ErrCredentials):
		return "wrong_credentials"
	case errors.Is(err, ErrSubjectGone):
		return "subject_gone"
	case errors.Is(err, ErrReused):
		return "reused"
	}
	return jwtauth.Reason(err)
}

func (m *Manager) log() *slog.Logger { return options.Logger(m.logger) }

// outage logs an error of a store, a callback or a key, and makes it the client's
// 503. Clients that hang up may be many, and are none.
func (m *Manager) outage(ctx context.Context, where string, err error) error {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		level = slog.LevelDebug
	}
	m.log().Log(ctx, level, "session: "+where+" failed", "error", err)
	return fmt.Errorf("session: %s: %w: %w", where, jwtauth.ErrUnavailable, err)
}

// purgeEvery is how often [Manager.Run] takes out what has expired.
const purgeEvery = time.Hour

// Run has the store take out sessions that have expired, once an hour, until ctx
// ends, and returns its error; a failure is logged, and tried again. Without it
// they stay in stores that do not do so by themselves; [Memory] does.
func (m *Manager) Run(ctx context.Context) error {
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := m.purge(ctx); err != nil && ctx.Err() == nil {
			m.log().ErrorContext(ctx, "session: expired sessions cannot be taken out", "error", err)
		}
	}
}

// purge deletes expired sessions. It gives up when the next purge is due.
func (m *Manager) purge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, purgeEvery)
	defer cancel()
	return m.store.Purge(ctx, m.past.Now().UTC().Truncate(time.Microsecond))
}
