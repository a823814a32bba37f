package jwtauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"weak"

	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/internal/strict"
	"github.com/joinednode/jwtauth/keys"
)

// verdict is what became of one token. The claims are there once they were
// read out of a genuine token, even one that is refused for what they say. They
// may be those of other requests, too: nobody changes them.
type verdict struct {
	presented  RawToken
	kid        string
	claims     *Claims
	remembered bool // no signature was verified now
	err        error
}

// check is the line that every request passes; an error stops it where it is.
func (a *Auth) check(r *http.Request, u urlTokens, rule Rule) verdict {
	presented, err := a.find(r, u, rule.Policy)
	if err != nil {
		return verdict{presented: presented, err: err}
	}
	v := a.judge(r.Context(), presented.Token)
	v.presented = presented
	if v.err == nil {
		v.err = a.judgeContainer(v.claims, a.containerOf(r, rule), rule.Policy)
	}
	return v
}

// find is the part of check before the token is looked at.
func (a *Auth) find(r *http.Request, u urlTokens, policy Policy) (RawToken, error) {
	if err := judgePath(r); err != nil {
		return RawToken{}, a.andNoToken(r, err)
	}
	if u.broken && policy != Public {
		return RawToken{}, a.andNoToken(r, fmt.Errorf("%w: a query that does not parse", ErrMalformed))
	}
	return a.extract(r)
}

// andNoToken adds to what is wrong with a request that it presents no token
// either: that much the client may know.
func (a *Auth) andNoToken(r *http.Request, wrong error) error {
	if _, err := a.extract(r); errors.Is(err, ErrNoToken) {
		return fmt.Errorf("%w: %w", wrong, ErrNoToken)
	}
	return wrong
}

// judgePath refuses paths that two programs take for two places. ServeMux
// cleans the escaped path while handlers read the decoded one, so that
// /public/%2e%2e/private/x would be judged as one and served as the other; and
// what CONNECT asks for is no path at all.
func judgePath(r *http.Request) error {
	if r.Method == http.MethodConnect {
		return fmt.Errorf("%w: CONNECT", ErrForbidden)
	}
	if hasTwoMeanings(strings.TrimPrefix(r.URL.Path, "/")) {
		return fmt.Errorf("%w: a path with an empty or dotted segment, or a backslash", ErrForbidden)
	}
	return nil
}

// hasTwoMeanings judges a decoded path without its first slash. Only the last
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

// extract asks the extractors in order. What the first one finds is judged,
// good or bad; a cookie must not have been sent by a page of another origin.
func (a *Auth) extract(r *http.Request) (RawToken, error) {
	for _, e := range a.extractors {
		p, err := e(r)
		switch {
		case err != nil:
			if name, _ := reasonOf(err); name == "" {
				err = fmt.Errorf("%w: %w", ErrMalformed, err)
			}
			return p, err
		case p.Token == "":
			continue
		case p.In == InQuery && p.Name == "":
			return p, fmt.Errorf("%w: of a parameter without a name, which could not be cut", ErrMalformed)
		case p.ambient():
			return p, a.judgeOrigin(r)
		}
		return p, nil
	}
	return RawToken{}, ErrNoToken
}

// judgeOrigin refuses what a page of another origin may have caused. A request
// that opens a WebSocket counts as unsafe although it is a GET: browsers send
// it across origins, cookies included.
func (a *Auth) judgeOrigin(r *http.Request) error {
	if len(r.Header["Upgrade"]) > 0 {
		r = r.WithContext(r.Context())
		r.Method = http.MethodPost
	}
	if err := a.crossOrigin.Check(r); err != nil {
		return fmt.Errorf("%w: %w", ErrCrossOrigin, err)
	}
	return nil
}

// sourceOf returns the source whose keys alone judge the tokens of an issuer, nil
// if nobody's do. Without WithTrustedIssuer all have the one of New.
func (a *Auth) sourceOf(issuer string) keys.Source {
	if a.issuers == nil {
		return a.source
	}
	if t := a.issuers[issuer]; t != nil {
		return t.source
	}
	return nil
}

// keySet asks a source. It fails closed: no keys, no verdict.
func keySet(ctx context.Context, source keys.Source, kid string) (*keys.Set, error) {
	set, err := source.Keys(ctx, kid)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: keys: %w", ErrUnavailable, err)
	case set == nil:
		return nil, fmt.Errorf("%w: the source of keys gave none", ErrUnavailable)
	}
	return set, nil
}

