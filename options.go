package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/joinednode/jwtauth/internal/options"
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/internal/strict"
	"github.com/joinednode/jwtauth/keys"
)

// Defaults and bounds of the configuration.
const (
	// DefaultTTL is how long an issued token lives by default: 10 days.
	DefaultTTL = 10 * 24 * time.Hour
	// MaxLeeway is the largest leeway that WithLeeway accepts: 5 minutes.
	MaxLeeway = 5 * time.Minute

	defaultMaxTokenSize = 8 << 10
	defaultCache        = 32 << 10

	minTokenSize  = 256
	tokenCeiling  = 64 << 10 // in bytes; the largest value that WithMaxTokenSize accepts
	minIssuedLife = time.Second
	maxCache      = 1 << 24
)

// config holds what the options set. It never changes once New has returned.
type config struct {
	issuer         string
	audience       []string
	trusted        []trustedIssuer
	types          []string // issued tokens have the first one
	typeRequired   bool
	ttl            time.Duration
	maxLifetime    time.Duration
	leeway         time.Duration
	clock          func() time.Time
	maxTokenSize   int
	containerClaim string
	container      func(*http.Request) string
	anyContainer   bool
	extractors     []Extractor
	crossOrigin    *http.CrossOriginProtection
	revocations    RevocationChecker
	denial         func(http.ResponseWriter, *http.Request, Denial)
	status         func(error) int
	cacheSize      int
	logger         *slog.Logger
	observe        func(context.Context, Decision)
}

// Option configures an Auth. [New] checks it, and the error names the option. If an option
// is given twice, the last one counts. [WithTrustedIssuer] is the exception: each one adds
// an issuer.
type Option func(*config) error

// defaults returns the configuration of New without options.
func defaults() config {
	return config{
		types:          []string{"JWT"},
		ttl:            DefaultTTL,
		clock:          time.Now,
		maxTokenSize:   defaultMaxTokenSize,
		containerClaim: "container",
		// look leaves the check of a token's characters to package strict.
		extractors:  []Extractor{fromHeader("Authorization", "Bearer").look, fromQuery("token").look},
		crossOrigin: http.NewCrossOriginProtection(),
		cacheSize:   defaultCache,
		denial:      writeDenial,
		status:      func(error) int { return http.StatusForbidden },
		logger:      slog.New(slog.DiscardHandler),
	}
}

// configure applies the options, and checks those that depend on each other.
func configure(opts []Option) (config, error) {
	c := defaults()
	errs := []error{options.Apply(&c, opts)}
	switch {
	case c.maxLifetime == 0:
		c.maxLifetime = max(DefaultTTL, c.ttl)
	case c.maxLifetime < c.ttl:
		errs = append(errs, fmt.Errorf("WithMaxLifetime(%v) is shorter than the %v that a token lives; raise it, or set WithTTL", c.maxLifetime, c.ttl))
	}
	switch {
	case c.anyContainer && c.container != nil:
		errs = append(errs, errors.New("WithAnyContainer and WithContainer exclude each other; leave one out"))
	case c.container == nil:
		c.container = func(r *http.Request) string { return r.PathValue("container") }
	}
	errs = append(errs, checkTrusted(c))
	return c, errors.Join(errs...)
}

// checkTrusted returns an error if WithTrustedIssuer is given without WithIssuer, or names
// an issuer twice. Otherwise the order of the options would decide whose keys verify a
// token.
func checkTrusted(c config) error {
	if len(c.trusted) > 0 && c.issuer == "" {
		return errors.New("WithTrustedIssuer needs WithIssuer, which says whose tokens are verified by the keys of New; set it too")
	}
	var errs []error
	for i, t := range c.trusted {
		switch {
		case t.issuer == c.issuer:
			errs = append(errs, fmt.Errorf("WithTrustedIssuer(%q): it is that of WithIssuer, whose keys New was given; leave it out", t.issuer))
		case slices.ContainsFunc(c.trusted[:i], func(other trustedIssuer) bool { return other.issuer == t.issuer }):
			errs = append(errs, fmt.Errorf("WithTrustedIssuer(%q) was given twice; give it once, with one source of all its keys", t.issuer))
		}
	}
	return errors.Join(errs...)
}

// WithIssuer sets the iss of issued tokens, and rejects tokens whose iss is missing or
// different, compared byte for byte (RFC 7519, section 4.1.1). By default tokens are
// issued without iss, and the iss of accepted tokens is ignored. [WithTrustedIssuer]
// accepts further issuers.
func WithIssuer(issuer string) Option {
	return func(c *config) error {
		c.issuer = issuer
		return checkString("WithIssuer", issuer)
	}
}

