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
// A request is judged by the pattern that a ServeMux of these patterns picks,
// most specific first, methods and hosts included. Its container is what
// [WithContainer] finds in a copy of the request that has that pattern's path
// values (no router has run yet), else the pattern's {container}, else what
// WithContainer finds in the request itself. Whatever no pattern matches is
// private: a path or a method that was forgotten, a path that ServeMux would
// redirect. So is a host that is not spelled as DNS servers spell it, where a
// pattern names a host. Routes itself never redirects, and leaves the request's
// own path values and Pattern as they are.
//
// Routers differ in what they match: ServeMux decodes each segment, some take
// the path as it is spelled, some decode it whole, escaped slashes included. A
// path that these would give different policies is private, and one that they
// would give different containers is denied. The patterns must be those of the
// router, with no middleware between that rewrites paths.
//
// A pattern that ServeMux refuses, that conflicts with another or that no
// request can match, and a policy that does not exist, are errors that quote it.
// All of them are reported at once.
func (a *Auth) Routes(routes map[string]Policy) (func(http.Handler) http.Handler, error) {
	table := routeTable{mux: http.NewServeMux()}
	errs := []error{judgeServeMux()}
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		if err := table.add(pattern, routes[pattern]); err != nil {
			errs = append(errs, fmt.Errorf("jwtauth: Routes: %q: %w", pattern, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a.Protect(func(r *http.Request) (Rule, error) { return a.judgeRoute(table, r) }), nil
}

// judgeServeMux refuses to go by a ServeMux that takes wildcards for text, as
// GODEBUG=httpmuxgo121=1 makes it: "/" would match what other patterns should.
func judgeServeMux() error {
	mux := http.NewServeMux()
	mux.Handle("/{any}", marker(Public))
	probe := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/a"}}
	if _, pattern := mux.Handler(probe); pattern == "" {
		return errors.New("jwtauth: Routes: ServeMux does not know wildcards; unset httpmuxgo121 in GODEBUG")
	}
	return nil
}

// judgeRoute finds the rule of a request in all readings of its path.
func (a *Auth) judgeRoute(table routeTable, r *http.Request) (Rule, error) {
	rule := a.routeRule(table.pick(r))
	raw := r.URL.RawPath
	if raw == "" { // then all routers go by the decoded path
		return rule, nil
	}
	for _, path := range []string{r.URL.Path, raw} {
		reading := r.WithContext(r.Context())
		reading.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
		picked, policy, found := table.pick(reading)
		other := a.routeRule(picked, policy, found)
		same := other.Container == rule.Container
		if decoded, err := url.PathUnescape(other.Container); path == raw && err == nil {
			same = same || decoded == rule.Container
		}
		if found && !same {
			return Rule{}, fmt.Errorf("%w: a path that routers would take for two containers", ErrForbidden)
		}
		if other.Policy != rule.Policy {
			rule.Policy = Private
		}
	}
	return rule, nil
}

func (a *Auth) routeRule(picked *http.Request, policy Policy, found bool) Rule {
	rule := Rule{Policy: policy}
	if found && !a.anyContainer {
		rule.Container = cmp.Or(a.container(picked), picked.PathValue("container"))
	}
	return rule
}

// routeTable finds policies by a mux of its own: what a pattern matches is for
// ServeMux alone to say.
type routeTable struct {
	mux      *http.ServeMux
	hasHosts bool
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
		return fmt.Errorf("no request is judged by that host; write %q", canonicalHost(host))
	case hasTwoMeanings(strings.Join(segments, "/")):
		return errors.New("a path with an empty or dotted segment, or a backslash, is always denied; leave it out")
	}
	return nil
}

// pick returns the request as the mux saw it, a copy that has the path values of
// the pattern, and the pattern's policy; Private and false where none matches.
func (t *routeTable) pick(r *http.Request) (picked *http.Request, policy Policy, found bool) {
	if t.hasHosts {
		if host := hostOf(r); host != canonicalHost(host) {
			return r, Private, false
		}
	}
	var m match
	t.mux.ServeHTTP(&m, r.WithContext(r.Context()))
	return m.r, m.policy, m.r != nil
}

// registeredAt is what ServeMux says of where a pattern was registered: here,
// which helps nobody.
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
	found := w.(*match)
	found.r, found.policy = r, Policy(m)
}

// match is where the table's mux answers. What it writes by itself (a redirect,
// 404, 405) goes nowhere, and means that no pattern matches.
type match struct {
	r      *http.Request
	policy Policy
}

func (*match) Header() http.Header         { return http.Header{} }
func (*match) Write(b []byte) (int, error) { return len(b), nil }
func (*match) WriteHeader(int)             {}
