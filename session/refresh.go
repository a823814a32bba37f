package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
)

// maxRounds is how often a refresh is tried in all, if another request is faster each time.
const maxRounds = 3

// Refresh replaces a refresh token and returns the next pair. Within the grace it returns
// the same successor again, always with a fresh access token. The package comment says
// which tokens are given out again, and which are rejected.
//
// The error is jwtauth.ErrExpired, jwtauth.ErrRevoked, or one for a token that is not an
// authentic refresh token. ErrRevoked comes with [ErrReused] if this call ended the session
// for theft, and with [ErrSubjectGone] if the callback of [WithClaims] said so. After
// jwtauth.ErrUnavailable the client sends the same token again.
func (m *Manager) Refresh(ctx context.Context, refreshToken string) (Pair, error) {
	pair, err := m.next(ctx, refreshToken)
	if err != nil {
		m.decided(ctx, "refresh", reason(err), false)
	}
	return pair, err
}

// next is Refresh without the report of a rejection. It reads from top to bottom: the
// token, its row, the verdict, the claims, the successor, the signatures, and the step in
// the store. If another request takes that step first, it starts again at the row.
func (m *Manager) next(ctx context.Context, refreshToken string) (Pair, error) {
	came, wasCurrent := m.now(), false
	t, err := m.read(ctx, refreshToken)
	if err != nil {
		return Pair{}, fmt.Errorf("session: Refresh: %w", err)
	}
	for range maxRounds {
		row, found, err := m.store.Get(ctx, t.subject, t.session)
		if err != nil {
			return Pair{}, m.outage(ctx, "Refresh", err)
		}
		v := m.rules.check(row, found, t.generation, came, m.now())
		if v == stolen && wasCurrent {
			v = retried // the token was current when it came; the delay was ours
		}
		wasCurrent = wasCurrent || v == rotate
		if err := m.reject(ctx, t, row, v); err != nil {
			return Pair{}, err
		}
		m.catchUp(ctx, row)
		says, err := m.askOrEnd(ctx, row)
		if err != nil {
			return Pair{}, err
		}
		successor, err := m.successor(ctx, row, v, t.generation)
		if err != nil {
			return Pair{}, err
		}
		// Signing comes before the step in the store, so that a failure changes nothing.
		pair, err := m.sign(ctx, successor, says, t.brief)
		if err != nil {
			return Pair{}, fmt.Errorf("session: Refresh: %w", err)
		}
		// A revocation since the token was read must also reach what was signed just now.
		if err := m.notRevoked(ctx, t.claims); err != nil {
			return Pair{}, fmt.Errorf("session: Refresh: %w", err)
		}
		won, err := m.advance(ctx, row, successor, v)
		if err != nil {
			return Pair{}, m.outage(ctx, "Refresh", err)
		}
		if won {
			m.refreshed(ctx, v, row, t.generation)
			return pair, nil
		}
	}
	return Pair{}, m.outage(ctx, "Refresh", errors.New("other requests were faster each time"))
}

// reject returns the error of a verdict that gives no pair, and nil for other verdicts.
// If the token was stolen, it ends the session.
func (m *Manager) reject(ctx context.Context, t presented, s Session, v verdict) error {
	switch {
	case v == gone:
		return fmt.Errorf("session: Refresh: %w: the session was ended", jwtauth.ErrRevoked)
	case t.revoked && v != stolen:
		return m.refuseRevoked(ctx, s)
	case v == expired, t.expired && v != retried && v != extended:
		return fmt.Errorf("session: Refresh: %w: the session has ended", jwtauth.ErrExpired)
	case v == stolen:
		return m.endStolen(ctx, s)
	}
	return nil
}

