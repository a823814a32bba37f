// Command gorilla uses jwtauth in the subrouters of gorilla/mux:
//
//	go run ./examples/routers/gorilla
package main

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/mux"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// newHandler returns the routes of the program. The Auth must have the option
// WithContainer(container).
func newHandler(auth *jwtauth.Auth) http.Handler {
	router := mux.NewRouter().
		// By default gorilla decodes a path before it looks for a route, so a%2Fb is two
		// segments.
		UseEncodedPath().
		// By default gorilla redirects a path such as /run//demo to the clean path. The
		// redirect repeats the query with its token.
		SkipClean(true)

	public := router.PathPrefix("/run/{container}").Subrouter()
	public.Use(auth.Public)
	public.HandleFunc("/hello", run)

	private := router.PathPrefix("/run/{container}").Subrouter()
	private.Use(auth.Private) // runs only for routes that match; other paths are 404
	private.HandleFunc("/notify", run)
	return router
}

// container returns the container of a request, decoded once. With UseEncodedPath the
// variables are always encoded. Without it they are already decoded, and container would
// be wrong.
func container(r *http.Request) string {
	value := mux.Vars(r)["container"]
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}

// run responds with what it sees of the request.
func run(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	claims, _ := jwtauth.FromContext(r.Context()) // the zero Claims if there is no token
	json.NewEncoder(w).Encode(map[string]string{
		"container": container(r), "caller": claims.Container, "body": string(body),
		"uri": r.RequestURI, "query": r.URL.RawQuery,
		"token": r.FormValue("token"), "channel": r.FormValue("channel"),
	})
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to serve on")
	flag.Parse()
	secret := make([]byte, 32) // for this run only; a service keeps its key in a file, with keys.LoadOrCreate
	rand.Read(secret)
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithContainer(container))
	if err != nil {
		log.Fatal(err)
	}
	token, err := auth.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl http://%[1]s/run/demo/hello\n"+
		"curl -H 'Authorization: Bearer %[2]s' http://%[1]s/run/demo/notify\n"+
		"curl 'http://%[1]s/run/demo/notify?token=%[2]s'\n", *addr, token)
	server := &http.Server{Addr: *addr, Handler: newHandler(auth), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}
