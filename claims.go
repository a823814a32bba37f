package jwtauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"
	"weak"

	"github.com/joinednode/jwtauth/internal/revocation"
	"github.com/joinednode/jwtauth/internal/strict"
	"github.com/joinednode/jwtauth/keys"
)

// Errors for errors.Is: every token that is refused, and every request that is
// denied, is refused for one of these. A request that is denied for its path or
// its query is also ErrNoToken if it has none. The text behind is for logs,
// holds no token, and may change.
var (
	// ErrNoToken: the request carries no token where one was looked for.
	ErrNoToken = errors.New("jwtauth: no token")
	// ErrAmbiguousToken: one place holds several tokens (RFC 6750, section 3.1).
	ErrAmbiguousToken = errors.New("jwtauth: more than one token")
	// ErrMalformed: not a compact JWS with claims that every reader understands
	// alike (RFC 7515, RFC 7519), or not presented as RFC 6750 says; a query or a
	// form that does not parse; or a custom Extractor returned an error of its own.
	ErrMalformed = errors.New("jwtauth: malformed token")
	// ErrUnknownKey: no key has the token's algorithm and key id; or, where
	// [WithTrustedIssuer] is used, its iss is not one of the issuers.
	ErrUnknownKey = keys.ErrUnknownKey
	// ErrSignature: the signature is not that of the key.
	ErrSignature = keys.ErrSignature
	// ErrType: a token of another kind (RFC 8725, section 3.11); see [WithTypes].
	ErrType = errors.New("jwtauth: wrong type of token")
	// ErrExpired: exp has passed.
	ErrExpired = errors.New("jwtauth: token expired")
	// ErrNotYetValid: nbf lies ahead, or iat does by more than clocks may differ.
	ErrNotYetValid = errors.New("jwtauth: token not valid yet")
	// ErrIssuer: not issued by the issuer of [WithIssuer]. With
	// [WithTrustedIssuer] such a token is ErrUnknownKey.
	ErrIssuer = errors.New("jwtauth: wrong issuer")
	// ErrAudience: not meant for an audience of [WithAudience], or of
	// [WithTrustedIssuer].
	ErrAudience = errors.New("jwtauth: wrong audience")
	// ErrContainer: an authentic token of another container.
	ErrContainer = errors.New("jwtauth: token of another container")
	// ErrNoContainer: the request names no container, so none can match: the
	// server's mistake, usually a middleware outside of the mux.
	ErrNoContainer = errors.New("jwtauth: no container to compare with")
	// ErrRevoked: an authentic token that was revoked.
	ErrRevoked = errors.New("jwtauth: token revoked")
	// ErrCrossOrigin: a cookie, or a request for a token, that a page of another
	// origin may have caused.
	ErrCrossOrigin = errors.New("jwtauth: cross-origin request")
	// ErrForbidden: denied whatever the token: a path with two meanings, CONNECT,
	// what a rule of [Auth.Protect] refuses, or a token that may not be minted.
	ErrForbidden = errors.New("jwtauth: forbidden")
	// ErrUnavailable: keys, revocations or rules cannot be consulted now, so
	// that nothing is known about the token.
	ErrUnavailable = errors.New("jwtauth: cannot be judged now")
	// ErrNoSigningKey: the keys can verify, but not issue.
	ErrNoSigningKey = keys.ErrNoSigningKey
)

// reasons names each error for logs, and those that only an authentic token can meet for
// clients, too. The first that an error is decides.
var reasons = []struct {
	err       error
	name      string
	authentic bool
}{
	{ErrUnavailable, "unavailable", false},
	{ErrForbidden, "forbidden", false},
	{ErrAmbiguousToken, "ambiguous", false},
	{ErrMalformed, "malformed", false},
	{ErrUnknownKey, "unknown_key", false},
	{ErrSignature, "wrong_signature", false},
	{ErrCrossOrigin, "cross_origin", false},
	{ErrNoContainer, "no_container", false},
	{ErrNoSigningKey, "no_signing_key", false},
	{ErrType, "wrong_type", true},
	{ErrExpired, "expired", true},
	{ErrNotYetValid, "not_yet_valid", true},
	{ErrIssuer, "wrong_issuer", true},
	{ErrAudience, "wrong_audience", true},
	{ErrRevoked, "revoked", true},
	{ErrContainer, "wrong_container", true},
	{ErrNoToken, "no_token", false}, // last: it also stands behind a path that is denied
}

// reasonOf returns the name of an error, "" for one that is none of this
// package's, and whether only an authentic token meets it.
func reasonOf(err error) (name string, authentic bool) {
	if err == nil {
		return "", false
	}
	for _, r := range reasons {
		if err == r.err { // most are, and to look behind them takes longer
			return r.name, r.authentic
		}
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.name, r.authentic
		}
	}
	return "", false
}

