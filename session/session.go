// Package session gives browsers and apps logins that last. A login returns a short-lived
// access token for requests, and a long-lived refresh token that is exchanged for the
// next pair.
//
//	sessions, err := session.New(key, session.NewMemory())
//	if err != nil {
//		log.Fatal(err)
//	}
//	go sessions.Run(ctx)
//	http.Handle("/auth/jwt/", sessions.Handler(func(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
//		if !passwordIsRight(c.Email, c.Password) {
//			return "", nil, session.ErrCredentials
//		}
//		return c.Email, nil, nil
//	}))
//	http.Handle("/api/", sessions.Require(api))
//
// Most programs need only [New], [Manager.Handler], [Manager.Require] and [Manager.Run].
// [Manager.Login] and [Manager.Refresh] do in code what Handler does over HTTP.
// [Manager.ExpireAccess] makes a change of roles take effect at once.
// [WithCookies] keeps the tokens in cookies that no script can read. [NewMemory] is a
// [Store] for one process, and forgets sessions at a restart. Packages store/sqlstore and
// store/redisstore have stores for several processes.
//
// # The endpoints
//
// [Manager.Handler] serves JSON. It looks only at the last segment of the path, with or
// without a slash at the end.
//
//   - POST create/ with "email" or "username", and "password", logs in. It returns 200
//     with a [Pair], or 401 with the code credentials_not_valid, whatever was wrong. The
//     subject is used exactly as authenticate returns it: trim it, and fold its case,
//     there.
//   - POST refresh/ with "refresh_token" returns 200 with the next [Pair].
//   - POST verify/ with "token" returns 200 and {} for a live access token.
//   - POST logout/ ends the session of the request's access token, or of a
//     "refresh_token" in the body, with both its tokens. With "session_id" it ends that
//     session of the same subject instead, and with "everywhere": true all of them. It
//     returns 204, also if the session was already revoked. An expired access token,
//     and a token that was revoked, may end their own session and no other. An expired
//     refresh token is 401.
//   - GET sessions/ returns 200 and "sessions", those of the access token's subject.
//
// A bad token is 401 with the code token_not_valid, and a reason if it is authentic, such
// as expired, revoked, reused or wrong_type. No token is 401 with the code
// not_authenticated. 400 means that the body is not a JSON object or a field has a wrong
// type. create/ also answers 400 to an empty body and to a name in another case, such as
// "Email". 413 means that the body is larger than 64 KiB, and 415 that it has another
// Content-Type than application/json. An outage is 503 with Retry-After: the client must
// keep its tokens and try again. All responses have Cache-Control: no-store.
//
// # Cookies
//
// With [WithCookies], browsers keep the tokens in three cookies: [AccessCookie],
// [RefreshCookie] and [SessionCookie]. They are HttpOnly, Secure and SameSite=Lax. All
// last until the session ends if it is not refreshed. So an expired access token is still
// sent, and rejected as expired.
//
//   - Handler and [Manager.WritePair] set cookies and write no token into a body. Handler
//     takes tokens only from cookies. [Manager.JSONHandler] serves clients that keep
//     tokens themselves, and takes none from cookies.
//   - [Manager.Require] and [Manager.Auth] look for a token in the Authorization field,
//     then in the cookie. If [WithAccess] sets extractors,
//     jwtauth.FromCookie(AccessCookie) must be among them.
//   - Requests whose token is in a cookie, and every POST to Handler, must come from this
//     origin or a trusted one, or get 403 (see [http.CrossOriginProtection]). GET, HEAD
//     and OPTIONS pass from any origin, except for WebSockets: handlers of these methods
//     must not change anything.
//   - Browsers drop a cookie of more than 4096 bytes, name included. A login or refresh
//     that would need one is 500, and changes nothing. The log names the largest claim.
//   - A logout of the caller's own session deletes the cookies, even if it is 401, and so
//     does a theft. An outage never does. A login at create/ ends the former session of the
//     browser, except with Cookies.KeepFormer.
//   - [UntilBrowserCloses] is for a login without "remember me". Cookies.Embedded is for
//     pages in a frame on another site.
//
// Browsers accept the cookies over TLS only. Chromium and Firefox also accept them from
// localhost (draft-ietf-httpbis-rfc6265bis, section 4.1.3). Cookies whose name begins
// with __Host- can only be set by this host. RefreshCookie has a path, so a sibling
// subdomain could set it, too: it counts only if it belongs to the session that
// SessionCookie names. All tabs share the cookies, and the last response wins. Pages
// should log in, refresh and log out one at a time, with Web Locks: examples/login has a
// client to copy.
//
// Without WithCookies, Handler uses nothing that browsers send by themselves, so a page
// of another origin can do nothing without a token.
//
// # The bodies of simplejwt
//
// [WithSimpleJWTBodies] changes the JSON of the endpoints to that of
// djangorestframework-simplejwt 5.5:
//
//   - create/ and refresh/ return "refresh" and "access", and refresh/ takes "refresh", as
//     with ROTATE_REFRESH_TOKENS.
//   - verify/ also takes a refresh token, and returns 400 for one that is revoked. It does
//     not tell whether the token was replaced.
//   - Numbers count as text, and spaces around a text are cut, even of a password.
//   - logout/ takes "refresh" and returns 200 and {}. blacklist/ does the same, and
//     requires "refresh" unless the tokens are in cookies.
//   - A failure has "detail" and, for a bad token, the "code" token_not_valid. A denial of
//     [Manager.Require] for a bad token also has "messages". A missing field and one of a
//     wrong type are 400, with the message under the field's name.
//
// What simplejwt does not have stays the same: sessions/, "everywhere" and "session_id" of
// logout/, the bodies without tokens of [WithCookies], 403 for another origin, and 503,
// after which a client must keep its tokens.
//
// # What is promised
//
// The legitimate client, to which the tokens were given, is not logged out, whatever its
// tabs, its network and the store do. It needs no lock: any number of requests may refresh
// at once, and their responses may arrive in any order, or never. If the store, the
// revocation list, a key or a callback fails, the client gets 503, keeps its tokens and
// tries again.
//
//   - A refresh token that was first given out less than 50 seconds ago (20 more than
//     [WithGrace]) is given out again, with a fresh access token.
//   - A client with a token that was replaced less than 40 seconds ago gets its successor
//     again.
//   - A client with a token that was replaced longer ago gets a new successor if no client
//     has used the first one: its response was lost.
//   - A token that is newer than the store knows moves the session on. In that case the
//     store was restored from a backup, or lost a write in a failover.
//
// A thief does not stay. If a token is used after its successor was used, the session
// ends, for the thief and for the legitimate client. The same holds for an unused token in
// whose place another one was given out. Logout ends the refresh token and, by the
// revocation list, the access token.
//
// # Lost responses, and what a thief gains
//
// A client that lost a response comes back with a token that was replaced, hours later if
// it is a phone that slept. So a copy of a replaced token works until the legitimate
// client's next refresh. That refresh ends the session, or the copy. A thief who uses a
// token once and never again raises no alarm if the legitimate client then comes with the
// same token. Each such refresh is a [Recovered] event.
//
// Use [WithoutRecovery] where an early alarm is worth an occasional login, such as for a
// bank's web page, whose clients are always online. Without recovery, a client that
// retries later than the grace and 10 seconds must log in again.
//
// # What is not promised
//
// A thief who sees the traffic, and always comes within the grace of the legitimate
// client, holds the same tokens. There are only [Retried] events until one of the two is
// late. A request that arrives more than 10 seconds after its client got the next token may
// be taken for a thief's. An access token works for every client that holds it, until it
// expires or the session ends. Clocks of processes that share a store may differ by 5
// seconds and, if a list revokes subjects, by no more than its revoke.WithSkew.
//
// Revoking a subject ends the sessions that began before, wherever they are refreshed
// next. An access token that another process issues before it has read the entry lives
// until it expires.
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

