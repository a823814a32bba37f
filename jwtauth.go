// Package jwtauth protects net/http handlers with bearer tokens, and issues such tokens.
// A token opens one container, which is whatever your tokens open: a tenant, a project, a
// folder.
//
//	func main() {
//		auth, err := jwtauth.New(keys.HS256([]byte(os.Getenv("SECRET"))))
//		if err != nil {
//			log.Fatal(err)
//		}
//		token, err := auth.Issue("my-container", jwtauth.Subject("alice"))
//		fmt.Println(token, err)
//		http.Handle("/run/{container}/hello", auth.Public(http.HandlerFunc(hello)))
//		http.Handle("/run/{container}/notify", auth.Private(http.HandlerFunc(hello)))
//		log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
//	}
//
//	func hello(w http.ResponseWriter, r *http.Request) {
//		claims, _ := jwtauth.FromContext(r.Context())
//		fmt.Fprintln(w, "hello,", claims.Subject)
//	}
//
// Most programs need only [New], [Auth.Private], [Auth.Public], [Auth.Issue] and
// [FromContext]. A service without containers adds [WithAnyContainer].
// [Auth.TokenEndpoint] issues tokens over HTTP. [Auth.Protect] and [Auth.Routes] choose
// the policy per request. The rest of the package is for rarer needs.
//
// # What a private route accepts
//
// [Auth.Private] allows a request if its token
//   - is well formed, and signed by a key of its issuer,
//   - has the type, issuer and audience that the Auth was configured with,
//   - is valid now, and has not been revoked,
//   - opens the container that the request is about.
//
// Any other request is denied. The status is 403 by default (see [WithStatus]), and always
// 503 if keys or revocations cannot be consulted. Every check fails closed.
//
// # Where tokens are looked for
//
// By default an Auth looks in the header "Authorization: Bearer", and then in the URL
// parameter "token". [WithExtractors] sets other places. The first place that holds a
// token decides: if that token is bad, no other place is tried.
//
// The package keeps a token in a URL from spreading. It cuts the parameter from the
// request that handlers, rules and denial functions see. It keeps the response out of
// caches, and the URL out of Referer fields. No denial and no log line of this package
// contains a token. The Authorization field stays in the request, for handlers that pass
// it on.
//
// Proxies, access logs and [http.ServeMux] run before this package, so they still see the
// token in a URL. ServeMux answers a path that it would clean, such as /run//a, with a
// redirect that repeats the query. To avoid that redirect, reject such paths before they
// reach the mux, as examples/recipes does.
//
// # Routers other than ServeMux
//
// [WithContainer] tells an Auth how to find the container of a request. Some routers
// leave parameters percent-encoded: decode them exactly once. See examples/routers.
//
// [Auth.Routes] decides before the router runs. It picks the pattern that a ServeMux with
// the same patterns would pick. Other routers read some paths differently: they compare
// the path as it is spelled, or all of it decoded. Routes therefore tries each reading:
//   - A path with two possible policies is private.
//   - A path with two possible containers is denied.
//   - A public pattern whose own segments need escapes, such as /grüße, needs a token. It
//     needs none if the wrapped handler is a ServeMux with this very pattern, the pattern
//     does not end in "/" or "...}", and the client escapes no more than necessary.
//
// Give Routes the patterns of the router, and let no middleware between Routes and the
// router rewrite paths. A router may still read a container differently: gin, for example,
// decodes a plus. Compare such a container with [Auth.CheckContainer].
//
// # Several issuers
//
// With [WithTrustedIssuer] an Auth also accepts the tokens of another issuer. An issuer's
// tokens are verified only by its own keys, so no issuer can sign for another one (RFC
// 8725, section 3.8). If the keys of one issuer cannot be consulted, only the tokens of
// that issuer are rejected. [Auth.Issue] uses only the keys given to [New].
//
// All options also apply to the tokens of a trusted issuer. Tokens of identity providers
// often do not meet them: a token needs the same typ and, unless [WithAnyContainer] is
// set, a container. With [WithRevocations] it also needs an iat, and a lifetime no longer
// than [WithMaxLifetime].
//
// A trusted issuer is trusted with every container and every subject. The same sub, jti or
// sid means different things in the tokens of two issuers (RFC 7519, section 4.1.2). Store
// it together with Claims.Issuer, and name the issuer when you revoke.
//
// # What it protects against
//
//   - Clients without a token, or with one that has expired or belongs to another
//     container, another service or another purpose.
//   - Clients that forge, re-encode, truncate or splice tokens, choose the algorithm
//     themselves, or send a second token beside the first.
//   - Paths that routers and handlers read differently, and malformed input of any size.
//   - Pages of other origins that use a visitor's cookies ([FromCookie]).
//
// # What it does not protect against
//
// A stolen token works until it expires or is revoked. Use TLS, [WithRevocations], and
// short lifetimes where you can. Handlers and keys are trusted. Every service that
// verifies with an HMAC key can also issue tokens, so prefer Ed25519 between services.
package jwtauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/internal/sieve"
	"github.com/joinednode/jwtauth/internal/strict"
	"github.com/joinednode/jwtauth/internal/urltoken"
	"github.com/joinednode/jwtauth/keys"
)