// catchUp reads the revocation log before a refresh whose last access token may not have
// expired by itself. Another process may have rejected that token because of an
// ExpireAccess that this process has not read. The new access token would then be rejected,
// too, and clients log out if that happens twice. If the log cannot be read, the refresh
// goes on: the list itself fails closed once it is stale.
func (m *Manager) catchUp(ctx context.Context, row Session) {
	window := m.rules.grace + skew + margin
	if m.noAccess || m.now().Sub(row.given()) > m.accessTTL+window {
		return // its access token has expired by itself
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if err := m.list.Sync(ctx); err != nil {
		m.log().DebugContext(ctx, "session: the revocation log cannot be read before a refresh", "error", err)
	}
}

// catchUpTimeout bounds how much longer a refresh takes if the log hangs.
const catchUpTimeout = time.Second

// endStolen ends a session whose token was used again, and returns the error for that.
func (m *Manager) endStolen(ctx context.Context, s Session) error {
	m.log().WarnContext(ctx, "session: a refresh token was used again, and its session ends", "session", s.ID)
	// A thief who hangs up must not prevent the end of the session or the event. An outage
	// must not prevent the event, since the thief may not come again.
	if err := m.end(context.WithoutCancel(ctx), s.Subject, s.ID, ReasonReused); err != nil {
		m.report(Reused, s, ReasonReused)
		return m.outage(ctx, "Refresh", err)
	}
	return fmt.Errorf("session: Refresh: %w: %w", ErrReused, jwtauth.ErrRevoked)
}

// refuseRevoked returns the error of a token that the list has revoked. If the list has
// revoked the whole session and the store has not, an earlier end failed half-way. It is
// completed now, for processes that do not have this list.
func (m *Manager) refuseRevoked(ctx context.Context, s Session) error {
	ended, err := m.list.Revoked(ctx, jwtauth.Claims{Issuer: m.access.Issuer(), SessionID: s.ID})
	if ended {
		err = m.end(ctx, s.Subject, s.ID, ReasonLogout)
	}
	if err != nil {
		return m.outage(ctx, "Refresh", err)
	}
	return fmt.Errorf("session: Refresh: %w", jwtauth.ErrRevoked)
}

// askOrEnd calls the callback of WithClaims, and ends the session if its subject is gone.
func (m *Manager) askOrEnd(ctx context.Context, s Session) (accessSays, error) {
	says, err := m.ask(ctx, s)
	if err == nil {
		return says, nil
	}
	if !errors.Is(err, ErrSubjectGone) {
		return says, fmt.Errorf("session: Refresh: %w", err)
	}
	if err := m.end(context.WithoutCancel(ctx), s.Subject, s.ID, ReasonSubjectGone); err != nil {
		return says, m.outage(ctx, "ending the session of a subject that is gone", err)
	}
	return says, fmt.Errorf("session: Refresh: %w: %w", err, jwtauth.ErrRevoked)
}

// successor returns the session whose refresh token the client gets. If the token is
// given again, that is the row as it is. Otherwise it is the row after the step that the
// verdict asks for.
func (m *Manager) successor(ctx context.Context, row Session, v verdict, generation int64) (Session, error) {
	if v == retried {
		return m.reread(ctx, row)
	}
	now := m.now()
	next := row
	next.Given = later(now, row.given())
	if v == extended {
		return next, nil
	}
	// A generation ahead of the row is one that the store has lost. The next one
	// must be higher, too.
	next.Generation, next.Prev = max(row.Generation, generation)+1, generation
	next.IdleExpires = m.idle(row, now)
	next.Rotated = later(now, row.Rotated)
	return next, nil
}

// reread returns a session as it is after the callback of WithClaims, which may have been
// slow. A client that got an earlier generation would later be taken for a thief.
func (m *Manager) reread(ctx context.Context, s Session) (Session, error) {
	if m.claims == nil {
		return s, nil
	}
	now, found, err := m.store.Get(ctx, s.Subject, s.ID)
	switch {
	case err != nil:
		return s, m.outage(ctx, "Refresh", err)
	case !found || !now.RevokedAt.IsZero():
		return s, fmt.Errorf("session: Refresh: %w: the session was ended", jwtauth.ErrRevoked)
	}
	return now, nil
}

// advance asks the store to take the step from row to next, and reports whether it did. A
// retried token needs no step. If signing took long, a rotation is an outage: the next tab
// would have less of the grace.
func (m *Manager) advance(ctx context.Context, row, next Session, v verdict) (bool, error) {
	if v == retried {
		return true, nil
	}
	now := m.now()
	if took := now.Sub(next.Given); next.Generation != row.Generation && took > (m.rules.grace+skew)/4 {
		return false, fmt.Errorf("signing took %v", took)
	}
	return m.store.Advance(ctx, row, next, now)
}

// refreshed reports a refresh that gives a pair. s is the session before it.
func (m *Manager) refreshed(ctx context.Context, v verdict, s Session, generation int64) {
	switch v {
	case rotate:
		m.report(Refreshed, s, "")
		m.decided(ctx, "refresh", "", true)
	case retried, extended:
		m.report(Retried, s, "")
		m.decided(ctx, "refresh", "retried", true)
	case recovered:
		m.report(Recovered, s, ReasonAnswerLost)
		m.decided(ctx, "refresh", "recovered", true)
	case ahead:
		m.warnBehind(ctx, s, generation)
		m.report(Recovered, s, ReasonStoreBehind)
		m.decided(ctx, "refresh", "recovered", true)
	}
}

// warnEvery is how often, at most, a store that lost writes is logged. After a restore,
// every session may find it so.
const warnEvery = time.Minute

// warnBehind logs that a client has a newer generation than the store.
func (m *Manager) warnBehind(ctx context.Context, s Session, generation int64) {
	now, last := time.Since(m.started)+1, m.warned.Load()
	if last != 0 && now-time.Duration(last) < warnEvery || !m.warned.CompareAndSwap(last, int64(now)) {
		return
	}
	m.log().WarnContext(ctx, "session: a refresh token is newer than its row, so the store has lost writes, such as in a restore or a failover; the session goes on, and this is logged once a minute at most",
		"session", s.ID, "presented", generation, "stored", s.Generation)
}

// refreshClaims are the private claims of a refresh token.
type refreshClaims struct {
	Generation int64 `json:"gen"`
	MaxExpires int64 `json:"max_exp"` // seconds since 1970, for clients
	Brief      bool  `json:"brief"`   // see UntilBrowserCloses; each token passes it on
}

// presented holds what an authentic refresh token says.
type presented struct {
	claims           jwtauth.Claims
	subject, session string
	generation       int64
	expired, revoked bool // by its exp, and by the list
	brief            bool
}

// read verifies a refresh token without its row.
func (m *Manager) read(ctx context.Context, token string) (presented, error) {
	c, err := m.inspectRefresh(ctx, token)
	isExpired, isRevoked := errors.Is(err, jwtauth.ErrExpired), errors.Is(err, jwtauth.ErrRevoked)
	if err != nil && !isExpired && !isRevoked {
		return presented{}, err
	}
	var own refreshClaims
	if err := c.Decode(&own); err != nil {
		return presented{}, fmt.Errorf("%w: %w", jwtauth.ErrMalformed, err)
	}
	if c.Subject == "" || c.SessionID == "" || c.ID != refreshID(c.SessionID, own.Generation) {
		return presented{}, fmt.Errorf("%w: not a refresh token of a session", jwtauth.ErrMalformed)
	}
	return presented{c, c.Subject, c.SessionID, own.Generation, isExpired, isRevoked, own.Brief}, nil
}

// inspectRefresh verifies a refresh token and asks the list. It also returns the claims
// of an authentic token with ErrExpired and ErrRevoked. It accepts a token that is not
// valid yet: this clock is slow or was set back, and the row decides.
func (m *Manager) inspectRefresh(ctx context.Context, token string) (jwtauth.Claims, error) {
	c, err := m.refresh.Inspect(ctx, token)
	early, late := errors.Is(err, jwtauth.ErrNotYetValid), errors.Is(err, jwtauth.ErrExpired)
	if c.ExpiresAt.IsZero() || !early && !late {
		return c, err
	}
	// Inspect stopped at the time, before it asked the list.
	if revoked := m.notRevoked(ctx, c); revoked != nil || early {
		err = revoked
	}
	return c, err
}

func (m *Manager) notRevoked(ctx context.Context, c jwtauth.Claims) error {
	switch revoked, err := (refreshRevocations{m.list}).Revoked(ctx, c); {
	case err != nil:
		return fmt.Errorf("%w: revocations: %w", jwtauth.ErrUnavailable, err)
	case revoked:
		return jwtauth.ErrRevoked
	}
	return nil
}

// accessSays holds what the callback of WithClaims returned for an access token.
type accessSays struct {
	stamp     time.Time // when the callback was called
	container string
	opts      []jwtauth.IssueOption
}

// ask calls the callback of WithClaims, even if there are no access tokens: it knows
// which subjects are gone.
func (m *Manager) ask(ctx context.Context, s Session) (says accessSays, err error) {
	// A callback may read a role just before it changes. The token must then count as issued
	// before the ExpireAccess that follows the change.
	says.stamp = m.stamp(m.now())
	if m.claims == nil {
		return says, nil
	}
	says.container, says.opts, err = m.claims(ctx, s)
	if err != nil && !errors.Is(err, ErrSubjectGone) {
		err = m.outage(ctx, "the callback of WithClaims", err)
	}
	return says, err
}

// sign signs the pair of a session. Every process makes the same refresh token for a
// generation, except for its signature. So no secret needs to be stored to give a token
// again.
func (m *Manager) sign(ctx context.Context, s Session, says accessSays, brief bool) (Pair, error) {
	pair := Pair{TokenType: "Bearer", SessionID: s.ID, Subject: s.Subject, brief: brief}
	now := m.now()
	if !now.Before(earlier(s.IdleExpires, s.MaxExpires)) {
		return Pair{}, fmt.Errorf("%w: the session has ended", jwtauth.ErrExpired)
	}
	if !m.noAccess {
		ttl := min(m.accessTTL, earlier(s.IdleExpires, s.MaxExpires).Sub(now.Truncate(time.Second)))
		token, err := m.access.Issue(says.container, append(slices.Clip(says.opts), jwtauth.Subject(s.Subject), jwtauth.SessionID(s.ID),
			jwtauth.TTL(ttl), stampedAt(says.stamp))...)
		if err != nil {
			return Pair{}, m.outage(ctx, "issuing an access token", err)
		}
		pair.AccessToken, pair.ExpiresIn = token, int64(ttl/time.Second)
	}
	if !m.noRefresh {
		life := s.IdleExpires.Sub(s.Rotated.Truncate(time.Second))
		opts := []jwtauth.IssueOption{jwtauth.Subject(s.Subject), jwtauth.SessionID(s.ID), jwtauth.ID(refreshID(s.ID, s.Generation)),
			asOf(s), jwtauth.TTL(life), jwtauth.Claim("gen", s.Generation), jwtauth.Claim("max_exp", s.MaxExpires.Unix())}
		if brief {
			opts = append(opts, jwtauth.Claim("brief", true))
		}
		token, err := m.refresh.Issue("", opts...)
		if err != nil {
			return Pair{}, m.outage(ctx, "issuing a refresh token", err)
		}
		pair.RefreshToken, pair.RefreshExpiresIn = token, int64(s.IdleExpires.Sub(now.Truncate(time.Second))/time.Second)
	}
	if m.cookies != nil { // checked now, before the store changes
		if err := fitCookies(pair); err != nil {
			return Pair{}, m.outage(ctx, "signing", err)
		}
	}
	return pair, nil
}

// asOf gives a token the times of its session: it was issued at the last rotation, and
// for revocations it belongs to the login.
func asOf(s Session) jwtauth.IssueOption {
	return func(i *revocation.Issue) { i.IssuedAt, i.Stamp = s.Rotated, s.Created }
}

func stampedAt(stamp time.Time) jwtauth.IssueOption {
	return func(i *revocation.Issue) { i.Stamp = stamp }
}

// refreshID returns the jti of a refresh token, which is the same in every process.
func refreshID(session string, generation int64) string {
	sum := sha256.Sum256([]byte("jwtauth refresh token\x00" + session + "\x00" + strconv.FormatInt(generation, 10)))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
