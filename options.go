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
	tokenCeiling  = 64 << 10 // bytes; the most that WithMaxTokenSize accepts
	minIssuedLife = time.Second
	maxCache      = 1 << 24
)

// config is written by the options, and never changes once New has returned.
type config struct {
	issuer         string
	audience       []string
	trusted        []trustedIssuer
	types          []string // the first one is issued
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

// Option configures [New], which checks it; the error names the option. If an option is
// given twice, the last one counts. [WithTrustedIssuer] is the exception: each one adds
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
		// look does not check the characters of a token: the strict reader does.
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

// checkTrusted requires WithIssuer, and that each issuer is given once. Otherwise the
// order of the options would decide whose keys verify a token.
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

// WithIssuer sets the iss of issued tokens, and requires it of accepted ones, compared
// byte for byte (RFC 7519, section 4.1.1). By default tokens are issued without iss, and
// the iss of accepted tokens is ignored. [WithTrustedIssuer] accepts further issuers.
func WithIssuer(issuer string) Option {
	return func(c *config) error {
		c.issuer = issuer
		return checkString("WithIssuer", issuer)
	}
}

// WithAudience sets the aud of issued tokens, and requires one of these values of
// accepted ones (RFC 7519, section 4.1.3). By default tokens are issued without aud, and
// a token that has an aud is rejected, as that section demands.
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
	audience []string // if empty, that of WithAudience
}

// WithTrustedIssuer also accepts the tokens of another issuer, such as an identity
// provider. It may be given several times, and needs [WithIssuer], which names the Auth's
// own issuer. Only the issuer's own keys verify its tokens. If an audience is given, it
// replaces that of [WithAudience] for these tokens. All other options apply to the tokens
// of every issuer.
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
// days, or [WithTTL] if that is longer.
//
// With [WithRevocations] it also bounds accepted tokens. One that lives longer, or has no
// iat, is rejected with [ErrRevoked], because the list might forget its revocation before
// it expires.
func WithMaxLifetime(d time.Duration) Option {
	return func(c *config) error {
		c.maxLifetime = d
		return atLeastASecond("WithMaxLifetime", d)
	}
}

// WithLeeway accepts tokens until d after exp, and from d before nbf, for clocks that
// differ. The default is 0. The maximum is [MaxLeeway], 5 minutes. An iat may be 5
// seconds ahead, or d if that is more.
func WithLeeway(d time.Duration) Option {
	return func(c *config) error {
		c.leeway = d
		if d < 0 || d > MaxLeeway {
			return fmt.Errorf("WithLeeway(%v): it must lie between 0 and %v", d, MaxLeeway)
		}
		return nil
	}
}

// WithTypes sets the typ of issued tokens to the first one given, and requires one of
// them of accepted tokens, compared byte for byte (RFC 8725, section 3.11). Use it for
// tokens of a type of their own, such as "at+jwt". By default tokens are issued with the
// typ "JWT", and accepted with that typ or none.
func WithTypes(typ ...string) Option {
	return func(c *config) error {
		c.types, c.typeRequired = append([]string(nil), typ...), true
		if len(typ) == 0 {
			return errors.New("WithTypes was given none; name at least one, or leave the option out")
		}
		return checkStrings("WithTypes", typ)
	}
}

// WithContainer sets how the container of a request is found. container returns it
// decoded once, or "" if the request names none, which Private denies. The default is
// r.PathValue("container"). For another router:
//
//	jwtauth.WithContainer(func(r *http.Request) string { return mux.Vars(r)["container"] })
//
// See "Routers other than ServeMux" in the package comment. It excludes
// [WithAnyContainer].
func WithContainer(container func(*http.Request) string) Option {
	return func(c *config) error {
		c.container = container
		if container == nil {
			return errors.New("WithContainer was given nil; give it a function, or leave it out for r.PathValue(\"container\")")
		}
		return nil
	}
}

// WithAnyContainer is for services without containers. Requests need none, tokens of any
// container are accepted, and Issue accepts an empty one. Only a container that the
// caller of [Auth.Verify] or a [Rule] names is still compared. In a service that has
// containers WithAnyContainer is dangerous: a token of one would open all of them.
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
// default is [http.NewCrossOriginProtection], which trusts no other origin. It checks
// requests with a cookie as token, where an Upgrade field makes a GET count as a POST,
// and requests to [Auth.TokenEndpoint].
func WithCrossOriginProtection(p *http.CrossOriginProtection) Option {
	return func(c *config) error {
		c.crossOrigin = p
		if p == nil {
			return errors.New("WithCrossOriginProtection was given nil; leave it out for the default, which trusts no other origin")
		}
		return nil
	}
}

// WithRevocations asks checker about every token that passes all other checks except that
// of its container. By default no token is revoked.
func WithRevocations(checker RevocationChecker) Option {
	return func(c *config) error {
		c.revocations = checker
		if checker == nil {
			return errors.New("WithRevocations was given nil; leave it out if nothing can be revoked")
		}
		return nil
	}
}