// WithAudience sets the aud of issued tokens, and rejects tokens whose aud is missing or
// has none of these values (RFC 7519, section 4.1.3). By default tokens are issued
// without aud, and a token that has an aud is rejected, as that section demands.
func WithAudience(audience ...string) Option {
	return func(c *config) error {
		c.audience = append([]string(nil), audience...)
		if len(audience) == 0 {
			return errors.New("WithAudience was given none; name at least one, or leave the option out")
		}
		return checkStrings("WithAudience", audience)
	}
}

// trustedIssuer is an issuer that WithTrustedIssuer added, or the Auth's own.
type trustedIssuer struct {
	issuer   string
	source   keys.Source
	audience []string // if empty, the audience of WithAudience counts
}

// WithTrustedIssuer also accepts the tokens of another issuer, such as an identity
// provider. It may be given several times. It needs [WithIssuer], which names the Auth's
// own issuer. Only the keys of source verify the tokens of this issuer. If an audience is
// given, it replaces the one of [WithAudience] for these tokens. All other options apply
// to the tokens of every issuer.
//
// A token whose iss is missing or unknown is rejected with [ErrUnknownKey] before any key
// is used. If the issuer's keys cannot be consulted, its tokens are rejected with
// [ErrUnavailable]. See "Several issuers" in the package comment.
func WithTrustedIssuer(issuer string, source keys.Source, audience ...string) Option {
	return func(c *config) error {
		c.trusted = append(c.trusted, trustedIssuer{issuer, source, append([]string(nil), audience...)})
		if err := checkString("WithTrustedIssuer", issuer); err != nil {
			return err
		}
		err := errors.Join(checkSource(source), checkStrings("its audience", audience))
		if err != nil {
			return fmt.Errorf("WithTrustedIssuer(%q): %w", issuer, err)
		}
		return nil
	}
}

// WithTTL sets how long an issued token lives: at least one second, rounded down to whole
// seconds. The default is [DefaultTTL], 10 days.
func WithTTL(d time.Duration) Option {
	return func(c *config) error {
		c.ttl = d
		return atLeastASecond("WithTTL", d)
	}
}

// WithMaxLifetime sets the longest lifetime that [TTL] may ask for. The default is 10
// days, or the lifetime of [WithTTL] if that is longer.
//
// With [WithRevocations] the limit also applies to accepted tokens. A token that lives
// longer, or has no iat, is rejected with [ErrRevoked]: the list might forget a revocation
// before the revoked token expires.
func WithMaxLifetime(d time.Duration) Option {
	return func(c *config) error {
		c.maxLifetime = d
		return atLeastASecond("WithMaxLifetime", d)
	}
}

// WithLeeway allows for clocks that differ: tokens are accepted until d after exp, and
// from d before nbf. The default is 0. The maximum is [MaxLeeway], 5 minutes. An iat may
// be ahead by 5 seconds, or by d if that is more.
func WithLeeway(d time.Duration) Option {
	return func(c *config) error {
		c.leeway = d
		if d < 0 || d > MaxLeeway {
			return fmt.Errorf("WithLeeway(%v): it must lie between 0 and %v", d, MaxLeeway)
		}
		return nil
	}
}

// WithTypes sets the typ of issued tokens to the first value given, and rejects tokens
// whose typ is missing or none of the values, compared byte for byte (RFC 8725, section
// 3.11). Use it to keep kinds of tokens apart, for example with "at+jwt". By default
// tokens are issued with the typ "JWT", and accepted with that typ or none.
func WithTypes(typ ...string) Option {
	return func(c *config) error {
		c.types, c.typeRequired = append([]string(nil), typ...), true
		if len(typ) == 0 {
			return errors.New("WithTypes was given none; name at least one, or leave the option out")
		}
		return checkStrings("WithTypes", typ)
	}
}

// WithContainer sets the function that finds the container of a request. The function
// returns the container, decoded once, or "" if the request names none, which Private
// denies. The default is r.PathValue("container"). For another router:
//
//	jwtauth.WithContainer(func(r *http.Request) string { return mux.Vars(r)["container"] })
//
// See "Routers other than ServeMux" in the package comment. WithContainer cannot be
// combined with [WithAnyContainer].
func WithContainer(container func(*http.Request) string) Option {
	return func(c *config) error {
		c.container = container
		if container == nil {
			return errors.New("WithContainer was given nil; give it a function, or leave it out for r.PathValue(\"container\")")
		}
		return nil
	}
}

