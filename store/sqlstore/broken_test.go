package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/store/sqlstore"
)

var errBroken = errors.New("the connection broke")

// breaking is a database whose responses break off before the first row or after it. A real
// database cannot be made to do this.
type breaking struct{ rows int }

func (b *breaking) Connect(context.Context) (driver.Conn, error) { return b, nil }
func (b *breaking) Driver() driver.Driver                        { return nil }
func (b *breaking) Prepare(string) (driver.Stmt, error)          { return nil, errBroken }
func (b *breaking) Begin() (driver.Tx, error)                    { return nil, errBroken }
func (b *breaking) Close() error                                 { return nil }

func (b *breaking) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	switch {
	case strings.Contains(query, "last_n"):
		return &answer{row: []driver.Value{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", int64(9), int64(0)}, left: 1}, nil
	case strings.Contains(query, "kind"):
		return &answer{row: []driver.Value{int64(1), int64(1), []byte{}, []byte("id"), int64(0), int64(0)}, left: b.rows}, nil
	}
	return &answer{row: []driver.Value{"id", "alice", int64(1), int64(0), int64(1), int64(1), int64(0), int64(1), int64(1), int64(0), "", "", int64(0), int64(1)}, left: b.rows}, nil
}

type answer struct {
	row  []driver.Value
	left int
}

func (a *answer) Columns() []string { return make([]string, len(a.row)) }
func (a *answer) Close() error      { return nil }

func (a *answer) Next(row []driver.Value) error {
	if a.left == 0 {
		return errBroken
	}
	a.left--
	copy(row, a.row)
	return nil
}

// If a store took half a response for a whole one, a session would seem to be missing, or a
// list would skip a revocation.
func TestAnAnswerThatBreaksOffIsAnOutage(t *testing.T) {
	for rows := range 2 {
		db := sql.OpenDB(&breaking{rows})
		defer db.Close()
		store, err := sqlstore.New(db, sqlstore.SQLite)
		require.NoError(t, err)
		_, _, err = store.Sessions().Get(t.Context(), "alice", "id")
		require.ErrorIs(t, err, errBroken)
		_, err = store.Sessions().List(t.Context(), "alice", time.Now())
		require.ErrorIs(t, err, errBroken)
		_, err = store.Revocations().Since(t.Context(), "", 10)
		require.ErrorIs(t, err, errBroken)
	}
}
