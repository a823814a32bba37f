//go:build unix

package redisstore_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// commands holds the rights that docs/past-one-machine.md gives to the ACL user of a
// service.
var commands = []any{
	"+eval", "+evalsha", "+exists", "+get", "+set", "+hget", "+hset", "+hdel", "+hmget", "+pexpireat", "+zadd", "+zrange", "+zrem",
	"+zremrangebyscore", "+zrevrange", "+xadd", "+xdel", "+xinfo|stream", "+xrange", "+time", "+info", "+config|get",
}

func TestEveryMethodIsAllowedByTheCommandsThatThePageNames(t *testing.T) {
	s := newServer(t, "--appendonly", "yes", "--appendfsync", "always")
	admin := s.client(t)
	rule := append([]any{"acl", "setuser", "app", "on", ">secret", "~*"}, commands...)
	require.NoError(t, admin.Do(t.Context(), rule...).Err())
	db := apart(t, s.client(t, func(o *redis.Options) { o.Username, o.Password = "app", "secret" }))
	row := sessionOf("alice")
	require.NoError(t, db.Sessions().Create(t.Context(), row))
	require.NoError(t, db.Revocations().Append(t.Context(), token("a")))
	_, cursor := readAll(t, db.Revocations(), "")
	for name, call := range calls(db, row, cursor) {
		require.NoError(t, call(t.Context()), name)
	}
	require.NoError(t, db.Revocations().Purge(t.Context(), time.Now()))
	require.NoError(t, db.Check(t.Context()))
}
