package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/joinednode/jwtauth/internal/reply"
	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/internal/urltoken"
)

// Policy says which requests a route allows. The zero Policy is Private, and an unknown
// value denies every request, so both fail closed.
type Policy int

const (
	// Private allows a request only with a token that is authentic, valid now and of the
	// request's container.
	Private Policy = iota
	// Public allows every request, even if keys or revocations cannot be consulted. The
	// handler gets the claims of a token that is authentic, valid now and, if the route
	// names a container, of that container. A bad token counts as no token. Even for
	// Public, [Auth.Protect] and [Auth.Routes] deny a path with two meanings.
	Public
	// Optional allows a request without a token, and denies one with a bad token. If the
	// route names a container, a token of another container is bad. A path with two
	// meanings and a query that does not parse are denied even without a token.
	Optional
)

// String returns "private", "public", "optional" or "Policy(n)".
func (p Policy) String() string {
	switch p {
	case Private:
		return "private"
	case Public:
		return "public"
	case Optional:
		return "optional"
	}
	return fmt.Sprintf("Policy(%d)", int(p))
}

// known reports whether p is one of the three policies.
func (p Policy) known() bool { return p == Private || p == Public || p == Optional }

// Rule says what a request needs. The function given to [Auth.Protect] returns the rule of
// each request. The zero Rule is private.
type Rule struct {
	Policy Policy
	// Container is the container that the token must open, even with WithAnyContainer. If
	// it is "", the container is the one that WithContainer finds.
	Container string
}

// Private returns a handler that calls next only for requests with a token that is
// authentic, valid now and of the request's container (see [WithContainer]). It denies all
// others. next finds the claims with [FromContext].
//
// A request that names no container is denied. If its token is good otherwise, the denial
// is logged at error level. ServeMux sets the container of a pattern only for the handlers
// inside the mux: wrap the handlers, not the mux. Private panics if next is nil.
func (a *Auth) Private(next http.Handler) http.Handler {
	return a.fixed(Rule{Policy: Private}, next)
}

// Public returns a handler that calls next for every request. If the token is good, the
// claims are in the context. If the container of the request is not known, such as outside
// of a mux, a token of any container is good: compare Claims.Container there.
//
// next gets no claims if the path has two meanings (a dotted or empty segment, a
// backslash, CONNECT), or if the token cannot be verified now. Public panics if next is
// nil.
func (a *Auth) Public(next http.Handler) http.Handler {
	return a.fixed(Rule{Policy: Public}, next)
}

// Optional returns a handler that calls next with the claims of a good token, or without
// claims if no token was sent. It denies a request with a bad token, a path with two
// meanings, or a query that does not parse. If the container of the request is not known,
// a token of any container is good: compare Claims.Container there. Optional panics if
// next is nil.
func (a *Auth) Optional(next http.Handler) http.Handler {
	return a.fixed(Rule{Policy: Optional}, next)
}

func (a *Auth) fixed(rule Rule, next http.Handler) http.Handler {
	mustHandle(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, u := a.cutURL(w, r)
		a.serve(w, r, u, rule, next)
	})
}

// Protect returns a middleware that calls rule for every request to find out what the
// request needs. It is for services that look up their policies at run time, for example
// in a database. rule gets the request without the token of its URL. A request whose path
// has two meanings is denied before rule is called.
//
// If rule returns an error, the request is denied: with 403 (see [WithStatus]) if the
// error is [ErrForbidden], and otherwise with 503. A rule with an unknown Policy also
// denies the request. Protect panics if rule is nil, and the middleware panics if its
// handler is nil.
func (a *Auth) Protect(rule func(*http.Request) (Rule, error)) func(http.Handler) http.Handler {
	if rule == nil {
		panic("jwtauth: Protect: the rule is nil")
	}
	return func(next http.Handler) http.Handler {
		mustHandle(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r, u := a.cutURL(w, r)
			decided, err := a.decide(r, rule)
			if err != nil {
				a.report(r.Context(), Decision{Operation: "request"}, verdict{err: err})
				a.deny(w, r, err)
				return
			}
			a.serve(w, r, u, decided, next)
		})
	}
}

