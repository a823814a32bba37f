package jwtauth

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Routes gives each pattern of [http.ServeMux] a policy, for a whole mux or
// router at once:
//
//	wrap, err := auth.Routes(map[string]jwtauth.Policy{
//		"/run/{container}/{recipe}": jwtauth.Private,
//		"/run/{container}/hello":    jwtauth.Public,
//		"GET /{$}":                  jwtauth.Public,
//	})
//	http.ListenAndServe(addr, wrap(router))
//
// A request has the policy of the pattern that a ServeMux of these patterns picks,
// most specific first, methods and hosts included. Its container is what
// [WithContainer] finds in a copy of the request that has that pattern's path
// values (no router has run yet), else the pattern's {container}, else what
// WithContainer finds in the request itself. Whatever no pattern matches is
// private: a path or a method that was forgotten, a path that ServeMux would
// redirect. So is a host that is not spelled as DNS servers spell it, where a
// pattern names a host. Routes itself never redirects, and leaves the request's
// own path values and Pattern as they are.
//
// Routers differ in what they match. ServeMux decodes each segment, of the path
// and of the pattern. Others compare a pattern as it is written with the path as it
// is spelled, or with the whole path decoded. A path that these would give different
// policies is private, and one that they would give different containers is denied.
// So a public name that needs escapes, such as "grüße", needs a token, unless the
// wrapped handler is itself the [http.ServeMux] that has this very pattern and the
// client escapes no more than that. The patterns must be those of the router, with no
// middleware between that rewrites paths. A router may still read a container in a way of
// its own, as gin reads a plus: compare it with [Auth.CheckContainer].
//
// A pattern that ServeMux refuses, that conflicts with another or that no
// request can match, and a policy that does not exist, are errors that quote it.
// All of them are reported at once.
func (a *Auth) Routes(routes map[string]Policy) (func(http.Handler) http.Handler, error) {
	table := routeTable{mux: http.NewServeMux(), asWritten: http.NewServeMux()}
	errs := []error{checkServeMux()}
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		if err := table.add(pattern, routes[pattern]); err != nil {
			errs = append(errs, fmt.Errorf("jwtauth: Routes: %q: %w", pattern, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		inner, _ := next.(*http.ServeMux)
		return a.Protect(func(r *http.Request) (Rule, error) { return a.routeRule(&table, inner, r) })(next)
	}, nil
}

// checkServeMux refuses to go by a ServeMux that takes wildcards literally, as
// GODEBUG=httpmuxgo121=1 makes it: "/" would match what other patterns should.
func checkServeMux() error {
	mux := http.NewServeMux()
	mux.Handle("/{any}", marker(Public))
	probe := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/a"}}
	if _, pattern := mux.Handler(probe); pattern == "" {
		return errors.New("jwtauth: Routes: ServeMux does not know wildcards; unset httpmuxgo121 in GODEBUG")
	}
	return nil
}

// routeRule returns the rule of a request. Where routers may read its path in
// different ways, the rule is private unless they all agree on the policy. Unless
// they agree on the container, the request is denied.
func (a *Auth) routeRule(table *routeTable, inner *http.ServeMux, r *http.Request) (Rule, error) {
	picked := table.pick(table.mux, r)
	rule := a.ruleOf(r, picked)
	escaped, raw := r.URL.EscapedPath(), r.URL.RawPath
	if raw == "" && (escaped == r.URL.Path && !table.hasEscapes || picked.isChoiceOf(inner, r)) {
		return rule, nil
	}
	// RawPath may be a path of its own where a middleware changed Path and left it.
	for _, path := range slices.Compact([]string{r.URL.Path, escaped, cmp.Or(raw, escaped)}) {
		reading := r.WithContext(r.Context())
		reading.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
		picked := table.pick(table.asWritten, reading)
		other := a.ruleOf(r, picked)
		same := other.Container == rule.Container
		if decoded, err := url.PathUnescape(other.Container); path != r.URL.Path && err == nil {
			same = same || decoded == rule.Container
		}
		if picked.found && !same {
			return Rule{}, fmt.Errorf("%w: a path that routers would take for two containers", ErrForbidden)
		}
		if other.Policy != rule.Policy {
			rule.Policy = Private
		}
	}
	return rule, nil
}

func (a *Auth) ruleOf(r *http.Request, picked match) Rule {
	rule := Rule{Policy: picked.policy}
	if picked.found && !a.anyContainer {
		rule.Container = cmp.Or(a.container(picked.r), picked.r.PathValue("container"))
		keepBody(r, picked.r) // which that function may have read
	}
	return rule
}

// routeTable finds policies by muxes of its own: what a pattern matches is for
// ServeMux alone to say.
type routeTable struct {
	mux        *http.ServeMux
	asWritten  *http.ServeMux // takes escapes in patterns literally, as other routers do
	hasEscapes bool
	hasHosts   bool
}

// add registers a pattern. ServeMux panics about a bad one.
func (t *routeTable) add(pattern string, policy Policy) (err error) {
	if !policy.known() {
		return fmt.Errorf("%v is no policy; use Private, Public or Optional", policy)
	}
	defer func() {
		if problem := recover(); problem != nil {
			err = errors.New(registeredAt.ReplaceAllString(fmt.Sprint(problem), ""))
		}
	}()
	t.mux.Handle(pattern, marker(policy))

	head, path, _ := strings.Cut(pattern, "/") // a pattern without a slash panicked
	t.asWritten.Handle(head+"/"+strings.ReplaceAll(path, "%", "%25"), marker(policy))
	t.hasEscapes = t.hasEscapes || strings.Contains(path, "%")
	method, host := "", head
	if i := strings.IndexAny(head, " \t"); i >= 0 {
		method, host = head[:i], strings.TrimLeft(head[i:], " \t")
	}
	t.hasHosts = t.hasHosts || host != ""
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if decoded, err := url.PathUnescape(segment); err == nil { // else it is literal
			segments[i] = decoded
		}
	}
	switch {
	case method == http.MethodConnect:
		return errors.New("CONNECT is always denied; leave it out")
	case strings.ContainsAny(host, "[]:"):
		return errors.New("ServeMux compares hosts without their ports, and addresses of IPv6 in two spellings; name the host alone")
	case host != canonicalHost(host):
		return fmt.Errorf("no request is compared with that host; write %q", canonicalHost(host))
	case hasTwoMeanings(strings.Join(segments, "/")):
		return errors.New("a path with an empty or dotted segment, or a backslash, is always denied; leave it out")
	}
	return nil
}

// pick returns what a mux of the table picks for a request.
func (t *routeTable) pick(mux *http.ServeMux, r *http.Request) match {
	if t.hasHosts {
		if host := hostOf(r); host != canonicalHost(host) {
			return match{}
		}
	}
	var m match
	mux.ServeHTTP(&m, r.WithContext(r.Context()))
	return m
}

// registeredAt is what ServeMux says of where a pattern was registered: here,
// which helps no caller.
var registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)

