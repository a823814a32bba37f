package revoke_test

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

func TestNew_RefusesWrongOptions(t *testing.T) {
	for name, test := range map[string]struct {
		store revoke.Store
		opts  []revoke.Option
		want  string
	}{
		"no store":             {nil, nil, "revoke.NewMemory()"},
		"a nil option":         {revoke.NewMemory(), []revoke.Option{nil}, "option 1 is nil"},
		"no lifetime":          {revoke.NewMemory(), []revoke.Option{revoke.WithMaxLifetime(0)}, "WithMaxLifetime(0s)"},
		"an endless lifetime":  {revoke.NewMemory(), []revoke.Option{revoke.WithMaxLifetime(math.MaxInt64)}, "WithMaxLifetime("},
		"an endless skew":      {revoke.NewMemory(), []revoke.Option{revoke.WithSkew(math.MaxInt64)}, "WithSkew("},
		"endless staleness":    {revoke.NewMemory(), []revoke.Option{revoke.WithStaleness(math.MaxInt64)}, "WithStaleness("},
		"no staleness":         {revoke.NewMemory(), []revoke.Option{revoke.WithStaleness(0)}, "WithStaleness(0s)"},
		"no interval":          {revoke.NewMemory(), []revoke.Option{revoke.WithInterval(0)}, "WithInterval(0s)"},
		"a negative skew":      {revoke.NewMemory(), []revoke.Option{revoke.WithSkew(-1)}, "WithSkew(-1ns)"},
		"no clock":             {revoke.NewMemory(), []revoke.Option{revoke.WithClock(nil)}, "WithClock"},
		"no logger":            {revoke.NewMemory(), []revoke.Option{revoke.WithLogger(nil)}, "WithLogger"},
		"an interval too long": {revoke.NewMemory(), []revoke.Option{revoke.WithInterval(time.Second), revoke.WithStaleness(3 * time.Second)}, "at most a quarter"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := revoke.New(test.store, test.opts...)
			require.ErrorContains(t, err, "revoke: New: ")
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestWithMaxLifetime_RefusesAnAuthWhoseTokensOutliveTheList(t *testing.T) {
	list := newList(t, revoke.NewMemory(), revoke.WithMaxLifetime(time.Hour))
	_, err := jwtauth.New(keys.HS256(secret), jwtauth.WithRevocations(list))
	require.ErrorContains(t, err, "keeps revocations for 1h0m0s, but tokens may live 240h0m0s")
	_, err = jwtauth.New(keys.HS256(secret), jwtauth.WithRevocations(list), jwtauth.WithTTL(time.Hour), jwtauth.WithMaxLifetime(time.Hour))
	require.NoError(t, err)
}

func TestInsecureAcceptStale_ServesWhileTheLogCannotBeRead(t *testing.T) {
	inFleetAccepting := func(test func(t *testing.T, list *revoke.List, n *network)) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			test(t, newList(t, n, revoke.InsecureAcceptStale()), n)
		})
	}
	inFleetAccepting(func(t *testing.T, list *revoke.List, n *network) {
		auth := newAuth(t, list)
		token, other := issue(t, auth, "demo", "alice"), issue(t, auth, "demo", "bob")
		require.NoError(t, verdict(auth, token), "the list has never read its log")
		require.NoError(t, list.Sync(t.Context()))
		require.NoError(t, list.RevokeSubject(t.Context(), issuer, "alice"))
		n.fail(errors.New("down"))
		time.Sleep(time.Hour)
		require.NoError(t, verdict(auth, other))
		require.ErrorIs(t, verdict(auth, token), jwtauth.ErrRevoked, "a revocation that the list knows must count during the outage")
	})
}