func (a *Auth) decide(r *http.Request, rule func(*http.Request) (Rule, error)) (Rule, error) {
	if err := checkPath(r); err != nil {
		return Rule{}, a.andNoToken(r, err)
	}
	decided, err := rule(r)
	switch {
	case errors.Is(err, ErrForbidden):
		return Rule{}, a.andNoToken(r, err)
	case err != nil:
		return Rule{}, fmt.Errorf("%w: the rule of Protect: %w", ErrUnavailable, err)
	case !decided.Policy.known():
		return Rule{}, fmt.Errorf("%w: the rule of Protect gave %v", ErrForbidden, decided.Policy)
	}
	return decided, nil
}

func mustHandle(next http.Handler) {
	if next == nil {
		panic("jwtauth: the handler to wrap is nil")
	}
}

// serve applies a rule to a request from whose URL the tokens have been cut. It calls
// next, with the claims in the context if the token is good, or writes the denial.
func (a *Auth) serve(w http.ResponseWriter, r *http.Request, u urltoken.Tokens, rule Rule, next http.Handler) {
	v := a.check(r, u, rule)
	if v.err == nil && v.raw.In == InQuery {
		if _, left, _ := urltoken.Scan(r.URL.RawQuery, []string{v.raw.Name}); left > 0 {
			v.err = fmt.Errorf("%w: its extractor named the URL parameter too late, so it was not cut", ErrMalformed)
		}
	}
	header := w.Header()
	if rule.Policy != Private {
		for _, field := range a.vary {
			addVary(header, field)
		}
	}
	allowed := v.err == nil || rule.mayRun(v.err)
	a.report(r.Context(), Decision{Operation: "request", Policy: rule.Policy, Allowed: allowed}, v)
	if !allowed {
		a.deny(w, r, v.err)
		return
	}
	s := &state{Context: r.Context()}
	if v.err == nil {
		s.claims = v.claims
		v.raw.guard(header)
	}
	next.ServeHTTP(w, r.WithContext(s))
}

// mayRun reports whether a request without a good token is allowed. err says what is wrong
// with the token.
func (rule Rule) mayRun(err error) bool {
	switch rule.Policy {
	case Public:
		return true
	case Optional:
		reason, _ := reasonOf(err)
		return reason == "no_token"
	}
	return false
}

