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

// The errors of this package, for [errors.Is]. Every rejected token and every denied
// request has one of them. If a request is denied for its path, its query or the
// ErrForbidden of a rule, and also has no token, the error is ErrNoToken, too. The text of
// an error is for logs. It contains no token, and may change.
var (
	// ErrNoToken: no token was sent.
	ErrNoToken = errors.New("jwtauth: no token")
	// ErrAmbiguousToken: one place holds more than one token (RFC 6750, section 3.1).
	ErrAmbiguousToken = errors.New("jwtauth: more than one token")
	// ErrMalformed: the token is not a compact JWS whose claims every reader understands
	// alike (RFC 7515, RFC 7519), or it was not sent as RFC 6750 requires. Also: a query
	// or form does not parse, a form is longer than 10 MB, or a custom Extractor returned
	// an error of its own.
	ErrMalformed = errors.New("jwtauth: malformed token")
	// ErrUnknownKey: no key has the token's algorithm and key ID. With
	// [WithTrustedIssuer] also: the token's iss is none of the accepted issuers.
	ErrUnknownKey = keys.ErrUnknownKey
	// ErrSignature: the signature is wrong.
	ErrSignature = keys.ErrSignature
	// ErrType: the token is of another type (RFC 8725, section 3.11). See [WithTypes].
	ErrType = errors.New("jwtauth: wrong type of token")
	// ErrExpired: exp has passed, and so has the leeway.
	ErrExpired = errors.New("jwtauth: token expired")
	// ErrNotYetValid: nbf is in the future by more than the leeway, or iat by more than
	// both the leeway and 5 seconds.
	ErrNotYetValid = errors.New("jwtauth: token not valid yet")
	// ErrIssuer: iss is not the issuer of [WithIssuer]. With [WithTrustedIssuer] the error
	// of such a token is ErrUnknownKey.
	ErrIssuer = errors.New("jwtauth: wrong issuer")
	// ErrAudience: aud names none of the audiences of [WithAudience] or
	// [WithTrustedIssuer].
	ErrAudience = errors.New("jwtauth: wrong audience")
	// ErrContainer: the token is authentic, but opens another container or none.
	ErrContainer = errors.New("jwtauth: token of another container")
	// ErrNoContainer: the request, or the call of Verify or Issue, names no container, so
	// no token can match. This is a mistake of the server, usually a middleware that wraps
	// the mux instead of its handlers.
	ErrNoContainer = errors.New("jwtauth: no container to compare with")
	// ErrRevoked: the token is authentic, but has been revoked. With [WithRevocations]
	// also: the token has no iat, or lives longer than [WithMaxLifetime].
	ErrRevoked = errors.New("jwtauth: token revoked")
	// ErrCrossOrigin: a page of another origin may have caused the request, and the
	// request has its token in a cookie or is for the token endpoint.
	ErrCrossOrigin = errors.New("jwtauth: cross-origin request")
	// ErrForbidden: no token would help. The path has two meanings, the method is
	// CONNECT, the rule of [Auth.Protect] denies the request, or the client may not have
	// a token.
	ErrForbidden = errors.New("jwtauth: forbidden")
	// ErrUnavailable: keys, revocations or rules cannot be consulted now, so no token can
	// be verified or issued. Package session also returns it if its store fails.
	ErrUnavailable = errors.New("jwtauth: unavailable")
	// ErrNoSigningKey: the keys can verify tokens, but cannot issue them.
	ErrNoSigningKey = keys.ErrNoSigningKey
)

// reasons names each error for logs. authentic says whether only an authentic token can
// cause the error: only then do clients see the name. The first entry that an error
// matches decides.
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
	{ErrNoToken, "no_token", false}, // last: an error about a path, query or rule may wrap it too
}

