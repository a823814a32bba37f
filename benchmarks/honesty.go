package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// check is a reason for which a token or a request can be rejected.
type check struct {
	name string
	what string // what a library without this check accepts
}

// Checks that a subject may lack, in the order of the footnotes. No subject may lack
// the other two.
var (
	checkSignature = &check{"signature", "another key's token"}
	checkForm      = &check{"form", "garbage"}

	checkExpiry    = &check{"expiry", "an expired token"}
	checkNotBefore = &check{"not before", "a token before its time"}
	checkIssuer    = &check{"issuer", "another issuer's token"}
	checkAudience  = &check{"audience", "a token for another audience"}
	checkContainer = &check{"container", "another container's token"}
	checkNames     = &check{"names", "claims of which one is there twice"}
	checkQuery     = &check{"query", "a query that does not parse"}
	checkPath      = &check{"path", "a path that two programs read differently"}

	lackable = []*check{
		checkExpiry, checkNotBefore, checkIssuer, checkAudience, checkContainer, checkNames, checkQuery, checkPath,
	}
)

// hostile is a request with exactly one thing wrong. A library must accept it if it is
// said to lack that check, and otherwise reject it: a wrong footnote would be as bad as a
// wrong figure.
type hostile struct {
	*check
	token  string
	target string // a URL instead of route; only for middlewares
}

func hostileRequests(a algorithm) []hostile {
	good := a.mint()
	past, future := time.Now().Add(-time.Second).Unix(), time.Now().Add(time.Hour).Unix()
	claims := string(must(json.Marshal(typicalClaims())))
	return []hostile{
		{checkSignature, a.forged(), ""},
		{checkForm, garbage(good), ""},
		{checkExpiry, a.mint(with("exp", past)), ""},
		{checkNotBefore, a.mint(with("nbf", future)), ""},
		{checkIssuer, a.mint(with("iss", "https://other.example.com")), ""},
		{checkAudience, a.mint(with("aud", "others")), ""},
		{checkContainer, a.mint(with("container", "another")), ""},
		{checkNames, a.signRaw(`{"sub":"bob",` + claims[1:]), ""},
		{checkQuery, good, route + "?a=%zz"},
		{checkPath, good, "/run/my%5Ccontainer/hello"},
	}
}

// judgeMiddleware returns an error unless a middleware allows the good token, and allows
// exactly those hostile requests whose checks it is said to lack.
func judgeMiddleware(m middleware, a algorithm) error {
	next := &counter{}
	d := newDriver(m.wrap(next))
	usual, before := d.request.URL, fmt.Sprint(d.request)
	for range 2 { // not cached, then cached
		next.ran = 0
		d.present(bearer(a.mint()))
		if err := next.judge(1); err != nil {
			return fmt.Errorf("%s: a good token: %w (status %d)", m.name, err, d.response.status)
		}
	}
	var errs []error
	for _, h := range hostileRequests(a) {
		d.request.URL = usual
		if h.target != "" {
			d.request.URL = must(url.Parse(h.target))
		}
		next.ran = 0
		d.present(bearer(h.token))
		d.present(bearer(strings.Clone(h.token))) // must be rejected the second time, too
		passed := next.ran > 0
		errs = append(errs, judgeClaim(m.name, m.lacks, h, passed))
		if !passed && d.response.status < 400 {
			errs = append(errs, fmt.Errorf("%s: %s: status %d, but the handler did not run", m.name, h.what, d.response.status))
		}
	}
	next.ran = 0
	d.request.URL = usual
	d.present("")
	if next.ran > 0 {
		errs = append(errs, fmt.Errorf("%s: runs the handler without any token", m.name))
	}
	if fmt.Sprint(d.request) != before {
		errs = append(errs, fmt.Errorf("%s: changes the request, which is sent again and again", m.name))
	}
	return errors.Join(errs...)
}

// judgeParser makes the checks of judgeMiddleware for a bare parser.
func judgeParser(p parser, a algorithm) error {
	if err := p.prepare(a.mint())(); err != nil {
		return fmt.Errorf("%s: a good token: %w", p.name, err)
	}
	var errs []error
	for _, h := range hostileRequests(a) {
		if h.target == "" {
			errs = append(errs, judgeClaim(p.name, p.lacks, h, p.prepare(h.token)() == nil))
		}
	}
	return errors.Join(errs...)
}

func judgeClaim(name string, lacks []*check, h hostile, passed bool) error {
	lacking := slices.Contains(lacks, h.check)
	switch {
	case lacking && !slices.Contains(lackable, h.check):
		return fmt.Errorf("%s is no valid subject: it accepts %s", name, h.what)
	case passed && !lacking:
		return fmt.Errorf("%s accepts %s, which the table does not say", name, h.what)
	case !passed && lacking:
		return fmt.Errorf("%s rejects %s, but the table says it does not", name, h.what)
	}
	return nil
}

// judgeIssuers returns an error unless both issuers' tokens are authentic and have the
// same claims as the tokens that are timed.
func judgeIssuers() error {
	want := slices.Sorted(maps.Keys(typicalClaims()))
	for name, issue := range map[string]func() (string, error){oursIssue: issueByOurs(), chiEncode: encodeByChi()} {
		token, err := issue()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var claims jwt.MapClaims
		if _, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return secret, nil }); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if got := slices.Sorted(maps.Keys(claims)); !slices.Equal(got, want) {
			return fmt.Errorf("%s: the claims are %v, not %v", name, got, want)
		}
	}
	return nil
}

// judgeAll checks every library. It runs before anything is timed.
func judgeAll() error {
	errs := []error{judgeIssuers()}
	for _, a := range []algorithm{hs256(), eddsa(), es256(), rs256()} {
		errs = append(errs, judgeMiddleware(ours(a), a), judgeMiddleware(ours(a, withoutCache()...), a))
	}
	for _, m := range peers() {
		errs = append(errs, judgeMiddleware(m, hs256()))
	}
	for _, p := range append([]parser{verifying(hs256())}, bareParsers()...) {
		errs = append(errs, judgeParser(p, hs256()))
	}
	return errors.Join(errs...)
}