// cutURL returns the request without the tokens of its URL, and what was found in the URL.
// If there are tokens, or the query does not parse, it sets headers that keep the response
// out of caches, and the URL out of Referer fields.
func (a *Auth) cutURL(w http.ResponseWriter, r *http.Request) (*http.Request, urltoken.Tokens) {
	u := a.urlTokens(r)
	if u.Found || u.Broken {
		w.Header().Set("Cache-Control", "private, no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
	}
	return u.Cut(r), u
}

// guard sets headers that keep the response out of shared caches. A token in the
// Authorization field needs none: shared caches do not store responses to such requests
// (RFC 9111, section 3.5).
func (p RawToken) guard(header http.Header) {
	switch {
	case p.In == InHeader && (p.Name == "Authorization" || strings.EqualFold(p.Name, "Authorization")):
		return
	case p.ambient():
		addVary(header, "Cookie")
	case p.In == InHeader && p.Name != "":
		addVary(header, http.CanonicalHeaderKey(p.Name))
	}
	if !strings.Contains(strings.Join(header["Cache-Control"], ","), "no-store") {
		header.Set("Cache-Control", "private")
	}
}

func addVary(header http.Header, field string) {
	if !slices.Contains(header["Vary"], field) {
		header.Add("Vary", field)
	}
}

// checkPath returns [ErrForbidden] for a path that two programs can read differently.
// ServeMux cleans the escaped path, and handlers read the decoded one:
// /public/%2e%2e/private/x would be checked as one place and served as another. CONNECT is
// denied because its target is not a path.
func checkPath(r *http.Request) error {
	if r.Method == http.MethodConnect {
		return fmt.Errorf("%w: the method is CONNECT", ErrForbidden)
	}
	if hasTwoMeanings(strings.TrimPrefix(r.URL.Path, "/")) {
		return fmt.Errorf("%w: the path has an empty or dotted segment, or a backslash", ErrForbidden)
	}
	return nil
}

// hasTwoMeanings reports whether a decoded path, given without its first slash, has an
// empty or dotted segment, or a backslash. Only the last segment may be empty.
func hasTwoMeanings(path string) bool {
	start := 0 // of the current segment
	for i := range len(path) {
		switch path[i] {
		case '\\':
			return true
		case '/':
			if segment := path[start:i]; segment == "" || segment == "." || segment == ".." {
				return true
			}
			start = i + 1
		}
	}
	return path[start:] == "." || path[start:] == ".."
}

// state is the context of a request that was allowed. It holds the claims that the
// innermost middleware verified. It implements context.Context itself, which saves an
// allocation.
type state struct {
	context.Context
	claims *Claims // nil without a good token; requests share it, so it never changes
}

type stateKey struct{}

func (s *state) Value(key any) any {
	if key == (stateKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// String keeps claims out of a printed context.
func (s *state) String() string { return "jwtauth.Context" }

func stateOf(ctx context.Context) *state {
	s, _ := ctx.Value(stateKey{}).(*state)
	return s
}

// FromContext returns the claims of the request's token, as verified by the innermost
// middleware. The bool is false if the request has no good token.
func FromContext(ctx context.Context) (Claims, bool) {
	s := stateOf(ctx)
	if s == nil || s.claims == nil {
		return Claims{}, false
	}
	return s.claims.own(), true
}

// NewContext returns a context in which [FromContext] finds c. It is for tests of
// handlers, and for servers that do not use net/http.
func NewContext(ctx context.Context, c Claims) context.Context {
	c = c.own()
	return &state{Context: ctx, claims: &c}
}

// Denial describes a denied request as the client sees it. Err is only for logs.
type Denial struct {
	Err    error
	Status int // 503 for ErrUnavailable, 403 from TokenEndpoint, otherwise the status of WithStatus
	// Code is "not_authenticated" if no token was sent or [Auth.TokenEndpoint] issues
	// none, "unavailable" if a token cannot be verified or issued now, and otherwise
	// "token_not_valid".
	Code   string
	Detail string // for people to read; fixed for each Code, except in a denial of TokenEndpoint
	// Reason is why an authentic token was rejected: expired, not_yet_valid, wrong_type,
	// wrong_issuer, wrong_audience, wrong_container or revoked. It is empty in all other
	// cases, so a client without an authentic token learns nothing.
	Reason string
}

// Deny writes the response to a denied request. err is the error of [Auth.Check],
// [Auth.Verify] or another method of the Auth. Pass [ErrForbidden], or nil, to deny what a
// good token does not allow. An error that wraps none of this package is treated like a
// bad token.
func (a *Auth) Deny(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		err = ErrForbidden
	}
	r, _ = a.cutURL(w, r)
	a.deny(w, r, err)
}

// deny is Deny for a request whose URL holds no token.
func (a *Auth) deny(w http.ResponseWriter, r *http.Request, err error) {
	a.write(w, r, a.denialOf(err))
}

func (a *Auth) denialOf(err error) Denial {
	d := Denial{Err: err, Code: "token_not_valid", Detail: "The token is not valid."}
	switch {
	case errors.Is(err, ErrUnavailable):
		d.Status = http.StatusServiceUnavailable
		d.Code, d.Detail = "unavailable", "The token cannot be verified now. Try again."
		return d
	case errors.Is(err, ErrNoToken):
		d.Code, d.Detail = "not_authenticated", "A token is needed."
	}
	if d.Status = a.status(err); d.Status < 400 || d.Status > 599 {
		d.Status = http.StatusForbidden
	}
	if name, authentic := reasonOf(err); authentic {
		d.Reason = name
	}
	return d
}

// write sets the headers of a denial, and lets the function of WithDenial write the rest.
func (a *Auth) write(w http.ResponseWriter, r *http.Request, d Denial) {
	header := w.Header()
	set(header, "Cache-Control", "no-store")
	set(header, "Www-Authenticate", a.challenge(d))
	if d.Code == "unavailable" {
		set(header, "Retry-After", retryAfter)
	}
	a.denial(w, r, d)
}

// retryAfter is the number of seconds after which a client should retry after a 503.
const retryAfter = "5"

// set is like header.Set, but takes only a name in canonical form. It skips the
// conversion, so that rejecting a token costs no more than accepting one. An attacker
// could exploit a difference.
func set(header http.Header, name, value string) { header[name] = []string{value} }

// challenge returns the WWW-Authenticate field of RFC 6750, section 3. The field names no
// error if no token was sent, if the token could not be verified now, or if no other token
// would help.
func (a *Auth) challenge(d Denial) string {
	switch {
	case d.Code != "token_not_valid", errors.Is(d.Err, ErrForbidden):
		return "Bearer"
	case d.Status == http.StatusBadRequest:
		return `Bearer error="invalid_request"`
	case errors.Is(d.Err, ErrContainer):
		return `Bearer error="insufficient_scope"`
	}
	return `Bearer error="invalid_token"`
}

// writeDenial writes a denial as JSON. It is the default of WithDenial.
func writeDenial(w http.ResponseWriter, _ *http.Request, d Denial) {
	// All three values are constants of this package that need no escaping.
	body := `{"code":"` + d.Code + `","detail":"` + d.Detail + `"`
	if d.Reason != "" {
		body += `,"reason":"` + d.Reason + `"`
	}
	reply.Raw(w, d.Status, []byte(body+"}\n"))
}

// BearerStatus returns the status of an error by RFC 6750, section 3.1. Pass it to
// [WithStatus]. The status is 400 for more than one token, and 403 for a token of another
// container and for requests that no token would help ([ErrCrossOrigin], [ErrForbidden]).
// It is 401 for any other error.
func BearerStatus(err error) int {
	switch {
	case errors.Is(err, ErrAmbiguousToken):
		return http.StatusBadRequest
	case errors.Is(err, ErrContainer), errors.Is(err, ErrCrossOrigin), errors.Is(err, ErrForbidden):
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

// TokenEndpoint returns a handler that issues tokens over HTTP. The route must name a
// container, unless [WithAnyContainer] is set. The response to a POST is 200 with this
// body, where expires_in is in seconds:
//
//	{"token": "…", "token_type": "Bearer", "expires_in": 864000, "container": "…"}
//
// authorize decides whether the client may have a token of this container, and returns
// the options of that token. If authorize returns [ErrUnavailable], the client gets 503.
// For any other error the client gets 403, whatever [WithStatus] says. The client also
// gets 503 if the options are bad or the keys cannot sign. Pages of other origins get 403
// (see [WithCrossOriginProtection]), and methods other than POST get 405. TokenEndpoint
// panics if authorize is nil.
func (a *Auth) TokenEndpoint(authorize func(r *http.Request, container string) ([]IssueOption, error)) http.Handler {
	if authorize == nil {
		panic("jwtauth: TokenEndpoint: authorize is nil, and without it anyone could have a token")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, _ = a.cutURL(w, r)
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			reply.JSON(w, http.StatusMethodNotAllowed, map[string]string{"code": "method_not_allowed", "detail": "Use POST."})
			return
		}
		minted, err := a.mint(r, authorize)
		a.report(r.Context(), Decision{Operation: "mint", Allowed: err == nil}, verdict{err: err})
		if err != nil {
			d := a.denialOf(err)
			if d.Status != http.StatusServiceUnavailable { // WithStatus is for bad tokens, and here no token is needed
				d.Status, d.Code, d.Reason = http.StatusForbidden, "not_authenticated", ""
				d.Detail = "You may not have a token of this container."
			}
			a.write(w, r, d)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		reply.JSON(w, http.StatusOK, minted)
	})
}

// minted is the body of the token endpoint's response. It follows RFC 6749, section 5.1,
// except that the field of the token is "token", not "access_token".
type minted struct {
	Token     string `json:"token"`
	TokenType string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Container string `json:"container,omitempty"`
}

func (a *Auth) mint(r *http.Request, authorize func(*http.Request, string) ([]IssueOption, error)) (minted, error) {
	if err := checkPath(r); err != nil {
		return minted{}, err
	}
	if err := a.checkOrigin(r); err != nil {
		return minted{}, err
	}
	container := a.containerOf(r, Rule{})
	switch {
	case container == "" && !a.anyContainer:
		return minted{}, ErrNoContainer
	case !utf8.ValidString(container):
		return minted{}, fmt.Errorf("%w: the container is not valid UTF-8", ErrForbidden)
	}
	opts, err := authorize(r, container)
	if err != nil {
		return minted{}, fmt.Errorf("%w: %w", ErrForbidden, err) // if err is ErrUnavailable, the denial is 503 all the same
	}
	token, ttl, err := a.issue(container, opts)
	if err != nil {
		// The options of authorize or the keys are bad, not the request.
		return minted{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return minted{token, "Bearer", int64(ttl.Seconds()), container}, nil
}

// Decision is the result of checking one request or token. An Auth passes it to the
// function of [WithObserver]. No field identifies a client. Each field has few values,
// which clients cannot choose freely.
type Decision struct {
	// Operation is "request" for the middleware and [Auth.Check], "verify" for
	// [Auth.Verify], [Auth.VerifyAnyContainer] and [Auth.Inspect], "recheck" for
	// [Auth.Recheck] and [Auth.CheckContainer], and "mint" for [Auth.TokenEndpoint].
	// Package session adds "login" and "refresh".
	Operation string
	// Policy is the policy of the route. It is Private if the rule given to [Auth.Protect]
	// returned no policy, and if Operation is not "request".
	Policy Policy
	// Allowed reports whether the request was allowed, or the token accepted.
	Allowed bool
	// Reason says why there is no good token, with a name that the function [Reason]
	// returns. It is "" if the token is good. It can be set although Allowed is true: to
	// "no_token" on routes that need no token, and to any name on Public ones. Package
	// session adds names of its own.
	Reason string
	// In says where the token of a "request" was found. It is zero for other operations,
	// if no token was found, and if a custom extractor does not set it.
	In Location
	// Cached reports whether the token was in the cache, so that no signature was
	// verified. See [WithCache].
	Cached bool
}

// report tells the logger and the observer about a decision. It does not log a request
// without a token on a route that needs none.
func (a *Auth) report(ctx context.Context, d Decision, v verdict) {
	if (v.err != nil || a.observe != nil) && revocation.IsUnobserved(ctx) {
		return
	}
	if v.err != nil {
		d.Reason = Reason(v.err)
		if !d.Allowed || d.Reason != "no_token" {
			a.logRefusal(ctx, v)
		}
	}
	if a.observe != nil {
		d.In, d.Cached = v.raw.In, v.cached
		a.observe(ctx, d)
	}
}

// logRefusal writes one line about a rejected token or a denied request. The level is
// error if the server is to blame. A private route without a container denies every
// request, so that is logged to the default logger if the Auth's own logger would discard
// it.
func (a *Auth) logRefusal(ctx context.Context, v verdict) {
	level, logger := slog.LevelDebug, a.logger
	switch {
	case errors.Is(v.err, ErrNoContainer):
		level = slog.LevelError
		if !logger.Enabled(ctx, level) {
			logger = slog.Default()
		}
	case errors.Is(v.err, context.Canceled) && ctx.Err() != nil:
		// The level stays debug: clients that gave up while keys were fetched must not fill
		// the log.
	case errors.Is(v.err, ErrUnavailable):
		level = slog.LevelError
	}
	if !logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("reason", Reason(v.err)), slog.String("error", v.err.Error())}
	if v.kid != "" {
		attrs = append(attrs, slog.String("kid", clip(v.kid)))
	}
	if v.claims != nil && v.claims.ID != "" {
		attrs = append(attrs, slog.String("jti", clip(v.claims.ID)))
	}
	logger.LogAttrs(ctx, level, "jwtauth: refused", attrs...)
}

// clip shortens a value that a client may have chosen.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
