package sqlstore_test

import (
	"testing"

	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

func TestSessions(t *testing.T) {
	each(t, append(databases, varied...), func(t *testing.T, d database) {
		d.dsn(t) // or skip
		jwtauthtest.TestSessionStore(t, func(t *testing.T) session.Store { return d.new(t).Sessions() })
	})
}

func TestRevocations(t *testing.T) {
	each(t, append(databases, varied...), func(t *testing.T, d database) {
		d.dsn(t) // or skip
		jwtauthtest.TestRevocationStore(t, func(t *testing.T) revoke.Store { return d.new(t).Revocations() })
	})
}
