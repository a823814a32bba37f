//go:build unix

package redisstore_test

import (
	"testing"

	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/redisstore"
)

func conforms(t *testing.T, newDB func(t *testing.T) *redisstore.DB) {
	t.Run("sessions", func(t *testing.T) {
		jwtauthtest.TestSessionStore(t, func(t *testing.T) session.Store { return newDB(t).Sessions() })
	})
	t.Run("revocations", func(t *testing.T) {
		jwtauthtest.TestRevocationStore(t, func(t *testing.T) revoke.Store { return newDB(t).Revocations() })
	})
}

func TestConformance(t *testing.T) {
	t.Run("a server", func(t *testing.T) {
		client := newServer(t).client(t)
		conforms(t, func(t *testing.T) *redisstore.DB { return apart(t, client) })
	})
	t.Run("a cluster of three", func(t *testing.T) {
		client := newCluster(t)
		conforms(t, func(t *testing.T) *redisstore.DB { return apart(t, client) })
	})
	t.Run("the server that was given", func(t *testing.T) {
		client := givenClient(t)
		conforms(t, func(t *testing.T) *redisstore.DB { return cleaned(t, client) })
	})
}
