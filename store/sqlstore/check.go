package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// ErrUnsafe is returned by [DB.Check] if the database may lose what it has confirmed, or
// return less than it holds.
var ErrUnsafe = errors.New("sqlstore: unsafe settings")

// setting describes a setting of the database: which values are good, and what the others
// can cause.
type setting struct {
	name  string
	good  func(value string) bool
	right string // the value to recommend
	loses string // what a bad value can cause
}

func not(bad ...string) func(string) bool {
	return func(value string) bool {
		for _, b := range bad {
			if strings.EqualFold(value, b) {
				return false
			}
		}
		return true
	}
}

func is(good ...string) func(string) bool {
	return func(value string) bool { return !not(good...)(value) }
}

const losesRecent = "a crash loses sessions and revocations that were confirmed just before"

var settings = map[Dialect][]setting{
	SQLite: {
		{"synchronous", is("2", "3"), "FULL", losesRecent},
		{"journal_mode", not("off", "memory"), "WAL", "a crash may destroy the file"},
		{"busy_timeout", not("0"), "5000", "a writer fails at once if another one is writing, which is a 503"},
	},
	Postgres: {
		{"synchronous_commit", not("off"), "on", losesRecent},
		{"fsync", not("off"), "on", "a crash may destroy the database"},
		{"default_transaction_isolation", is("read committed"), "'read committed'", "concurrent requests for one session fail, which is a 503"},
	},
	MySQL: {
		{"innodb_flush_log_at_trx_commit", is("1"), "1", losesRecent},
		{"tx_isolation", not("READ-UNCOMMITTED"), "REPEATABLE-READ", "a list reads entries that may be rolled back, and misses others"},
		{"transaction_isolation", not("READ-UNCOMMITTED"), "REPEATABLE-READ", "a list reads entries that may be rolled back, and misses others"},
		{"sql_select_limit", is("18446744073709551615"), "DEFAULT", "a list reads only a part of the log, and accepts tokens that were revoked"},
	},
}

// Check returns an error if a setting lets the database lose what it has confirmed, or
// return less than it holds. Call it at the start, and log the error. The error is
// [ErrUnsafe], and names each setting, its value, the right value, and what would be
// lost. Any other error is an outage. Check reads the settings of one connection. Other
// connections may have different settings.
func (s *DB) Check(ctx context.Context) error {
	values, err := s.settings(ctx)
	if err != nil {
		return fmt.Errorf("sqlstore: Check: %w", err)
	}
	var errs []error
	for _, want := range settings[s.dialect] {
		if value, known := values[want.name]; known && !want.good(value) {
			errs = append(errs, fmt.Errorf("%w: %s is %s, and should be %s: %s", ErrUnsafe, want.name, value, want.right, want.loses))
		}
	}
	return errors.Join(errs...)
}

// settings returns the values of the settings that Check needs, by name. The map has no
// entry for a setting that this version of the database lacks.
func (s *DB) settings(ctx context.Context) (map[string]string, error) {
	values := map[string]string{}
	if s.dialect == SQLite {
		for _, want := range settings[SQLite] {
			var value string
			if err := s.db.QueryRowContext(ctx, "PRAGMA "+want.name).Scan(&value); err != nil {
				return nil, err
			}
			values[want.name] = value
		}
		return values, nil
	}
	var names []string
	for _, want := range settings[s.dialect] {
		names = append(names, "'"+want.name+"'")
	}
	query := "SELECT name, setting FROM pg_settings WHERE name IN (" + strings.Join(names, ", ") + ")"
	if s.dialect == MySQL {
		query = "SHOW VARIABLES WHERE Variable_name IN (" + strings.Join(names, ", ") + ")"
	}
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value sql.NullString
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		values[name] = value.String
	}
	return values, errors.Join(rows.Err(), rows.Close())
}
