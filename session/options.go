package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// Defaults.
const (
	DefaultAccessTTL    = 15 * time.Minute
	DefaultRefreshTTL   = 14 * 24 * time.Hour
	DefaultMaxAge       = 180 * 24 * time.Hour
	DefaultGrace        = 30 * time.Second
	DefaultStoreTimeout = 5 * time.Second
)

type config struct {
	accessOptions []jwtauth.Option // of WithAccess
	containers    bool
	accessTTL     time.Duration
	refreshTTL    time.Duration
	maxAge        time.Duration
	rules         rules
	storeTimeout  time.Duration
	clock         func() time.Time
	claims        claimsFunc
	list          *revoke.List
	refreshKeys   keys.Source
	noAccess      bool
	noRefresh     bool
	events        func(Event)
	observe       func(context.Context, jwtauth.Decision)
	logger        *slog.Logger
	bodies        bodies
	cookies       *Cookies
	crossOrigin   *http.CrossOriginProtection // with cookies alone
}

// Option configures [New].
type Option func(*config) error

func lifetime(option string, d time.Duration) error {
	if d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("%s(%v): it must be whole seconds, one at least", option, d)
	}
	return nil
}

// WithAccess adds options to the Auth of the access tokens, such as
// [jwtauth.WithIssuer], [jwtauth.WithAudience] and [jwtauth.WithExtractors]. Type,
// lifetime, clock and revocations are the Manager's, which wins.
func WithAccess(opts ...jwtauth.Option) Option {
	return func(c *config) error {
		c.accessOptions = append(c.accessOptions, opts...)
		return nil
	}
}

// WithContainers makes access tokens tokens of one container, which the callback
// of [WithClaims] names and [Manager.Require] compares with the request's. Without
// it there are no containers.
func WithContainers() Option {
	return func(c *config) error {
		c.containers = true
		return nil
	}
}

// WithAccessTTL sets how long access tokens live, in whole seconds. The default is 15
// minutes.
func WithAccessTTL(d time.Duration) Option {
	return func(c *config) error {
		c.accessTTL = d
		return lifetime("WithAccessTTL", d)
	}
}

// WithRefreshTTL sets how long a session lasts that is not refreshed, in whole
// seconds. The default is 14 days. Each refresh lengthens it anew, up to [WithMaxAge].
//
// To shorten it, give [WithRevocations] a list whose revoke.WithMaxLifetime is the old
// lifetime until the old tokens have expired. A token that lives longer than the list's
// lifetime, 14 days without that option, is rejected as revoked. The same holds for
// [WithAccessTTL].
func WithRefreshTTL(d time.Duration) Option {
	return func(c *config) error {
		c.refreshTTL = d
		return lifetime("WithRefreshTTL", d)
	}
}

// WithMaxAge sets how long a session lasts at most, in whole seconds. The default is 180
// days. Then the user logs in again.
func WithMaxAge(d time.Duration) Option {
	return func(c *config) error {
		c.maxAge = d
		return lifetime("WithMaxAge", d)
	}
}

// WithGrace sets for how long a refresh token that was replaced gives its successor
// again: the time in which a second tab may come, or a client whose answer was lost. The
// default is 30 seconds, the most ten minutes, and 10 seconds for clocks that differ are
// added. A refresh token rotates no earlier than 20 seconds after the grace. For tokens
// that come later see [WithoutRecovery].
func WithGrace(d time.Duration) Option {
	return func(c *config) error {
		c.rules.grace = d
		if d < 0 || d > maxGrace {
			return fmt.Errorf("WithGrace(%v): it must lie between 0 and %v", d, maxGrace)
		}
		return nil
	}
}

const maxGrace = 10 * time.Minute

// WithoutRecovery takes a refresh token for stolen that comes later than the grace after
// it was replaced, even if its successor was never used. The default gives a successor
// again, since the client never got the first one: see "Lost answers" in the package's
// documentation. With this option phones that lose an answer and sleep must log in again.
func WithoutRecovery() Option {
	return func(c *config) error {
		c.rules.noRecovery = true
		return nil
	}
}

// WithStoreTimeout sets how long one call to the store may take. The default is 5 seconds,
// the least a millisecond, and the most half of the grace and its 10 seconds, so that a
// client that waited in vain is not late. A store that takes longer is an outage: 503,
// and not a request that hangs, if it obeys its context. Logging in asks the store once,
// refreshing twice, and up to six times against others that are faster, and a logout at
// least once besides the revocation list, which has 5 seconds of its own.
func WithStoreTimeout(d time.Duration) Option {
	return func(c *config) error {
		c.storeTimeout = d
		if d < time.Millisecond {
			return fmt.Errorf("WithStoreTimeout(%v): it must be %v or more", d, time.Millisecond)
		}
		return nil
	}
}

// WithClock sets the clock, for tests. The default is [time.Now]. It must be safe for
// concurrent use.
func WithClock(clock func() time.Time) Option {
	return func(c *config) error {
		c.clock = clock
		if clock == nil {
			return errors.New("WithClock was given nil; leave it out for time.Now")
		}
		return nil
	}
}

type claimsFunc = func(ctx context.Context, s Session) (container string, opts []jwtauth.IssueOption, err error)

