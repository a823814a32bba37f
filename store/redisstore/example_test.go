package redisstore_test

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/joinednode/jwtauth/jwtauthtest"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
	"github.com/joinednode/jwtauth/store/redisstore"
)

func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"}) // sends nothing yet
	defer client.Close()
	db, err := redisstore.New(client, redisstore.WithPrefix("my-service:"))
	if err != nil {
		fmt.Println(err)
		return
	}
	list, err := revoke.New(db.Revocations()) // a service also starts list.Run
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = session.New(jwtauthtest.Key(), db.Sessions(), session.WithRevocations(list))
	fmt.Println(err)
	// Output: <nil>
}
