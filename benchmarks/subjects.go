package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	chijwtauth "github.com/go-chi/jwtauth/v5"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// middleware is a library that protects a handler.
type middleware struct {
	name  string
	lacks []*check // the checks in honesty.go that it does not make
	wrap  func(next http.Handler) http.Handler
}

// parser is a library that verifies a token without a request. prepare converts the token
// to the type that the library needs, which is not timed.
type parser struct {
	name    string
	lacks   []*check
	prepare func(token string) func() error
}

// withoutCache turns the cache off.
func withoutCache() []jwtauth.Option { return withCacheFor(0) }

// withCacheFor makes room for n tokens in the cache.
func withCacheFor(n int) []jwtauth.Option { return []jwtauth.Option{jwtauth.WithCache(n)} }

// newAuth returns an Auth of this library. It requires issuer and audience, since auth0's
// middleware requires them.
func newAuth(source keys.Source, opts ...jwtauth.Option) *jwtauth.Auth {
	service := []jwtauth.Option{jwtauth.WithIssuer(issuer), jwtauth.WithAudience(audience)}
	return must(jwtauth.New(source, append(service, opts...)...))
}

// ours returns this library's middleware.
func ours(a algorithm, opts ...jwtauth.Option) middleware {
	return middleware{name: "jwtauth", wrap: newAuth(a.key, opts...).Private}
}

// Names of the lines that targets mention.
const (
	oursSeen     = "**jwtauth**, cached token"
	oursRead     = "**jwtauth**, cached token, handler reads the claims"
	oursFirst    = "**jwtauth**, token not cached"
	oursFilling  = "**jwtauth**, token not cached, and then cached"
	oursVerify   = "**jwtauth** Verify, token not cached"
	oursIssue    = "**jwtauth** Issue"
	oursGarbage  = "**jwtauth** rejects garbage"
	oursForged   = "**jwtauth** rejects a bad signature"
	oursExpired  = "**jwtauth** rejects an expired token"
	oursLong     = "**jwtauth**, token of 8 KiB, not cached"
	oursLongTrap = "**jwtauth** rejects garbage of 8 KiB"

	chiEncode = "go-chi/jwtauth Encode"
)

// guards returns all middlewares with one HS256 token.
func guards() []subject {
	a := hs256()
	token := a.mint()
	all := []subject{
		accepting(oursSeen, ours(a), token),
		reading(a, token),
		accepting(oursFirst, ours(a, withoutCache()...), token),
		filling(a),
	}
	for _, m := range peers() {
		all = append(all, accepting(m.name, m, token))
	}
	return all
}

// parsers returns all bare parsers with one HS256 token.
func parsers() []subject {
	token := hs256().mint()
	var all []subject
	for _, p := range append([]parser{verifying(hs256())}, bareParsers()...) {
		parse := p.prepare(token)
		all = append(all, subject{name: p.name, lacks: p.lacks, run: func(b *testing.B) error {
			for b.Loop() {
				if err := parse(); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return all
}

// reading times a handler that reads the claims. It shows that no work is put off until
// the handler reads them.
func reading(a algorithm, token string) subject {
	read := 0
	d := newDriver(ours(a).wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if claims, ok := jwtauth.FromContext(r.Context()); ok && claims.Subject == subjectOf {
			read++
		}
	})))
	d.present(strings.Clone(bearer(token)))
	return subject{name: oursRead, run: func(b *testing.B) error {
		read = 0
		for value := bearer(token); b.Loop(); {
			d.present(value)
		}
		return (&counter{ran: read}).judge(b.N)
	}}
}

// filling times a token's first request, including its caching. Each token of a pool is
// sent once, then to a new Auth.
func filling(a algorithm) subject {
	pool := make([]string, 10_000)
	for i := range pool {
		pool[i] = bearer(a.mint())
	}
	return subject{name: oursFilling, run: func(b *testing.B) error {
		next := &counter{}
		var d *driver
		i := len(pool)
		for b.Loop() {
			if i == len(pool) {
				b.StopTimer()
				d, i = newDriver(ours(a).wrap(next)), 0
				b.StartTimer()
			}
			d.present(pool[i])
			i++
		}
		return next.judge(b.N)
	}}
}

// verifying returns this library as a bare parser.
func verifying(a algorithm) parser {
	auth := newAuth(a.key, withoutCache()...)
	return parser{name: oursVerify, prepare: func(token string) func() error {
		return func() error {
			_, err := auth.Verify(context.Background(), token, container)
			return err
		}
	}}
}

// issuers returns the subjects that issue tokens with the same claims.
func issuers() []subject {
	var all []subject
	for _, i := range []struct {
		name  string
		issue func() (string, error)
	}{{oursIssue, issueByOurs()}, {chiEncode, encodeByChi()}} {
		all = append(all, subject{name: i.name, run: func(b *testing.B) error {
			for b.Loop() {
				if _, err := i.issue(); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return all
}

func issueByOurs() func() (string, error) {
	auth, notBefore := newAuth(hs256().key), time.Now()
	return func() (string, error) {
		return auth.Issue(container, jwtauth.Subject(subjectOf), jwtauth.NotBefore(notBefore))
	}
}

// encodeByChi makes the claims once, including the jti, in favour of the peer. This
// library makes a new jti and reads the clock for each token.
func encodeByChi() func() (string, error) {
	tokenAuth, claims := chijwtauth.New("HS256", secret, nil), typicalClaims()
	return func() (string, error) {
		_, token, err := tokenAuth.Encode(claims)
		return token, err
	}
}

// refusals returns subjects with tokens that are rejected, and one accepted token of 8 KiB
// to compare with. An expired token is verified like a good one, and then denied.
func refusals() []subject {
	a := hs256()
	m := ours(a, withoutCache()...)
	long := a.sized(8 << 10)
	plain := middleware{wrap: must(jwtauth.New(a.key, withoutCache()...)).Private} // a padded token has no room for all claims
	return []subject{
		refusing(oursGarbage, m, garbage(a.mint())),
		refusing(oursForged, m, a.forged()),
		refusing(oursExpired, m, a.mint(with("exp", time.Now().Add(-time.Second).Unix()))),
		accepting(oursLong, plain, long),
		refusing(oursLongTrap, plain, garbage(long)),
	}
}

func firstSeen(alg string) string  { return fmt.Sprintf("**jwtauth** %s, token not cached", alg) }
func seenBefore(alg string) string { return fmt.Sprintf("**jwtauth** %s, cached token", alg) }
func bareCrypto(alg string) string { return fmt.Sprintf("bare %s verification", alg) }

// asymmetric returns the subjects of an asymmetric algorithm: its bare verification, which
// dwarfs all else, and this library without and with the cache.
func asymmetric(a algorithm) []subject {
	token := a.mint()
	return []subject{
		arithmetic(a, token),
		accepting(firstSeen(a.name()), ours(a, withoutCache()...), token),
		accepting(seenBefore(a.name()), ours(a), token),
	}
}