// Types (typ) of the tokens, so that neither passes for the other, or for another kind of
// token signed with the same key (RFC 8725, section 3.11). Two Managers with one key need
// different issuers: see [WithAccess]. Refresh tokens have no audience.
const (
	AccessType  = "access+jwt"
	RefreshType = "refresh+jwt"
)

// The errors of this package, for [errors.Is]. Other errors are those of package jwtauth:
// ErrExpired, ErrRevoked, those of a token that is not authentic, and ErrUnavailable for
// an outage.
var (
	// ErrCredentials: the password is wrong, or the user unknown. The callback of
	// [Manager.Handler] returns it.
	ErrCredentials = errors.New("session: wrong credentials")
	// ErrSubjectGone: the user may no longer have sessions. The callback of [WithClaims]
	// returns it.
	ErrSubjectGone = errors.New("session: the subject is gone")
	// ErrReused: a refresh token was used that only a second client can have, or that came
	// too late for [WithoutRecovery], so the session was ended. The error is also
	// jwtauth.ErrRevoked.
	ErrReused = errors.New("session: refresh token used again")
	// ErrNoSession: the subject has no such session.
	ErrNoSession = errors.New("session: no such session")
)

// Manager starts, refreshes and ends sessions. It is safe for concurrent use, and starts
// no goroutine.
type Manager struct {
	config
	store   Store
	access  *jwtauth.Auth
	refresh *jwtauth.Auth

	past *past.Clock // decides what Purge deletes, and distrusts a clock that jumps ahead

	started time.Time
	warned  atomic.Int64 // when a store that lost writes was last logged, since started; 0 for never

	warnedOfPath, warnedOfRefresh, warnedOfHTTP atomic.Bool // each is logged once
}

