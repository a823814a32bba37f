package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/joinednode/jwtauth/keys"
)

// All tokens are for this service. auth0's validator requires an audience,
// so every token has one.
const (
	issuer    = "https://api.example.com"
	audience  = "recipes"
	subjectOf = "alice@example.com"
	container = "my-container"
	route     = "/run/" + container + "/hello"
	lifetime  = 10 * 24 * time.Hour
)

// algorithm is one algorithm with its key pair or secret.
type algorithm struct {
	method  jwt.SigningMethod
	private any
	key     keys.Key
}

// secret signs all HS256 tokens, for all libraries.
var secret = []byte(rand.Text() + rand.Text())

func hs256() algorithm {
	return algorithm{jwt.SigningMethodHS256, secret, keys.HS256(secret)}
}

func eddsa() algorithm {
	_, private, err := ed25519.GenerateKey(nil)
	return algorithm{jwt.SigningMethodEdDSA, must(private, err), keys.Signer(private)}
}

func es256() algorithm {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return algorithm{jwt.SigningMethodES256, private, keys.Signer(private)}
}

func rs256() algorithm {
	private := must(rsa.GenerateKey(rand.Reader, 2048))
	return algorithm{jwt.SigningMethodRS256, private, keys.Signer(private)}
}

// asymmetricNames are the names of eddsa, es256 and rs256.
var asymmetricNames = []string{"EdDSA", "ES256", "RS256"}

func (a algorithm) name() string { return a.method.Alg() }

// mint signs a token with golang-jwt, which is neutral here. The claims are those of a
// live token of this service, with changes.
func (a algorithm) mint(change ...func(jwt.MapClaims)) string {
	claims := typicalClaims()
	for _, c := range change {
		c(claims)
	}
	return must(jwt.NewWithClaims(a.method, claims).SignedString(a.private))
}

// typicalClaims returns claims that were issued a minute ago, so that no peer rejects
// them as too new.
func typicalClaims() jwt.MapClaims {
	issued := time.Now().Add(-time.Minute)
	return jwt.MapClaims{
		"iss":       issuer,
		"sub":       subjectOf,
		"aud":       audience,
		"container": container,
		"jti":       rand.Text(),
		"iat":       issued.Unix(),
		"nbf":       issued.Unix(),
		"exp":       issued.Add(lifetime).Unix(),
	}
}

// with returns a change for mint, which sets one claim.
func with(name string, value any) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) { c[name] = value }
}

// signRaw signs a payload that no library would write.
func (a algorithm) signRaw(payload string) string {
	header := must(json.Marshal(map[string]string{"alg": a.name(), "typ": "JWT"}))
	signed := encode(header) + "." + encode([]byte(payload))
	return signed + "." + encode(must(a.method.Sign(signed, a.private)))
}

// sized returns a token of this many bytes or slightly fewer, padded with a private claim.
// It has no other claims than container and exp, so that 200 bytes are enough.
func (a algorithm) sized(size int) string {
	payload := func(pad int) string {
		return fmt.Sprintf(`{"container":%q,"exp":%d,"p":%q}`,
			container, time.Now().Add(lifetime).Unix(), strings.Repeat("x", pad))
	}
	rest, least := len(a.signRaw("")), len(payload(0))
	for pad := size; pad >= 0; pad-- {
		if rest+base64.RawURLEncoding.EncodedLen(least+pad) <= size {
			return a.signRaw(payload(pad))
		}
	}
	panic(fmt.Sprintf("no token has only %d bytes", size))
}

// forged returns a token with the length and the claims of the good one, signed with
// another key.
func (a algorithm) forged() string {
	other := a
	switch private := a.private.(type) {
	case []byte:
		other.private = []byte(strings.Repeat("x", len(private)))
	case ed25519.PrivateKey:
		other = eddsa()
	case *ecdsa.PrivateKey:
		other = es256()
	case *rsa.PrivateKey:
		other = rs256()
	}
	return other.mint()
}

// garbage returns a string in the shape of the token without any meaning. It is the same
// in every run, and canonical base64url, so that it is not rejected for its last bits.
func garbage(token string) string {
	source := mathrand.NewChaCha8([32]byte{})
	parts := strings.Split(token, ".")
	for i, part := range parts {
		noise := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
		source.Read(noise)
		parts[i] = encode(noise)
	}
	return strings.Join(parts, ".")
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// must panics on errors after which nothing can be measured.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
