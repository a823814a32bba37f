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

// The defaults of the options.
const (
	DefaultAccessTTL    = 15 * time.Minute
	DefaultRefreshTTL   = 14 * 24 * time.Hour
	DefaultMaxAge       = 180 * 24 * time.Hour
	DefaultGrace        = 30 * time.Second
	DefaultStoreTimeout = 5 * time.Second
)

type config struct {
	accessOptions []jwtauth.Option // set by WithAccess
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
	crossOrigin   *http.CrossOriginProtection // nil without cookies
}

// Option configures [New], which checks it.
type Option func(*config) error

func lifetime(option string, d time.Duration) error {
	if d < time.Second || d%time.Second != 0 {
		return fmt.Errorf("%s(%v): it must be whole seconds, at least one", option, d)
	}
	return nil
}

// WithAccess adds options to the Auth of access tokens, such as [jwtauth.WithIssuer],
// [jwtauth.WithAudience] and [jwtauth.WithExtractors]. The issuer is also that of refresh
// tokens. The Manager sets type, lifetimes, clock, revocations and, with [WithCookies], the
// cross-origin protection itself, and overrides such options.
func WithAccess(opts ...jwtauth.Option) Option {
	return func(c *config) error {
		c.accessOptions = append(c.accessOptions, opts...)
		return nil
	}
}

// WithContainers gives each access token a container, which is whatever your tokens open:
// a tenant, a project, a folder. The callback of [WithClaims], which is required, names it.
// An empty name is an outage, 503. [Manager.Require] compares it with the request's
// container (see [jwtauth.WithContainer]). By default there are no containers.
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

// WithRefreshTTL sets how long a session lasts after its last refresh, in whole seconds.
// The default is 14 days. No session lasts longer than [WithMaxAge].
//
// If you shorten it, or [WithAccessTTL], first give [WithRevocations] a list whose
// revoke.WithMaxLifetime is the old lifetime, until the old tokens have expired. A token
// that lives longer than the list keeps revocations is rejected as revoked. The default
// list keeps them for 14 days, or for the lifetime of tokens if that is longer.
func WithRefreshTTL(d time.Duration) Option {
	return func(c *config) error {
		c.refreshTTL = d
		return lifetime("WithRefreshTTL", d)
	}
}

// WithMaxAge sets how long a session lasts at most, in whole seconds. The default is 180
// days. After that the user must log in again.
func WithMaxAge(d time.Duration) Option {
	return func(c *config) error {
		c.maxAge = d
		return lifetime("WithMaxAge", d)
	}
}

// WithGrace sets the grace: for how long a client may use a refresh token again after it
// was replaced, and gets the same successor. A second tab or a lost response needs it.
// The default is 30 seconds, the maximum 10 minutes. 10 seconds are added for clocks that
// differ. A refresh token is not replaced until 20 seconds after the grace, counted from
// when it was given out, unless its session would end idle before. For later retries see
// [WithoutRecovery].
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

// WithoutRecovery ends a session if a replaced refresh token is used after the grace,
// even if no client has used its successor. By default the client gets a new successor,
// since it never got the first one: see "Lost responses" in the package comment. With
// this option, a phone that loses a response and sleeps must log in again.
func WithoutRecovery() Option {
	return func(c *config) error {
		c.rules.noRecovery = true
		return nil
	}
}

// WithStoreTimeout sets how long one call of the store may take. The default is 5 seconds,
// and the minimum 1 millisecond. The maximum is 5 seconds plus half of the grace, so that a
// client which waited in vain can still retry. A slower call is an outage, 503, if the
// store obeys its context. A login makes one call, or two if it ends the browser's former
// session. A refresh makes up to two, or six if other requests of the session are faster. A
// logout makes at least one, besides up to 5 seconds for the revocation list.
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

// WithClaims sets the claims of a session's access token besides subject and session: its
// container, "" for none (see [WithContainers]), and options such as [jwtauth.Audience]
// and [jwtauth.Claim]. The Manager overrides sub, sid and exp.
//
// The Manager calls claims at every login, and up to three times in every refresh, even with
// [WithoutAccess]. [ErrSubjectGone] ends the session with 401. Any other error is an outage,
// 503, and the session stays. A slow callback delays every refresh, and a token that is
// replaced meanwhile does not count as stolen: give it a timeout. It must be safe for
// concurrent use.
func WithClaims(claims func(ctx context.Context, s Session) (container string, opts []jwtauth.IssueOption, err error)) Option {
	return func(c *config) error {
		c.claims = claims
		if claims == nil {
			return errors.New("WithClaims was given nil; leave it out if access tokens need no further claims")
		}
		return nil
	}
}

