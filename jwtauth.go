// Package jwtauth puts bearer tokens in front of net/http handlers: it finds
// the token in a request, verifies it, and issues new ones.
//
//	package main
//
//	import (
//		"crypto/rand"
//		"crypto/subtle"
//		"errors"
//		"fmt"
//		"log"
//		"net/http"
//
//		"github.com/joinednode/jwtauth"
//		"github.com/joinednode/jwtauth/keys"
//	)
//
//	func main() {
//		key, err := keys.LoadOrCreate("signing.jwk", "EdDSA")
//		if err != nil {
//			log.Fatal(err)
//		}
//		auth, err := jwtauth.New(key, jwtauth.WithIssuer("https://api.example.com"))
//		if err != nil {
//			log.Fatal(err)
//		}
//		mux := http.NewServeMux()
//		mux.Handle("POST /create-token/{container}", auth.TokenEndpoint(ownerMayMint))
//		mux.Handle("/run/{container}/hello", auth.Public(http.HandlerFunc(run)))
//		mux.Handle("/run/{container}/notify", auth.Private(http.HandlerFunc(run)))
//		log.Println("the owner key is", ownerKey)
//		log.Fatal(http.ListenAndServe("127.0.0.1:8080", mux))
//	}
//
//	var ownerKey = rand.Text()
//
//	// ownerMayMint decides who gets a token of a container.
//	func ownerMayMint(r *http.Request, container string) ([]jwtauth.IssueOption, error) {
//		user, password, _ := r.BasicAuth()
//		if user != container || subtle.ConstantTimeCompare([]byte(password), []byte(ownerKey)) != 1 {
//			return nil, errors.New("not the owner")
//		}
//		return []jwtauth.IssueOption{jwtauth.Subject(user)}, nil
//	}
//
//	func run(w http.ResponseWriter, r *http.Request) {
//		if claims, ok := jwtauth.FromContext(r.Context()); ok {
//			fmt.Fprintln(w, "hello,", claims.Subject)
//			return
//		}
//		fmt.Fprintln(w, "hello, stranger")
//	}
//
// # What passes
//
// A container is whatever your tokens open: a tenant, a project, a folder. A token opens
// one. [Auth.Private] allows a request whose token is well formed, correctly signed, of
// the right type, valid now, of the issuer and audience that are configured, not revoked,
// and of the request's container. It denies any other request with 403, or with 503 if
// keys or revocations cannot be consulted. Every step fails closed. Where several issuers
// are trusted ([WithTrustedIssuer]), only the keys of a token's own issuer verify it.
//
// Tokens are looked for in "Authorization: Bearer", then in "?token=": see
// [Extractor] and [WithExtractors].
//
// # What it protects from
//
// From clients that have no token, an expired one, another container's, another
// service's or another kind of token. From clients that forge, re-encode, cut and splice
// tokens, choose their algorithm, or hide a second one behind the first. From paths that
// routers and handlers read differently, and from garbage, however much of it. And from
// pages of other origins that use a visitor's cookies ([FromCookie]).
//
// A token in a URL is kept from spreading: the parameter is cut from what
// handlers, rules, denial functions and logs see, the response is kept out of
// caches and its address out of Referer fields. No denial and no log line of
// this package holds a token. The Authorization field stays in the request for
// handlers that pass it on.
//
// # What it does not protect from
//
// A stolen token opens what it opens until it expires: use TLS, short lifetimes where you
// can, and [WithRevocations]. Proxies and access logs in front of this server still see
// tokens in URLs, and so does what runs before this package's middleware, ServeMux's
// redirects included (see [FromQuery]). Handlers are trusted. So are keys: keep the secret
// of an HMAC key, since each verifier of such tokens could also issue them. Between
// services prefer Ed25519.
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

// Auth issues and verifies one kind of token. What it was configured to do never
// changes after [New]. It is safe for concurrent use.
type Auth struct {
	config
	source  keys.Source
	issuers map[string]*trustedIssuer          // nil without WithTrustedIssuer; else all, its own too
	cache   *sieve.Cache[cachedToken]          // nil: nothing is cached
	header  atomic.Pointer[strict.KnownHeader] // of the token accepted last
	issued  atomic.Pointer[issuedHeader]       // of the token issued last

	list      revocation.List // that the checker of revocations is or embeds; nil for none
	wholeList bool            // the checker is that list, so that its marks count

	queryNames []string    // the parameters of the URL that extractors look for
	dynamic    []Extractor // those that did not say where they look
	vary       []string    // what responses depend on
}