// Reason returns the name of an error of this package as logs and [Decision] have
// it: unavailable, forbidden, ambiguous, malformed, unknown_key, wrong_signature,
// cross_origin, no_container, no_signing_key, wrong_type, expired, not_yet_valid,
// wrong_issuer, wrong_audience, revoked, wrong_container or no_token. It is "other"
// for any other error and "" for nil. Clients are told by [Auth.Deny], which
// knows what they may hear.
func Reason(err error) string {
	name, _ := reasonOf(err)
	if err != nil && name == "" {
		return "other"
	}
	return name
}

// Claims are what an authentic token says (RFC 7519, section 4.1). They belong to the
// caller: changing them changes nothing elsewhere. A claim that the token lacks is its
// zero value; ExpiresAt is always there.
type Claims struct {
	Issuer    string   // iss
	Subject   string   // sub
	Container string   // container, or the claim named by WithContainerClaim
	ID        string   // jti
	SessionID string   // sid
	Audience  []string // aud

	IssuedAt, NotBefore, ExpiresAt time.Time // iat, nbf, exp; in UTC

	// Stamp is when the token was issued as a revocation list reckons, in
	// microseconds since 1970 (iat_us); 0 if it has none, or if its issuer is one of
	// [WithTrustedIssuer].
	Stamp int64

	payload  string    // the JSON as received
	verified *verified // nil if they were not read from a token
}

// verified is how a token was verified, to be verified again. The pointers keep fmt, which
// looks behind one of them, from printing the token. It keeps no retired key alive.
type verified struct {
	token       *string
	kid, issuer string
	set         weak.Pointer[keys.Set]
}

// own returns claims that share no memory with c that could be changed.
func (c *Claims) own() Claims {
	own := *c
	own.Audience = slices.Clone(c.Audience)
	return own
}

// Decode decodes the whole payload into v, as [json.Unmarshal] does: for the
// claims that [Claim] added. The names of registered claims are safe: a token
// with a name that differs from one by case alone was refused.
//
// Claims that were not read from a token have nothing to decode, which is an
// error.
func (c Claims) Decode(v any) error {
	if c.payload == "" {
		return errors.New("jwtauth: Decode: these claims were not read from a token")
	}
	return json.Unmarshal([]byte(c.payload), v)
}

// verdict is what became of one token. The claims are there once they were
// read out of an authentic token, even one that is rejected for what they say. Requests
// share them, so they are never changed.
type verdict struct {
	raw    RawToken
	kid    string
	claims *Claims
	cached bool // no signature was verified now
	err    error
}

// failed is a verdict that ends here.
func (v verdict) failed(err error) verdict {
	v.err = err
	return v
}

// verify is the line that every token passes, up to its container.
func (a *Auth) verify(ctx context.Context, token string) verdict {
	c := a.cached(token)
	if c == nil {
		return a.verifyFirst(ctx, token, nil)
	}
	v, changed := a.verifyCached(ctx, c)
	if changed != nil || v.err == ErrExpired {
		a.cache.Delete(token)
	}
	if changed != nil {
		return a.verifyFirst(ctx, token, changed)
	}
	return v
}

// verifyCached checks what can change while a token lives: its keys, time and
// revocation. If its keys are others than those that verified it, it returns them alone.
func (a *Auth) verifyCached(ctx context.Context, c *cachedToken) (v verdict, changed *keys.Set) {
	v.kid = c.claims.verified.kid
	set, err := keySet(ctx, a.sourceOf(c.claims.Issuer), v.kid)
	if err != nil {
		return v.failed(err), nil
	}
	if set != c.claims.verified.set.Value() {
		return verdict{}, set
	}
	v.claims, v.cached = &c.claims, true
	if err := a.checkTime(v.claims); err != nil {
		return v.failed(err), nil
	}
	if a.wholeList && a.list.Clear(c.marks) {
		return v, nil
	}
	return v.failed(a.checkRevocation(ctx, v.claims)), nil
}

