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

// Policy says who may pass a route. The zero Policy is Private, and a value
// that is none of these denies: both fail closed.
type Policy int

const (
	// Private allows a request only with an authentic token, valid now, of the request's
	// container.
	Private Policy = iota
	// Public allows every request. The handler gets the claims of a token that is
	// authentic, valid now and, where the route names a container, of that container; any
	// other token changes nothing.
	Public
	// Optional allows requests without a token, and denies a bad one. Where
	// the route names a container, a token of another one is bad.
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

// known reports whether p is one of the three.
func (p Policy) known() bool { return p == Private || p == Public || p == Optional }

// Rule is what a request needs, as [Auth.Protect] asks for it. The zero Rule is
// private, of the container that the request names.
type Rule struct {
	Policy Policy
	// Container is the one to compare with; "" asks WithContainer's function.
	Container string
}

// Private denies every request without an authentic token, valid now, of the request's
// container (see [WithContainer]). The handler finds the
// claims with [FromContext].
//
// A request that names no container is denied and logged at error level. The
// container of ServeMux's patterns is known only inside of the mux: wrap
// handlers, not the mux. It panics if next is nil.
func (a *Auth) Private(next http.Handler) http.Handler {
	return a.fixed(Rule{Policy: Private}, next)
}

// Public runs next for every request, with claims in the context if the token
// is good: see [Public]. Where no container is known, as outside of a mux, they
// are the claims of any container: compare Claims.Container there. A request
// whose path has two meanings (dotted or empty segments, a backslash, CONNECT)
// runs without claims. It panics if next is nil.
func (a *Auth) Public(next http.Handler) http.Handler {
	return a.fixed(Rule{Policy: Public}, next)
}

// Optional runs next anonymously where there is no token, and denies a bad one:
// see [Optional]. Where no container is known, a token of any container is
// good: compare Claims.Container there. It panics if next is nil.
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

// Protect asks rule about every request, for services that look up at run time
// what is private. An error of rule denies with 503, but [ErrForbidden] with
// 403, and an unknown Policy denies. rule gets the request without the token of
// its URL; a request whose path has two meanings is denied before rule is asked.
// It panics if rule or the handler is nil.
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

// serve applies a rule to a request whose URL holds no token any more: the
// verdict, what concerns the response, and the context that is passed on.
func (a *Auth) serve(w http.ResponseWriter, r *http.Request, u urltoken.Tokens, rule Rule, next http.Handler) {
	v := a.check(r, u, rule)
	if v.err == nil && v.raw.In == InQuery {
		if _, left, _ := urltoken.Scan(r.URL.RawQuery, []string{v.raw.Name}); left > 0 {
			v.err = fmt.Errorf("%w: of a parameter that its extractor did not name before", ErrMalformed)
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

// mayRun reports whether a request without a good token runs all the same.
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

// cutURL returns the request without the tokens of its URL, and what is to know of
// them. Where there are some, the response is kept out of caches, allowed or denied, and
// its address out of the Referer fields of what browsers ask for next.
func (a *Auth) cutURL(w http.ResponseWriter, r *http.Request) (*http.Request, urltoken.Tokens) {
	u := a.urlTokens(r)
	if u.Found || u.Broken {
		w.Header().Set("Cache-Control", "private, no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
	}
	return u.Cut(r), u
}

// guard keeps the response to a credential out of shared caches, which for the
// Authorization field they do by themselves (RFC 9111, section 3.5).
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

// checkPath refuses paths that two programs take for two places. ServeMux
// cleans the escaped path while handlers read the decoded one, so that
// /public/%2e%2e/private/x would be checked as one and served as the other; and
// what CONNECT asks for is no path at all.
func checkPath(r *http.Request) error {
	if r.Method == http.MethodConnect {
		return fmt.Errorf("%w: CONNECT", ErrForbidden)
	}
	if hasTwoMeanings(strings.TrimPrefix(r.URL.Path, "/")) {
		return fmt.Errorf("%w: a path with an empty or dotted segment, or a backslash", ErrForbidden)
	}
	return nil
}

// hasTwoMeanings checks a decoded path without its first slash. Only the last
// segment may be empty.
func hasTwoMeanings(path string) bool {
	start := 0 // of the segment at hand
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

// state is the context of a request that passed: the verdict of the innermost
// middleware. It is a context of its own because that is one allocation.
type state struct {
	context.Context
	claims *Claims // nil if there is no good token; shared, so never changed
}

type stateKey struct{}

func (s *state) Value(key any) any {
	if key == (stateKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// String keeps claims out of a context that is printed.
func (s *state) String() string { return "jwtauth.Context" }

func stateOf(ctx context.Context) *state {
	s, _ := ctx.Value(stateKey{}).(*state)
	return s
}

// FromContext returns the claims of the request's token, as the innermost
// middleware verified it; false if there is none that is good.
func FromContext(ctx context.Context) (Claims, bool) {
	s := stateOf(ctx)
	if s == nil || s.claims == nil {
		return Claims{}, false
	}
	return s.claims.own(), true
}

// NewContext returns a context in which [FromContext] finds c: for tests of
// handlers, and for servers that are not net/http.
func NewContext(ctx context.Context, c Claims) context.Context {
	c = c.own()
	return &state{Context: ctx, claims: &c}
}

// Denial is a refused request as the client is to see it; Err alone is for logs.
type Denial struct {
	Err    error
	Status int // 403 unless WithStatus says otherwise; 503 for ErrUnavailable
	// Code is "not_authenticated" where no token came, and where
	// [Auth.TokenEndpoint] gives none; "unavailable" where nothing can be known
	// now; else "token_not_valid".
	Code   string
	Detail string // for people; the same for all with this Code, except TokenEndpoint's
	// Reason is why an authentic token was rejected: expired, not_yet_valid,
	// wrong_type, wrong_issuer, wrong_audience, wrong_container or revoked. For
	// all else it is empty: a client without an authentic token learns nothing.
	Reason string
}

// Deny writes the response to a request that is denied, with the error of
// [Auth.Check], [Auth.Verify] or another method of the Auth, or [ErrForbidden] for
// what a good token may not do, which nil stands for, too. An error that is none of
// this package's is denied like a bad token.
func (a *Auth) Deny(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		err = ErrForbidden
	}
	r, _ = a.cutURL(w, r)
	a.deny(w, r, err)
}

// deny expects a request whose URL holds no token.
func (a *Auth) deny(w http.ResponseWriter, r *http.Request, err error) {
	a.write(w, r, a.denialOf(err))
}

func (a *Auth) denialOf(err error) Denial {
	d := Denial{Err: err, Code: "token_not_valid", Detail: "The token is not valid."}
	switch {
	case errors.Is(err, ErrUnavailable):
		d.Status = http.StatusServiceUnavailable
		d.Code, d.Detail = "unavailable", "The token cannot be judged now. Try again."
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

// write sets the headers of every denial and leaves the rest to WithDenial's
// function.
func (a *Auth) write(w http.ResponseWriter, r *http.Request, d Denial) {
	header := w.Header()
	set(header, "Cache-Control", "no-store")
	set(header, "Www-Authenticate", a.challenge(d))
	if d.Code == "unavailable" {
		set(header, "Retry-After", retryAfter)
	}
	a.denial(w, r, d)
}

// retryAfter is how many seconds a client should wait after a 503.
const retryAfter = "5"

// set is header.Set for a name that is in canonical form already. To refuse a
// token must cost no more than to accept one, or refusals would be a weapon.
func set(header http.Header, name, value string) { header[name] = []string{value} }

// challenge is the WWW-Authenticate field of RFC 6750, section 3: without an
// error where no token came, where nothing is known about it, or where another
// would not help.
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

// writeDenial is the default of WithDenial.
func writeDenial(w http.ResponseWriter, _ *http.Request, d Denial) {
	// All three are strings of this package, which need no escapes.
	body := `{"code":"` + d.Code + `","detail":"` + d.Detail + `"`
	if d.Reason != "" {
		body += `,"reason":"` + d.Reason + `"`
	}
	reply.Raw(w, d.Status, []byte(body+"}\n"))
}

// BearerStatus is for [WithStatus]: the statuses of RFC 6750, section 3.1. 400
// for more than one token; 403 for a token of another container, and for what no
// other token could change (ErrCrossOrigin, ErrForbidden); 401 otherwise.
func BearerStatus(err error) int {
	switch {
	case errors.Is(err, ErrAmbiguousToken):
		return http.StatusBadRequest
	case errors.Is(err, ErrContainer), errors.Is(err, ErrCrossOrigin), errors.Is(err, ErrForbidden):
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

// TokenEndpoint issues tokens over HTTP: a POST to a route that names a
// container is answered with 200 and
//
//	{"token": "…", "token_type": "Bearer", "expires_in": 864000, "container": "…"}
//
// where expires_in is in seconds. authorize decides who may have a token of
// that container, and with which options: its error denies with 403 whatever
// [WithStatus] says, or with 503 if it is [ErrUnavailable]; options that make no token
// are 503, too. There is no door without it: TokenEndpoint panics if authorize is nil.
// Pages of other origins are refused, see
// [WithCrossOriginProtection]; other methods than POST get 405.
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
			if d.Status != http.StatusServiceUnavailable { // no token was asked for: WithStatus has no say
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

// minted is the answer of the token endpoint (RFC 6749, section 5.1, except
// the name of the token, which is the recipe model's).
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
		return minted{}, fmt.Errorf("%w: a container that is not UTF-8", ErrForbidden)
	}
	opts, err := authorize(r, container)
	if err != nil {
		return minted{}, fmt.Errorf("%w: %w", ErrForbidden, err) // of both, ErrUnavailable decides
	}
	token, ttl, err := a.issue(container, opts)
	if err != nil {
		// Not the client's fault: the options of authorize, or the keys.
		return minted{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return minted{token, "Bearer", int64(ttl.Seconds()), container}, nil
}

// Decision is what became of one request or token, for [WithObserver]: enough to count,
// and nothing that identifies a client. Its fields have few values, none of which a client
// can choose.
type Decision struct {
	// Operation is what was asked: "request" by the middleware and [Auth.Check],
	// "verify" by [Auth.Verify], [Auth.VerifyAnyContainer] and [Auth.Inspect],
	// "recheck" by [Auth.Recheck] and [Auth.CheckContainer], and "mint" of [Auth.TokenEndpoint]. Package
	// session adds "login" and "refresh".
	Operation string
	// Policy is the route's, of a request; Private where a rule of [Auth.Protect]
	// gave none.
	Policy Policy
	// Allowed: the request runs, or the token is good.
	Allowed bool
	// Reason is why no token counts, as [Reason] names it, "" if one does. It stands
	// beside Allowed where a route may do without: no_token, and whatever is wrong
	// with a token on a Public one. Package session adds names of its own.
	Reason string
	// In is where the token of a "request" was found; zero of all else, if none was,
	// or if a custom extractor does not say.
	In Location
	// Cached: the token had been accepted before, so that no signature was
	// verified now. See [WithCache].
	Cached bool
}

// report tells the logger and the observer of a decision. No token on a route that may do
// without one is nothing to log.
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

// logRefusal writes the one line about a refusal. What the server is to blame
// for is an error; a private route without a container is one that must be
// seen even where no logger is set, since it denies everyone.
func (a *Auth) logRefusal(ctx context.Context, v verdict) {
	level, logger := slog.LevelDebug, a.logger
	switch {
	case errors.Is(v.err, ErrNoContainer):
		level = slog.LevelError
		if !logger.Enabled(ctx, level) {
			logger = slog.Default()
		}
	case errors.Is(v.err, context.Canceled) && ctx.Err() != nil:
		// A client that did not wait for the keys, of which there may be many.
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
