package jwtauthtest_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/session"
)

// shelf is a store like one in a database. A test inserts a flaw by replacing one of its
// functions. They are called while mu is held, except enter and those in gap.
type shelf struct {
	mu   sync.Mutex
	rows map[place]session.Session

	// enter checks the context of a method.
	enter func(ctx context.Context, method string) error
	// key returns the key of a row.
	key func(subject, id string) place
	// gap maps a method to the function that it calls between its read and its write. If
	// there is none, the read and the write are one step.
	gap map[string]func()
	// made is called with each new row.
	made func(sh *shelf, at place, s session.Session)
	// put changes a row before Create stores it, and out changes a row before it is returned.
	put, out func(s *session.Session)
	// over is called by Create for an ID that exists. It reports whether to overwrite the
	// row. If not, Create returns err.
	over func() (write bool, err error)
	// may reports whether a row may be advanced, and set advances it.
	may func(s, from, next session.Session, now time.Time) bool
	set func(s *session.Session, next session.Session)
	// end revokes a row, and returns the result of Revoke.
	end func(s *session.Session, reason string, at time.Time) bool
	// miss is the error of Get for a missing session.
	miss error
	// live reports whether List returns a row, and purges whether Purge deletes it.
	live   func(s session.Session, now time.Time) bool
	purges func(s session.Session, before time.Time) bool
}

type place struct{ subject, id string }

func alive(s session.Session, now time.Time) bool {
	return s.RevokedAt.IsZero() && now.Before(s.IdleExpires) && now.Before(s.MaxExpires)
}

func rotate(s *session.Session, next session.Session) {
	s.Generation, s.Prev, s.Rotated, s.Given, s.IdleExpires = next.Generation, next.Prev, next.Rotated, next.Given, next.IdleExpires
}

// newShelf returns a store without a flaw.
func newShelf() *shelf {
	return &shelf{
		rows:  map[place]session.Session{},
		enter: func(ctx context.Context, _ string) error { return ctx.Err() },
		key:   func(subject, id string) place { return place{subject, id} },
		gap:   map[string]func(){},
		made:  func(*shelf, place, session.Session) {},
		put:   func(*session.Session) {},
		out:   func(*session.Session) {},
		over:  func() (bool, error) { return false, errors.New("duplicate key") },
		may: func(s, from, _ session.Session, now time.Time) bool {
			return s.Generation == from.Generation && alive(s, now)
		},
		set: rotate,
		end: func(s *session.Session, reason string, at time.Time) bool {
			if !s.RevokedAt.IsZero() {
				return false
			}
			s.RevokedAt, s.Reason = at, reason
			return true
		},
		live: alive,
		purges: func(s session.Session, before time.Time) bool {
			return s.IdleExpires.Before(before) || s.MaxExpires.Before(before)
		},
	}
}

// pause releases mu while it calls the gap of a method, if there is one. The caller must
// hold mu.
func (sh *shelf) pause(method string) {
	if gap := sh.gap[method]; gap != nil {
		sh.mu.Unlock()
		gap()
		sh.mu.Lock()
	}
}

func (sh *shelf) Create(ctx context.Context, s session.Session) error {
	if err := sh.enter(ctx, "Create"); err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at := sh.key(s.Subject, s.ID)
	_, taken := sh.rows[at]
	sh.pause("Create")
	if taken {
		if write, err := sh.over(); !write {
			return err
		}
	}
	sh.put(&s)
	sh.rows[at] = s
	sh.made(sh, at, s)
	return nil
}

