package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/joinednode/jwtauth"
)

// maxRounds is how often a refresh that loses against others is decided anew.
const maxRounds = 3

// Refresh returns the pair that follows a refresh token, which it replaces. Within the
// grace it returns a pair with the same successor again, and always a fresh access token.
// The package's documentation says which tokens are rejected.
//
// The errors are jwtauth.ErrExpired; jwtauth.ErrRevoked, with [ErrReused] if this
// very call ended the session and [ErrSubjectGone] if the callback did; those of a
// token that is not authentic; and jwtauth.ErrUnavailable, after which the client
// sends the same token again.
func (m *Manager) Refresh(ctx context.Context, refreshToken string) (Pair, error) {
	pair, err := m.next(ctx, refreshToken)
	if err != nil {
		m.decided(ctx, "refresh", reason(err), false)
	}
	return pair, err
}

// next is Refresh without the report of a rejection.
func (m *Manager) next(ctx context.Context, refreshToken string) (Pair, error) {
	came, wasCurrent := m.now(), false
	t, err := m.read(ctx, refreshToken)
	if err != nil {
		return Pair{}, fmt.Errorf("session: Refresh: %w", err)
	}
	for range maxRounds {
		s, found, err := m.store.Get(ctx, t.subject, t.session)
		if err != nil {
			return Pair{}, m.outage(ctx, "Refresh", err)
		}
		v := m.rules.judge(s, found, t.generation, came, m.now())
		if v == stolen && wasCurrent {
			v = retried // it was current when it came, and what took so long was ours
		}
		wasCurrent = wasCurrent || v == rotate
		if err := m.reject(ctx, t, s, v); err != nil {
			return Pair{}, err
		}
		says, err := m.askAbout(ctx, s)
		if err != nil {
			return Pair{}, err
		}
		next := s
		if v == retried {
			next, err = m.reread(ctx, s)
		} else {
			next = m.after(s, v, t.generation)
		}
		if err != nil {
			return Pair{}, err
		}
		// All signing comes before the step, so that a failure changes nothing.
		pair, err := m.sign(ctx, next, says)
		if err == nil {
			// What was revoked since the token was read may lie before what was signed.
			err = m.notRevoked(ctx, t.claims)
		}
		if err != nil {
			return Pair{}, fmt.Errorf("session: Refresh: %w", err)
		}
		if v != retried {
			won, err := m.advance(ctx, s, next)
			if err != nil {
				return Pair{}, m.outage(ctx, "Refresh", err)
			}
			if !won {
				continue
			}
		}
		m.refreshed(ctx, v, s, t.generation)
		return pair, nil
	}
	return Pair{}, m.outage(ctx, "Refresh", errors.New("others were faster again and again"))
}

// reject returns the error of a verdict that gives no pair, and ends the session where
// its token was stolen. It returns nil for the others.
func (m *Manager) reject(ctx context.Context, t presented, s Session, v verdict) error {
	switch {
	case v == gone:
		return fmt.Errorf("session: Refresh: %w: the session was ended", jwtauth.ErrRevoked)
	case t.revoked && v != stolen:
		return m.refuseRevoked(ctx, s)
	case v == expired, t.expired && v != retried && v != extended:
		return fmt.Errorf("session: Refresh: %w: the session has ended", jwtauth.ErrExpired)
	case v != stolen:
		return nil
	}
	m.log().WarnContext(ctx, "session: a refresh token was used again, and its session ends", "session", s.ID)
	// A thief who hangs up must not stop that, or the alarm; nor must an outage,
	// after which the thief may not come again, or find the session ended.
	if err := m.end(context.WithoutCancel(ctx), s.Subject, s.ID, ReasonReused); err != nil {
		m.report(Reused, s, ReasonReused)
		return m.outage(ctx, "Refresh", err)
	}
	return fmt.Errorf("session: Refresh: %w: %w", ErrReused, jwtauth.ErrRevoked)
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

// askAbout asks the callback of WithClaims, and ends the session if its subject is gone.
func (m *Manager) askAbout(ctx context.Context, s Session) (accessSays, error) {
	says, err := m.ask(ctx, s)
	switch {
	case errors.Is(err, ErrSubjectGone):
		if err := m.end(context.WithoutCancel(ctx), s.Subject, s.ID, ReasonSubjectGone); err != nil {
			return says, m.outage(ctx, "ending it", err)
		}
		return says, fmt.Errorf("session: Refresh: %w: %w", err, jwtauth.ErrRevoked)
	case err != nil:
		return says, fmt.Errorf("session: Refresh: %w", err)
	}
	return says, nil
}

// reread returns a session as it is after the callback of WithClaims, which may have
// taken its time: an earlier generation would be a trap for the client that gets it.
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

// after returns a session after the step that a verdict about a generation asks for: the
// same token given again, the next one, or one past those that the store has lost.
func (m *Manager) after(s Session, v verdict, generation int64) Session {
	now := m.now()
	s.Given = later(now, s.given())
	if v == extended {
		return s
	}
	s.Generation, s.Prev = max(s.Generation, generation)+1, generation
	s.IdleExpires = m.idle(s, now)
	s.Rotated = later(now, s.Rotated)
	return s
}

// advance asks the store for a step. A rotation whose signatures took long is an outage:
// the next tab would have that much less of the grace.
func (m *Manager) advance(ctx context.Context, from, next Session) (bool, error) {
	now := m.now()
	if took := now.Sub(next.Given); next.Generation != from.Generation && took > (m.rules.grace+skew)/4 {
		return false, fmt.Errorf("signing took %v", took)
	}
	return m.store.Advance(ctx, from, next, now)
}

// refreshed reports a refresh that gives a pair. s is the session as it was before.
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

// warnEvery is how often a store that lost writes is logged: after a backup was put
// back each session meets it.
const warnEvery = time.Minute

// warnBehind logs that the store had not heard of a generation.
func (m *Manager) warnBehind(ctx context.Context, s Session, generation int64) {
	now, last := time.Since(m.started)+1, m.warned.Load()
	if last != 0 && now-time.Duration(last) < warnEvery || !m.warned.CompareAndSwap(last, int64(now)) {
		return
	}
	m.log().WarnContext(ctx, "session: a refresh token is newer than its row, so the store has lost writes, as by a backup that was put back or a failover; its session goes on, and further ones are logged once a minute",
		"session", s.ID, "presented", generation, "stored", s.Generation)
}
