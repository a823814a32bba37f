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

// Routes returns a middleware for a whole router, which gives each pattern of the router
// a policy. The patterns have the syntax of [http.ServeMux]. A request has the policy of
// the most specific pattern that matches it, methods and hosts included. A request that
// matches no pattern is private. So is one whose path ServeMux would redirect and, if a
// pattern names a host, one whose host has capital letters or a final dot.
//
// The container of a request is the one that [WithContainer] finds, or else the pattern's
// {container}. Routes changes neither the path values nor the Pattern of the request. For
// routers other than ServeMux, read "Routers other than ServeMux" in the package comment.
//
// Routes reports all errors at once: a pattern that ServeMux rejects, that conflicts with
// another or that no request can match, and an unknown policy.
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

// checkServeMux returns an error if ServeMux takes wildcards literally, as with
// GODEBUG=httpmuxgo121=1. Then "/" would match requests that other patterns should match.
func checkServeMux() error {
	mux := http.NewServeMux()
	mux.Handle("/{any}", marker(Public))
	probe := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/a"}}
	if _, pattern := mux.Handler(probe); pattern == "" {
		return errors.New("jwtauth: Routes: ServeMux does not know wildcards; unset httpmuxgo121 in GODEBUG")
	}
	return nil
}

// routeRule returns the rule of a request. Routers may read its path in different ways.
// If the readings differ in the policy, the rule is private. If they differ in the
// container, the request is denied.
func (a *Auth) routeRule(table *routeTable, inner *http.ServeMux, r *http.Request) (Rule, error) {
	picked := table.pick(table.mux, r)
	rule := a.ruleOf(r, picked)
	escaped, raw := r.URL.EscapedPath(), r.URL.RawPath
	if raw == "" && (escaped == r.URL.Path && !table.hasEscapes || picked.isChoiceOf(inner, r)) {
		return rule, nil
	}
	// RawPath differs from the other two if a middleware changed only Path.
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
			return Rule{}, fmt.Errorf("%w: routers could read two containers from the path", ErrForbidden)
		}
		if other.Policy != rule.Policy {
			rule.Policy = Private
		}
	}
	return rule, nil
}

// ruleOf returns the rule of the pattern that was picked for a request.
func (a *Auth) ruleOf(r *http.Request, picked match) Rule {
	rule := Rule{Policy: picked.policy}
	if picked.found && !a.anyContainer {
		rule.Container = cmp.Or(a.container(picked.r), picked.r.PathValue("container"))
		keepBody(r, picked.r) // the function of WithContainer may have read it
	}
	return rule
}

// routeTable finds policies with muxes of its own, because only ServeMux knows which
// requests a pattern matches.
type routeTable struct {
	mux        *http.ServeMux
	asWritten  *http.ServeMux // reads escapes in patterns literally, as other routers do
	hasEscapes bool
	hasHosts   bool
}

// add registers a pattern and its policy. If the pattern is bad, ServeMux panics, and add
// returns that as an error.
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

	head, path, _ := strings.Cut(pattern, "/") // every pattern has a slash, or Handle would have panicked
	t.asWritten.Handle(head+"/"+strings.ReplaceAll(path, "%", "%25"), marker(policy))
	t.hasEscapes = t.hasEscapes || strings.Contains(path, "%")
	method, host := "", head
	if i := strings.IndexAny(head, " \t"); i >= 0 {
		method, host = head[:i], strings.TrimLeft(head[i:], " \t")
	}
	t.hasHosts = t.hasHosts || host != ""
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if decoded, err := url.PathUnescape(segment); err == nil { // otherwise ServeMux takes it literally
			segments[i] = decoded
		}
	}
	switch {
	case method == http.MethodConnect:
		return errors.New("CONNECT is always denied; leave it out")
	case strings.ContainsAny(host, "[]:"):
		return errors.New("ServeMux compares hosts without ports, and spells IPv6 addresses in two ways; write a host name alone")
	case host != canonicalHost(host):
		return fmt.Errorf("no request can match this host; write %q", canonicalHost(host))
	case hasTwoMeanings(strings.Join(segments, "/")):
		return errors.New("a path with an empty or dotted segment, or a backslash, is always denied; leave it out")
	}
	return nil
}

// pick returns the pattern that a mux of the table picks for a request. If any pattern
// names a host, a request whose host has capital letters or a final dot matches no
// pattern.
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

// registeredAt matches the part of a ServeMux panic that says where a pattern was
// registered. That is always a line of this file, so it helps no caller.
var registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)

func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// canonicalHost returns a host in lower case and without a final dot. DNS ignores these
// differences, and ServeMux does not.
func canonicalHost(host string) string {
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// marker is the handler of each pattern in a table. It tells the match that its pattern
// was picked.
type marker Policy

func (m marker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	*w.(*match) = match{found: true, policy: Policy(m), r: r}
}

// match holds what a table's mux picked. The zero match means that no pattern matches,
// and is private. A match is also the ResponseWriter for the mux. It discards responses
// of the mux itself (a redirect, 404, 405).
type match struct {
	found  bool
	policy Policy
	r      *http.Request // a copy, with the path values of the pattern
}

// isChoiceOf reports whether mux, the wrapped handler, picks the pattern of the match
// too, so that no other reading of the path is possible. It returns false for a pattern
// whose end matches any number of segments: another router may be behind it, and read
// these segments again.
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