// WithRevocations sets the revocation list, which the caller runs. Several processes
// should share a log through their lists. The list must keep revocations for at least the
// lifetimes of [WithRefreshTTL] and [WithAccessTTL].
//
// The default is a list in memory. A logout then ends the access token in this process at
// once. In other processes, and after a restart, the token works until it expires.
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
// tokens. Retiring a key ends all sessions whose refresh token it signed. If signing takes
// longer than a quarter of the grace plus 2.5 seconds, every rotation is an outage.
func WithRefreshKeys(source keys.Source) Option {
	return func(c *config) error {
		c.refreshKeys = source
		if source == nil {
			return errors.New("WithRefreshKeys was given nil; leave it out for the keys of access tokens")
		}
		return nil
	}
}

// WithoutRefresh makes logins return only access tokens. A session ends with its access
// token, and [Manager.Handler] has no refresh/.
func WithoutRefresh() Option {
	return func(c *config) error {
		c.noRefresh = true
		return nil
	}
}

// WithoutAccess makes logins and refreshes return only refresh tokens. It is for services
// whose access tokens come from another issuer.
func WithoutAccess() Option {
	return func(c *config) error {
		c.noAccess = true
		return nil
	}
}

// WithEvents sets a function for audits and alarms. It is called after each login, refresh
// and end of a session, before the method that caused it returns. It must be fast and safe
// for concurrent use.
func WithEvents(report func(Event)) Option {
	return func(c *config) error {
		c.events = report
		if report == nil {
			return errors.New("WithEvents was given nil; leave it out if events are not used")
		}
		return nil
	}
}

// WithObserver sets a function that is called once for every decision, for metrics. It
// gets the decisions about access tokens, as [jwtauth.WithObserver] describes, and those
// with the operations "login" and "refresh". An observer in [WithAccess] replaces it for
// access tokens.
//
// The endpoints verify/, sessions/, logout/ and blacklist/ report "verify". A request with
// a bad body (400, 413 or 415) is not reported. Besides the names of [jwtauth.Reason] there
// are wrong_credentials, subject_gone, reused and, for an allowed refresh, retried or
// recovered. observe must be fast and safe for concurrent use. Use [WithEvents] to learn
// whose session changed.
func WithObserver(observe func(ctx context.Context, d jwtauth.Decision)) Option {
	return func(c *config) error {
		c.observe = observe
		if observe == nil {
			return errors.New("WithObserver was given nil; leave it out if decisions are not counted")
		}
		return nil
	}
}

// WithLogger sets where outages, thefts, a restored store, cookies that browsers would drop
// and other mistakes of the configuration are logged. The default is [slog.Default]. The
// Manager logs no token, password or subject, but it logs the errors of callbacks and
// stores as they are. [WithEvents] names subjects.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		c.logger = logger
		if logger == nil {
			return errors.New("WithLogger was given nil; leave it out for slog.Default")
		}
		return nil
	}
}

// Event is a login, a refresh or the end of a session.
type Event struct {
	Kind      EventKind
	SessionID string
	Subject   string
	// Reason is why a session ended, for [LoggedOut] and [Reused], or what was lost, for
	// [Recovered].
	Reason string
}

// EventKind is the kind of an [Event].
type EventKind string

// The kinds of events.
const (
	LoggedIn  EventKind = "login"
	Refreshed EventKind = "refresh"
	// Retried: a client used a token that had just been replaced, and got its successor
	// again, or one that had just been given out, and got it again. Some come from tabs
	// and lost responses. Many of one session are worth a look.
	Retried EventKind = "retried"
	// Recovered: the session went on although a token was replaced longer ago than the
	// grace and its successor never used ([ReasonAnswerLost]), or was newer than the
	// store knew ([ReasonStoreBehind]). Many of one session are worth a look.
	Recovered EventKind = "recovered"
	// Reused: a token came that only a second client can have, or, with
	// [WithoutRecovery], one that was replaced longer ago than the grace. The session was
	// ended. If the store or the revocation list failed, it ends when either token comes
	// again, and there may be one more event.
	Reused EventKind = "reused"
	// LoggedOut: the session was ended by a logout, by a new login in the same browser, by
	// a revocation of its token or session, or because its subject is gone.
	LoggedOut EventKind = "logout"
)

// LoginOption configures one session of [Manager.Login].
type LoginOption func(*login)

type login struct {
	label  string
	maxAge time.Duration
	brief  bool
}

// maxLabel is the longest label, in bytes.
const maxLabel = 256

// Label sets the name by which the user recognises the session, such as the User-Agent
// field of the request. An attacker may have chosen it: invalid UTF-8, control
// characters, and what exceeds 256 bytes are removed.
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

// MaxAge shortens [WithMaxAge] for one session, such as one on a shared device. It is
// truncated to whole seconds.
func MaxAge(d time.Duration) LoginOption {
	return func(l *login) { l.maxAge = d }
}

// UntilBrowserCloses makes browsers delete the cookies of this session when they close, for a
// login without "remember me". It needs [WithCookies]. The session itself still ends as
// [WithRefreshTTL] and [MaxAge] say: a browser that restores its tabs may keep the cookies.
func UntilBrowserCloses() LoginOption {
	return func(l *login) { l.brief = true }
}
