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

// Defaults, and the bounds of what may be configured.
const (
	// DefaultTTL is how long an issued token lives.
	DefaultTTL = 10 * 24 * time.Hour
	// MaxLeeway is the largest that WithLeeway takes.
	MaxLeeway = 5 * time.Minute

	defaultMaxTokenSize = 8 << 10
	defaultCache        = 32 << 10

	minTokenSize  = 256
	tokenCeiling  = 64 << 10 // what an extractor looks at, whatever is configured
	minIssuedLife = time.Second
	maxCache      = 1 << 24
)

// config is what the options write; it never changes once New has read it.
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

// Option configures [New], which checks what it is given; the error names the option. If
// an option is given twice, the last one counts, except [WithTrustedIssuer], of which all
// do.
type Option func(*config) error

// defaults is the configuration of New without options.
func defaults() config {
	return config{
		types:          []string{"JWT"},
		ttl:            DefaultTTL,
		clock:          time.Now,
		maxTokenSize:   defaultMaxTokenSize,
		containerClaim: "container",
		// The characters are checked with the rest of the token.
		extractors:  []Extractor{fromHeader("Authorization", "Bearer").look, fromQuery("token").look},
		crossOrigin: http.NewCrossOriginProtection(),
		cacheSize:   defaultCache,
		denial:      writeDenial,
		status:      func(error) int { return http.StatusForbidden },
		logger:      slog.New(slog.DiscardHandler),
	}
}

// configure applies the options and checks what they make together.
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

// checkTrusted wants each issuer once: whose keys verify a token must never
// depend on which option came first.
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

// WithIssuer puts iss on what is issued, and requires it, byte for byte, of
// what is accepted (RFC 7519, section 4.1.1). Without it, iss is not looked at.
// [WithTrustedIssuer] adds issuers that are accepted besides.
func WithIssuer(issuer string) Option {
	return func(c *config) error {
		c.issuer = issuer
		return checkString("WithIssuer", issuer)
	}
}

// WithAudience puts aud on what is issued, and requires one of these values of
// what is accepted (RFC 7519, section 4.1.3). Without it, a token that has an
// aud is refused, as that section demands.
func WithAudience(audience ...string) Option {
	return func(c *config) error {
		c.audience = append([]string(nil), audience...)
		if len(audience) == 0 {
			return errors.New("WithAudience was given none; name at least one, or leave the option out")
		}
		return checkStrings("WithAudience", audience)
	}
}

// trustedIssuer is who else issues what an Auth accepts.
type trustedIssuer struct {
	issuer   string
	source   keys.Source
	audience []string // none: what WithAudience says
}

// WithTrustedIssuer also accepts the tokens of another issuer, such as an
// identity provider or the service that this one replaces. It may be given
// several times, and needs [WithIssuer], which names the Auth's own.
//
// A token's iss is compared byte for byte, and only the keys of that issuer
// verify it, whatever its kid and its algorithm say: no issuer signs for another one
// (RFC 8725, section 3.8). If its source fails, its tokens alone are
// [ErrUnavailable]. Without an iss, or with an unknown one, a token is
// refused with [ErrUnknownKey] and no key is asked for, so that the response is
// that to any token that is not authentic, and never [ErrIssuer].
//
// If an audience is given, the issuer's tokens must have one of these values
// instead of those of [WithAudience]; otherwise that option's rule is theirs too.
// Whatever else is configured holds for the tokens of all: type, lifetime,
// container and revocations. [Auth.Issue] uses the keys of New alone.
//
// Its tokens must have the same typ, a container unless [WithAnyContainer] is set, and
// with revocations an iat and no longer a life than WithMaxLifetime: those of identity
// providers often differ. A revocation of a subject or a container is about the
// tokens of one issuer: name each.
//
// A trusted issuer is trusted with every container and every subject. The same
// sub, jti or sid of two issuers are two things (RFC 7519, section 4.1.2): keep
// what you know of them by Claims.Issuer as well, and name it in revocations.
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

// WithTTL sets how long an issued token lives: at least a second, rounded down to whole
// seconds. The default is [DefaultTTL], 10 days.
func WithTTL(d time.Duration) Option {
	return func(c *config) error {
		c.ttl = d
		return atLeastASecond("WithTTL", d)
	}
}

