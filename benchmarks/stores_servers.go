package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// place is where stores can be: a file, or a server named by the environment.
type place struct {
	name     string
	variable string // the environment variable with its address
	at       string // its address, or "" if the variable is not set
	open     func(ctx context.Context, p place) (*opened, error)

	// The names of the floors that are measured there.
	bareWrite, bareRefresh, bareAsk string

	extra []string // the names of further lines: this library with other settings

	driver  string // the driver's name in database/sql
	module  string
	dialect sqlstore.Dialect
	prefix  string // of all names in the stores; different in each run
}

// opened is a place with its two open stores.
type opened struct {
	about       string
	sessions    session.Store
	revocations revoke.Store
	bare        func(ctx context.Context) (bare, error)
	extra       func(ctx context.Context, private ed25519.PrivateKey) []line
	close       func() error
}

func newID() string { return rand.Text() }

// mostConnections is the number of workers, so that no connection is opened while the
// time is measured.
const mostConnections = 8

const (
	bareSQLWrite   = "floor: a bare prepared UPDATE"
	bareSQLRefresh = "floor: a bare SELECT and UPDATE, prepared, and the signatures"
	bareSQLAsk     = "floor: a bare prepared SELECT 1"
	bareLuaWrite   = "floor: a bare EVALSHA of the same size"
	bareLuaRefresh = "floor: two bare EVALSHA of the same sizes and the signatures"
	bareLuaAsk     = "floor: a bare PING"

	threeTrips = ", without interpolateParams"
)

// places returns a SQLite file in dir, and the servers that the tests' environment
// variables name.
func places(dir string) []place {
	inSQL := place{open: openSQL, bareWrite: bareSQLWrite, bareRefresh: bareSQLRefresh, bareAsk: bareSQLAsk}
	file, postgres, maria := inSQL, inSQL, inSQL
	file.name, file.dialect, file.driver, file.module = "SQLite", sqlstore.SQLite, "sqlite", "modernc.org/sqlite"
	file.at = "file:" + filepath.Join(dir, "stores.db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	postgres.name, postgres.dialect, postgres.driver, postgres.module = "PostgreSQL", sqlstore.Postgres, "pgx", "github.com/jackc/pgx/v5"
	postgres.variable = "JWTAUTH_TEST_POSTGRES"
	maria.name, maria.dialect, maria.driver, maria.module = "MySQL", sqlstore.MySQL, "mysql", "github.com/go-sql-driver/mysql"
	maria.variable, maria.extra = "JWTAUTH_TEST_MYSQL", []string{advancing + threeTrips, refreshingThere + threeTrips}
	all := []place{file, postgres, maria, {
		name: "Redis", variable: "JWTAUTH_TEST_REDIS", open: openRedis, module: "github.com/redis/go-redis/v9",
		bareWrite: bareLuaWrite, bareRefresh: bareLuaRefresh, bareAsk: bareLuaAsk,
	}}
	for i := range all {
		if all[i].variable != "" {
			all[i].at = os.Getenv(all[i].variable)
		}
		all[i].prefix = "b" + strings.ToLower(rand.Text()) + "_"
	}
	return all
}

// openDB opens a database as the documentation of sqlstore recommends.
func (p place) openDB(interpolate bool) (*sql.DB, error) {
	at := p.at
	if p.dialect == sqlstore.MySQL {
		c, err := mysql.ParseDSN(at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.variable, err)
		}
		c.InterpolateParams = interpolate
		at = c.FormatDSN()
	}
	db, err := sql.Open(p.driver, at)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(mostConnections)
	db.SetMaxIdleConns(mostConnections)
	return db, nil
}