// New returns a Manager whose tokens are signed with the keys of source. By default
// access tokens live 15 minutes. A session ends 14 days after the last refresh, and after
// 180 days at the latest. There are no containers.
//
// New reports all bad options of this package at once, and then those that do not fit the
// keys, the list or [WithAccess]. The error says what was given and what would be right.
func New(source keys.Source, store Store, opts ...Option) (*Manager, error) {
	c := config{accessTTL: DefaultAccessTTL, refreshTTL: DefaultRefreshTTL, maxAge: DefaultMaxAge, rules: rules{grace: DefaultGrace}, storeTimeout: DefaultStoreTimeout, clock: time.Now, bodies: ownBodies{}}
	var errs []error
	if store == nil {
		errs = append(errs, errors.New("the store is nil; give it one, such as session.NewMemory()"))
	}
	errs = append(errs, options.Apply(&c, opts))
	if c.noAccess && c.noRefresh {
		errs = append(errs, errors.New("WithoutAccess and WithoutRefresh leave no token; leave one of them out"))
	}
	if c.containers && c.claims == nil {
		errs = append(errs, errors.New("WithContainers needs WithClaims, which names the container of a session"))
	}
	if within := (c.rules.grace + skew) / 2; c.storeTimeout > within {
		errs = append(errs, fmt.Errorf("WithStoreTimeout(%v) is more than half of the time in which a client may ask again, which is WithGrace plus %v, so that an outage could look like theft; give it %v at most", c.storeTimeout, skew, within))
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

// open makes the two Auths that issue and verify the tokens.
func (m *Manager) open(source keys.Source) (err error) {
	if m.list == nil {
		m.list, err = revoke.New(revoke.NewMemory(), revoke.WithClock(m.clock), revoke.WithMaxLifetime(max(m.accessTTL, m.refreshTTL, DefaultRefreshTTL)))
		if err != nil {
			return err
		}
	}
	if most := max(m.accessTTL, m.refreshTTL); m.list.MaxLifetime() < most {
		return fmt.Errorf("WithRevocations was given a list that keeps revocations for %v, but tokens may live %v; give it revoke.WithMaxLifetime(%[2]v) or more", m.list.MaxLifetime(), most)
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
		// This is the default. Set here, it makes WithAnyContainer in WithAccess an error.
		defaults = append(defaults, jwtauth.WithContainer(func(r *http.Request) string { return r.PathValue("container") }))
	} else {
		defaults = append(defaults, jwtauth.WithAnyContainer())
	}
	cookies, forced := m.cookieOptions()
	users := m.accessOptions
	ours := m.ownOptions(AccessType, m.accessTTL)
	// If two options set the same thing, the later one wins. So a user may replace the
	// defaults and the extractors of cookies. But no user's option may have another type of
	// token accepted, let a token outlive the revocation list, or take away the protection
	// that cookies need.
	return jwtauth.New(source, slices.Concat(defaults, cookies, users, ours, forced)...)
}

// openRefresh makes the Auth of refresh tokens. Of the options of WithAccess only the
// issuer applies to it. It has no cache, since a refresh token is used once.
func (m *Manager) openRefresh() (*jwtauth.Auth, error) {
	opts := append(m.ownOptions(RefreshType, m.refreshTTL), jwtauth.WithRevocations(refreshRevocations{m.list}), jwtauth.WithAnyContainer(), jwtauth.WithCache(0), jwtauth.WithStatus(status), jwtauth.WithDenial(m.writeDenial(false)))
	if issuer := m.access.Issuer(); issuer != "" {
		opts = append(opts, jwtauth.WithIssuer(issuer))
	}
	return jwtauth.New(m.refreshKeys, opts...)
}

// refreshRevocations is the revocation list for refresh tokens, to which ExpireAccess does
// not apply.
type refreshRevocations struct{ *revoke.List }

func (l refreshRevocations) Revoked(ctx context.Context, c jwtauth.Claims) (bool, error) {
	revoked, err := l.List.Revoked(ctx, c)
	if errors.Is(err, jwtauth.ErrExpired) {
		err = nil
	}
	return revoked, err
}

// ownOptions returns the options of both Auths that a user cannot change. Tokens issued
// before a lifetime was shortened are accepted up to the lifetime of the list.
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

// Auth returns the Auth that verifies access tokens. Use it for Optional, Protect, Check,
// Verify and the like.
func (m *Manager) Auth() *jwtauth.Auth { return m.access }

// RefreshTokens returns the refresh tokens as a kind of token that revoke.List.Handler
// revokes (RFC 7009): revoking one ends its session.
//
//	list.Handler(sessions.Auth(), mayRevoke, sessions.RefreshTokens())
func (m *Manager) RefreshTokens() revoke.TokenKind { return refreshTokens{m} }

type refreshTokens struct{ m *Manager }

func (t refreshTokens) Inspect(ctx context.Context, token string) (jwtauth.Claims, error) {
	c, err := t.m.inspectRefresh(ctx, token)
	return ofSession(c, err)
}

func (t refreshTokens) Revoke(ctx context.Context, c jwtauth.Claims) error {
	return t.m.end(ctx, c.Subject, c.SessionID, ReasonLogout)
}

// Require returns a handler that calls next only for requests with a live access token.
// It is the Private of [Manager.Auth]. A denial is 401 with the code token_not_valid, or
// not_authenticated if no token was sent. It is 403 if neither a refresh nor a login would
// help, such as for a token of another container. An outage is 503.
//
// With jwtauth.WithTrustedIssuer, a handler that looks up a subject must also check
// Claims.Issuer.
func (m *Manager) Require(next http.Handler) http.Handler { return m.access.Private(next) }

// Pair is the result of a login or a refresh. Its JSON is that of RFC 6749, section 5.1,
// with refresh_expires_in.
type Pair struct {
	AccessToken      string `json:"access_token,omitempty"`
	RefreshToken     string `json:"refresh_token,omitempty"`
	TokenType        string `json:"token_type"`                   // always Bearer
	ExpiresIn        int64  `json:"expires_in,omitempty"`         // seconds until the access token expires
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitempty"` // seconds until the refresh token expires

	SessionID string `json:"-"`
	Subject   string `json:"-"`

	brief bool // its cookies end with the browser
}

// String returns the session's ID without the tokens.
func (p Pair) String() string { return "session.Pair of " + p.SessionID }

// GoString is [Pair.String].
func (p Pair) GoString() string { return p.String() }

// LogValue is [Pair.String].
func (p Pair) LogValue() slog.Value { return slog.StringValue(p.String()) }

// Login starts a session of a subject that the caller has authenticated, and returns its
// first tokens. The error is [ErrSubjectGone] if the callback of [WithClaims] says so. It
// is jwtauth.ErrUnavailable for an outage, and if the subject was revoked during the
// call. Any other error is about a bad subject or option, such as a [MaxAge] that passed
// during the call.
func (m *Manager) Login(ctx context.Context, subject string, opts ...LoginOption) (Pair, error) {
	pair, err := m.login(ctx, subject, opts)
	m.decided(ctx, "login", reason(err), err == nil)
	return pair, err
}

func (m *Manager) login(ctx context.Context, subject string, opts []LoginOption) (Pair, error) {
	if err := checkSubject(subject); err != nil {
		return Pair{}, fmt.Errorf("session: Login: %w", err)
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
	if l.brief && m.cookies == nil {
		return Pair{}, errors.New("session: Login: UntilBrowserCloses needs WithCookies; leave it out for clients that keep tokens themselves")
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
	pair, err := m.sign(ctx, s, says, l.brief)
	if err != nil {
		return Pair{}, fmt.Errorf("session: Login: %w", err)
	}
	// A revocation since the session began must also reach the tokens signed just now.
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

func checkSubject(subject string) error {
	if subject == "" || len(subject) > MaxText || !utf8.ValidString(subject) || strings.ContainsFunc(subject, unicode.IsControl) {
		return fmt.Errorf("a subject must be valid UTF-8, without control characters, and have 1 to %d bytes", MaxText)
	}
	return nil
}

// idle returns when a session ends if its last refresh is now. The clock may have been
// set back since its last rotation.
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

// stamp returns a time that is later than every revocation that this process knows.
func (m *Manager) stamp(now time.Time) time.Time {
	list, _ := revocation.Of(m.list)
	return time.UnixMicro(list.Stamp(now)).UTC()
}

// Logout ends the session with this ID if it belongs to the subject. A session that was
// already revoked is no error. The error is [ErrNoSession] if the subject has no such
// session or it has expired, and jwtauth.ErrUnavailable for an outage. After an outage the
// session may have ended or not: call Logout again. [Manager.LogoutAll] has a note about
// trusted issuers.
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

// isID reports whether a string can be the ID of a session. The store is not asked for
// any other string, which only a client can send.
func isID(id string) bool {
	return len(id) == len(rand.Text()) && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// LogoutAll ends all sessions of a subject except those with the given IDs, and returns
// how many it ended. It may miss a login that happens at the same time. The only error is
// jwtauth.ErrUnavailable. Some sessions may then still be live: call LogoutAll again.
//
// If jwtauth.WithTrustedIssuer trusts other issuers and the subject comes from a token,
// compare Claims.Issuer with Auth().Issuer() first: another issuer may have a subject of
// the same name. The same holds for [Manager.Logout] and [Manager.Sessions].
func (m *Manager) LogoutAll(ctx context.Context, subject string, except ...string) (int, error) {
	// By the clock of another process, some sessions live a little longer.
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
			if errors.Is(err, context.DeadlineExceeded) { // the others would fail, too
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

// end ends a session and all its tokens. It first revokes them by the list, which rejects
// the access token, and also tokens that a refresh is still about to return. Both steps
// may be repeated.
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

// ExpireAccess makes every access token that the subject has so far expired. Call it after
// a change of the subject's roles: clients refresh silently, and get a token with the
// claims that [WithClaims] returns then. Sessions go on, except with [WithoutRefresh].
//
// In this process it takes effect before ExpireAccess returns, and in others once they have
// read the log of [WithRevocations]. The error is jwtauth.ErrUnavailable for an outage:
// call ExpireAccess again. Any other error is about a bad subject, or [WithoutAccess].
func (m *Manager) ExpireAccess(ctx context.Context, subject string) error {
	if m.noAccess {
		return errors.New("session: ExpireAccess: with WithoutAccess there are no access tokens; call it on the Manager that issues them")
	}
	if err := checkSubject(subject); err != nil {
		return fmt.Errorf("session: ExpireAccess: %w", err)
	}
	if err := m.list.ExpireAccess(ctx, m.access.Issuer(), subject); err != nil {
		return m.outage(ctx, "ExpireAccess", err)
	}
	return nil
}

// Sessions returns the live sessions of a subject, beginning with the one that was
// refreshed last. The only error is jwtauth.ErrUnavailable. [Manager.LogoutAll] has a
// note about trusted issuers.
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

// decided tells the observer about a decision that m.access does not report.
func (m *Manager) decided(ctx context.Context, operation, reason string, allowed bool) {
	if m.observe != nil {
		m.observe(ctx, jwtauth.Decision{Operation: operation, Allowed: allowed, Reason: reason})
	}
}

// reason returns the name of an error for WithObserver.
func reason(err error) string {
	switch {
	case errors.Is(err, jwtauth.ErrUnavailable): // first, since it may wrap any error of a callback
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

// outage logs an error that the server is to blame for, such as one of a store, a callback
// or a key. It returns an error that is also jwtauth.ErrUnavailable. If the client has hung
// up, the level is debug: that is no outage, and may happen often.
func (m *Manager) outage(ctx context.Context, where string, err error) error {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		level = slog.LevelDebug
	}
	m.log().Log(ctx, level, "session: "+where+" failed", "error", err)
	return fmt.Errorf("session: %s: %w: %w", where, jwtauth.ErrUnavailable, err)
}

// purgeEvery is how often [Manager.Run] deletes expired sessions.
const purgeEvery = time.Hour

// Run deletes expired sessions from the store once an hour, until ctx ends, and returns
// the error of ctx. If that fails, Run logs it and tries again an hour later. Without Run,
// expired sessions stay in stores that do not delete them on their own. [Memory] deletes
// some at each login.
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
			m.log().ErrorContext(ctx, "session: expired sessions could not be deleted", "error", err)
		}
	}
}

// purge deletes expired sessions. It gives up after an hour, when the next purge is due.
func (m *Manager) purge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, purgeEvery)
	defer cancel()
	return m.store.Purge(ctx, m.past.Now().UTC().Truncate(time.Microsecond))
}
