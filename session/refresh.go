package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/joinednode/jwtauth"
)

// maxRounds is how often a refresh that loses against others judges again.
const maxRounds = 3

// Refresh gives the pair that follows a refresh token, which it replaces. See the
// package's documentation for who is refused.
//
// The errors are jwtauth.ErrExpired; jwtauth.ErrRevoked, with [ErrReused] if this
// very call ended the session and [ErrSubjectGone] if the callback did; those of a
// token that is not genuine; and jwtauth.ErrUnavailable, after which the same
// token is to be used again: as good as before or, if only the answer of the store
// was lost, as one that was replaced a moment ago.
func (m *Manager) Refresh(ctx context.Context, refreshToken string) (Pair, error) {
	pair, err := m.next(ctx, refreshToken)
	if err != nil {
		m.decided(ctx, "refresh", reason(err), false)
	}
	return pair, err
}

// next is Refresh, but for what becomes known of a refusal.
func (m *Manager) next(ctx context.Context, refreshToken string) (Pair, error) {
	arrived, wasCurrent := m.now(), false
	t, err := m.read(ctx, refreshToken)
	if err != nil {
		return Pair{}, fmt.Errorf("session: Refresh: %w", err)
	}
	for range maxRounds {
		s, found, err := m.store.Get(ctx, t.subject, t.session)
		if err != nil {
			return Pair{}, m.outage(ctx, "Refresh", err)
		}
		v := judge(s, found, t.generation, m.now(), m.grace)
		if v == stolen && (wasCurrent || judge(s, found, t.generation, arrived, m.grace) == replay) {
			v = replay // it came in time, and what took so long was ours
		}
		wasCurrent = wasCurrent || v == rotate
		switch {
		case v == gone:
			return Pair{}, fmt.Errorf("session: Refresh: %w: the session was ended", jwtauth.ErrRevoked)
		case t.revoked && v != stolen:
			return Pair{}, m.refuseRevoked(ctx, s)
		case v == expired, t.expired && v != replay:
			return Pair{}, fmt.Errorf("session: Refresh: %w: the session has ended", jwtauth.ErrExpired)
		case v == ahead:
			m.log().WarnContext(ctx, "session: a refresh token is ahead of the store, which may be an older backup",
				"session", s.ID, "presented", t.generation, "stored", s.Generation)
			return Pair{}, fmt.Errorf("session: Refresh: %w: a generation that the store does not know", jwtauth.ErrRevoked)
		case v == stolen:
			m.log().WarnContext(ctx, "session: a refresh token was used again, and its session ends", "session", s.ID)
			// A thief who hangs up must not stop that, or the alarm; nor must an outage,
			// after which the thief may not come again, or find the session ended.
			if err := m.end(context.WithoutCancel(ctx), s.Subject, s.ID, ReasonReused); err != nil {
				m.report(Reused, s, ReasonReused)
				return Pair{}, m.outage(ctx, "Refresh", err)
			}
			return Pair{}, fmt.Errorf("session: Refresh: %w: %w", ErrReused, jwtauth.ErrRevoked)
		case v == replay:
			pair, s, err := m.signFor(ctx, t, s, func() (Session, error) { return m.still(ctx, s) })
			if err != nil {
				return Pair{}, fmt.Errorf("session: Refresh: %w", err)
			}
			m.report(Replayed, s, "")
			m.decided(ctx, "refresh", "replayed", true)
			return pair, nil
		}
		// First, so that a failure changes nothing.
		pair, next, err := m.signFor(ctx, t, m.successor(s, m.now()), func() (Session, error) { return m.successor(s, m.now()), nil })
		if err != nil {
			return Pair{}, fmt.Errorf("session: Refresh: %w", err)
		}
		if took := m.now().Sub(next.Rotated); took > (m.grace+skew)/4 { // of which the next tab would have that much less
			return Pair{}, m.outage(ctx, "Refresh", fmt.Errorf("signing took %v", took))
		}
		won, err := m.store.Advance(ctx, next, m.now())
		if err != nil {
			return Pair{}, m.outage(ctx, "Refresh", err)
		}
		if won {
			m.report(Refreshed, next, "")
			m.decided(ctx, "refresh", "", true)
			return pair, nil
		}
	}
	return Pair{}, m.outage(ctx, "Refresh", errors.New("others were faster again and again"))
}

// refuseRevoked answers a token that the list refuses. If it does so for the whole
// session, which is live in the store, then ending it failed half-way: it is done
// now, for those who do not have this list.
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

// still is a session that was read before the callback of WithClaims was asked, as it
// is now: an earlier generation would be a trap for who gets it.
func (m *Manager) still(ctx context.Context, s Session) (Session, error) {
	if m.claims == nil {
		return s, nil
	}
	now, found, err := m.store.Get(ctx, s.Subject, s.ID)
	switch {
	case err != nil:
		return s, m.outage(ctx, "Refresh", err)
	case !found || !now.RevokedAt.IsZero():
		return s, fmt.Errorf("%w: the session was ended", jwtauth.ErrRevoked)
	}
	return now, nil
}

// successor is a session after its rotation.
func (m *Manager) successor(s Session, now time.Time) Session {
	s.Generation++
	s.Rotated = later(now, s.Rotated)
	s.IdleExpires = m.idle(s, now)
	return s
}