func openSQL(ctx context.Context, p place) (*opened, error) {
	db, err := p.openDB(true)
	if err != nil {
		return nil, err
	}
	store := must(sqlstore.New(db, p.dialect, sqlstore.WithPrefix(p.prefix)))
	o := &opened{sessions: store.Sessions(), revocations: store.Revocations(), extra: func(context.Context, ed25519.PrivateKey) []line { return nil }}
	var other *sql.DB
	o.close = func() error {
		var errs []error
		for _, table := range []string{"sessions", "revocations", "log", "meta"} {
			_, err := db.Exec("DROP TABLE IF EXISTS " + p.prefix + table)
			errs = append(errs, err)
		}
		if other != nil {
			errs = append(errs, other.Close())
		}
		return errors.Join(append(errs, db.Close())...)
	}
	err = store.Migrate(ctx)
	if err == nil {
		o.about, err = aboutDB(ctx, p, db)
	}
	if err == nil && p.dialect == sqlstore.MySQL {
		other, err = p.openDB(false)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.bare = bareSQL(db, p, o.sessions)
	if other != nil {
		sessions := must(sqlstore.New(other, p.dialect, sqlstore.WithPrefix(p.prefix))).Sessions()
		o.extra = func(ctx context.Context, private ed25519.PrivateKey) []line {
			return []line{
				{advancing + threeTrips, func() (step, error) { return advances(ctx, sessions) }},
				{refreshingThere + threeTrips, func() (step, error) { return refreshesIn(ctx, sessions, private) }},
			}
		}
	}
	return o, nil
}

// aboutDB returns the settings that decide about the cost of a write, and the version.
func aboutDB(ctx context.Context, p place, db *sql.DB) (string, error) {
	query := map[sqlstore.Dialect]string{
		sqlstore.SQLite:   "SELECT sqlite_version() || ', WAL, synchronous=FULL'",
		sqlstore.Postgres: "SELECT current_setting('server_version') || ', synchronous_commit=' || current_setting('synchronous_commit')",
		sqlstore.MySQL:    "SELECT CONCAT(VERSION(), ', innodb_flush_log_at_trx_commit=', @@innodb_flush_log_at_trx_commit, ', by interpolateParams=true')",
	}[p.dialect]
	var about string
	err := db.QueryRowContext(ctx, query).Scan(&about)
	return fmt.Sprintf("%s, by %s %s", about, p.module, version(p.module)), err
}

// bareSQL prepares the simplest statements that read and write a row. They select the row
// only by its key, and write the same columns as the store.
func bareSQL(db *sql.DB, p place, store session.Store) func(ctx context.Context) (bare, error) {
	const columns = "id, subject, gen, created, rotated, idle_exp, max_exp, revoked_at, reason, label"
	table := p.prefix + "sessions"
	read, write := "SELECT "+columns+" FROM "+table+" WHERE id = ?", "UPDATE "+table+" SET gen = ?, rotated = ?, idle_exp = ? WHERE id = ?"
	if p.dialect == sqlstore.Postgres {
		read, write = "SELECT "+columns+" FROM "+table+" WHERE id = $1", "UPDATE "+table+" SET gen = $1, rotated = $2, idle_exp = $3 WHERE id = $4"
	}
	return func(ctx context.Context) (bare, error) {
		row := newSession()
		reading, err1 := db.PrepareContext(ctx, read)
		writing, err2 := db.PrepareContext(ctx, write)
		asking, err3 := db.PrepareContext(ctx, "SELECT 1")
		gen := row.Generation
		return bare{
			read: func() error {
				var id, subject, reason, label string
				var gen, created, rotated, idle, most, revoked int64
				return reading.QueryRowContext(ctx, row.ID).
					Scan(&id, &subject, &gen, &created, &rotated, &idle, &most, &revoked, &reason, &label)
			},
			write: func() error {
				now := time.Now()
				gen++
				done, err := writing.ExecContext(ctx, gen, now.UnixMicro(), idle(now).UnixMicro(), row.ID)
				if err != nil {
					return err
				}
				n, err := done.RowsAffected()
				if err == nil && n != 1 {
					err = errLost
				}
				return err
			},
			ask: func() error {
				var one int
				return asking.QueryRowContext(ctx).Scan(&one)
			},
		}, errors.Join(err1, err2, err3, store.Create(ctx, row))
	}
}

func openRedis(ctx context.Context, p place) (*opened, error) {
	options, err := redis.ParseURL(p.at)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.variable, err)
	}
	options.ContextTimeoutEnabled = true // as the store's documentation recommends
	options.PoolSize, options.MinIdleConns = mostConnections, mostConnections
	client := redis.NewClient(options)
	db := must(redisstore.New(client, redisstore.WithPrefix(p.prefix)))
	o := &opened{sessions: db.Sessions(), revocations: db.Revocations()}
	o.bare = func(ctx context.Context) (bare, error) { return bareRedis(ctx, options, client, p.prefix) }
	o.extra = func(context.Context, ed25519.PrivateKey) []line { return nil }
	o.close = func() error {
		ctx := context.Background()
		var errs []error
		keys := client.Scan(ctx, 0, p.prefix+"*", 1000).Iterator()
		for keys.Next(ctx) {
			errs = append(errs, client.Del(ctx, keys.Val()).Err())
		}
		return errors.Join(append(errs, keys.Err(), client.Close())...)
	}
	about, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.about = fmt.Sprintf("%s, by %s %s", about["Server"]["redis_version"], p.module, version(p.module))
	// Not every server allows CONFIG GET.
	if config, err := client.ConfigGet(ctx, "append*").Result(); err == nil {
		o.about += fmt.Sprintf(", appendonly=%s, appendfsync=%s", config["appendonly"], config["appendfsync"])
	}
	return o, nil
}

