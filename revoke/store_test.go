package revoke_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/revoke"
)

// An entry may have been written by a later version, or by hand. While the log has an
// entry that a list cannot use, no token is accepted.
func TestEntry_ThatIsNotValidFailsClosed(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for name, e := range map[string]revoke.Entry{
		"of an unknown kind":         {Kind: revoke.Access + 1, ID: "x", Expires: soon},
		"of no kind":                 {ID: "x", Expires: soon},
		"of a negative kind":         {Kind: -1, ID: "x", Expires: soon},
		"without an id":              {Kind: revoke.Token, Expires: soon},
		"of an epoch in nanoseconds": {Kind: revoke.Subject, ID: "x", Epoch: time.Now().UnixNano(), Expires: soon},
		"of an epoch without end":    {Kind: revoke.Subject, ID: "x", Epoch: math.MaxInt64, Expires: soon},
	} {
		t.Run(name, func(t *testing.T) {
			log := newNetwork()
			log.answer(revoke.Page{Entries: []revoke.Entry{e}, Cursor: "1"})
			list := newList(t, log)
			require.ErrorContains(t, list.Sync(t.Context()), "cannot use")
			require.False(t, list.Status().Ready)
			require.Error(t, revoke.NewMemory().Append(t.Context(), e))
		})
	}
}
