package faults_test

import (
	"context"
	"database/sql"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/integration/internal/freeport"
	"github.com/joinednode/jwtauth/store/redisstore"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// server is a database server of one test, with its own folder. It keeps all data that it has
// confirmed.
type server struct {
	binary, port, dir string
	args              []string
	as                *syscall.Credential // the user of the process, nil for the user of the tests
	process           *exec.Cmd
	ended             chan struct{}
	connect           func(t *testing.T, port string) (service, error)
}

// start starts the server and waits until it answers. It retries, since a killed server may
// not have ended completely.
func (s *server) start(t *testing.T) {
	output, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if !assert.NoError(t, err) {
		return
	}
	defer output.Close()
	for range 100 {
		process, ended := exec.Command(s.binary, s.args...), make(chan struct{})
		process.Stdout, process.Stderr, process.Dir = output, output, s.dir
		// The server ends with the tests, even if they are killed.
		process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: s.as}
		if !assert.NoError(t, process.Start()) {
			return
		}
		go func() { _ = process.Wait(); close(ended) }()
		s.process, s.ended = process, ended
		if s.answers() {
			return
		}
		s.kill()
		time.Sleep(50 * time.Millisecond)
	}
	said, _ := os.ReadFile(output.Name())
	assert.Fail(t, s.binary+" does not start", "%s", said)
}

// answers waits until the server listens, or its process has ended.
func (s *server) answers() bool {
	for range 3000 {
		select {
		case <-s.ended:
			return false
		case <-time.After(10 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", "127.0.0.1:"+s.port); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// kill sends SIGKILL to the server.
func (s *server) kill() {
	_ = s.process.Process.Kill()
	<-s.ended
}

// service returns a new process that uses the server.
func (s *server) service(t *testing.T) (started service) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var err error
		started, err = s.connect(t, s.port)
		require.NoError(c, err)
	}, time.Minute, 50*time.Millisecond)
	return started
}

// binary finds a program. It looks first in the folder of PostgreSQL on Debian, so that all
// programs have the same version.
func binary(t *testing.T, name string) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1]
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	return path
}

func newServer(t *testing.T, s *server) *server {
	t.Helper()
	s.port = freeport.Port(t)
	// Another user could not read t.TempDir.
	var err error
	s.dir, err = os.MkdirTemp("", "faults")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if s.as != nil {
		require.NoError(t, os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)))
	}
	return s
}

// run starts the server, and stops it when the test ends.
func (s *server) run(t *testing.T) *server {
	t.Helper()
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func startRedis(t *testing.T) *server {
	t.Helper()
	s := newServer(t, &server{binary: binary(t, "redis-server")})
	s.args = []string{"--bind", "127.0.0.1", "--port", s.port, "--dir", s.dir, "--appendonly", "yes", "--appendfsync", "always", "--save", ""}
	s.connect = func(t *testing.T, port string) (service, error) {
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, ContextTimeoutEnabled: true})
		t.Cleanup(func() { client.Close() })
		store, err := redisstore.New(client)
		if err != nil {
			return service{}, err
		}
		return newService(t, store.Sessions(), store.Revocations())
	}
	return s.run(t)
}

// connectSQL connects, and creates missing tables.
func connectSQL(t *testing.T, driver, source string, d sqlstore.Dialect) (service, error) {
	db, err := sql.Open(driver, source)
	if err != nil {
		return service{}, err
	}
	db.SetMaxOpenConns(30)
	t.Cleanup(func() { db.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	store, err := sqlstore.New(db, d)
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err != nil {
		return service{}, err
	}
	return newService(t, store.Sessions(), store.Revocations())
}

func startPostgres(t *testing.T) *server {
	t.Helper()
	initdb := binary(t, "initdb")
	s := &server{binary: binary(t, "postgres")}
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		account, err := user.Lookup("postgres")
		require.NoError(t, err)
		uid, _ := strconv.ParseUint(account.Uid, 10, 32)
		gid, _ := strconv.ParseUint(account.Gid, 10, 32)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	newServer(t, s)
	setUp := exec.Command(initdb, "-D", filepath.Join(s.dir, "data"), "-A", "trust", "-U", "jwtauth", "-E", "UTF8", "--no-sync")
	setUp.SysProcAttr, setUp.Dir = &syscall.SysProcAttr{Credential: s.as}, s.dir
	out, err := setUp.CombinedOutput()
	require.NoError(t, err, "%s", out)
	s.args = []string{"-D", filepath.Join(s.dir, "data"), "-p", s.port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	s.connect = func(t *testing.T, port string) (service, error) {
		return connectSQL(t, "pgx", "postgres://jwtauth@127.0.0.1:"+port+"/postgres?sslmode=disable", sqlstore.Postgres)
	}
	return s.run(t)
}

func startMariaDB(t *testing.T) *server {
	t.Helper()
	install := binary(t, "mariadb-install-db")
	s := newServer(t, &server{binary: binary(t, "mariadbd")})
	account, err := user.Current()
	require.NoError(t, err)
	data := filepath.Join(s.dir, "data")
	setUp := exec.Command(install, "--no-defaults", "--user="+account.Username, "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	out, err := setUp.CombinedOutput()
	require.NoError(t, err, "%s", out)
	s.args = []string{"--no-defaults", "--user=" + account.Username, "--datadir=" + data, "--port=" + s.port, "--bind-address=127.0.0.1", "--socket=" + filepath.Join(s.dir, "socket"), "--skip-name-resolve"}
	s.connect = func(t *testing.T, port string) (service, error) {
		if err := execute("root@tcp(127.0.0.1:"+port+")/", "CREATE DATABASE IF NOT EXISTS jwtauth"); err != nil {
			return service{}, err
		}
		return connectSQL(t, "mysql", "root@tcp(127.0.0.1:"+port+")/jwtauth", sqlstore.MySQL)
	}
	return s.run(t)
}

func execute(source, query string) error {
	db, err := sql.Open("mysql", source)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(query)
	return err
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Discard what drivers log about the connections that the tests cut.
func hushDrivers() {
	redis.SetLogger(quiet{})
	_ = mysql.SetLogger(log.New(io.Discard, "", 0))
}