// WithClaims sets what the access token of a session says besides its subject and
// session: its container, "" for none (see [WithContainers]), and options such as
// [jwtauth.Audience] and [jwtauth.Claim]. What the Manager sets itself (sub, sid,
// exp) wins.
//
// It is asked at every login and every refresh, retries included, so that what a
// token says is never older than the token; with [WithoutAccess], too, for the sake of
// ErrSubjectGone. A slow one makes each of them slow, and for as long a refresh token may
// be replaced without being taken for stolen: give it a time-out of its own. It must be
// safe for concurrent use.
//
// [ErrSubjectGone] ends the session, a 401; any other error leaves it as it is, a
// 503.
func WithClaims(claims func(ctx context.Context, s Session) (container string, opts []jwtauth.IssueOption, err error)) Option {
	return func(c *config) error {
		c.claims = claims
		if claims == nil {
			return errors.New("WithClaims was given nil; leave it out if access tokens say nothing but who and until when")
		}
		return nil
	}
}

// WithRevocations sets the revocation list, for what several processes share. Its
// maximum lifetime must be at least that of [WithRefreshTTL] and [WithAccessTTL].
// The caller runs it. Without this option the Manager has one of its own in
// memory: logout ends the access token in this process at once, in others when it
// expires, and everywhere if the process ends before that.
func WithRevocations(list *revoke.List) Option {
	return func(c *config) error {
		c.list = list
		if list == nil {
			return errors.New("WithRevocations was given nil; leave it out for a list in memory")
		}
		return nil
	}
}

// WithRefreshKeys sets other keys for refresh tokens. The default is the keys of access
// tokens. Keys that take longer to sign than a quarter of the grace and its 10 seconds
// make each rotation an outage. Retiring a key ends all sessions whose refresh token it
// signed.
func WithRefreshKeys(source keys.Source) Option {
	return func(c *config) error {
		c.refreshKeys = source
		if source == nil {
			return errors.New("WithRefreshKeys was given nil; leave it out for the keys of access tokens")
		}
		return nil
	}
}

// WithoutRefresh has logins give access tokens only: the session ends with them,
// and there is nothing to refresh.
func WithoutRefresh() Option {
	return func(c *config) error {
		c.noRefresh = true
		return nil
	}
}

// WithoutAccess has logins and refreshes give refresh tokens only, for services
// whose access tokens come from elsewhere.
func WithoutAccess() Option {
	return func(c *config) error {
		c.noAccess = true
		return nil
	}
}

// WithEvents sets what is called after each change of a session, before its
// method returns: for audits and alarms. It must be safe for concurrent use, and
// quick.
func WithEvents(report func(Event)) Option {
	return func(c *config) error {
		c.events = report
		if report == nil {
			return errors.New("WithEvents was given nil; leave it out if nobody listens")
		}
		return nil
	}
}

// WithObserver has observe called once for every decision: those about access tokens,
// as [jwtauth.WithObserver] has it (one given to [WithAccess] takes its place there), and
// the operations "login" and "refresh" of this package, in code and over HTTP; verify/,
// sessions/ and logout/ are "verify": what the token that came is worth by itself. What is
// 400, for a body that makes no sense, is no decision. Beside the names of
// [jwtauth.Reason] theirs are wrong_credentials, subject_gone, reused and, of a refresh
// that is allowed, retried. It must be safe for concurrent use, and quick. For who did
// what there is [WithEvents].
func WithObserver(observe func(ctx context.Context, d jwtauth.Decision)) Option {
	return func(c *config) error {
		c.observe = observe
		if observe == nil {
			return errors.New("WithObserver was given nil; leave it out if nobody counts")
		}
		return nil
	}
}

// WithLogger sets where outages, thefts and a store that was put back are logged. The
// default is [slog.Default]. No token, password or subject is logged: [WithEvents] names
// subjects.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		c.logger = logger
		if logger == nil {
			return errors.New("WithLogger was given nil; leave it out for slog.Default")
		}
		return nil
	}
}

// Event is something that happened to a session.
type Event struct {
	Kind      EventKind
	SessionID string
	Subject   string
	// Reason is why a session ended, of [LoggedOut] and [Reused], or what was lost, of
	// [Recovered].
	Reason string
}

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	LoggedIn  EventKind = "login"
	Refreshed EventKind = "refresh"
	// Retried: a token that had just been replaced gave its successor again. A few
	// are two tabs and lost answers; many of one session are worth a look.
	Retried EventKind = "retried"
	// Recovered: a token that was replaced longer ago than the grace came again, and its
	// successor was never used ([ReasonAnswerLost]); or it was newer than the session's
	// row ([ReasonStoreBehind]). The session goes on. Many of one session are worth a look.
	Recovered EventKind = "recovered"
	// Reused: a token that had long been replaced came again. The session was ended; or,
	// if the store or the log failed, is when either token comes again: then there may
	// be one event more.
	Reused EventKind = "reused"
	// LoggedOut: the session was ended by Logout, LogoutAll, or because its subject
	// is gone.
	LoggedOut EventKind = "logout"
)

// LoginOption is about one session, for [Manager.Login].
type LoginOption func(*login)

type login struct {
	label  string
	maxAge time.Duration
}

// maxLabel is the most bytes of a label.
const maxLabel = 256

// Label sets what the user will know the session by, such as the User-Agent field
// of the request. What is not valid UTF-8 or a control character is left out, and
// so is what exceeds 256 bytes: an attacker may have written it.
func Label(label string) LoginOption {
	label = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(label, ""))
	for len(label) > maxLabel {
		_, size := utf8.DecodeLastRuneInString(label)
		label = label[:len(label)-size]
	}
	return func(l *login) { l.label = label }
}

// MaxAge shortens [WithMaxAge] for one session, such as that of a device which is
// not the user's own. It is cut to whole seconds.
func MaxAge(d time.Duration) LoginOption {
	return func(l *login) { l.maxAge = d }
}
