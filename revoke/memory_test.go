package revoke_test

import (
	"testing"

	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
)

func TestMemoryIsAStore(t *testing.T) {
	jwtauthtest.TestRevocationStore(t, func(*testing.T) revoke.Store { return revoke.NewMemory() })
}
