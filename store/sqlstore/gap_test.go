package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/store/sqlstore"
)

// readings are what a database answers to one statement after the other: numbers of
// entries in a log. No database shows a gap on demand.
type readings struct{ all [][]int64 }

var errNoMore = errors.New("nobody expected another statement")

func (r *readings) Connect(context.Context) (driver.Conn, error) { return r, nil }
func (r *readings) Driver() driver.Driver                        { return nil }
func (r *readings) Prepare(string) (driver.Stmt, error)          { return nil, errNoMore }
func (r *readings) Begin() (driver.Tx, error)                    { return nil, errNoMore }
func (r *readings) Close() error                                 { return nil }

const logID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// QueryContext shows the next reading. Numbers below zero are those of another log.
func (r *readings) QueryContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Rows, error) {
	if len(r.all) == 0 {
		return nil, errNoMore
	}
	rows := &shown{id: logID}
	for _, n := range r.all[0] {
		if n < 0 {
			rows.id, n = logID[1:]+"A", -n
		}
		if limit := args[len(args)-1].Value.(int64); int64(len(rows.numbers)) < limit {
			rows.numbers = append(rows.numbers, n)
		}
	}
	r.all = r.all[1:]
	return rows, nil
}

type shown struct {
	id      string
	numbers []int64
	done    int
}

func (*shown) Columns() []string { return make([]string, 8) }
func (*shown) Close() error      { return nil }

func (s *shown) Next(row []driver.Value) error {
	if s.done == max(1, len(s.numbers)) {
		return io.EOF
	}
	row[0], row[1] = s.id, int64(1000)
	if len(s.numbers) > 0 {
		n := s.numbers[s.done]
		copy(row[2:], []driver.Value{n, int64(1), []byte{}, []byte(fmt.Sprint(n)), int64(0), int64(0)})
	}
	s.done++
	return nil
}

func TestAGapIsLookedAtTwice(t *testing.T) {
	const end = "/9"
	for _, c := range []struct {
		name   string
		cursor string
		shown  [][]int64
		want   []string
		at     int64
		more   bool
	}{
		{"no gap", "/0", [][]int64{{1, 2, 3}}, []string{"1", "2", "3"}, 3, false},
		{"nothing", end, [][]int64{{}}, nil, 9, false},
		{"the rest of a log", end, [][]int64{{10, 11}}, []string{"10", "11"}, 11, false},
		{"one was not shown", end, [][]int64{{10, 12}, {10, 11, 12}}, []string{"10", "11", "12"}, 12, false},
		{"the first was not shown", end, [][]int64{{11}, {10, 11}}, []string{"10", "11"}, 11, false},
		{"later ones wait, which may have a gap before them", end, [][]int64{{11}, {10, 11, 13}}, []string{"10", "11"}, 11, true},
		{"purged", end, [][]int64{{15, 17}, {15, 17}}, []string{"15", "17"}, 17, false},
		{"purged in between", end, [][]int64{{11, 12}, {12}}, []string{"12"}, 12, false},
		{"all purged in between", end, [][]int64{{11, 12}, {}}, nil, 9, false},
		{"more than the limit", end, [][]int64{{10, 11, 13, 14, 15}, {10, 11, 12, 13, 14, 15}}, []string{"10", "11", "12"}, 12, true},
		{"more than the limit, and the gap behind it", end, [][]int64{{10, 11, 12, 14}, {10, 11, 12, 13, 14}}, []string{"10", "11", "12"}, 12, true},
		{"another log in between", end, [][]int64{{10, 12}, {-1, -2}}, []string{"1", "2"}, 2, false},
		{"another log in between, with a gap", end, [][]int64{{10, 12}, {-1, -3}, {-1, -2, -3}}, []string{"1", "2", "3"}, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := &readings{all: c.shown}
			db := sql.OpenDB(script)
			defer db.Close()
			store, err := sqlstore.New(db, sqlstore.MySQL)
			require.NoError(t, err)
			part, err := store.Revocations().Since(t.Context(), logID+c.cursor, 3)
			require.NoError(t, err)
			var ids []string
			for _, e := range part.Entries {
				ids = append(ids, e.ID)
			}
			require.Equal(t, c.want, ids)
			require.Contains(t, part.Cursor, fmt.Sprint("/", c.at))
			require.Equal(t, c.more, part.More)
			require.Empty(t, script.all, "statements that were not needed")
		})
	}
}
