package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Policy says who may pass a route. The zero Policy is Private, and a value
// that is none of these denies: both fail closed.
type Policy int

const (
	// Private lets only a live, genuine token of the request's container pass.
	Private Policy = iota
	// Public lets every request pass. The handler gets the claims of a token
	// that is live, genuine and, where the route names a container, of that
	// container; any other token changes nothing.
	Public
	// Optional lets requests without a token pass, and denies a bad one. Where
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

// Private denies every request but those with a live, genuine token of the
// container that the request names (see [WithContainer]). The handler finds the
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
	if err := judgePath(r); err != nil {
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
func (a *Auth) serve(w http.ResponseWriter, r *http.Request, u urlTokens, rule Rule, next http.Handler) {
	v := a.check(r, u, rule)
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
	s := newState(r.Context())
	if s.claims = nil; v.err == nil {
		s.claims = v.claims
		v.presented.guard(header)
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

// state is the context of a request that passed: the verdict of the innermost
// middleware, and what was cut from the URL, for a middleware further in to
// judge. It is a context of its own because that is one allocation.
type state struct {
	context.Context
	claims *Claims  // nil if there is no good token; shared, so never changed
	sent   *sentURL // a pointer, so that no verb of fmt prints a token; nil if nothing was cut
}

type stateKey struct{}

// newState returns a context that says what ctx says, to be changed.
func newState(ctx context.Context) *state {
	s := &state{Context: ctx}
	if outer := stateOf(ctx); outer != nil {
		s.claims, s.sent = outer.claims, outer.sent
	}
	return s
}

func (s *state) Value(key any) any {
	if key == (stateKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// String keeps claims and token out of a context that is printed.
func (s *state) String() string { return "jwtauth.Context" }

func stateOf(ctx context.Context) *state {
	s, _ := ctx.Value(stateKey{}).(*state)
	return s
}

// FromContext returns the claims of the request's token, as the innermost
// middleware judged it; false where it found none that is good.
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
	s := newState(ctx)
	c = c.own()
	s.claims = &c
	return s
}