// reasonOf returns the name of an error, and whether only an authentic token can cause
// it. The name of nil, and of an error that wraps none of this package, is "".
func reasonOf(err error) (name string, authentic bool) {
	if err == nil {
		return "", false
	}
	for _, r := range reasons {
		if err == r.err { // faster than errors.Is, and true for most errors
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

// Reason returns the name of an error of this package, as in logs and [Decision]:
// unavailable, forbidden, ambiguous, malformed, unknown_key, wrong_signature,
// cross_origin, no_container, no_signing_key, wrong_type, expired, not_yet_valid,
// wrong_issuer, wrong_audience, revoked, wrong_container or no_token. It returns "other"
// for any other error and "" for nil. Do not send the name to clients: [Auth.Deny] knows
// which names they may see.
func Reason(err error) string {
	name, _ := reasonOf(err)
	if err != nil && name == "" {
		return "other"
	}
	return name
}

// Claims are the claims of an authentic token (RFC 7519, section 4.1). A claim that the
// token lacks has the zero value; ExpiresAt is always set. Each call that returns Claims
// returns a copy, which the caller may change.
type Claims struct {
	Issuer    string   // iss
	Subject   string   // sub
	Container string   // container, or the claim named by WithContainerClaim
	ID        string   // jti
	SessionID string   // sid
	Audience  []string // aud

	IssuedAt, NotBefore, ExpiresAt time.Time // iat, nbf, exp; in UTC

	// Stamp (iat_us) is when the token was issued, by the time of the revocation list, in
	// microseconds since 1970. It is 0 if the token has no stamp, or comes from another
	// issuer ([WithTrustedIssuer]).
	Stamp int64

	payload  string    // the JSON as received; "" if the claims were not read from a token
	verified *verified // nil if the claims were not read from a token
}

// verified holds what [Auth.Recheck] needs to verify a token again. token is a pointer so
// that fmt, which follows one pointer only, never prints the token. set is weak so that a
// retired key can be freed.
type verified struct {
	token       *string
	kid, issuer string
	set         weak.Pointer[keys.Set]
}

// own returns a copy that shares no mutable memory with c.
func (c *Claims) own() Claims {
	own := *c
	own.Audience = slices.Clone(c.Audience)
	return own
}

// Decode decodes the token's whole payload into v with [json.Unmarshal]. Use it to read
// claims that [Claim] added. Although json.Unmarshal ignores case, the registered claims
// are safe to decode: a token is rejected if the name of a claim differs from a
// registered one only in case. Decode fails if the claims were not read from a token.
func (c Claims) Decode(v any) error {
	if c.payload == "" {
		return errors.New("jwtauth: Decode: these claims were not read from a token")
	}
	return json.Unmarshal([]byte(c.payload), v)
}

// verdict is the result of verifying one token. claims is set once the signature was
// found to be good, even if the token is then rejected for its claims. Requests share
// claims, so they must not be changed.
type verdict struct {
	raw    RawToken
	kid    string
	claims *Claims
	cached bool // the token was in the cache, so no signature was verified
	err    error
}

// failed returns a copy of v whose error is err.
func (v verdict) failed(err error) verdict {
	v.err = err
	return v
}

// verify makes every check of a token except that of its container.
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

// verifyCached checks what can change while a token lives: its keys, time and revocation.
// If the keys have changed since the token was cached, it returns only the new keys.
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

// verifyFirst verifies a token that is not cached: its form, signature and claims. set is
// the key set if the caller has just asked the source for it, otherwise nil.
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
	v.claims = claims // only now that the signature is good, since claims are logged, and Inspect returns them
	if err := a.checkClaims(ctx, t.Header, claims); err != nil {
		return v.failed(err)
	}
	a.keep(own, claims)
	a.keepHeader(known, own, t.Header)
	return v
}

// checkClaims checks the type, times, issuer, audience and revocation of an authentic
// token.
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

// issuerOf returns the source of the keys that verify a token with this payload. With one
// issuer that is always the source of New, and the claims are nil. With several issuers,
// issuerOf reads the issuer from the payload, before the signature is verified. It also
// returns the claims, so that no second reading can find another issuer. The caller must
// not use them until the signature is verified.
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

// sourceOf returns the only source whose keys verify tokens of an issuer, or nil if the
// issuer is unknown. Without WithTrustedIssuer it returns the source of New for every
// issuer.
func (a *Auth) sourceOf(issuer string) keys.Source {
	if a.issuers == nil {
		return a.source
	}
	if t := a.issuers[issuer]; t != nil {
		return t.source
	}
	return nil
}

// keySet asks a source for keys. It fails closed: without keys no token is accepted or
// issued.
func keySet(ctx context.Context, source keys.Source, kid string) (*keys.Set, error) {
	set, err := source.Keys(ctx, kid)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: keys: %w", ErrUnavailable, err)
	case set == nil:
		return nil, fmt.Errorf("%w: the source of keys returned none", ErrUnavailable)
	}
	return set, nil
}

// checkKey returns an error unless the current keys of the issuer verify the token again.
// It returns nil if v is nil. v may come from another Auth. checkKey verifies a signature
// only if the current keys are not those that verified the token before.
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

// messages holds buffers for verifySignature: keys verify bytes, and tokens are strings.
var messages = sync.Pool{New: func() any { return new([]byte) }}

func verifySignature(set *keys.Set, t strict.Token) error {
	message := messages.Get().(*[]byte)
	defer messages.Put(message)
	*message = append((*message)[:0], t.Signed...)
	return set.Verify(t.Algorithm, t.KeyID, *message, t.Signature)
}

// readClaims returns the claims in a payload. It does not verify the signature.
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
		claims.Stamp = 0 // only a token issued here has a stamp of this service's list
	}
	return claims, nil
}

