//go:build unix

package redisstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/store/redisstore"
)

// given is the URL of a server that the tests use besides the servers that they start, or
// "". The server may hold other data. The tests use keys with a random prefix there, and
// delete them.
var given = os.Getenv("JWTAUTH_TEST_REDIS")

// quiet is a logger that drops the lines of go-redis about servers that the tests have
// killed.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	os.Exit(m.Run())
}

// patience is how long a response may take on a slow machine. With a shorter ReadTimeout, a
// client might send Append twice, which makes two entries.
const patience = time.Minute

// server is a redis-server that belongs to one test.
type server struct {
	addr    string
	args    []string
	process *exec.Cmd
	output  bytes.Buffer
}

func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if given == "" {
			t.Skip("there is no redis-server in the PATH, and JWTAUTH_TEST_REDIS is not set")
		}
		t.Skip("this test needs a server of its own, and there is no redis-server in the PATH")
	}
	port := freePort(t)
	s := &server{addr: "127.0.0.1:" + port}
	s.args = append([]string{
		binary, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--appendonly", "no",
		"--maxmemory-policy", "noeviction", "--maxmemory", "200mb",
	}, args...)
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

// freePort returns a port below the range from which systems give ports to clients (RFC
// 6335), so that no client takes the port before the server does.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(15000 + mathrand.IntN(17000))
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			require.NoError(t, listener.Close())
			return port
		}
	}
	require.Fail(t, "no port is free")
	return ""
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.process = exec.Command(s.args[0], s.args[1:]...)
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	s.process.SysProcAttr = endsWithTests()
	require.NoError(t, s.process.Start())
	client := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	defer client.Close()
	for end := time.Now().Add(patience); client.Ping(t.Context()).Err() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.kill()
			require.Fail(t, "redis-server does not answer", s.output.String())
		}
	}
}

// kill ends the server's process without a shutdown.
func (s *server) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func (s *server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, s.process.Process.Signal(signal))
}

// client returns a client of the server. change may change its options.
func (s *server) client(t *testing.T, change ...func(o *redis.Options)) *redis.Client {
	t.Helper()
	o := &redis.Options{Addr: s.addr, ReadTimeout: patience}
	for _, change := range change {
		change(o)
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { client.Close() })
	return client
}

// newCluster returns a client of a cluster with three masters.
func newCluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	const nodes, slots = 3, 16384
	var clients [nodes]*redis.Client
	var addrs, ports, buses []string
	for i := range nodes {
		bus := freePort(t)
		s := newServer(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-config-file", filepath.Join(t.TempDir(), "nodes.conf"))
		_, port, err := net.SplitHostPort(s.addr)
		require.NoError(t, err)
		clients[i], addrs, ports, buses = s.client(t), append(addrs, s.addr), append(ports, port), append(buses, bus)
		require.NoError(t, clients[i].Do(t.Context(), "cluster", "set-config-epoch", i+1).Err())
		require.NoError(t, clients[i].ClusterAddSlotsRange(t.Context(), i*slots/nodes, (i+1)*slots/nodes-1).Err())
	}
	for i := range nodes - 1 {
		require.NoError(t, clients[i].Do(t.Context(), "cluster", "meet", "127.0.0.1", ports[i+1], buses[i+1]).Err())
	}
	require.Eventually(t, func() bool {
		for _, client := range clients {
			info, err := client.ClusterInfo(t.Context()).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprint("cluster_known_nodes:", nodes)) {
				return false
			}
		}
		return true
	}, time.Minute, 50*time.Millisecond, "the nodes must become a cluster")
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ReadTimeout: patience})
	t.Cleanup(func() { client.Close() })
	return client
}

func open(t *testing.T, client redis.UniversalClient, opts ...redisstore.Option) *redisstore.DB {
	t.Helper()
	db, err := redisstore.New(client, opts...)
	require.NoError(t, err)
	return db
}

// apart returns stores with a random prefix, so that they share nothing with other stores.
func apart(t *testing.T, client redis.UniversalClient) *redisstore.DB {
	t.Helper()
	return open(t, client, redisstore.WithPrefix("jwtauth-test:"+rand.Text()+":"))
}

// givenClient returns a client of the server in JWTAUTH_TEST_REDIS.
func givenClient(t *testing.T) *redis.Client {
	t.Helper()
	if given == "" {
		t.Skip("JWTAUTH_TEST_REDIS is not set")
	}
	options, err := redis.ParseURL(given)
	require.NoError(t, err, "JWTAUTH_TEST_REDIS")
	options.ReadTimeout = patience
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	require.NoError(t, client.Ping(t.Context()).Err(), "the server in JWTAUTH_TEST_REDIS must respond")
	return client
}

// cleaned returns stores like those of apart, and deletes their keys after the test.
func cleaned(t *testing.T, client *redis.Client) *redisstore.DB {
	t.Helper()
	prefix := "jwtauth-test:" + rand.Text() + ":"
	t.Cleanup(func() {
		ctx := context.Background()
		for keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator(); keys.Next(ctx); {
			client.Del(ctx, keys.Val())
		}
	})
	return open(t, client, redisstore.WithPrefix(prefix))
}
