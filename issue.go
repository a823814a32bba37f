package jwtauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/joinednode/jwtauth/internal/strict"
	"github.com/joinednode/jwtauth/keys"
)

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
	claims := object{json: make([]byte, 0, 256)}
	var errs []error
	text := func(claim, option, value string) {
		if err := judgeText(option, value); err != nil {
			errs = append(errs, err)
		}
		claims.text(claim, value)
	}
	if a.issuer != "" {
		claims.text("iss", a.issuer)
	}
	if i.Subject != nil {
		text("sub", "Subject", *i.Subject)
	}
	if i.Audience != nil {
		errs = append(errs, judgeIssuedAudience(i.Audience))
		if len(i.Audience) == 1 {
			claims.text("aud", i.Audience[0])
		} else {
			errs = append(errs, claims.any("aud", i.Audience))
		}
	}
	if container != "" {
		text(a.containerClaim, "the container", container)
	}
	if i.SessionID != nil {
		text("sid", "SessionID", *i.SessionID)
	}
	if i.ID != nil {
		text("jti", "ID", *i.ID)
	} else {
		claims.text("jti", rand.Text())
	}
	at := i.IssuedAt
	if at.IsZero() {
		at = a.clock()
	}
	issued := at.Unix()
	expires := issued + int64(i.TTL/time.Second)
	claims.number("iat", issued)
	switch {
	case a.list == nil:
	case !i.Stamp.IsZero():
		claims.number(strict.StampClaim, i.Stamp.UnixMicro())
	case !i.IssuedAt.IsZero():
		claims.number(strict.StampClaim, at.UnixMicro())
	default:
		claims.number(strict.StampClaim, a.list.Stamp(at))
	}
	if !i.NotBefore.IsZero() {
		if claims.number("nbf", i.NotBefore.Unix()); i.NotBefore.Unix() >= expires {
			errs = append(errs, errors.New("NotBefore lies behind the token's expiry, so that it would never be valid"))
		}
	}
	claims.number("exp", expires)
	for _, name := range slices.Sorted(maps.Keys(i.Private)) {
		errs = append(errs, a.judgePrivate(name, i.Private[name]), claims.any(name, i.Private[name]))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	payload := append(claims.json, '}')
	_, err := a.readClaims(string(payload))
	return payload, err
}

func judgeIssuedAudience(audience []string) error {
	if len(audience) == 0 {
		return errors.New("Audience was given none; name at least one, or leave it out")
	}
	var errs []error
	for _, value := range audience {
		errs = append(errs, judgeText("Audience", value))
	}
	return errors.Join(errs...)
}

// judgePrivate judges a claim that is not this package's.
func (a *Auth) judgePrivate(name string, value any) error {
	var reserved, invalid error
	if strict.Reserved(name, a.containerClaim) {
		reserved = fmt.Errorf("Claim(%q): the name is reserved, or would be taken for one that is; choose another", name)
	}
	if text, ok := value.(string); ok && !utf8.ValidString(text) {
		invalid = fmt.Errorf("Claim(%q) was given invalid UTF-8 (%q)", name, text)
	}
	return errors.Join(reserved, judgeText("Claim", name), invalid)
}

// object is a JSON object that is being written, without its end.
type object struct{ json []byte }

func (o *object) name(name string) {
	if len(o.json) == 0 {
		o.json = append(o.json, '{')
	} else {
		o.json = append(o.json, ',')
	}
	o.json = append(appendText(o.json, name), ':')
}

func (o *object) text(name, value string) {
	o.name(name)
	o.json = appendText(o.json, value)
}

func (o *object) number(name string, value int64) {
	o.name(name)
	o.json = strconv.AppendInt(o.json, value, 10)
}

func (o *object) any(name string, value any) error {
	text, err := json.Marshal(value)
	o.name(name)
	o.json = append(o.json, text...)
	return err
}

// appendText appends a JSON string. What is not plain is left to encoding/json.
func appendText(to []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(text)
			if err != nil {
				panic("jwtauth: " + err.Error()) // there is no such string
			}
			return append(to, quoted...)
		}
	}
	to = append(to, '"')
	to = append(to, text...)
	return append(to, '"')
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
	set  *keys.Set
	text string // up to the first dot
}

// headerOf returns the beginning of the tokens that are signed with a set, which
// is made once for each.
func (a *Auth) headerOf(set *keys.Set) (string, error) {
	if h := a.issued.Load(); h != nil && h.set == set {
		return h.text, nil
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
	h := &issuedHeader{set: set, text: base64.RawURLEncoding.EncodeToString(header) + "."}
	a.issued.Store(h)
	return h.text, nil
}