// judge is the line that every token passes, up to its container. Of a token
// that was accepted before, and whose keys are the same, only what may have
// changed since is judged.
func (a *Auth) judge(ctx context.Context, token string) (v verdict) {
	var set *keys.Set
	if known := a.recall(token); known != nil {
		v.kid = known.claims.verified.kid
		if set, v.err = keySet(ctx, a.sourceOf(known.claims.Issuer), v.kid); v.err != nil {
			return v
		}
		if set == known.claims.verified.set.Value() {
			v.claims, v.remembered = &known.claims, true
			if v.err = a.judgeAgain(ctx, v.claims, &known.marks); v.err == ErrExpired {
				a.forget(token)
			}
			return v
		}
		a.forget(token)
	}
	known := a.header.Load()
	t, own, err := strict.ParseKnowing(known, token, a.maxTokenSize)
	if err != nil {
		v.err = fmt.Errorf("%w: %w", ErrMalformed, err)
		return v
	}
	v.kid = t.KeyID
	var claims *Claims
	source := a.source
	if a.issuers != nil {
		if claims, source, v.err = a.readIssuer(t.Payload); v.err != nil {
			return v
		}
	}
	if set == nil {
		if set, v.err = keySet(ctx, source, t.KeyID); v.err != nil {
			return v
		}
	}
	if v.err = verify(set, t); v.err != nil {
		return v
	}
	if claims == nil {
		if claims, v.err = a.readClaims(t.Payload); v.err != nil {
			return v
		}
	}
	claims.verified = &verified{token: &own, kid: strings.Clone(t.KeyID), issuer: claims.Issuer, set: weak.Make(set)}
	v.claims = claims // not before the signature was good: they are logged, and Inspect returns them
	if v.err = a.judgeClaims(ctx, t.Header, v.claims); v.err == nil {
		a.remember(own, v.claims)
		a.rememberHeader(known, own, t.Header)
	}
	return v
}

// checkKey returns nil if the keys of an issuer verify a token that they did verify
// before, or another Auth did.
func (a *Auth) checkKey(ctx context.Context, v *verified) error {
	if v == nil {
		return nil
	}
	source := a.sourceOf(v.issuer)
	if source == nil {
		return fmt.Errorf("%w: the issuer %q is not one of WithIssuer or WithTrustedIssuer", ErrUnknownKey, clip(v.issuer))
	}
	set, err := keySet(ctx, source, v.kid)
	if err != nil || set == v.set.Value() {
		return err
	}
	t, _, err := strict.ParseKnowing(nil, *v.token, a.maxTokenSize)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return verify(set, t)
}

// messages are lent to keys, which want bytes.
var messages = sync.Pool{New: func() any { return new([]byte) }}

func verify(set *keys.Set, t strict.Token) error {
	message := messages.Get().(*[]byte)
	defer messages.Put(message)
	*message = append((*message)[:0], t.Signed...)
	return set.Verify(t.Algorithm, t.KeyID, *message, t.Signature)
}

func (a *Auth) judgeClaims(ctx context.Context, h strict.Header, c *Claims) error {
	if err := a.judgeType(h); err != nil {
		return err
	}
	if err := a.judgeTime(c); err != nil {
		return err
	}
	if err := a.judgeIssuer(c); err != nil {
		return err
	}
	if err := a.judgeAudience(c); err != nil {
		return err
	}
	return a.judgeRevocation(ctx, c)
}

// judgeAgain judges what may change while a token lives. Of one that is
// remembered there are marks.
func (a *Auth) judgeAgain(ctx context.Context, c *Claims, m *revocation.Marks) error {
	if err := a.judgeTime(c); err != nil {
		return err
	}
	if m != nil && a.clearly && a.list.Clear(*m) {
		return nil
	}
	return a.judgeRevocation(ctx, c)
}

// containerOf returns the container that a request is about, "" for none.
func (a *Auth) containerOf(r *http.Request, rule Rule) string {
	switch {
	case rule.Container != "":
		return rule.Container
	case a.anyContainer:
		return ""
	}
	return a.container(r)
}

// judgeContainer compares byte for byte. Where no container is wanted, only a
// private route of a service that has containers refuses.
func (a *Auth) judgeContainer(c *Claims, want string, policy Policy) error {
	switch {
	case want != "" && c.Container != want:
		return ErrContainer
	case want == "" && policy == Private && !a.anyContainer:
		return ErrNoContainer
	}
	return nil
}