// WithAnyContainer is for services without containers. Requests need no container, tokens
// of any container are accepted, and Issue accepts an empty container. Containers are
// still compared if a [Rule], or the caller of [Auth.Verify], names one. Never use
// WithAnyContainer in a service that has containers: a token of one would open all of
// them.
func WithAnyContainer() Option {
	return func(c *config) error {
		c.anyContainer = true
		return nil
	}
}

// WithContainerClaim sets the name of the claim that holds the container. The default is
// "container".
func WithContainerClaim(name string) Option {
	return func(c *config) error {
		c.containerClaim = name
		if err := checkString("WithContainerClaim", name); err != nil {
			return err
		}
		if strict.Reserved(name, "") {
			return fmt.Errorf("WithContainerClaim(%q): the name is that of a registered claim; choose another", name)
		}
		return nil
	}
}

// WithExtractors sets where tokens are looked for, in this order. The default is
// FromHeader("Authorization", "Bearer"), then FromQuery("token"). See [Extractor].
func WithExtractors(extractors ...Extractor) Option {
	return func(c *config) error {
		c.extractors = nil
		if len(extractors) == 0 {
			return errors.New("WithExtractors was given none; name at least one, or leave the option out")
		}
		for i, e := range extractors {
			if e == nil {
				return fmt.Errorf("WithExtractors: extractor %d is nil; leave it out", i+1)
			}
			if p := placeOf(e); p != nil && p.bad != nil {
				return fmt.Errorf("WithExtractors: %w", p.bad)
			}
			c.extractors = append(c.extractors, asSent(e))
		}
		return nil
	}
}

// WithCrossOriginProtection sets how requests from other origins are recognised. The
// default is [http.NewCrossOriginProtection], which trusts no other origin. The protection
// applies to requests whose token is in a cookie, and to [Auth.TokenEndpoint]. A request
// with an Upgrade field is checked like a POST, even if it is a GET.
func WithCrossOriginProtection(p *http.CrossOriginProtection) Option {
	return func(c *config) error {
		c.crossOrigin = p
		if p == nil {
			return errors.New("WithCrossOriginProtection was given nil; leave it out for the default, which trusts no other origin")
		}
		return nil
	}
}

// WithRevocations sets the checker that is asked whether a token has been revoked. It is
// asked about every token that passes all other checks; only the container is checked
// later. By default no token is revoked.
func WithRevocations(checker RevocationChecker) Option {
	return func(c *config) error {
		c.revocations = checker
		if checker == nil {
			return errors.New("WithRevocations was given nil; leave it out if nothing can be revoked")
		}
		return nil
	}
}

// WithDenial sets the function that writes the response to a denied request. The function
// must write the status. The headers Cache-Control, WWW-Authenticate and, for a 503,
// Retry-After are already set, and may be changed. The URL of the request holds no token.
func WithDenial(deny func(http.ResponseWriter, *http.Request, Denial)) Option {
	return func(c *config) error {
		c.denial = deny
		if deny == nil {
			return errors.New("WithDenial was given nil; leave it out for the default")
		}
		return nil
	}
}

// WithStatus sets the function that returns the status of a denial, given its error. The
// default is 403 for every error. [ErrUnavailable] is always 503, and any other denial of
// [Auth.TokenEndpoint] is always 403. A status outside of 400 to 599 counts as 403. See
// [BearerStatus].
func WithStatus(status func(error) int) Option {
	return func(c *config) error {
		c.status = status
		if status == nil {
			return errors.New("WithStatus was given nil; leave it out for 403, or give it BearerStatus")
		}
		return nil
	}
}

// WithLogger sets the logger, which gets one line for each rejected token and denied
// request. The line has the reason, the key ID and, if the token is authentic, its jti. It
// never has the token. The level is debug, or error if the operator must act: in an
// outage, or on a private route without a container ([ErrNoContainer]).
//
// By default an Auth logs only ErrNoContainer, to [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		c.logger = logger
		if logger == nil {
			return errors.New("WithLogger was given nil; leave it out for silence")
		}
		return nil
	}
}

// WithObserver sets a function that is called once for every decision, for metrics and
// traces. Module otel has one for OpenTelemetry. If middlewares are nested, each makes a
// decision of its own. [Auth.Extract] makes none.
//
// observe gets the context of the request or call, and runs before the handler or the
// denial. It cannot change the decision. It must be fast and safe for concurrent use.
func WithObserver(observe func(ctx context.Context, d Decision)) Option {
	return func(c *config) error {
		c.observe = observe
		if observe == nil {
			return errors.New("WithObserver was given nil; leave it out if decisions are not counted")
		}
		return nil
	}
}