// Auth issues and verifies one kind of token. Its configuration never changes after
// [New]. It is safe for concurrent use.
type Auth struct {
	config
	source  keys.Source
	issuers map[string]*trustedIssuer          // nil without WithTrustedIssuer; otherwise all, the Auth's own included
	cache   *sieve.Cache[cachedToken]          // nil: nothing is cached
	header  atomic.Pointer[strict.KnownHeader] // the header of the last token that was accepted and not cached
	issued  atomic.Pointer[issuedHeader]       // the header of the tokens that the latest key set signs

	list      revocation.List // the list that the revocation checker is or embeds; nil for none
	wholeList bool            // the checker is the list itself, so the list's marks can replace a call of Revoked

	queryNames []string    // the URL parameters that extractors look for
	dynamic    []Extractor // extractors that may name further URL parameters for a request
	vary       []string    // the request fields that responses depend on
}

// RevocationChecker reports whether a token has been revoked. Most programs use a
// revoke.List.
//
// An Auth calls Revoked on every request whose token passes all other checks. Only the
// container is checked later. Revoked must be safe for concurrent use. An Auth does not
// call Revoked for a token that has no iat or lives longer than [WithMaxLifetime], and
// rejects it with [ErrRevoked].
//
// If the error of Revoked is [ErrExpired], the token is rejected as expired, so that its
// client refreshes it. Any other error rejects it with [ErrUnavailable], and the request is
// denied with 503.
type RevocationChecker interface {
	Revoked(ctx context.Context, c Claims) (bool, error)
}

// New returns an Auth that verifies tokens with the keys of source, which is usually a
// [keys.Key]. If source has a signing key, the Auth also issues tokens.
//
// New reports every bad key and bad option at once. The error names the option, what it
// was given, and what would be right. A revocation list that keeps revocations for less
// time than [WithMaxLifetime] is reported only if all else is right.
func New(source keys.Source, opts ...Option) (*Auth, error) {
	c, err := configure(opts)
	if err := errors.Join(checkSource(source), err); err != nil {
		return nil, fmt.Errorf("jwtauth: New: %w", err)
	}
	a := &Auth{config: c, source: source}
	if len(c.trusted) > 0 {
		a.issuers = map[string]*trustedIssuer{c.issuer: {c.issuer, source, c.audience}}
		for _, t := range c.trusted {
			if len(t.audience) == 0 {
				t.audience = c.audience
			}
			a.issuers[t.issuer] = &t
		}
	}
	if a.list, a.wholeList = revocation.Of(c.revocations); a.list != nil && a.list.MaxLifetime() < a.maxLifetime {
		return nil, fmt.Errorf("jwtauth: New: WithRevocations was given a list that keeps revocations for %v, but tokens may live %v; give the list that lifetime, or lower WithMaxLifetime", a.list.MaxLifetime(), a.maxLifetime)
	}
	revocation.Tell(c.revocations, a.clocksAhead())
	if c.cacheSize > 0 {
		a.cache = sieve.New[cachedToken](c.cacheSize, min(c.cacheSize, math.MaxInt/entrySize)*entrySize)
	}
	a.queryNames, a.dynamic, a.vary = places(a.extractors)
	return a, nil
}

// clocksAhead returns the accepted issuers, and how far the clock of each may be ahead of
// this server's clock.
func (a *Auth) clocksAhead() map[string]time.Duration {
	ahead := map[string]time.Duration{a.issuer: 0}
	if !signsHere(a.source) {
		ahead[a.issuer] = max(a.leeway, clockSkew)
	}
	for _, t := range a.trusted {
		ahead[t.issuer] = max(a.leeway, clockSkew)
	}
	return ahead
}

