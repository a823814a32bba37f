package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/revocation"
)

// refreshClaims are those of a refresh token that are not registered.
type refreshClaims struct {
	Generation int64 `json:"gen"`
	MaxExpires int64 `json:"max_exp"` // seconds since 1970, for clients
}

// presented is what a genuine refresh token says.
type presented struct {
	claims           jwtauth.Claims
	subject, session string
	generation       int64
	expired, revoked bool // by itself, or by the list
}

// read judges a refresh token by itself.
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
	return presented{c, c.Subject, c.SessionID, own.Generation, isExpired, isRevoked}, nil
}

// inspectRefresh judges a refresh token by itself and by the list, and returns the
// claims of a genuine one beside ErrExpired and ErrRevoked. One that is not valid
// yet is good, by a clock that lags behind or was set back: the store knows.
func (m *Manager) inspectRefresh(ctx context.Context, token string) (jwtauth.Claims, error) {
	c, err := m.refresh.Inspect(ctx, token)
	early, late := errors.Is(err, jwtauth.ErrNotYetValid), errors.Is(err, jwtauth.ErrExpired)
	if c.ExpiresAt.IsZero() || !early && !late {
		return c, err
	}
	// Time was judged first, and the list not asked.
	if revoked := m.notRevoked(ctx, c); revoked != nil || early {
		err = revoked
	}
	return c, err
}

func (m *Manager) notRevoked(ctx context.Context, c jwtauth.Claims) error {
	switch revoked, err := m.list.Revoked(ctx, c); {
	case err != nil:
		return fmt.Errorf("%w: revocations: %w", jwtauth.ErrUnavailable, err)
	case revoked:
		return jwtauth.ErrRevoked
	}
	return nil
}

// accessSays is what the callback of WithClaims wants an access token to say.
type accessSays struct {
	container string
	opts      []jwtauth.IssueOption
}

// ask asks the callback, also where there are no access tokens: it knows whose
// subject is gone.
func (m *Manager) ask(ctx context.Context, s Session) (says accessSays, err error) {
	if m.claims == nil {
		return says, nil
	}
	says.container, says.opts, err = m.claims(ctx, s)
	if err != nil && !errors.Is(err, ErrSubjectGone) {
		err = m.outage(ctx, "the callback of WithClaims", err)
	}
	return says, err
}

// sign makes the pair of a session. The refresh token of a generation is the same
// whoever makes it, but for its signature: nothing secret needs to be kept for it.
func (m *Manager) sign(ctx context.Context, s Session, says accessSays) (Pair, error) {
	pair := Pair{TokenType: "Bearer", SessionID: s.ID, Subject: s.Subject}
	now := m.now()
	if !now.Before(earlier(s.IdleExpires, s.MaxExpires)) {
		return Pair{}, fmt.Errorf("%w: the session has ended", jwtauth.ErrExpired)
	}
	if !m.noAccess {
		ttl := min(m.accessTTL, earlier(s.IdleExpires, s.MaxExpires).Sub(now.Truncate(time.Second)))
		token, err := m.access.Issue(says.container, append(slices.Clip(says.opts), jwtauth.Subject(s.Subject), jwtauth.SessionID(s.ID),
			jwtauth.TTL(ttl))...)
		if err != nil {
			return Pair{}, m.outage(ctx, "issuing an access token", err)
		}
		pair.AccessToken, pair.ExpiresIn = token, int64(ttl/time.Second)
	}
	if !m.noRefresh {
		life := s.IdleExpires.Sub(s.Rotated.Truncate(time.Second))
		token, err := m.refresh.Issue("", jwtauth.Subject(s.Subject), jwtauth.SessionID(s.ID), jwtauth.ID(refreshID(s.ID, s.Generation)),
			asOf(s), jwtauth.TTL(life), jwtauth.Claim("gen", s.Generation), jwtauth.Claim("max_exp", s.MaxExpires.Unix()))
		if err != nil {
			return Pair{}, m.outage(ctx, "issuing a refresh token", err)
		}
		pair.RefreshToken, pair.RefreshExpiresIn = token, int64(s.IdleExpires.Sub(now.Truncate(time.Second))/time.Second)
	}
	if m.cookies != nil { // now, before the store is told that it was given out
		if err := fitCookies(pair); err != nil {
			return Pair{}, m.outage(ctx, "signing", err)
		}
	}
	return pair, nil
}

// asOf gives a token the times of a session: it was issued at the last rotation, and a
// revocation counts it as a part of the login.
func asOf(s Session) jwtauth.IssueOption {
	return func(i *revocation.Issue) { i.IssuedAt, i.Stamp = s.Rotated, s.Created }
}

// refreshID is the jti of a refresh token, which follows from what it is.
func refreshID(session string, generation int64) string {
	sum := sha256.Sum256([]byte("jwtauth refresh token\x00" + session + "\x00" + strconv.FormatInt(generation, 10)))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

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