func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// canonicalHost is how a host is spelled that ServeMux compares byte for byte
// and DNS does not.
func canonicalHost(host string) string {
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// marker is the handler of a pattern: it tells match which one was picked.
type marker Policy

func (m marker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	*w.(*match) = match{found: true, policy: Policy(m), r: r}
}

// match is what a table's mux picked. The zero match means that no pattern matches,
// and is private. A match is also where the mux answers: what it writes by itself (a
// redirect, 404, 405) goes nowhere.
type match struct {
	found  bool
	policy Policy
	r      *http.Request // a copy, with the path values of the pattern
}

// isChoiceOf reports whether a ServeMux picks the pattern of the match, so that its
// reading of the path is the only one. Behind a pattern that takes any number of
// segments there may be a router that reads them again.
func (m match) isChoiceOf(mux *http.ServeMux, r *http.Request) bool {
	if mux == nil || !m.found || strings.HasSuffix(m.r.Pattern, "/") || strings.HasSuffix(m.r.Pattern, "...}") {
		return false
	}
	_, pattern := mux.Handler(r)
	return pattern == m.r.Pattern
}

func (*match) Header() http.Header         { return http.Header{} }
func (*match) Write(b []byte) (int, error) { return len(b), nil }
func (*match) WriteHeader(int)             {}
