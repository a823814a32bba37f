package jwtauth

import (
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
// most specific first, methods and hosts included; the container is what
// [WithContainer] finds in a request with that pattern's path values. Whatever
// no pattern matches is private: a path or a method that was forgotten, a path
// that ServeMux would redirect. So is a host that is not spelled as DNS servers
// spell it, where a pattern names a host. Routes itself never redirects, and
// leaves the request's own path values and Pattern as they are.
//
// A pattern that ServeMux refuses, that conflicts with another or that no
// request can match, and a policy that does not exist, are errors that quote it.
// All of them are reported at once.
func (a *Auth) Routes(routes map[string]Policy) (func(http.Handler) http.Handler, error) {
	table := routeTable{mux: http.NewServeMux()}
	var errs []error
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		if err := table.add(pattern, routes[pattern]); err != nil {
			errs = append(errs, fmt.Errorf("jwtauth: Routes: %q: %w", pattern, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a.Protect(func(r *http.Request) (Rule, error) {
		picked, policy := table.pick(r)
		rule := Rule{Policy: policy}
		if !a.anyContainer {
			rule.Container = a.container(picked)
		}
		return rule, nil
	}), nil
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
	decoded, _ := url.PathUnescape(path) // an escape that is none was a literal before
	switch {
	case method == http.MethodConnect:
		return errors.New("CONNECT is always denied; leave it out")
	case host != canonicalHost(host):
		return fmt.Errorf("no request is judged by that host; write %q", canonicalHost(host))
	case hasTwoMeanings(decoded):
		return errors.New("a path with an empty or dotted segment, or a backslash, is always denied; leave it out")
	}
	return nil
}

// pick returns the policy of a request, and the request as the mux saw it: a
// copy, which has the path values of the pattern. Where no pattern matches it
// returns the request itself, and Private.
func (t *routeTable) pick(r *http.Request) (*http.Request, Policy) {
	if t.hasHosts {
		if host := hostOf(r); host != canonicalHost(host) {
			return r, Private
		}
	}
	var found match
	t.mux.ServeHTTP(&found, r.WithContext(r.Context()))
	if found.r == nil {
		return r, Private
	}
	return found.r, found.policy
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
