package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// Names of the subjects with which sessions are compared.
const (
	requiring   = "**jwtauth** Manager.Require, cached token"
	privately   = "**jwtauth** Private with an empty list, cached token"
	refreshing  = "**jwtauth** Manager.Refresh, EdDSA, in memory"
	signedTwice = "floor: two bare EdDSA signatures"
	checkedOnce = "floor: two bare EdDSA signatures and a verification"
)

// sessions returns the subjects for calls and refreshes. Private has a list as a Manager
// does, so that logout ends access tokens.
func sessions() []subject {
	a := hs256()
	manager := must(session.New(a.key, session.NewMemory()))
	pair := must(manager.Login(context.Background(), subjectOf))
	list := must(revoke.New(revoke.NewMemory()))
	private := must(jwtauth.New(a.key, jwtauth.WithAnyContainer(), jwtauth.WithTypes(session.AccessType), jwtauth.WithRevocations(list)))
	return append([]subject{
		accepting(privately, middleware{wrap: private.Private}, pair.AccessToken),
		accepting(requiring, middleware{wrap: manager.Require}, pair.AccessToken),
	}, refreshes()...)
}

// refreshes returns subjects that sign with the same key: a message as long as the
// token's, and a Manager's refresh.
func refreshes() []subject {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	clock := &leaping{at: time.Now()}
	manager := must(session.New(keys.Signer(private), session.NewMemory(), session.WithClock(clock.now)))
	pair := must(manager.Login(context.Background(), subjectOf))
	message := []byte(pair.RefreshToken[:len(pair.RefreshToken)-87])
	signature := ed25519.Sign(private, message)
	return []subject{
		{name: refreshing, run: func(b *testing.B) error {
			for b.Loop() {
				var err error
				clock.leap()
				if pair, err = manager.Refresh(context.Background(), pair.RefreshToken); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: signedTwice, run: func(b *testing.B) error {
			for b.Loop() {
				ed25519.Sign(private, message)
				ed25519.Sign(private, message)
			}
			return nil
		}},
		{name: checkedOnce, run: func(b *testing.B) error {
			for b.Loop() {
				ed25519.Sign(private, message)
				ed25519.Sign(private, message)
				if !ed25519.Verify(public, message, signature) {
					return errFloor
				}
			}
			return nil
		}},
	}
}

func measureSessions(s settings, stdout, stderr io.Writer) (results, error) {
	fmt.Fprintln(stderr, "sessions")
	all := sessions()
	r, err := measure(stderr, s.rounds, all)
	if err != nil {
		return nil, err
	}
	printTable(stdout, "Sessions", r, all, base{"against Private", privately}, base{"against two signatures", signedTwice})
	return r, nil
}

func sessionTargets(r results) []target {
	return []target{
		atMost("Require against Private", 1.05, r.ratio(requiring, privately)),
		atMost("a refresh in memory against two bare signatures and a verification", 1.3, r.ratio(refreshing, checkedOnce)).
			beside("against two signatures: %s", times(r.ratio(refreshing, signedTwice))),
	}
}
