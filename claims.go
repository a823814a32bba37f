package jwtauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"weak"

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
	// form that does not parse; and what an extractor of others calls wrong.
	ErrMalformed = errors.New("jwtauth: malformed token")
	// ErrUnknownKey: no key has the token's algorithm and key id; or, where
	// [WithTrustedIssuer] is used, its iss is that of nobody who has keys here.
	ErrUnknownKey = keys.ErrUnknownKey
	// ErrSignature: the signature is not that of the key.
	ErrSignature = keys.ErrSignature
	// ErrType: a token of another kind (RFC 8725, section 3.11); see [WithTypes].
	ErrType = errors.New("jwtauth: wrong type of token")
	// ErrExpired: exp has passed.
	ErrExpired = errors.New("jwtauth: token expired")
	// ErrNotYetValid: nbf, or an iat that no clock could have given, is to come.
	ErrNotYetValid = errors.New("jwtauth: token not valid yet")
	// ErrIssuer: not issued by the issuer of [WithIssuer]. With
	// [WithTrustedIssuer] such a token is ErrUnknownKey.
	ErrIssuer = errors.New("jwtauth: wrong issuer")
	// ErrAudience: not meant for an audience of [WithAudience], or of
	// [WithTrustedIssuer].
	ErrAudience = errors.New("jwtauth: wrong audience")
	// ErrContainer: a genuine token of another container.
	ErrContainer = errors.New("jwtauth: token of another container")
	// ErrNoContainer: the request names no container, so none can match: the
	// server's mistake, usually a middleware outside of the mux.
	ErrNoContainer = errors.New("jwtauth: no container to compare with")
	// ErrRevoked: a genuine token that was taken back.
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

// Claims are what a genuine token says (RFC 7519, section 4.1). They belong to
// whoever holds them: changing them changes nothing for anyone else. A claim
// that the token lacks is its zero value; ExpiresAt is always there.
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

// readIssuer reads the claims of a token whose signature is not judged yet, for
// the source of the keys to judge it with. The claims are worth nothing before
// that. What is no good payload is refused as it would be behind the signature,
// by the same reader: a second one could see another issuer.
func (a *Auth) readIssuer(payload string) (*Claims, keys.Source, error) {
	c, err := a.readClaims(payload)
	if err != nil {
		return nil, nil, err
	}
	source := a.sourceOf(c.Issuer)
	if source == nil {
		return nil, nil, fmt.Errorf("%w: the issuer %q is not one of WithIssuer or WithTrustedIssuer", ErrUnknownKey, clip(c.Issuer))
	}
	return c, source, nil
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

// judgeType compares typ as it stands, so that no kind of token passes for
// another. Only an Auth without WithTypes takes a token that has none.
func (a *Auth) judgeType(h strict.Header) error {
	if slices.Contains(a.types, h.Type) || !h.HasType && !a.typeRequired {
		return nil
	}
	return fmt.Errorf("%w: %q is wanted", ErrType, strings.Join(a.types, " or "))
}

// clockSkew is how far an iat may lie ahead of this clock without leeway: two
// servers that keep their clocks as servers do differ by less.
const clockSkew = 5 * time.Second

// judgeTime judges exp, nbf and iat (RFC 7519, sections 4.1.4 to 4.1.6). A
// token is expired at its exp, not after it. Claims without exp are expired.
func (a *Auth) judgeTime(c *Claims) error {
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

func (a *Auth) judgeIssuer(c *Claims) error {
	if a.issuer == "" || c.Issuer == a.issuer || a.issuers[c.Issuer] != nil {
		return nil
	}
	return ErrIssuer
}

// judgeAudience wants one of ours among the token's. A token that names an
// audience where none is configured is refused: RFC 7519, section 4.1.3, says
// that whoever does not find itself in aud MUST reject. It is asked about issuers
// that judgeIssuer knows.
func (a *Auth) judgeAudience(c *Claims) error {
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

// judgeRevocation asks the checker of WithRevocations. A token that could
// outlive what the checker remembers of it is refused: without iat, or with a
// longer life than any that is issued here.
func (a *Auth) judgeRevocation(ctx context.Context, c *Claims) error {
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