func (sh *shelf) Get(ctx context.Context, subject, id string) (session.Session, bool, error) {
	if err := sh.enter(ctx, "Get"); err != nil {
		return session.Session{}, false, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, found := sh.rows[sh.key(subject, id)]
	if !found {
		return session.Session{}, false, sh.miss
	}
	sh.out(&s)
	return s, true, nil
}

func (sh *shelf) Advance(ctx context.Context, from, next session.Session, now time.Time) (bool, error) {
	if err := sh.enter(ctx, "Advance"); err != nil {
		return false, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at := sh.key(next.Subject, next.ID)
	s, found := sh.rows[at]
	if !found || !sh.may(s, from, next, now) {
		return false, nil
	}
	sh.pause("Advance")
	sh.set(&s, next)
	sh.rows[at] = s
	return true, nil
}

func (sh *shelf) Revoke(ctx context.Context, subject, id, reason string, at time.Time) (bool, error) {
	if err := sh.enter(ctx, "Revoke"); err != nil {
		return false, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, found := sh.rows[sh.key(subject, id)]
	if !found {
		return false, nil
	}
	sh.pause("Revoke")
	done := sh.end(&s, reason, at)
	sh.rows[sh.key(subject, id)] = s
	return done, nil
}

func (sh *shelf) List(ctx context.Context, subject string, now time.Time) (all []session.Session, err error) {
	if err := sh.enter(ctx, "List"); err != nil {
		return nil, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, s := range sh.rows {
		if sh.key(s.Subject, "") == sh.key(subject, "") && sh.live(s, now) {
			sh.out(&s)
			all = append(all, s)
		}
	}
	return all, nil
}

func (sh *shelf) Purge(ctx context.Context, before time.Time) error {
	if err := sh.enter(ctx, "Purge"); err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var gone []place
	for at, s := range sh.rows {
		if sh.purges(s, before) {
			gone = append(gone, at)
		}
	}
	sh.pause("Purge")
	for _, at := range gone {
		delete(sh.rows, at)
	}
	return nil
}

// bent returns a shelf with one flaw.
func bent(change func(sh *shelf)) func() session.Store {
	return func() session.Store {
		sh := newShelf()
		change(sh)
		return sh
	}
}

func putting(change func(s *session.Session)) func() session.Store {
	return bent(func(sh *shelf) { sh.put = change })
}

// leaving returns a shelf whose Advance resets a field to its old value.
func leaving(restore func(s *session.Session, was session.Session)) func() session.Store {
	return bent(func(sh *shelf) {
		sh.set = func(s *session.Session, next session.Session) {
			was := *s
			rotate(s, next)
			restore(s, was)
		}
	})
}

// keyed returns a shelf that takes two subjects for the same one if the function subject
// returns the same string for both. The same holds for IDs and the function id.
func keyed(subject, id func(string) string) func() session.Store {
	return bent(func(sh *shelf) {
		sh.key = func(s, i string) place { return place{subject(s), id(i)} }
	})
}

func itself(text string) string { return text }

func padded(text string) string { return strings.TrimRight(text, " ") }

// gapped returns a shelf with a method that reads and writes in separate steps.
func gapped(method string) func() session.Store {
	return bent(func(sh *shelf) { sh.gap[method] = moment })
}

// moment waits long enough for other goroutines to run, even on a busy machine.
func moment() {
	time.Sleep(10 * time.Millisecond)
	for range 100 {
		runtime.Gosched()
	}
}

// deaf returns a shelf with a method that ignores its context.
func deaf(method string) func() session.Store {
	return bent(func(sh *shelf) {
		sh.enter = func(ctx context.Context, entered string) error {
			if entered == method {
				return nil
			}
			return ctx.Err()
		}
	})
}

// oneLoginBehind is a store whose List misses the latest login, as if an index were updated
// only at the next login.
type oneLoginBehind struct {
	session.Store
	mu   sync.Mutex
	last string
}

func (o *oneLoginBehind) Create(ctx context.Context, s session.Session) error {
	err := o.Store.Create(ctx, s)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = s.ID
	return err
}

func (o *oneLoginBehind) List(ctx context.Context, subject string, now time.Time) (listed []session.Session, err error) {
	all, err := o.Store.List(ctx, subject, now)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range all {
		if s.ID != o.last {
			listed = append(listed, s)
		}
	}
	return listed, err
}

// oneList is a store whose List returns the store's own slice.
type oneList struct {
	session.Store
	mu    sync.Mutex
	lists map[string][]session.Session
}

func (o *oneList) List(ctx context.Context, subject string, now time.Time) ([]session.Session, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lists[subject] == nil {
		all, err := o.Store.List(ctx, subject, now)
		if err != nil {
			return nil, err
		}
		o.lists[subject] = all
	}
	return o.lists[subject], ctx.Err()
}

// twice is a store whose List returns each session twice.
type twice struct{ session.Store }

func (o twice) List(ctx context.Context, subject string, now time.Time) ([]session.Session, error) {
	all, err := o.Store.List(ctx, subject, now)
	return append(all, all...), err
}

// writesBack is a shelf whose Advance compares the generation again before it writes, but
// then writes the whole row that it read first.
type writesBack struct{ *shelf }

func (w writesBack) Advance(ctx context.Context, from, next session.Session, now time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.key(next.Subject, next.ID)
	s, found := w.rows[at]
	if !found || !w.may(s, from, next, now) {
		return false, nil
	}
	w.mu.Unlock()
	moment()
	w.mu.Lock()
	if w.rows[at].Generation != s.Generation {
		return false, nil
	}
	rotate(&s, next)
	w.rows[at] = s
	return true, nil
}

// goesOn is a shelf that runs an Advance too late: if the context has ended, it runs the
// Advance once more before the next Get.
type goesOn struct {
	*shelf
	mu   sync.Mutex
	late func()
}

func (g *goesOn) Advance(ctx context.Context, from, next session.Session, now time.Time) (bool, error) {
	if ctx.Err() != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.late = func() { _, _ = g.shelf.Advance(context.WithoutCancel(ctx), from, next, now) }
	}
	return g.shelf.Advance(ctx, from, next, now)
}

func (g *goesOn) Get(ctx context.Context, subject, id string) (session.Session, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.late != nil {
		g.late()
		g.late = nil
	}
	return g.shelf.Get(ctx, subject, id)
}

// expiring returns a store that deletes rows at the first expiry of a new session made,
// even if that expiry is changed later. which reports whether the row s is deleted then.
func expiring(which func(s, made session.Session) bool) func() session.Store {
	return bent(func(sh *shelf) {
		var soon []session.Session
		sh.made = func(_ *shelf, _ place, made session.Session) { soon = append(soon, made) }
		enter := sh.enter
		sh.enter = func(ctx context.Context, method string) error {
			sh.mu.Lock()
			defer sh.mu.Unlock()
			soon = slices.DeleteFunc(soon, func(made session.Session) bool {
				late := time.Now().After(made.IdleExpires)
				maps.DeleteFunc(sh.rows, func(_ place, s session.Session) bool { return late && which(s, made) })
				return late
			})
			return enter(ctx, method)
		}
	})
}

const (
	comeBack   = "sessions come back as they were"
	byteByByte = "subjects and ids are compared byte for byte"
	absent     = "a missing session is not an error"
	takenOnce  = "an id can be taken once"
	five       = "Advance sets five fields and leaves the others"
	conditions = "Advance does nothing unless every condition holds"
	oneWins    = "one of many concurrent Advances wins"
	endsOnce   = "Revoke ends a session once"
	final      = "nothing advances once Revoke has returned"
	whatIsLive = "List returns what is live"
	logins     = "List misses nothing during concurrent logins"
	purge      = "Purge keeps every session that may still be needed"
	purgeRace  = "no advanced session is lost during concurrent purges"
	outlives   = "a session that was advanced outlives its first expiry"
	contexts   = "a context that has ended is an error for each method"
	late       = "a step whose deadline has passed changes nothing"
	copies     = "the caller may modify what List returned"
	apart      = "stores are independent"
	refreshes  = "64 refreshes at once rotate once; 64 refreshes at once through two Managers rotate once"
	logout     = "no token outlives a logout during concurrent refreshes"
	theft      = "a theft that one Manager detects ends the session everywhere"
	outage     = "an outage ends no session"
)

var sessionFlaws = []flaw[session.Store]{
	{noFlaw, func() session.Store { return session.NewMemory() }, ""},
	{noFlaw + " of a shelf", bent(func(*shelf) {}), ""},

	{"a label is cut at 255 bytes", putting(func(s *session.Session) { s.Label = s.Label[:min(len(s.Label), 255)] }), comeBack},
	{"a label loses its last spaces", putting(func(s *session.Session) { s.Label = padded(s.Label) }), comeBack},
	{"an empty label is NULL", putting(func(s *session.Session) { s.Label = cmp.Or(s.Label, "NULL") }), comeBack},
	{"a label has no emoji", putting(func(s *session.Session) { s.Label = strings.ReplaceAll(s.Label, "\U0001f98a", "?") }), comeBack},
	{"a subject is cut at 1023 bytes", putting(func(s *session.Session) { s.Subject = s.Subject[:min(len(s.Subject), 1023)] }), comeBack},
	{"a generation has 32 bits", putting(func(s *session.Session) { s.Generation = int64(int32(s.Generation)) }), comeBack + "; " + five},
	{"a time is in milliseconds", putting(func(s *session.Session) { s.Created = s.Created.Truncate(time.Millisecond) }), comeBack},
	{"a rotation is in seconds", putting(func(s *session.Session) { s.Rotated = s.Rotated.Truncate(time.Second) }), comeBack},
	{"an end has 32 bits", putting(func(s *session.Session) { s.MaxExpires = time.Unix(min(s.MaxExpires.Unix(), 1<<31-1), 0) }), comeBack},
	{"what was not revoked was in 1970", bent(func(sh *shelf) {
		sh.out = func(s *session.Session) {
			if s.RevokedAt.IsZero() {
				s.RevokedAt = time.Unix(0, 0)
			}
		}
	}), comeBack},

	{"subjects are compared without case", keyed(strings.ToLower, itself), byteByByte},
	{"subjects are compared without accents", keyed(func(s string) string { return strings.ReplaceAll(s, "\u00e1", "a") }, itself), byteByByte},
	{"subjects are compared without their last spaces", keyed(padded, itself), byteByByte},
	{"ids are compared without case", keyed(itself, strings.ToLower), byteByByte},
	{"ids are compared without their last spaces", keyed(itself, padded), byteByByte},
	{"the subject is not compared", keyed(func(string) string { return "" }, itself), absent + "; " + byteByByte},
	{"a miss is an error", bent(func(sh *shelf) { sh.miss = sql.ErrNoRows }), absent},

	{"Create replaces what is there", bent(func(sh *shelf) { sh.over = func() (bool, error) { return true, nil } }), takenOnce},
	{"Create says nothing if the id is taken", bent(func(sh *shelf) { sh.over = func() (bool, error) { return false, nil } }), takenOnce},
	{"Create replaces what is there and then complains", bent(func(sh *shelf) {
		sh.over = func() (bool, error) { return true, errors.New("duplicate key") }
	}), takenOnce},
	{"Create looks first", gapped("Create"), takenOnce},

	{"Advance writes the whole row", bent(func(sh *shelf) { sh.set = func(s *session.Session, next session.Session) { *s = next } }), five},
	{"Advance leaves Prev", leaving(func(s *session.Session, was session.Session) { s.Prev = was.Prev }), five},
	{"Advance leaves Rotated", leaving(func(s *session.Session, was session.Session) { s.Rotated = was.Rotated }), five},
	{"Advance leaves Given", leaving(func(s *session.Session, was session.Session) { s.Given = was.Given }), five},
	{"Advance leaves IdleExpires", leaving(func(s *session.Session, was session.Session) { s.IdleExpires = was.IdleExpires }), five},
	{"Advance only says that it did", bent(func(sh *shelf) { sh.set = func(*session.Session, session.Session) {} }), five + "; " + refreshes + "; " + outage},
	{"Advance does not compare generations", bent(func(sh *shelf) {
		sh.may = func(s, _, _ session.Session, now time.Time) bool { return alive(s, now) }
	}), conditions},
	{"Advance only goes on by one generation", bent(func(sh *shelf) {
		sh.may = func(s, from, next session.Session, now time.Time) bool {
			return s.Generation == from.Generation && next.Generation == from.Generation+1 && alive(s, now)
		}
	}), conditions},
	{"Advance lets generations be left out", bent(func(sh *shelf) {
		sh.may = func(s, from, _ session.Session, now time.Time) bool {
			return s.Generation >= from.Generation && alive(s, now)
		}
	}), conditions},
	{"Advance does not ask whether it was revoked", bent(func(sh *shelf) {
		sh.may = func(s, from, _ session.Session, now time.Time) bool {
			s.RevokedAt = time.Time{}
			return s.Generation == from.Generation && alive(s, now)
		}
	}), conditions + "; " + final},
	{"Advance lets one be revoked later", bent(func(sh *shelf) {
		sh.may = func(s, from, _ session.Session, now time.Time) bool {
			if s.RevokedAt.After(now) {
				s.RevokedAt = time.Time{}
			}
			return s.Generation == from.Generation && alive(s, now)
		}
	}), conditions},
	{"Advance does not look at IdleExpires", bent(func(sh *shelf) {
		sh.may = func(s, from, _ session.Session, now time.Time) bool {
			s.IdleExpires = s.MaxExpires
			return s.Generation == from.Generation && alive(s, now)
		}
	}), conditions},
	{"Advance does not look at MaxExpires", bent(func(sh *shelf) {
		sh.may = func(s, from, _ session.Session, now time.Time) bool {
			s.MaxExpires = s.IdleExpires
			return s.Generation == from.Generation && alive(s, now)
		}
	}), conditions},
	{"Advance looks at the MaxExpires that it is given", bent(func(sh *shelf) {
		sh.may = func(s, from, next session.Session, now time.Time) bool {
			s.MaxExpires = next.MaxExpires
			return s.Generation == from.Generation && alive(s, now)
		}
	}), conditions},
	{"Advance lets in what expires now", bent(func(sh *shelf) {
		sh.may = func(s, from, _ session.Session, now time.Time) bool {
			return s.Generation == from.Generation && alive(s, now.Add(-time.Microsecond))
		}
	}), conditions},
	{"Advance goes by whole seconds", bent(func(sh *shelf) {
		sh.may = func(s, from, _ session.Session, now time.Time) bool {
			return s.Generation == from.Generation && alive(s, now.Round(time.Second))
		}
	}), conditions},
	{"Advance reads and then writes", gapped("Advance"), oneWins},
	{"Advance writes back what it read", func() session.Store { return writesBack{newShelf()} }, final},

	{"Revoke ends it again", bent(func(sh *shelf) {
		sh.end = func(s *session.Session, reason string, at time.Time) bool {
			s.RevokedAt, s.Reason = at, reason
			return true
		}
	}), endsOnce},
	{"Revoke is always true", bent(func(sh *shelf) {
		end := sh.end
		sh.end = func(s *session.Session, reason string, at time.Time) bool { return end(s, reason, at) || true }
	}), endsOnce},
	{"Revoke only says that it did", bent(func(sh *shelf) {
		sh.end = func(*session.Session, string, time.Time) bool { return true }
	}), endsOnce + "; " + theft + "; " + logout + "; " + outage},
	{"Revoke forgets the reason", bent(func(sh *shelf) {
		end := sh.end
		sh.end = func(s *session.Session, _ string, at time.Time) bool { return end(s, "", at) }
	}), endsOnce + "; " + theft},
	{"Revoke writes back what it read", gapped("Revoke"), final},

	{"List returns what was revoked", bent(func(sh *shelf) {
		sh.live = func(s session.Session, now time.Time) bool { s.RevokedAt = time.Time{}; return alive(s, now) }
	}), whatIsLive},
	{"List does not look at MaxExpires", bent(func(sh *shelf) {
		sh.live = func(s session.Session, now time.Time) bool { s.MaxExpires = s.IdleExpires; return alive(s, now) }
	}), whatIsLive},
	{"List returns what expires now", bent(func(sh *shelf) {
		sh.live = func(s session.Session, now time.Time) bool { return alive(s, now.Add(-time.Microsecond)) }
	}), whatIsLive},
	{"List takes out what has expired by its now", bent(func(sh *shelf) {
		sh.live = func(s session.Session, now time.Time) bool {
			if !alive(s, now) {
				delete(sh.rows, sh.key(s.Subject, s.ID))
			}
			return alive(s, now)
		}
	}), whatIsLive},
	{"List returns each twice", func() session.Store { return twice{session.NewMemory()} }, whatIsLive + "; " + logins},
	{"List is one login behind", func() session.Store { return &oneLoginBehind{Store: session.NewMemory()} }, logins},

	{"Purge takes what expires just then", bent(func(sh *shelf) {
		sh.purges = func(s session.Session, before time.Time) bool { return !alive(s, before) && s.RevokedAt.IsZero() }
	}), purge},
	{"Purge takes what was revoked", bent(func(sh *shelf) {
		sh.purges = func(s session.Session, before time.Time) bool { return !alive(s, before.Add(-time.Microsecond)) }
	}), purge},
	{"Purge goes by the idle time of the login", bent(func(sh *shelf) {
		first := map[string]time.Time{}
		sh.made = func(_ *shelf, _ place, s session.Session) { first[s.ID] = s.IdleExpires }
		sh.purges = func(s session.Session, before time.Time) bool { return first[s.ID].Before(before) }
	}), purge + "; " + purgeRace},
	{"Purge reads and then writes", gapped("Purge"), purgeRace},

	{"a row expires when it first would", expiring(func(s, made session.Session) bool { return s.ID == made.ID }), outlives},
	{"a subject expires with its last login", expiring(func(s, made session.Session) bool { return s.Subject == made.Subject && s.ID != made.ID }), outlives},

	{"Create does not look at its context", deaf("Create"), contexts},
	{"Get does not look at its context", deaf("Get"), contexts},
	{"Advance does not look at its context", deaf("Advance"), contexts},
	{"Revoke does not look at its context", deaf("Revoke"), contexts},
	{"List does not look at its context", deaf("List"), contexts},
	{"Purge does not look at its context", deaf("Purge"), contexts},

	{"Advance goes on when its caller has given up", func() session.Store { return &goesOn{shelf: newShelf()} }, late},

	{"the memory of the store is handed out", func() session.Store {
		return &oneList{Store: session.NewMemory(), lists: map[string][]session.Session{}}
	}, copies},
	{"all stores are one", func() session.Store { return oneStore }, apart},
}

var oneStore = session.NewMemory()

func TestTheSuiteFindsEveryFlawOfSessions(t *testing.T) {
	findEveryFlaw(t, sessionFlaws, func(t *testing.T, newStore func(t *testing.T) session.Store) {
		t.Parallel() // the suite mostly waits
		jwtauthtest.TestSessionStore(t, newStore)
	})
}