// The bare scripts take the same arguments as the store's: subject, op, ID, the previous
// generation, the next one, rotated, idle and now.
const (
	bareScript = `
redis.call('HMGET', KEYS[1], 'sub', 'gen', 'idle', 'max', 'revoked', 'op', 'until')
redis.call('HSET', KEYS[1], 'op', ARGV[2], 'gen', ARGV[5], 'rotated', ARGV[6], 'idle', ARGV[7])
return 1
`
	bareReadScript = `
return redis.call('HMGET', KEYS[1], 'sub', 'gen', 'created', 'rotated', 'idle', 'max', 'revoked', 'reason', 'label')
`
)

// overheard records what the store sends, so that the floors can have the same size. It
// makes the client believe that the server does not know the script, so that the client
// sends the whole script.
type overheard struct{ sent [][]any }

type unknownScript struct{}

func (unknownScript) Error() string { return "NOSCRIPT of this client's own making" }
func (unknownScript) RedisError()   {}

func (*overheard) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*overheard) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (o *overheard) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		switch cmd.Name() {
		case "evalsha":
			cmd.SetErr(unknownScript{})
			return unknownScript{}
		case "eval":
			o.sent = append(o.sent, slices.Clone(cmd.Args()))
		}
		return next(ctx, cmd)
	}
}

// sized is a script padded to the length of the recorded one, with its keys and
// arguments.
type sized struct {
	sha  string
	keys []string
	args []any
}

func sizeUp(ctx context.Context, client *redis.Client, script string, sent []any) (sized, error) {
	text, isText := sent[1].(string)
	n, isNumber := sent[2].(int)
	if !isText || !isNumber || len(text) < len(script)+len("--\n") {
		return sized{}, errors.New("the store sent no script, or one that is shorter than the floor's")
	}
	script += "--" + strings.Repeat("-", len(text)-len(script)-len("--\n")) + "\n"
	s := sized{args: sent[3+n:]}
	for _, key := range sent[3 : 3+n] {
		s.keys = append(s.keys, fmt.Sprint(key))
	}
	var err error
	s.sha, err = client.ScriptLoad(ctx, script).Result()
	return s, err
}

// bareRedis creates a session with the store, records how the store reads and advances
// it, and does similar work with as many bytes.
func bareRedis(ctx context.Context, options *redis.Options, client *redis.Client, prefix string) (bare, error) {
	o := &overheard{}
	own := *options
	own.MinIdleConns = 0
	hooked := redis.NewClient(&own)
	defer hooked.Close()
	hooked.AddHook(o)
	store := must(redisstore.New(hooked, redisstore.WithPrefix(prefix))).Sessions()
	row := newSession()
	err := store.Create(ctx, row)
	next := row
	next.Generation++
	won, err1 := store.Advance(ctx, row, next, time.Now())
	_, found, err2 := store.Get(ctx, row.Subject, row.ID)
	if err := errors.Join(err, err1, err2); err != nil {
		return bare{}, err
	}
	if !won || !found || len(o.sent) != 3 {
		return bare{}, fmt.Errorf("the store must create, advance and read a session with 3 scripts, but it sent %d", len(o.sent))
	}
	write, err1 := sizeUp(ctx, client, bareScript, o.sent[1])
	read, err2 := sizeUp(ctx, client, bareReadScript, o.sent[2])
	if err := errors.Join(err1, err2); err != nil {
		return bare{}, err
	}
	return bare{
		read: func() error {
			fields, err := client.EvalSha(ctx, read.sha, read.keys, read.args...).Slice()
			if err == nil && (len(fields) != 9 || fields[0] != subjectOf) {
				err = errFloor
			}
			return err
		},
		write: func() error {
			n, err := client.EvalSha(ctx, write.sha, write.keys, write.args...).Int()
			if err == nil && n != 1 {
				err = errFloor
			}
			return err
		},
		ask: func() error { return client.Ping(ctx).Err() },
	}, nil
}

// sqlLog and redisLog open the log of a follower. It ends with its process.
func sqlLog(p place) (revoke.Store, error) {
	db, err := p.openDB(true)
	if err != nil {
		return nil, err
	}
	store, err := sqlstore.New(db, p.dialect, sqlstore.WithPrefix(p.prefix))
	if err != nil {
		return nil, err
	}
	return store.Revocations(), nil
}

func redisLog(p place) (revoke.Store, error) {
	options, err := redis.ParseURL(p.at)
	if err != nil {
		return nil, err
	}
	store, err := redisstore.New(redis.NewClient(options), redisstore.WithPrefix(p.prefix))
	if err != nil {
		return nil, err
	}
	return store.Revocations(), nil
}
