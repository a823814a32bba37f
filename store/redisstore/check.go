package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ErrUnsafe is returned by [DB.Check] if the server may lose what it has confirmed.
var ErrUnsafe = errors.New("redisstore: unsafe settings")

// Check returns an error if a setting of the server, or of any master of a cluster, lets
// it lose what it has confirmed. Call it at the start, and log the error. The error is
// [ErrUnsafe], and names each setting, its value, the right value, and what would be
// lost. Any other error is an outage. Check calls INFO and, where allowed, CONFIG GET.
func (db *DB) Check(ctx context.Context) error {
	var mu sync.Mutex // ForEachMaster calls check concurrently
	var errs []error
	check := func(ctx context.Context, server *redis.Client) error {
		bad, err := unsafe(ctx, server)
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, bad...)
		return err
	}
	var err error
	switch client := db.client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, check)
	case *redis.Client:
		err = check(ctx, client)
	}
	if err != nil {
		return fmt.Errorf("redisstore: Check: %w", err)
	}
	return errors.Join(errs...)
}

// unsafe returns an error for each setting with which a server may lose writes.
func unsafe(ctx context.Context, client *redis.Client) (bad []error, err error) {
	info := map[string]string{}
	for _, section := range []string{"memory", "persistence"} {
		text, err := client.Info(ctx, section).Result()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				info[name] = value
			}
		}
	}
	wrong := func(name, value, right, loses string) {
		bad = append(bad, fmt.Errorf("%w of %s: %s is %s, and should be %s: %s", ErrUnsafe, client.Options().Addr, name, value, right, loses))
	}
	if policy, known := info["maxmemory_policy"]; known && policy != "noeviction" {
		wrong("maxmemory-policy", policy, "noeviction", "a server that is full forgets revocations, and tokens that were revoked are accepted")
	}
	if info["aof_enabled"] != "1" {
		wrong("appendonly", "no", "yes", "a restart loses sessions and revocations since the last snapshot, or all of them")
	} else if fsync, err := client.ConfigGet(ctx, "appendfsync").Result(); err == nil && fsync["appendfsync"] != "always" {
		wrong("appendfsync", fsync["appendfsync"], "always", "a crash loses sessions and revocations of the last second or two")
	}
	return bad, nil
}
