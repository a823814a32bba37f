//go:build unix

package redisstore_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/store/redisstore"
)

func TestCheck_NamesWhatTheServerWouldLose(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		says []string // empty if nothing is wrong
	}{
		"as it should be":             {[]string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"}, nil},
		"without an append-only file": {[]string{"--appendonly", "no"}, []string{"appendonly is no", "should be yes"}},
		"written every second":        {[]string{"--appendonly", "yes", "--appendfsync", "everysec"}, []string{"appendfsync is everysec", "should be always"}},
		"a cache":                     {[]string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"}, []string{"maxmemory-policy is allkeys-lru", "should be noeviction", "revoked are accepted"}},
		"all of it":                   {[]string{"--appendonly", "no", "--maxmemory-policy", "volatile-ttl"}, []string{"appendonly is no", "maxmemory-policy is volatile-ttl"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, test.args...)
			db := apart(t, s.client(t))
			err := db.Check(t.Context())
			if test.says == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, redisstore.ErrUnsafe)
			for _, words := range test.says {
				require.ErrorContains(t, err, words)
			}
		})
	}
	t.Run("a cluster", func(t *testing.T) {
		db, err := redisstore.New(newCluster(t))
		require.NoError(t, err)
		err = db.Check(t.Context())
		require.ErrorIs(t, err, redisstore.ErrUnsafe)
	})
	t.Run("a server that is down", func(t *testing.T) {
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		defer client.Close()
		err := apart(t, client).Check(t.Context())
		require.Error(t, err)
		require.NotErrorIs(t, err, redisstore.ErrUnsafe)
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, apart(t, newServer(t).client(t)).Check(ctx))
	})
}
