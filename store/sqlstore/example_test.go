package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/sqlstore"
)

// This example uses pgx, which a program imports like this:
//
//	import _ "github.com/jackc/pgx/v5/stdlib"
func Example() {
	ctx := context.Background()
	db, err := sql.Open("pgx", "postgres://auth@db.example.com/auth")
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := sqlstore.New(db, sqlstore.Postgres)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Migrate(ctx); err != nil {
		fmt.Println(err)
		return
	}
	list, err := revoke.New(store.Revocations())
	if err != nil {
		fmt.Println(err)
		return
	}
	go list.Run(ctx)
	sessions, err := session.New(jwtauthtest.Key(), store.Sessions(), session.WithRevocations(list))
	if err != nil {
		fmt.Println(err)
		return
	}
	go sessions.Run(ctx)
}

func ExampleNew() {
	var db *sql.DB // a mistake: sql.Open was not called
	_, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.WithPrefix("Auth-"))
	fmt.Println(err)
	// Output:
	// sqlstore: New: the *sql.DB is nil; open one with sql.Open
	// WithPrefix("Auth-"): it must be 1 to 40 of a-z, 0-9 and _, such as "jwtauth_"
}