// WithCache sets how many accepted tokens are cached. A cached token that is sent again
// needs no parsing and no cryptography. Its time, revocation, container and keys are still
// checked on every request. The default is 32768, the maximum is 1<<24, and 0 turns the
// cache off. The cache takes at most about n KiB, of which [New] allocates 8 to 16 bytes
// per token. An unusually large token counts as several.
//
// The cache holds the tokens themselves, so a dump of the process's memory contains them.
// An expired token stays in the cache until it is sent again, or until its place is
// needed.
func WithCache(n int) Option {
	return func(c *config) error {
		c.cacheSize = n
		if n < 0 || n > maxCache {
			return fmt.Errorf("WithCache(%d): it must lie between 0, which turns it off, and %d tokens", n, maxCache)
		}
		return nil
	}
}

// WithClock sets the clock, for tests. The clock must be safe for concurrent use. The
// default is [time.Now].
func WithClock(clock func() time.Time) Option {
	return func(c *config) error {
		c.clock = clock
		if clock == nil {
			return errors.New("WithClock was given nil; leave it out for time.Now")
		}
		return nil
	}
}

// WithMaxTokenSize sets the size of the largest token that is accepted or issued, in
// bytes: from 256 to 65536 (64 KiB). The default is 8 KiB. Proxies and servers also limit
// header fields, often to 8 KiB.
func WithMaxTokenSize(n int) Option {
	return func(c *config) error {
		c.maxTokenSize = n
		if n < minTokenSize || n > tokenCeiling {
			return fmt.Errorf("WithMaxTokenSize(%d): it must lie between %d and %d bytes", n, minTokenSize, tokenCeiling)
		}
		return nil
	}
}

// checkString returns an error for an empty value, and for invalid UTF-8. JSON encoding
// replaces invalid UTF-8, so two different values could become the same.
func checkString(option, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s was given an empty string; leave it out", option)
	case !utf8.ValidString(value):
		return fmt.Errorf("%s was given invalid UTF-8 (%q)", option, value)
	}
	return nil
}

func checkStrings(option string, values []string) error {
	for _, value := range values {
		if err := checkString(option, value); err != nil {
			return err
		}
	}
	return nil
}

func atLeastASecond(option string, d time.Duration) error {
	if d < minIssuedLife {
		return fmt.Errorf("%s(%v): it must be at least %v", option, d, minIssuedLife)
	}
	return nil
}

// issue holds what the options of one token set.
type issue = revocation.Issue

// IssueOption sets one property of a token. [Auth.Issue] checks it. If an option is given
// twice, the last one counts. For [Claim], the last one of each name counts.
type IssueOption func(*issue)

// Subject sets sub, the user or service that the token is about. It must not be empty.
func Subject(subject string) IssueOption {
	return func(i *issue) { i.Subject = &subject }
}

// TTL sets how long this token lives. The default is the lifetime of [WithTTL]. It must be
// at least one second and at most [WithMaxLifetime], and is rounded down to whole seconds.
func TTL(d time.Duration) IssueOption {
	return func(i *issue) { i.TTL = d }
}

// ID sets jti, the ID of the token. By default it is random. The ID must not be empty, and
// should name one token only (RFC 7519, section 4.1.7).
func ID(jti string) IssueOption {
	return func(i *issue) { i.ID = &jti }
}

// SessionID sets sid, the session that the token belongs to. It must not be empty.
func SessionID(sid string) IssueOption {
	return func(i *issue) { i.SessionID = &sid }
}

// Audience sets aud. The default is the audience of [WithAudience]. An Auth accepts the
// token only if its own WithAudience has one of these values.
func Audience(audience ...string) IssueOption {
	return func(i *issue) { i.Audience = append([]string{}, audience...) }
}

// NotBefore sets nbf, the time before which the token is rejected, rounded down to whole
// seconds.
func NotBefore(t time.Time) IssueOption {
	return func(i *issue) { i.NotBefore = t }
}

// Claim adds a claim of your own, encoded with encoding/json. [Claims.Decode] reads it
// back. A name that equals that of a registered claim or of the container's claim,
// ignoring case, is an error. So is a value that is a string of invalid UTF-8. Inside of
// other values, encoding/json replaces invalid UTF-8.
func Claim(name string, value any) IssueOption {
	return func(i *issue) {
		if i.Private == nil {
			i.Private = map[string]any{}
		}
		i.Private[name] = value
	}
}
