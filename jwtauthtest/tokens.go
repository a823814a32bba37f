package jwtauthtest

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/joinednode/jwtauth"
)

// maxLeeway is the largest leeway of any Auth, in seconds. The leeway of a given Auth is
// not visible here, so bad tokens assume the largest.
const maxLeeway = int64(jwtauth.MaxLeeway / time.Second)

// BadToken is a token that must be rejected for one reason.
type BadToken struct {
	Name  string // the defect, to be read after "a token", such as "of another issuer"
	Token string
	Err   error // the error of Verify, to be compared by errors.Is
}

// Bad returns one token for each defect that this Auth detects, always in the same order.
// Each token comes from the method that is named after the defect. The container is the
// request's container.
//
// Bad omits [Auth.WrongIssuer] if the Auth has no [jwtauth.WithIssuer], and
// [Auth.WrongContainer] if it has [jwtauth.WithAnyContainer]. Bad includes no empty token:
// test a request without a token separately.
func (a *Auth) Bad(container string, opts ...jwtauth.IssueOption) []BadToken {
	a.t.Helper()
	_, err := a.Issue("")
	anyContainer := err == nil
	anyIssuer := a.draft("Bad", container, opts).issuer == ""

	bad := []BadToken{
		{"cut short", a.Malformed(container, opts...), jwtauth.ErrMalformed},
		{"that is unsigned", a.Unsigned(container, opts...), jwtauth.ErrMalformed},
		{"of another algorithm", a.WrongAlgorithm(container, opts...), jwtauth.ErrUnknownKey},
		{"of an unknown key", a.UnknownKey(container, opts...), jwtauth.ErrUnknownKey},
		{"forged with another key", a.Forged(container, opts...), jwtauth.ErrSignature},
		{"changed after it was signed", a.Tampered(container, opts...), jwtauth.ErrSignature},
		{"without an expiry", a.WithoutExpiry(container, opts...), jwtauth.ErrMalformed},
		{"of another type", a.WrongType(container, opts...), jwtauth.ErrType},
		{"that has expired", a.Expired(container, opts...), jwtauth.ErrExpired},
		{"that is not valid yet", a.NotYetValid(container, opts...), jwtauth.ErrNotYetValid},
	}
	if !anyIssuer {
		wrong := jwtauth.ErrIssuer
		if a.choosesKeysByIssuer(container, opts) {
			wrong = jwtauth.ErrUnknownKey
		}
		bad = append(bad, BadToken{"of another issuer", a.WrongIssuer(container, opts...), wrong})
	}
	bad = append(bad, BadToken{"for another audience", a.WrongAudience(container, opts...), jwtauth.ErrAudience})
	if !anyContainer {
		bad = append(bad, BadToken{"of another container", a.WrongContainer(container, opts...), jwtauth.ErrContainer})
	}
	return bad
}

// Malformed returns a token whose last part, the signature, is missing. It is rejected with
// [jwtauth.ErrMalformed].
func (a *Auth) Malformed(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	return a.draft("Malformed", container, opts).message()
}

// Unsigned returns an unsecured token: its alg is "none" and its signature is empty (RFC
// 7519, section 6). It is rejected with [jwtauth.ErrMalformed].
func (a *Auth) Unsigned(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("Unsigned", container, opts)
	delete(d.header, "kid")
	set(d.header, "alg", "none")
	return d.message() + "."
}

// WrongAlgorithm returns a token with the alg HS256 whose HMAC secret is the public key.
// This attack succeeds against libraries that take the algorithm from the token (RFC
// 8725, section 2.1). The token is rejected with [jwtauth.ErrUnknownKey].
func (a *Auth) WrongAlgorithm(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("WrongAlgorithm", container, opts)
	set(d.header, "alg", "HS256")
	mac := hmac.New(sha256.New, private.Public().(ed25519.PublicKey))
	mac.Write([]byte(d.message()))
	return d.withSignature(mac.Sum(nil))
}

