// Package stores opens the store in which the examples keep sessions and revocations: a
// file, or a database that several processes share.
package stores

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/redisstore"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// Usage is the help text of the flag that names a store.
const Usage = "`URL` of the database that keeps sessions and revocations: postgres://, mysql:// or redis:// (default a SQLite file in -data)"

// Store is an open database.
type Store struct {
	Sessions    session.Store
	Revocations revoke.Store
	// Name describes the store, without passwords.
	Name  string
	Close func() error
}

// openTimeout is how long Open waits for a database.
const openTimeout = 10 * time.Second

// Open opens the database at the URL where. If where is "", it opens a SQLite file in the
// folder data. It creates missing tables.
func Open(ctx context.Context, where, data string) (*Store, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if where == "" {
		return openFile(ctx, filepath.Join(data, "jwtauth.db"))
	}
	u, err := url.Parse(where)
	if err != nil {
		return nil, errors.New("-store: this is not a URL") // without the value, which may contain a password
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		return openSQL(ctx, "pgx", where, sqlstore.Postgres, u.Redacted())
	case "mysql":
		source, err := dsn(u)
		if err != nil {
			return nil, err
		}
		return openSQL(ctx, "mysql", source, sqlstore.MySQL, u.Redacted())
	case "redis", "rediss":
		return openRedis(ctx, where, u.Redacted())
	}
	return nil, fmt.Errorf("-store: %q is not supported; use postgres://, mysql:// or redis://", u.Scheme)
}

// openFile opens a SQLite file that only this account can read, or creates it. Writers wait
// up to 5 seconds for each other. Confirmed writes survive a crash of the machine.
func openFile(ctx context.Context, path string) (*Store, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	settings := "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"
	return openSQL(ctx, "sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+settings, sqlstore.SQLite, path)
}

func openSQL(ctx context.Context, driver, source string, dialect sqlstore.Dialect, name string) (*Store, error) {
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	db.SetConnMaxIdleTime(time.Minute)
	store, err := sqlstore.New(db, dialect)
	if err == nil {
		err = store.Migrate(ctx)
	}
	if err == nil {
		err = warn(store.Check(ctx), sqlstore.ErrUnsafe)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", name, err), db.Close())
	}
	return &Store{Sessions: store.Sessions(), Revocations: store.Revocations(), Name: name, Close: db.Close}, nil
}

// warn logs err if it is the error unsafe, which means that the database may lose writes
// because of its settings. It returns any other error.
func warn(err, unsafe error) error {
	if errors.Is(err, unsafe) {
		slog.Warn("the database may lose confirmed writes", "error", err)
		return nil
	}
	return err
}

// dsn converts a URL to the form that MySQL's driver expects. The settings after the
// question mark are kept.
func dsn(u *url.URL) (string, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User = "tcp", u.Host, u.User.Username()
	// After its caller has given up, a statement still runs in the server. It must not wait
	// long for a locked row there.
	c.Params = map[string]string{"innodb_lock_wait_timeout": "5", "lock_wait_timeout": "5"}
	if u.Port() == "" {
		c.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.TrimPrefix(u.Path, "/")
	source := c.FormatDSN()
	if u.RawQuery != "" {
		source += "&" + u.RawQuery
	}
	if _, err := mysql.ParseDSN(source); err != nil {
		return "", fmt.Errorf("-store: %s: %w", u.Redacted(), err)
	}
	return source, nil
}

func openRedis(ctx context.Context, where, name string) (*Store, error) {
	opts, err := redis.ParseURL(where)
	if err != nil {
		return nil, errors.New("-store: " + name + " is not the URL of a Redis server")
	}
	opts.ContextTimeoutEnabled = true
	client := redis.NewClient(opts)
	store, err := redisstore.New(client)
	if err == nil {
		err = warn(store.Check(ctx), redisstore.ErrUnsafe)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", name, err), client.Close())
	}
	return &Store{Sessions: store.Sessions(), Revocations: store.Revocations(), Name: name, Close: client.Close}, nil
}