// WithDenial sets the function that writes the response to a denied request. The headers
// Cache-Control, WWW-Authenticate and, for a 503, Retry-After are already set, and may be
// changed. The URL of the request holds no token. The function must write the status.
func WithDenial(deny func(http.ResponseWriter, *http.Request, Denial)) Option {
	return func(c *config) error {
		c.denial = deny
		if deny == nil {
			return errors.New("WithDenial was given nil; leave it out for the default")
		}
		return nil
	}
}

// WithStatus sets the status of denials. The default is 403 for all. [ErrUnavailable] is
// always 503, and all else that [Auth.TokenEndpoint] denies is always 403. A status
// outside of 400 to 599 counts as 403. See [BearerStatus].
func WithStatus(status func(error) int) Option {
	return func(c *config) error {
		c.status = status
		if status == nil {
			return errors.New("WithStatus was given nil; leave it out for 403, or give it BearerStatus")
		}
		return nil
	}
}

// WithLogger logs one line for each rejected token and denied request. The line has the
// reason, the key ID and, if the token is authentic, its jti, and never the token. Its
// level is debug, or error if the server must be mended: an outage, or a private route
// without a container ([ErrNoContainer]).
//
// By default an Auth logs one thing, to [slog.Default]: ErrNoContainer.
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
// traces. Module otel has one for OpenTelemetry. Each of several nested middlewares makes
// its own decision. [Auth.Extract] makes none.
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

// WithCache sets how many accepted tokens are cached, so that a token which comes again
// costs no parsing and no cryptography. The default is 32768, the maximum is 1<<24, and 0
// turns the cache off. n tokens take about n KiB at most, of which [New] allocates 8 to 16
// bytes for each; an unusually large token counts as several. Time, revocation, the
// container and the keys are checked on every request all the same.
//
// The cache holds the tokens themselves, so a dump of the process's memory contains them.
// An expired token stays until it is sent again, or until its place is needed.
func WithCache(n int) Option {
	return func(c *config) error {
		c.cacheSize = n
		if n < 0 || n > maxCache {
			return fmt.Errorf("WithCache(%d): it must lie between 0, which turns it off, and %d tokens", n, maxCache)
		}
		return nil
	}
}

// WithClock sets the clock, for tests. It must be safe for concurrent use. The default is
// [time.Now].
func WithClock(clock func() time.Time) Option {
	return func(c *config) error {
		c.clock = clock
		if clock == nil {
			return errors.New("WithClock was given nil; leave it out for time.Now")
		}
		return nil
	}
}

// WithMaxTokenSize sets the largest token that is accepted or issued, in bytes: from 256
// to 65536 (64 KiB). The default is 8 KiB. Proxies and servers bound header fields too,
// often at 8 KiB.
func WithMaxTokenSize(n int) Option {
	return func(c *config) error {
		c.maxTokenSize = n
		if n < minTokenSize || n > tokenCeiling {
			return fmt.Errorf("WithMaxTokenSize(%d): it must lie between %d and %d bytes", n, minTokenSize, tokenCeiling)
		}
		return nil
	}
}

// checkString rejects empty values, and those that JSON cannot carry unchanged. Encoding
// replaces invalid UTF-8, so two different values could become one.
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

// issue is what the IssueOptions write.
type issue = revocation.Issue

// IssueOption changes one token of [Auth.Issue], which checks it. If an option is given
// twice, the last one counts. Claim counts once for each name.
type IssueOption func(*issue)

// Subject sets sub: the user or service that the token is about. It must not be empty.
func Subject(subject string) IssueOption {
	return func(i *issue) { i.Subject = &subject }
}

// TTL sets how long this token lives. The default is that of [WithTTL]. It must be at
// least one second and at most [WithMaxLifetime], and is rounded down to whole seconds.
func TTL(d time.Duration) IssueOption {
	return func(i *issue) { i.TTL = d }
}

// ID sets jti. The default is random. It must not be empty, and should name one token
// only (RFC 7519, section 4.1.7).
func ID(jti string) IssueOption {
	return func(i *issue) { i.ID = &jti }
}

// SessionID sets sid: the session that the token belongs to. It must not be empty.
func SessionID(sid string) IssueOption {
	return func(i *issue) { i.SessionID = &sid }
}

// Audience sets aud. The default is that of [WithAudience]. An Auth accepts the token only
// if its own WithAudience has one of these values.
func Audience(audience ...string) IssueOption {
	return func(i *issue) { i.Audience = append([]string{}, audience...) }
}

// NotBefore sets nbf, the time before which the token is rejected, rounded down to whole
// seconds.
func NotBefore(t time.Time) IssueOption {
	return func(i *issue) { i.NotBefore = t }
}

// Claim adds a claim of your own, encoded with encoding/json. [Claims.Decode] reads it
// back. The names of registered claims and of the container's claim, in any case, are
// errors. So is a string of invalid UTF-8, but inside of another value encoding/json
// replaces invalid UTF-8.
func Claim(name string, value any) IssueOption {
	return func(i *issue) {
		if i.Private == nil {
			i.Private = map[string]any{}
		}
		i.Private[name] = value
	}
}