// checkSource returns an error if source is nil, or is a key that cannot be used.
func checkSource(source keys.Source) error {
	switch source := source.(type) {
	case nil:
		return errors.New("the source of keys is nil; give it a key, such as keys.HS256(secret)")
	case keys.Key:
		return source.Err()
	case *keys.Key:
		if source == nil {
			return errors.New("the source of keys is a nil *keys.Key; give it the key itself")
		}
		return source.Err()
	case *keys.Ring:
		if source == nil {
			return errors.New("the source of keys is a nil *keys.Ring; make one with keys.NewRing or keys.OpenRing")
		}
	case *keys.Remote:
		if source == nil {
			return errors.New("the source of keys is a nil *keys.Remote; make one with keys.NewRemote")
		}
	}
	return nil
}

// signsHere reports whether the tokens that a source verifies are signed by this process,
// or by others with the same signing key. The clocks of these processes are assumed to
// agree. For a source of another package signsHere returns false.
func signsHere(source keys.Source) bool {
	switch source := source.(type) {
	case *keys.Ring:
		return true
	case *keys.Key:
		return signsHere(*source)
	case keys.Key:
		set, err := source.Keys(context.Background(), "")
		if err == nil {
			_, _, err = set.SigningKey()
		}
		return err == nil
	}
	return false
}

// Issue returns a signed token for a container. The token has the claims container, iat,
// exp (ten days from now, see [WithTTL] and [TTL]) and a random jti of at least 128 bits.
// With [WithIssuer] and [WithAudience] it also has iss and aud. Issue does not check
// whether the client may have the token: that is up to the caller.
//
// Issue returns [ErrNoContainer] if the container is empty (unless [WithAnyContainer] is
// set), [ErrNoSigningKey] if the keys can only verify, and [ErrUnavailable] if keys cannot
// be consulted or cannot sign now. Invalid UTF-8, a reserved claim, a lifetime out of
// bounds and a token that [Auth.Verify] would find too large are errors, too.
func (a *Auth) Issue(container string, opts ...IssueOption) (string, error) {
	token, _, err := a.issue(container, opts)
	return token, err
}

// issue is like Issue, but also returns the lifetime of the token.
func (a *Auth) issue(container string, opts []IssueOption) (string, time.Duration, error) {
	i := issue{Audience: a.audience, TTL: a.ttl}
	for n, opt := range opts {
		if opt == nil {
			return "", 0, fmt.Errorf("jwtauth: Issue: option %d is nil; leave it out", n+1)
		}
		opt(&i)
	}
	payload, err := a.payload(container, i)
	if err != nil {
		return "", 0, fmt.Errorf("jwtauth: Issue: %w", err)
	}
	token, err := a.sign(payload)
	if err != nil {
		return "", 0, fmt.Errorf("jwtauth: Issue: %w", err)
	}
	return token, i.TTL.Truncate(time.Second), nil
}