// UnknownKey returns a token that was signed with [Key], but whose kid names another key.
// It is rejected with [jwtauth.ErrUnknownKey].
func (a *Auth) UnknownKey(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("UnknownKey", container, opts)
	set(d.header, "kid", other(keyID))
	return d.sign()
}

// Forged returns a token whose kid names [Key], but that was signed with another key of the
// same algorithm. It is rejected with [jwtauth.ErrSignature].
func (a *Auth) Forged(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("Forged", container, opts)
	return d.withSignature(ed25519.Sign(stranger, []byte(d.message())))
}

// Tampered returns a token whose jti was changed after the token was signed. It is rejected
// with [jwtauth.ErrSignature].
func (a *Auth) Tampered(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("Tampered", container, opts)
	set(d.claims, "jti", other(d.id))
	return d.withSignature(d.signature)
}

// WithoutExpiry returns a correctly signed token without exp, which would never expire. It
// is rejected with [jwtauth.ErrMalformed].
func (a *Auth) WithoutExpiry(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("WithoutExpiry", container, opts)
	delete(d.claims, "exp")
	return d.sign()
}

// WrongType returns a correctly signed token with another typ, like a token that was issued
// for another use (RFC 8725, section 3.11). It is rejected with [jwtauth.ErrType].
func (a *Auth) WrongType(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("WrongType", container, opts)
	set(d.header, "typ", other(d.typ))
	return d.sign()
}

// Expired returns a token that expired [jwtauth.MaxLeeway] ago, which is five minutes. It
// has its usual lifetime, but an earlier iat. It is rejected with [jwtauth.ErrExpired].
func (a *Auth) Expired(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("Expired", container, opts)
	ago := d.expires - d.issued + maxLeeway
	if d.issued < ago {
		a.t.Fatalf("jwtauthtest: Expired: an expired token would have to be issued before 1970, where numeric dates begin; set the clock to a later time")
	}
	set(d.claims, "iat", d.issued-ago)
	set(d.claims, "exp", d.expires-ago)
	if d.notBefore != nil {
		set(d.claims, "nbf", max(0, *d.notBefore-ago))
	}
	return d.sign()
}

// NotYetValid returns a token whose nbf lies one second more than [jwtauth.MaxLeeway] in
// the future. If the token would expire before that, it expires one second after its nbf.
// It is rejected with [jwtauth.ErrNotYetValid].
func (a *Auth) NotYetValid(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("NotYetValid", container, opts)
	notBefore := d.issued + maxLeeway + 1
	set(d.claims, "nbf", notBefore)
	set(d.claims, "exp", max(d.expires, notBefore+1))
	return d.sign()
}

// choosesKeysByIssuer reports whether the Auth has [jwtauth.WithTrustedIssuer]. Such an Auth
// rejects a token of an unknown issuer before it verifies the signature.
func (a *Auth) choosesKeysByIssuer(container string, opts []jwtauth.IssueOption) bool {
	a.t.Helper()
	d := a.draft("Bad", container, opts)
	set(d.claims, "iss", other(d.issuer))
	_, err := a.VerifyAnyContainer(context.Background(), d.withSignature(ed25519.Sign(stranger, []byte(d.message()))))
	return errors.Is(err, jwtauth.ErrUnknownKey)
}

// WrongIssuer returns a correctly signed token of another issuer. It is rejected with
// [jwtauth.ErrIssuer], or with [jwtauth.ErrUnknownKey] if the Auth has
// [jwtauth.WithTrustedIssuer]. An Auth without [jwtauth.WithIssuer] does not check the
// issuer: for such an Auth, the test fails at once.
func (a *Auth) WrongIssuer(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("WrongIssuer", container, opts)
	if d.issuer == "" {
		a.t.Fatalf("jwtauthtest: WrongIssuer: this Auth accepts tokens of every issuer; give it jwtauth.WithIssuer, or leave this token out")
	}
	set(d.claims, "iss", other(d.issuer))
	return d.sign()
}