// WithMaxLifetime bounds what [TTL] may ask for, and, where there are
// revocations, the lifetime of tokens accepted. The default is the larger of ten days and
// [WithTTL]. There a token that lives longer, or has no iat, is
// [ErrRevoked], since the list might forget it before it expires.
func WithMaxLifetime(d time.Duration) Option {
	return func(c *config) error {
		c.maxLifetime = d
		return atLeastASecond("WithMaxLifetime", d)
	}
}

// WithLeeway forgives clocks that differ: a token is accepted until d after exp, and from
// d before nbf. The default is 0, the most is [MaxLeeway], 5 minutes.
func WithLeeway(d time.Duration) Option {
	return func(c *config) error {
		c.leeway = d
		if d < 0 || d > MaxLeeway {
			return fmt.Errorf("WithLeeway(%v): it must lie between 0 and %v", d, MaxLeeway)
		}
		return nil
	}
}

// WithTypes sets the typ of what is issued, which is the first one, and requires one of
// them, byte for byte, of what is accepted (RFC 8725, section 3.11): for a kind of token
// of its own such as "at+jwt". By default typ is "JWT", and a token without typ is
// accepted too.
func WithTypes(typ ...string) Option {
	return func(c *config) error {
		c.types, c.typeRequired = append([]string(nil), typ...), true
		if len(typ) == 0 {
			return errors.New("WithTypes was given none; name at least one, or leave the option out")
		}
		return checkStrings("WithTypes", typ)
	}
}

// WithContainer sets how the container of a request is found, decoded once. The default
// is r.PathValue("container"). "" means that the request names none,
// which Private denies. Other routers are asked in the same way, but some of
// them leave parameters encoded: see examples/routers, and decode exactly once.
//
//	jwtauth.WithContainer(func(r *http.Request) string { return mux.Vars(r)["container"] })
//
// It excludes [WithAnyContainer].
func WithContainer(container func(*http.Request) string) Option {
	return func(c *config) error {
		c.container = container
		if container == nil {
			return errors.New("WithContainer was given nil; give it a function, or leave it out for r.PathValue(\"container\")")
		}
		return nil
	}
}

// WithAnyContainer is for services without containers: none is looked for in
// requests, none is compared, and Issue takes an empty one. It is dangerous in
// a service that has them, where any container's token would open all.
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
			return errors.New("WithExtractors was given none; no token could ever be found")
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

// WithCrossOriginProtection sets how requests of other origins are told apart. The default
// is [http.NewCrossOriginProtection], which trusts no other origin. It
// is asked for credentials that browsers send by themselves (cookies), where a
// request with an Upgrade field counts as a POST, and by
// [Auth.TokenEndpoint].
func WithCrossOriginProtection(p *http.CrossOriginProtection) Option {
	return func(c *config) error {
		c.crossOrigin = p
		if p == nil {
			return errors.New("WithCrossOriginProtection was given nil; leave it out for the default, which trusts no other origin")
		}
		return nil
	}
}

// WithRevocations asks checker about every token that is otherwise good.
func WithRevocations(checker RevocationChecker) Option {
	return func(c *config) error {
		c.revocations = checker
		if checker == nil {
			return errors.New("WithRevocations was given nil; leave it out if nothing can be revoked")
		}
		return nil
	}
}

// WithDenial sets what writes a denied response. Status, headers and body are
// its own: it is called with the headers of the default already set, with a
// request whose URL holds no token, and it must write the status.
func WithDenial(deny func(http.ResponseWriter, *http.Request, Denial)) Option {
	return func(c *config) error {
		c.denial = deny
		if deny == nil {
			return errors.New("WithDenial was given nil; leave it out for the default")
		}
		return nil
	}
}

// WithStatus sets the status of denials. The default is 403 for all. It is never
// asked about [ErrUnavailable], which is always 503; an answer outside 400 to
// 599 counts as 403. See [BearerStatus].
func WithStatus(status func(error) int) Option {
	return func(c *config) error {
		c.status = status
		if status == nil {
			return errors.New("WithStatus was given nil; leave it out for 403, or give it BearerStatus")
		}
		return nil
	}
}

