package session

import (
	"context"
	"time"
)

// Session is one login, and one row of a [Store]: what it knows of a family of
// refresh tokens, each of which replaced the one before. There is nothing secret
// in it.
type Session struct {
	ID      string // sid; unique among all subjects
	Subject string // sub

	// Generation is that of the current refresh token, 1 at login, and Prev the one
	// that it was made from, 0 at login. Between them may lie generations whose answer
	// the client never got.
	Generation, Prev int64

	// Created is when the login was, and Rotated when the refresh token of this
	// generation was made; both to the microsecond. Both may lie ahead of a clock
	// that was set back, Created also where subjects were revoked a moment before;
	// Rotated never decreases.
	Created, Rotated time.Time

	// Given is when the token of this generation was last given to a client that had the
	// one before, as far as the store was told; to the microsecond.
	Given time.Time

	// IdleExpires is when the session ends unless it is refreshed, MaxExpires when
	// it ends in any case; both in whole seconds. It has ended at that moment.
	IdleExpires, MaxExpires time.Time

	// RevokedAt is when it was ended before, zero if it was not, and Reason why.
	RevokedAt time.Time
	Reason    string

	// Label is what the user knows the session by, such as a browser's name. See
	// [Label].
	Label string

	// ClockAhead is how far the clock of the store's server was ahead of this machine's
	// when Get read the row, at least: it includes the time that the call took. Only
	// Advance uses it, and no store keeps it.
	ClockAhead time.Duration
}

// live reports whether a session can still be refreshed.
func (s Session) live(now time.Time) bool {
	return s.RevokedAt.IsZero() && now.Before(s.IdleExpires) && now.Before(s.MaxExpires)
}

// Reasons for which a Manager ends a session.
const (
	ReasonLogout      = "logout"       // Logout and LogoutAll, or a list refused it before the store knew
	ReasonReused      = "reused"       // a refresh token was used again: theft
	ReasonSubjectGone = "subject_gone" // the callback of WithClaims said so
)

// Reasons of a [Recovered] event.
const (
	ReasonAnswerLost  = "answer_lost"  // the client never got the successor of its token
	ReasonStoreBehind = "store_behind" // the store never heard of the token, as after a backup was put back
)

// Store keeps sessions. Package jwtauthtest has the tests that each must pass,
// TestSessionStore.
//
// All methods are safe for concurrent use, also by several processes, and return
// an error only for an outage, ctx's included: a row that is not there is false.
// Subjects and ids are compared byte for byte; ids are letters and digits of ASCII,
// 64 at most, subjects valid UTF-8 of at most [MaxText] bytes, labels of at most 256,
// reasons of at most 32, all without control characters. Times come back as they
// were, to the microsecond, to which they are cut.
type Store interface {
	// Create adds a session. It is an error if the id is taken.
	Create(ctx context.Context, s Session) error

	// Get returns a session, ended ones included, as it was after every call that
	// returned before.
	Get(ctx context.Context, subject, id string) (Session, bool, error)

	// Advance decides which of several requests moves a session on. In one atomic
	// operation it sets Generation, Prev, Rotated, Given and IdleExpires to those of
	// next, provided that
	//
	//   - the row's Generation is that of from, a row that Get returned,
	//   - the row was not revoked,
	//   - its IdleExpires and MaxExpires are later than now,
	//   - the deadline of ctx, by the clock of the store's server (ClockAhead of from),
	//     has not passed when the row changes.
	//
	// Else it changes nothing, and returns false. The last condition is for a step that
	// waited for a lock, or for a server that stood still: its caller has given up,
	// and it must not take effect late. After an error the step may have taken place,
	// but does not take place after the deadline.
	Advance(ctx context.Context, from, next Session, now time.Time) (bool, error)

	// Revoke sets RevokedAt and Reason of a session that was not revoked. It returns
	// false, and changes nothing, if there is none.
	Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error)

	// List returns the sessions of a subject that were not revoked, and neither of
	// whose expiries is now or before it, in any order.
	List(ctx context.Context, subject string, now time.Time) ([]Session, error)

	// Purge may take out sessions one of whose expiries lies before the time given,
	// and no others: revoked ones stay until then, too. A store may do so by itself,
	// by a clock of its own.
	Purge(ctx context.Context, before time.Time) error
}

// MaxText is the most bytes that a subject may have.
const MaxText = 1024

// timely is a store whose calls end in time, so that no request hangs with it. No request
// waits for Purge.
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