// payload returns the encoded claims of a token. It returns an error if a string is
// invalid UTF-8, which JSON would change, or if Verify would find the payload malformed.
func (a *Auth) payload(container string, i issue) ([]byte, error) {
	if container == "" && !a.anyContainer {
		return nil, fmt.Errorf("%w: the container is empty; name one, or set WithAnyContainer if this service has none", ErrNoContainer)
	}
	if i.TTL < minIssuedLife || i.TTL > a.maxLifetime {
		return nil, fmt.Errorf("TTL(%v): it must lie between %v and the %v of WithMaxLifetime", i.TTL, minIssuedLife, a.maxLifetime)
	}
	var claims strict.Writer
	var errs []error
	claim := func(name, option, value string) {
		if err := checkString(option, value); err != nil {
			errs = append(errs, err)
		}
		claims.String(name, value)
	}
	if a.issuer != "" {
		claims.String("iss", a.issuer)
	}
	if i.Subject != nil {
		claim("sub", "Subject", *i.Subject)
	}
	if i.Audience != nil {
		errs = append(errs, checkIssuedAudience(i.Audience))
		if len(i.Audience) == 1 {
			claims.String("aud", i.Audience[0])
		} else {
			errs = append(errs, claims.Any("aud", i.Audience))
		}
	}
	if container != "" {
		claim(a.containerClaim, "the container", container)
	}
	if i.SessionID != nil {
		claim("sid", "SessionID", *i.SessionID)
	}
	if i.ID != nil {
		claim("jti", "ID", *i.ID)
	} else {
		claims.String("jti", rand.Text())
	}
	at := i.IssuedAt
	if at.IsZero() {
		at = a.clock()
	}
	issued := at.Unix()
	expires := issued + int64(i.TTL/time.Second)
	claims.Number("iat", issued)
	switch {
	case a.list == nil:
	case !i.Stamp.IsZero():
		claims.Number(strict.StampClaim, i.Stamp.UnixMicro())
	case !i.IssuedAt.IsZero():
		claims.Number(strict.StampClaim, at.UnixMicro())
	default:
		claims.Number(strict.StampClaim, a.list.Stamp(at))
	}
	if !i.NotBefore.IsZero() {
		if claims.Number("nbf", i.NotBefore.Unix()); i.NotBefore.Unix() >= expires {
			errs = append(errs, errors.New("NotBefore is not before the token's expiry, so the token would never be valid"))
		}
	}
	claims.Number("exp", expires)
	for _, name := range slices.Sorted(maps.Keys(i.Private)) {
		errs = append(errs, a.checkPrivate(name, i.Private[name]), claims.Any(name, i.Private[name]))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	payload := claims.Bytes()
	_, err := a.readClaims(string(payload))
	return payload, err
}

func checkIssuedAudience(audience []string) error {
	if len(audience) == 0 {
		return errors.New("Audience was given none; name at least one, or leave it out")
	}
	var errs []error
	for _, value := range audience {
		errs = append(errs, checkString("Audience", value))
	}
	return errors.Join(errs...)
}

// checkPrivate checks the name and the value of a claim that the option Claim added.
func (a *Auth) checkPrivate(name string, value any) error {
	var reserved, invalid error
	if strict.Reserved(name, a.containerClaim) {
		reserved = fmt.Errorf("Claim(%q): the name is reserved, or differs from a reserved one only in case; choose another", name)
	}
	if s, ok := value.(string); ok && !utf8.ValidString(s) {
		invalid = fmt.Errorf("Claim(%q) was given invalid UTF-8 (%q)", name, s)
	}
	return errors.Join(reserved, checkString("Claim", name), invalid)
}

// sign returns the compact JWS of a payload (RFC 7515, section 5.1).
func (a *Auth) sign(payload []byte) (string, error) {
	set, err := keySet(context.Background(), a.source, "")
	if err != nil {
		return "", err
	}
	header, err := a.headerOf(set)
	if err != nil {
		return "", err
	}
	token := make([]byte, 0, len(header)+len(payload)*4/3+128)
	token = append(token, header...)
	token = base64.RawURLEncoding.AppendEncode(token, payload)
	signature, err := set.Sign(token)
	if err != nil {
		return "", fmt.Errorf("%w: signing: %w", ErrUnavailable, err)
	}
	token = append(token, '.')
	token = base64.RawURLEncoding.AppendEncode(token, signature)
	if len(token) > a.maxTokenSize {
		return "", fmt.Errorf("the token would have %d bytes, and WithMaxTokenSize allows %d", len(token), a.maxTokenSize)
	}
	return string(token), nil
}

// issuedHeader holds the encoded header of the tokens that a key set signs.
type issuedHeader struct {
	set   *keys.Set
	start string // the header's segment, and the dot after it
}

// headerOf returns the encoded header of the tokens that set signs, and the dot after it.
// It encodes the header anew only if the last token was signed by another set.
func (a *Auth) headerOf(set *keys.Set) (string, error) {
	if h := a.issued.Load(); h != nil && h.set == set {
		return h.start, nil
	}
	alg, kid, err := set.SigningKey()
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid,omitempty"`
		Type      string `json:"typ"`
	}{alg, kid, a.types[0]})
	if err != nil {
		return "", err
	}
	h := &issuedHeader{set: set, start: base64.RawURLEncoding.EncodeToString(header) + "."}
	a.issued.Store(h)
	return h.start, nil
}

// Verify returns the claims of a token if it is authentic, valid now and of this
// container. It is for servers that do not use net/http. ctx is passed to the key source
// and the revocation checker.
//
// If the token is rejected, the claims are empty, and the error is one of those of this
// package (use [errors.Is]). An empty container is [ErrNoContainer], unless
// [WithAnyContainer] is set. If the container is not known yet, use
// [Auth.VerifyAnyContainer].
func (a *Auth) Verify(ctx context.Context, token, container string) (Claims, error) {
	v := a.verify(ctx, token)
	if v.err == nil {
		v.err = a.checkContainer(v.claims, container, Private)
	}
	return a.settle(ctx, "verify", v)
}

// VerifyAnyContainer is like [Auth.Verify], but accepts a token of any container. The
// caller must compare Claims.Container with the container that the token is used for.
func (a *Auth) VerifyAnyContainer(ctx context.Context, token string) (Claims, error) {
	return a.settle(ctx, "verify", a.verify(ctx, token))
}

