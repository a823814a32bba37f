package session

import (
	"context"
	"time"
)

// Session is one login, and one row of a [Store]. It describes a family of refresh
// tokens, each of which replaced the one before. It holds nothing secret.
type Session struct {
	ID      string // sid; unique among all subjects
	Subject string // sub

	// Generation is the number of the current refresh token, 1 at login. Prev is the
	// generation that it replaced, 0 at login. Generations between the two were skipped:
	// no client had used them.
	Generation, Prev int64

	// Created is the time of the login, and Rotated that of the current generation, to
	// the microsecond. Rotated never decreases. Both can be ahead of a clock that was set
	// back. Created can also be ahead if subjects were revoked just before.
	Created, Rotated time.Time

	// Given is when the token of this generation was last given to a client that had the
	// one before, as far as the store knows, to the microsecond.
	Given time.Time

	// IdleExpires is when the session ends if it is not refreshed. MaxExpires is when it
	// ends in any case. Both are whole seconds. At that time the session has already
	// ended.
	IdleExpires, MaxExpires time.Time

	// RevokedAt is when the session was ended early, zero if it was not. Reason says why.
	RevokedAt time.Time
	Reason    string

	// Label is how the user recognises the session, such as by a browser's name. See
	// [Label].
	Label string

	// ClockAhead is how far the clock of the store's server was ahead of this machine's
	// when Get read the row. It is a little too large, never too small, since it includes
	// the time of the call. It is zero for a store without a server. Only Advance uses it,
	// and no store keeps it.
	ClockAhead time.Duration
}

// live reports whether a session can still be refreshed.
func (s Session) live(now time.Time) bool {
	return s.RevokedAt.IsZero() && now.Before(s.IdleExpires) && now.Before(s.MaxExpires)
}

// Reasons for which a Manager ends a session.
const (
	ReasonLogout      = "logout"       // a logout, a new login in the same browser, or a revocation of the session
	ReasonReused      = "reused"       // a refresh token was used again: theft
	ReasonSubjectGone = "subject_gone" // the callback of WithClaims said so
)

// Reasons of a [Recovered] event.
const (
	ReasonAnswerLost  = "answer_lost"  // the client never got the successor of its token
	ReasonStoreBehind = "store_behind" // the store does not know the token, such as after a restore
)

// Store keeps sessions. A new one must pass jwtauthtest.TestSessionStore. All methods are
// safe for concurrent use, also by all processes that share the store. They return an error
// only for an outage, including the end of ctx, and for an ID that is taken. A missing row
// is not an error.
//
// Subjects and IDs are compared byte for byte. IDs are at most 64 ASCII letters and
// digits. Subjects are at most [MaxText] bytes, labels 256 and reasons 32, all valid
// UTF-8 without control characters. Times are kept to the microsecond, truncated.
type Store interface {
	// Create adds a session. It returns an error if the ID is taken.
	Create(ctx context.Context, s Session) error

	// Get returns a session, even one that has ended, and true, or false if there is none.
	// It sees the effect of every call that returned before.
	Get(ctx context.Context, subject, id string) (Session, bool, error)

	// Advance decides which of several requests moves a session on. In one atomic
	// operation it sets Generation, Prev, Rotated, Given and IdleExpires to those of
	// next, and returns true, if
	//   - the row's Generation is that of from, a row that Get returned,
	//   - the row was not revoked, and its IdleExpires and MaxExpires are later than now,
	//   - the deadline of ctx has not passed by the clock of the store's server (see
	//     ClockAhead).
	//
	// Otherwise it changes nothing and returns false. The deadline is for a step that
	// waited for a lock, or for a server that stood still: its caller has given up, so it
	// must not take effect. After an error the step may or may not have been taken, but it
	// is never taken after the deadline.
	Advance(ctx context.Context, from, next Session, now time.Time) (bool, error)

	// Revoke sets RevokedAt and Reason of a session that was not revoked, and returns true.
	// Otherwise it returns false and changes nothing.
	Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error)

	// List returns the sessions of a subject that were not revoked and whose expiries are
	// both after now, in any order.
	List(ctx context.Context, subject string, now time.Time) ([]Session, error)

	// Purge deletes sessions that have an expiry before the given time. It must delete no
	// others: a revoked session stays until then, too. A store may instead delete them on
	// its own, by its own clock, and then Purge may do nothing.
	Purge(ctx context.Context, before time.Time) error
}

// MaxText is the longest subject, in bytes.
const MaxText = 1024

// timely limits the time of each call to a store, so that no request hangs. It does not
// limit Purge, since no request waits for it.
type timely struct {
	Store
	most time.Duration
}

func (t timely) Create(ctx context.Context, s Session) error {
	ctx, cancel := context.WithTimeout(ctx, t.most)
	defer cancel()
	return t.Store.Create(ctx, s)
}

func (t timely) Get(ctx context.Context, subject, id string) (Session, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.most)
	defer cancel()
	return t.Store.Get(ctx, subject, id)
}

func (t timely) Advance(ctx context.Context, from, next Session, now time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.most)
	defer cancel()
	return t.Store.Advance(ctx, from, next, now)
}

func (t timely) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.most)
	defer cancel()
	return t.Store.Revoke(ctx, subject, id, reason, at)
}

func (t timely) List(ctx context.Context, subject string, now time.Time) ([]Session, error) {
	ctx, cancel := context.WithTimeout(ctx, t.most)
	defer cancel()
	return t.Store.List(ctx, subject, now)
}