// WithLogger logs one line at debug level for every token that is refused, and
// every request that is denied, with the reason, the key id and, if the token is
// authentic, its jti; and at error level what is the server's to mend: outages,
// and private routes without a container. Never a token. By default an Auth logs one
// thing, to [slog.Default]: a private route without a container.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		c.logger = logger
		if logger == nil {
			return errors.New("WithLogger was given nil; leave it out for silence")
		}
		return nil
	}
}

// WithObserver has observe called once for every decision, whatever became of it,
// for metrics and traces: module otel has one for OpenTelemetry. Nested middlewares
// decide one by one. It gets the context of the request, or of the call, runs before
// the handler or the denial, and must be safe for concurrent use, and quick. It has
// no say in the decision. [Auth.Extract] decides nothing. Unless set, it costs
// nothing.
func WithObserver(observe func(ctx context.Context, d Decision)) Option {
	return func(c *config) error {
		c.observe = observe
		if observe == nil {
			return errors.New("WithObserver was given nil; leave it out if nothing counts")
		}
		return nil
	}
}

// WithCache sets how many accepted tokens are cached, so that a token that comes again
// costs no parsing and no cryptography. The default is 32768, and the
// most is 1<<24; 0 caches none. It bounds memory: n tokens take about n KiB at
// most, and those that are larger than usual count as several; 8 to 16 bytes for
// each are taken at once. Whatever may change while a token lives (time,
// revocation, the container, the keys, whether the source answers) is checked all
// the same.
//
// What is cached is the token itself, which a dump of the process's memory
// shows. One that has expired stays until it is presented again or others need
// its place.
func WithCache(n int) Option {
	return func(c *config) error {
		c.cacheSize = n
		if n < 0 || n > maxCache {
			return fmt.Errorf("WithCache(%d): it must lie between 0, which turns it off, and %d tokens", n, maxCache)
		}
		return nil
	}
}

// WithClock sets the clock, for tests. The default is [time.Now]. It must be safe
// for concurrent use.
func WithClock(clock func() time.Time) Option {
	return func(c *config) error {
		c.clock = clock
		if clock == nil {
			return errors.New("WithClock was given nil; leave it out for time.Now")
		}
		return nil
	}
}

// WithMaxTokenSize sets the largest token accepted and issued, in bytes: at least 256,
// at most 64 KiB. The default is 8 KiB. Proxies and servers bound header fields too,
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

// checkString refuses what JSON cannot carry unchanged: invalid UTF-8 would be
// replaced, so that two values became one.
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

// issue is what IssueOptions write.
type issue = revocation.Issue

// IssueOption adds to one token of [Auth.Issue], which checks what it is given.
// If an option is given twice, the last one counts.
type IssueOption func(*issue)

// Subject sets sub: whom the token speaks of. It must not be empty.
func Subject(subject string) IssueOption {
	return func(i *issue) { i.Subject = &subject }
}

// TTL sets how long this token lives, instead of [WithTTL]: at least a second,
// rounded down to whole seconds, and at most [WithMaxLifetime].
func TTL(d time.Duration) IssueOption {
	return func(i *issue) { i.TTL = d }
}

// ID sets jti, which is random otherwise. It must not be empty, and should
// name one token only (RFC 7519, section 4.1.7).
func ID(jti string) IssueOption {
	return func(i *issue) { i.ID = &jti }
}

// SessionID sets sid: the session that the token belongs to. It must not be empty.
func SessionID(sid string) IssueOption {
	return func(i *issue) { i.SessionID = &sid }
}

// Audience sets aud, instead of [WithAudience]. An Auth that has none of these
// audiences refuses the token.
func Audience(audience ...string) IssueOption {
	return func(i *issue) { i.Audience = append([]string{}, audience...) }
}

// NotBefore sets nbf, rounded down to whole seconds: from when on the token is
// valid.
func NotBefore(t time.Time) IssueOption {
	return func(i *issue) { i.NotBefore = t }
}

// Claim adds a claim of your own, encoded by encoding/json; [Claims.Decode]
// reads it back. Registered names and the container's, in any case, are errors.
func Claim(name string, value any) IssueOption {
	return func(i *issue) {
		if i.Private == nil {
			i.Private = map[string]any{}
		}
		i.Private[name] = value
	}
}