// Inspect is like [Auth.VerifyAnyContainer], but also returns the claims of an authentic
// token that is rejected with [ErrExpired], [ErrNotYetValid] or [ErrRevoked], if its
// issuer and audience are right. It is meant for revocation and logout handlers, which
// must identify a token that has expired. Never authorize by these claims unless the error
// is nil. With any other error the claims are empty.
func (a *Auth) Inspect(ctx context.Context, token string) (Claims, error) {
	v := a.verify(ctx, token)
	c, err := a.settle(ctx, "verify", v)
	if v.claims == nil || errors.Is(err, ErrUnavailable) {
		return c, err
	}
	ended := errors.Is(err, ErrExpired) || errors.Is(err, ErrNotYetValid) || errors.Is(err, ErrRevoked)
	// verify returns at a wrong time, before it has checked issuer and audience.
	if ended && a.checkIssuer(v.claims) == nil && a.checkAudience(v.claims) == nil {
		return v.claims.own(), err
	}
	return c, err
}

// Check makes every check that [Auth.Private] makes, from the path to the container, but
// writes no response and calls no handler. Pass its error to [Auth.Deny]. Check does not
// change the request: a token in the URL stays there.
func (a *Auth) Check(r *http.Request) (Claims, error) {
	return a.settle(r.Context(), "request", a.check(r, a.urlTokens(r), Rule{}))
}

// check makes the checks of a request in order, and stops at the first error.
func (a *Auth) check(r *http.Request, u urltoken.Tokens, rule Rule) verdict {
	raw, err := a.find(r, u, rule.Policy)
	if err != nil {
		return verdict{raw: raw, err: err}
	}
	v := a.verify(r.Context(), raw.Token)
	v.raw = raw
	if v.err == nil {
		v.err = a.checkContainer(v.claims, a.containerOf(r, rule), rule.Policy)
	}
	return v
}

// containerOf returns the container that a request is about, or "" if it is about none.
func (a *Auth) containerOf(r *http.Request, rule Rule) string {
	switch {
	case rule.Container != "":
		return rule.Container
	case a.anyContainer:
		return ""
	}
	return a.container(r)
}

// Extract returns the token of a request without verifying it. Like [Auth.Check], it
// checks the path, the query and, for a cookie, the origin. Pass the token to
// [Auth.Inspect] or [Auth.VerifyAnyContainer], and an error to [Auth.Deny].
func (a *Auth) Extract(r *http.Request) (RawToken, error) {
	return a.find(r, a.urlTokens(r), Private)
}

// Recheck repeats the checks whose result can change while a token lives: time,
// revocation, and whether the keys of its issuer still verify it. A handler of a stream
// that outlives its request (WebSocket, SSE) calls Recheck from time to time, and ends the
// stream if Recheck returns an error.
//
// The error is [ErrExpired], [ErrNotYetValid], [ErrUnknownKey], [ErrSignature],
// [ErrRevoked] or, if keys or revocations cannot be consulted, [ErrUnavailable]. For
// claims that were not read from a token, such as those of a test, Recheck checks no key.
func (a *Auth) Recheck(ctx context.Context, c Claims) error {
	_, err := a.settle(ctx, "recheck", verdict{claims: &c, err: a.recheck(ctx, &c)})
	return err
}

func (a *Auth) recheck(ctx context.Context, c *Claims) error {
	if err := a.checkTime(c); err != nil {
		return err
	}
	if err := a.checkKey(ctx, c.verified); err != nil {
		return err
	}
	return a.checkRevocation(ctx, c)
}

// CheckContainer compares a container that a router found with the container of the
// request's token. A handler needs it only inside [Auth.Routes], with a router that may
// read the path in another way than ServeMux.
//
// CheckContainer returns nil if the two are the same, or if the context holds no claims.
// For an empty container it returns [ErrNoContainer] (nil with [WithAnyContainer]), and
// for any other one [ErrContainer]. Pass the error to [Auth.Deny].
func (a *Auth) CheckContainer(ctx context.Context, container string) error {
	s := stateOf(ctx)
	if s == nil || s.claims == nil {
		return nil
	}
	_, err := a.settle(ctx, "recheck", verdict{claims: s.claims, err: a.checkContainer(s.claims, container, Private)})
	return err
}

// Issuer returns the value of [WithIssuer], or "" if it is not set. Name this issuer to
// revoke tokens that this Auth issued. To revoke a token of another issuer
// ([WithTrustedIssuer]), name its Claims.Issuer.
func (a *Auth) Issuer() string { return a.issuer }

// settle reports a verdict to the logger and the observer, and returns its claims and its
// error. The claims are empty if the token was rejected.
func (a *Auth) settle(ctx context.Context, operation string, v verdict) (Claims, error) {
	a.report(ctx, Decision{Operation: operation, Allowed: v.err == nil}, v)
	if v.err != nil {
		return Claims{}, v.err
	}
	return v.claims.own(), nil
}