// RevocationChecker reports whether a token has been revoked. It is asked on every
// request, by any number of goroutines, about authentic tokens that have an iat and live
// no longer than [WithMaxLifetime]. Other tokens are [ErrRevoked] without being asked
// about. An error means "cannot know now": the token is rejected with [ErrUnavailable], a
// 503. Most programs use a revoke.List.
type RevocationChecker interface {
	Revoked(ctx context.Context, c Claims) (bool, error)
}

// New returns an Auth that verifies, and if they can sign also issues, with the
// keys of source: a [keys.Key], most simply.
//
// A bad key and bad options are errors that say what was given and what would
// be right; all of them are reported at once.
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
		return nil, fmt.Errorf("jwtauth: New: WithRevocations was given a list that forgets after %v, and tokens may live %v; give it that lifetime, or lower WithMaxLifetime", a.list.MaxLifetime(), a.maxLifetime)
	}
	revocation.Tell(c.revocations, a.clocksAhead())
	if c.cacheSize > 0 {
		a.cache = sieve.New[cachedToken](c.cacheSize, min(c.cacheSize, math.MaxInt/entrySize)*entrySize)
	}
	a.queryNames, a.dynamic, a.vary = places(a.extractors)
	return a, nil
}

// clocksAhead returns the issuers whose tokens are accepted, and how far their clocks may
// be ahead of this one.
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

// signsHere reports whether the tokens of a source are signed by this process, or by one
// that has the same key: by clocks that are as good as this one. Of a source of another
// package that is not known.
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

// Issue returns a signed token for a container, with iss if [WithIssuer] is
// set, container, iat, exp (ten days from now, see [WithTTL] and [TTL]) and a
// random jti of 128 bits. It may be called for every container: who is allowed
// to have one is the caller's question.
//
// An empty container ([ErrNoContainer], but see [WithAnyContainer]), invalid
// UTF-8, a reserved claim, a lifetime out of bounds and a token that
// [Auth.Verify] would find too large are errors; so are keys that cannot sign
// ([ErrNoSigningKey]) or cannot be had now ([ErrUnavailable]).
func (a *Auth) Issue(container string, opts ...IssueOption) (string, error) {
	token, _, err := a.issue(container, opts)
	return token, err
}

// issue also returns how long the token lives.
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

// payload encodes the claims of a token. Text that JSON could not hold as it is
// (invalid UTF-8), and what Verify would refuse, is an error.
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
			errs = append(errs, errors.New("NotBefore lies behind the token's expiry, so that it would never be valid"))
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

// checkPrivate checks a claim that is not this package's.
func (a *Auth) checkPrivate(name string, value any) error {
	var reserved, invalid error
	if strict.Reserved(name, a.containerClaim) {
		reserved = fmt.Errorf("Claim(%q): the name is reserved, or would be taken for one that is; choose another", name)
	}
	if s, ok := value.(string); ok && !utf8.ValidString(s) {
		invalid = fmt.Errorf("Claim(%q) was given invalid UTF-8 (%q)", name, s)
	}
	return errors.Join(reserved, checkString("Claim", name), invalid)
}

// sign makes a compact JWS of a payload (RFC 7515, section 5.1).
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

// issuedHeader is the beginning of all tokens that are signed with a set.
type issuedHeader struct {
	set   *keys.Set
	start string // up to the first dot
}

// headerOf returns the beginning of the tokens that are signed with a set, which
// is made once for each.
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

// Verify returns the claims of a token that is authentic, valid now and of this
// container, for servers that are not net/http. Otherwise its error is one of
// those of this package (errors.Is) and the claims are empty.
//
// An empty container is [ErrNoContainer], but see [WithAnyContainer], and use
// [Auth.VerifyAnyContainer] where the container is known only afterwards. ctx
// is for the key source and the revocation checker.
func (a *Auth) Verify(ctx context.Context, token, container string) (Claims, error) {
	v := a.verify(ctx, token)
	if v.err == nil {
		v.err = a.checkContainer(v.claims, container, Private)
	}
	return a.settle(ctx, "verify", v)
}