// checkType compares typ byte for byte, so that no type of token passes for another. A
// missing typ is accepted only without WithTypes.
func (a *Auth) checkType(h strict.Header) error {
	if slices.Contains(a.types, h.Type) || !h.HasType && !a.typeRequired {
		return nil
	}
	return fmt.Errorf("%w: typ must be %q", ErrType, strings.Join(a.types, " or "))
}

// clockSkew is how far an iat may be ahead of this server's clock, unless the leeway is
// longer. The clocks of two well-kept servers differ by less.
const clockSkew = 5 * time.Second

// checkTime checks exp, nbf and iat (RFC 7519, sections 4.1.4 to 4.1.6). Without leeway a
// token expires at its exp, not after it. Claims without exp count as expired.
func (a *Auth) checkTime(c *Claims) error {
	now := a.clock()
	switch {
	case !now.Before(c.ExpiresAt.Add(a.leeway)):
		return ErrExpired
	case now.Add(a.leeway).Before(c.NotBefore):
		return fmt.Errorf("%w: nbf is in the future", ErrNotYetValid)
	case now.Add(max(a.leeway, clockSkew)).Before(c.IssuedAt):
		return fmt.Errorf("%w: iat is in the future", ErrNotYetValid)
	}
	return nil
}

func (a *Auth) checkIssuer(c *Claims) error {
	if a.issuer == "" || c.Issuer == a.issuer || a.issuers[c.Issuer] != nil {
		return nil
	}
	return ErrIssuer
}

// checkAudience requires one of the configured audiences. If none is configured, it
// rejects a token that has an aud, even an empty one: RFC 7519, section 4.1.3, says that
// a service which is not in aud MUST reject the token. Call checkAudience after
// checkIssuer, which rejects unknown issuers.
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

// checkRevocation asks the checker of WithRevocations, if there is one. It rejects a
// token that has no iat, or lives longer than tokens issued here can: the list might
// forget the revocation of such a token before it expires.
func (a *Auth) checkRevocation(ctx context.Context, c *Claims) error {
	if a.revocations == nil {
		return nil
	}
	if c.IssuedAt.IsZero() || c.ExpiresAt.Sub(c.IssuedAt) > a.maxLifetime {
		return fmt.Errorf("%w: without iat, or alive for longer than revocations are kept", ErrRevoked)
	}
	revoked, err := a.revocations.Revoked(ctx, c.own())
	switch {
	case errors.Is(err, ErrExpired):
		return err
	case err != nil:
		return fmt.Errorf("%w: revocations: %w", ErrUnavailable, err)
	case revoked:
		return ErrRevoked
	}
	return nil
}

// checkContainer compares containers byte for byte. A request without a container is
// denied only on a private route of a service that has containers.
func (a *Auth) checkContainer(c *Claims, want string, policy Policy) error {
	switch {
	case want != "" && c.Container != want:
		return ErrContainer
	case want == "" && policy == Private && !a.anyContainer:
		return ErrNoContainer
	}
	return nil
}

// cachedToken holds what the cache keeps of an accepted token. The token's keys, time,
// revocation and container are checked again on every request.
type cachedToken struct {
	marks  revocation.Marks
	claims Claims
}

// entrySize is the memory that one cached token may take on average, in bytes.
const entrySize = 1 << 10

// cached returns the cache's entry for a token, or nil. It does not look up a token that
// is too long to be valid, since that would hash it.
func (a *Auth) cached(token string) *cachedToken {
	if a.cache == nil || len(token) > a.maxTokenSize {
		return nil
	}
	return a.cache.Get(token)
}

// keep caches an accepted token. token must not be part of a larger string, such as all
// header fields of a request, because the cache would keep the whole string alive.
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

// keepHeader keeps the parsed header of an accepted token if it is not the same as known,
// the header that was kept before. Only tokens with a good signature get here, so a
// client without a key cannot replace the kept header.
func (a *Auth) keepHeader(known *strict.KnownHeader, token string, h strict.Header) {
	segment, _, _ := strings.Cut(token, ".")
	if known == nil || known.Segment != segment {
		a.header.Store(&strict.KnownHeader{Segment: strings.Clone(segment), Header: h})
	}
}

// size returns how much memory a cached token refers to, in bytes, not counting the
// string of the token. Claims are substrings of the payload, except those that were
// written with escapes.
func (c *cachedToken) size() int {
	n := len(c.claims.verified.kid) + int(unsafe.Sizeof(verified{})) + len(c.claims.payload) + 16*cap(c.claims.Audience)
	if strings.IndexByte(c.claims.payload, '\\') >= 0 {
		n += len(c.claims.payload)
	}
	return n + n/8 // the allocator rounds up
}