// verifyFirst verifies a token that is not cached: form, keys, signature, claims. set is
// what the source of its keys has just answered, nil if it was not asked.
func (a *Auth) verifyFirst(ctx context.Context, token string, set *keys.Set) (v verdict) {
	known := a.header.Load()
	t, own, err := strict.ParseKnowing(known, token, a.maxTokenSize)
	if err != nil {
		return v.failed(fmt.Errorf("%w: %w", ErrMalformed, err))
	}
	v.kid = t.KeyID
	claims, source, err := a.issuerOf(t.Payload)
	if err != nil {
		return v.failed(err)
	}
	if set == nil {
		if set, err = keySet(ctx, source, t.KeyID); err != nil {
			return v.failed(err)
		}
	}
	if err := verifySignature(set, t); err != nil {
		return v.failed(err)
	}
	if claims == nil {
		if claims, err = a.readClaims(t.Payload); err != nil {
			return v.failed(err)
		}
	}
	claims.verified = &verified{token: &own, kid: strings.Clone(t.KeyID), issuer: claims.Issuer, set: weak.Make(set)}
	v.claims = claims // not before the signature was good: they are logged, and Inspect returns them
	if err := a.checkClaims(ctx, t.Header, claims); err != nil {
		return v.failed(err)
	}
	a.keep(own, claims)
	a.keepHeader(known, own, t.Header)
	return v
}

// checkClaims checks everything that an authentic token says, except its container.
func (a *Auth) checkClaims(ctx context.Context, h strict.Header, c *Claims) error {
	if err := a.checkType(h); err != nil {
		return err
	}
	if err := a.checkTime(c); err != nil {
		return err
	}
	if err := a.checkIssuer(c); err != nil {
		return err
	}
	if err := a.checkAudience(c); err != nil {
		return err
	}
	return a.checkRevocation(ctx, c)
}

// issuerOf returns the source of the keys that verify a token with this payload. Where
// several issuers are trusted, the payload says which, so it is read before the
// signature is verified, and the claims are returned: they are worth nothing before
// that. A second reader behind the signature could see another issuer. With one issuer
// it returns nil claims.
func (a *Auth) issuerOf(payload string) (*Claims, keys.Source, error) {
	if a.issuers == nil {
		return nil, a.source, nil
	}
	c, err := a.readClaims(payload)
	if err != nil {
		return nil, nil, err
	}
	source := a.sourceOf(c.Issuer)
	if source == nil {
		return nil, nil, unknownIssuer(c.Issuer)
	}
	return c, source, nil
}

func unknownIssuer(issuer string) error {
	return fmt.Errorf("%w: the issuer %q is not one of WithIssuer or WithTrustedIssuer", ErrUnknownKey, clip(issuer))
}

// sourceOf returns the source whose keys alone verify the tokens of an issuer, nil for an
// unknown one. Without WithTrustedIssuer all have the source of New.
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

// checkKey returns nil if the keys of an issuer verify a token that they did verify
// before, or another Auth did.
func (a *Auth) checkKey(ctx context.Context, v *verified) error {
	if v == nil {
		return nil
	}
	source := a.sourceOf(v.issuer)
	if source == nil {
		return unknownIssuer(v.issuer)
	}
	set, err := keySet(ctx, source, v.kid)
	if err != nil || set == v.set.Value() {
		return err
	}
	t, _, err := strict.ParseKnowing(nil, *v.token, a.maxTokenSize)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return verifySignature(set, t)
}

// messages are lent to keys, which want bytes.
var messages = sync.Pool{New: func() any { return new([]byte) }}

func verifySignature(set *keys.Set, t strict.Token) error {
	message := messages.Get().(*[]byte)
	defer messages.Put(message)
	*message = append((*message)[:0], t.Signed...)
	return set.Verify(t.Algorithm, t.KeyID, *message, t.Signature)
}

// readClaims reads the payload of a token. It says nothing about the signature.
func (a *Auth) readClaims(payload string) (*Claims, error) {
	c, err := strict.ReadClaims(payload, a.containerClaim)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	claims := &Claims{
		Issuer:    c.Issuer,
		Subject:   c.Subject,
		Container: c.Container,
		ID:        c.ID,
		SessionID: c.SessionID,
		Audience:  c.Audience,
		IssuedAt:  c.IssuedAt,
		NotBefore: c.NotBefore,
		ExpiresAt: c.ExpiresAt,
		Stamp:     c.Stamp,
		payload:   payload,
	}
	if a.issuers != nil && c.Issuer != a.issuer {
		claims.Stamp = 0 // it says when lists here saw the token issued, and none did
	}
	return claims, nil
}

// checkType compares typ as it stands, so that no kind of token passes for
// another. Only an Auth without WithTypes takes a token that has none.
func (a *Auth) checkType(h strict.Header) error {
	if slices.Contains(a.types, h.Type) || !h.HasType && !a.typeRequired {
		return nil
	}
	return fmt.Errorf("%w: %q is wanted", ErrType, strings.Join(a.types, " or "))
}

// clockSkew is how far an iat may lie ahead of this clock without leeway: two
// servers that keep their clocks as servers do differ by less.
const clockSkew = 5 * time.Second