// VerifyAnyContainer is [Auth.Verify] without the container: the caller must compare
// Claims.Container with what the token is used for.
func (a *Auth) VerifyAnyContainer(ctx context.Context, token string) (Claims, error) {
	return a.settle(ctx, "verify", a.verify(ctx, token))
}

// Inspect is [Auth.VerifyAnyContainer], but returns the claims of an authentic token also
// beside [ErrExpired], [ErrNotYetValid] and [ErrRevoked]. It is meant for revocation and
// logout handlers, which must identify a token that has expired. Never authorize by these
// claims unless the error is nil. Beside any other error they are zero.
func (a *Auth) Inspect(ctx context.Context, token string) (Claims, error) {
	v := a.verify(ctx, token)
	c, err := a.settle(ctx, "verify", v)
	if v.claims == nil || errors.Is(err, ErrUnavailable) {
		return c, err
	}
	ended := errors.Is(err, ErrExpired) || errors.Is(err, ErrNotYetValid) || errors.Is(err, ErrRevoked)
	// Time is checked before issuer and audience.
	if ended && a.checkIssuer(v.claims) == nil && a.checkAudience(v.claims) == nil {
		return v.claims.own(), err
	}
	return c, err
}

// Check does for a request what [Auth.Private] does, but writes no response and
// passes no request on: it is the whole line from the path to the container.
// The error is for [Auth.Deny]. The request's URL keeps its token.
func (a *Auth) Check(r *http.Request) (Claims, error) {
	return a.settle(r.Context(), "request", a.check(r, a.urlTokens(r), Rule{}))
}

// check is the line that every request passes; an error stops it where it is.
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

// Extract finds the token of a request as [Auth.Check] does. It checks the path and, for a
// cookie, the origin, but does not verify the token: pass it to [Auth.Inspect] or
// [Auth.VerifyAnyContainer]. The error is for [Auth.Deny].
func (a *Auth) Extract(r *http.Request) (RawToken, error) {
	return a.find(r, a.urlTokens(r), Private)
}

// Recheck checks again what may have changed since the claims were verified: time,
// revocation, and whether the keys of their issuer still verify their token, so that no
// stream outlives the retirement of a leaked key. Streams that outlive a request
// (WebSocket, SSE) call it now and then, and end when it returns an error: [ErrExpired],
// [ErrNotYetValid], [ErrUnknownKey], [ErrSignature], [ErrRevoked] or, for "cannot know
// now", [ErrUnavailable]. Claims that were not read from a token, as a test makes them,
// have no key to ask for.
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

// CheckContainer compares the container that a router found with that of the
// request's token. It is for the inside of a router that [Auth.Routes] wraps, since
// Routes decides before the router has run, and a router may read a path in a way of
// its own. It returns nil if they are the same or the context holds no claims, else
// [ErrContainer], or [ErrNoContainer] for an empty container. Pass the error to
// [Auth.Deny].
func (a *Auth) CheckContainer(ctx context.Context, container string) error {
	s := stateOf(ctx)
	if s == nil || s.claims == nil {
		return nil
	}
	_, err := a.settle(ctx, "recheck", verdict{claims: s.claims, err: a.checkContainer(s.claims, container, Private)})
	return err
}

// Issuer returns what [WithIssuer] set, "" if nothing did: the iss of the tokens
// that a revocation is about, unless [WithTrustedIssuer] adds others, whose
// tokens say it in Claims.Issuer.
func (a *Auth) Issuer() string { return a.issuer }

// settle reports a verdict, and keeps the claims of a rejected token from callers.
func (a *Auth) settle(ctx context.Context, operation string, v verdict) (Claims, error) {
	a.report(ctx, Decision{Operation: operation, Allowed: v.err == nil}, v)
	if v.err != nil {
		return Claims{}, v.err
	}
	return v.claims.own(), nil
}
