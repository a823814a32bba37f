package revoke_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
)

func TestMemory_IsAStore(t *testing.T) {
	jwtauthtest.TestRevocationStore(t, func(*testing.T) revoke.Store { return revoke.NewMemory() })
}

func TestMemory_DropsWhatHasExpiredAsItGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := revoke.NewMemory()
		list := newList(t, log)
		for i := range 100 {
			require.NoError(t, list.RevokeToken(t.Context(), issuer, fmt.Sprint(i), time.Now().Add(time.Hour)))
			time.Sleep(time.Hour)
		}
		page, err := log.Since(t.Context(), "", 1000)
		require.NoError(t, err)
		require.Len(t, page.Entries, 2)
	})
}

func TestMemory_TwoListsOverItKnowAllAtOnce(t *testing.T) {
	log := revoke.NewMemory()
	first := newList(t, log)
	require.NoError(t, first.RevokeSubject(t.Context(), issuer, "before"))
	second := newList(t, log)
	for _, subject := range []string{"before", "after"} {
		token := issue(t, newAuth(t, first), "demo", subject)
		require.NoError(t, verdict(newAuth(t, second), token))
		require.NoError(t, first.RevokeSubject(t.Context(), issuer, subject))
		require.ErrorIs(t, verdict(newAuth(t, second), token), jwtauth.ErrRevoked)
	}
	require.Equal(t, revoke.Status{Ready: true, Entries: 2}, second.Status())
	require.Equal(t, time.Duration(-1), newList(t, newNetwork()).Status().Age)
}