// checkTime checks exp, nbf and iat (RFC 7519, sections 4.1.4 to 4.1.6). A
// token is expired at its exp, not after it. Claims without exp are expired.
func (a *Auth) checkTime(c *Claims) error {
	now := a.clock()
	switch {
	case !now.Before(c.ExpiresAt.Add(a.leeway)):
		return ErrExpired
	case now.Add(a.leeway).Before(c.NotBefore):
		return fmt.Errorf("%w: nbf is to come", ErrNotYetValid)
	case now.Add(max(a.leeway, clockSkew)).Before(c.IssuedAt):
		return fmt.Errorf("%w: iat is to come", ErrNotYetValid)
	}
	return nil
}

func (a *Auth) checkIssuer(c *Claims) error {
	if a.issuer == "" || c.Issuer == a.issuer || a.issuers[c.Issuer] != nil {
		return nil
	}
	return ErrIssuer
}

// checkAudience wants one of ours among the token's. A token that names an
// audience where none is configured is refused: RFC 7519, section 4.1.3, says
// that a service which is not in aud MUST reject. It is asked about issuers that
// checkIssuer knows.
func (a *Auth) checkAudience(c *Claims) error {
	wanted := a.audience
	if t := a.issuers[c.Issuer]; t != nil {
		wanted = t.audience
	}
	if c.Audience == nil && len(wanted) == 0 {
		return nil
	}
	for _, ours := range wanted {
		if slices.Contains(c.Audience, ours) {
			return nil
		}
	}
	return ErrAudience
}

// checkRevocation asks the checker of WithRevocations. A token that could outlive its
// revocation on a list is rejected: one without iat, or with a longer life than any that
// is issued here.
func (a *Auth) checkRevocation(ctx context.Context, c *Claims) error {
	if a.revocations == nil {
		return nil
	}
	if c.IssuedAt.IsZero() || c.ExpiresAt.Sub(c.IssuedAt) > a.maxLifetime {
		return fmt.Errorf("%w: it would outlive the memory of revocations", ErrRevoked)
	}
	revoked, err := a.revocations.Revoked(ctx, c.own())
	switch {
	case err != nil:
		return fmt.Errorf("%w: revocations: %w", ErrUnavailable, err)
	case revoked:
		return ErrRevoked
	}
	return nil
}

// checkContainer compares byte for byte. Where no container is wanted, only a
// private route of a service that has containers refuses.
func (a *Auth) checkContainer(c *Claims, want string, policy Policy) error {
	switch {
	case want != "" && c.Container != want:
		return ErrContainer
	case want == "" && policy == Private && !a.anyContainer:
		return ErrNoContainer
	}
	return nil
}

// cachedToken is what an Auth keeps of a token that it accepted. Only what holds as long
// as its keys do is taken from it: everything else is checked anew.
type cachedToken struct {
	marks  revocation.Marks
	claims Claims
}

// entrySize is what a cached token may cost on average, in bytes.
const entrySize = 1 << 10

// cached returns what is kept of a token, nil if nothing is. A token that is too long is
// not even looked for.
func (a *Auth) cached(token string) *cachedToken {
	if a.cache == nil || len(token) > a.maxTokenSize {
		return nil
	}
	return a.cache.Get(token)
}

// keep caches a token that was accepted, which must not be part of a larger string, such
// as all the header fields of its request.
func (a *Auth) keep(token string, c *Claims) {
	if a.cache == nil {
		return
	}
	kept := cachedToken{claims: *c}
	if a.wholeList {
		kept.marks = a.list.Marks(c.Issuer, c.ID, c.SessionID, c.Subject, c.Container)
	}
	a.cache.Put(token, kept, kept.size()+len(token))
}

// keepHeader keeps the header of the last token that was accepted, known being the one
// before: only a holder of the key can change it.
func (a *Auth) keepHeader(known *strict.KnownHeader, token string, h strict.Header) {
	segment, _, _ := strings.Cut(token, ".")
	if known == nil || known.Segment != segment {
		a.header.Store(&strict.KnownHeader{Segment: strings.Clone(segment), Header: h})
	}
}

// size is what the strings of a cached token take, in bytes. The claims are parts of the
// payload, except those that were written with escapes.
func (c *cachedToken) size() int {
	n := len(c.claims.verified.kid) + int(unsafe.Sizeof(verified{})) + len(c.claims.payload) + 16*cap(c.claims.Audience)
	if strings.IndexByte(c.claims.payload, '\\') >= 0 {
		n += len(c.claims.payload)
	}
	return n + n/8 // what the allocator rounds up
}