// WrongAudience returns a correctly signed token for another audience. It is rejected with
// [jwtauth.ErrAudience], even by an Auth without [jwtauth.WithAudience].
func (a *Auth) WrongAudience(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	d := a.draft("WrongAudience", container, opts)
	set(d.claims, "aud", other(strings.Trim(d.audience, `"`)))
	return d.sign()
}

// WrongContainer returns a valid token for a container other than the given one. It is
// rejected with [jwtauth.ErrContainer]. If the Auth has [jwtauth.WithAnyContainer], only
// Verify and rules that name a container reject it. If container is "", the test fails at
// once.
func (a *Auth) WrongContainer(container string, opts ...jwtauth.IssueOption) string {
	a.t.Helper()
	if container == "" {
		a.t.Fatalf("jwtauthtest: WrongContainer: the container is empty; pass the container of the request")
	}
	return a.draft("WrongContainer", other(container), opts).sign()
}

// other returns a string that differs from s, and that no program is likely to use.
func other(s string) string { return "other-than-" + s + "-6PXA4MQ2" }

// draft is a token that the Auth issued, split into its parts so that one can be changed.
type draft struct {
	header, claims map[string]json.RawMessage
	signature      []byte

	typ, id, issuer string
	audience        string // as JSON
	issued, expires int64  // Unix time in seconds
	notBefore       *int64 // Unix time in seconds, nil without nbf
}

// draft issues a token and splits it. Failures name the method.
func (a *Auth) draft(method, container string, opts []jwtauth.IssueOption) draft {
	a.t.Helper()
	token := a.issue(method, container, opts)
	d, err := takeApart(token)
	if err != nil {
		// With another key, every token would be rejected. Tests that expect a bad
		// token to be rejected would then pass, even if the program had the defect.
		a.t.Fatalf("jwtauthtest: %s: this Auth does not sign with jwtauthtest.Key(); make it with that key (%v)", method, err)
	}
	return d
}

// takeApart splits a token. It returns an error unless the token was signed with Key.
func takeApart(token string) (d draft, err error) {
	var h struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}
	var c struct {
		ID        string          `json:"jti"`
		Issuer    string          `json:"iss"`
		Audience  json.RawMessage `json:"aud"`
		Issued    int64           `json:"iat"`
		Expires   int64           `json:"exp"`
		NotBefore *int64          `json:"nbf"`
	}
	var header, claims []byte
	parts := strings.Split(token, ".")
	for i, page := range []*[]byte{&header, &claims, &d.signature} {
		text, wrong := base64.RawURLEncoding.DecodeString(parts[i])
		err = errors.Join(err, wrong)
		*page = text
	}
	err = errors.Join(err, json.Unmarshal(header, &h), json.Unmarshal(header, &d.header),
		json.Unmarshal(claims, &c), json.Unmarshal(claims, &d.claims))
	d.typ, d.id, d.issuer, d.audience = h.Type, c.ID, c.Issuer, string(c.Audience)
	d.issued, d.expires, d.notBefore = c.Issued, c.Expires, c.NotBefore
	if err != nil {
		return d, err
	}
	ours, err := key.Keys(context.Background(), h.KeyID)
	if err != nil {
		return d, err
	}
	return d, ours.Verify(h.Algorithm, h.KeyID, []byte(parts[0]+"."+parts[1]), d.signature)
}

// message returns the JWS signing input (RFC 7515, section 5.1) of the current header and
// claims.
func (d draft) message() string {
	return encode(d.header) + "." + encode(d.claims)
}

func (d draft) withSignature(signature []byte) string {
	return d.message() + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// sign returns a correctly signed token with the current header and claims.
func (d draft) sign() string {
	return d.withSignature(ed25519.Sign(private, []byte(d.message())))
}

func set(object map[string]json.RawMessage, name string, value any) {
	object[name] = mustMarshal(value)
}

func encode(object map[string]json.RawMessage) string {
	return base64.RawURLEncoding.EncodeToString(mustMarshal(object))
}

// mustMarshal returns the JSON of a value. It panics if there is an error, which strings,
// numbers and raw JSON do not cause.
func mustMarshal(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
