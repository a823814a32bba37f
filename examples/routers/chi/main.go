// Command chi uses jwtauth in the groups of a chi router:
//
//	go run ./examples/routers/chi
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

	"github.com/go-chi/chi/v5"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// newHandler returns the routes of the program. The Auth must have the option
// WithContainer(container).
func newHandler(auth *jwtauth.Auth) http.Handler {
	router := chi.NewRouter()
	// Do not call router.Use. Such a middleware runs before chi has found a route, when
	// there is no container yet. Private would deny every request, and Public would
	// accept a token of any container.
	router.Route("/run/{container}", func(r chi.Router) {
		r.With(auth.Public).HandleFunc("/hello", run)
		r.Group(func(r chi.Router) {
			r.Use(auth.Private)
			r.HandleFunc("/notify", run)
		})
	})
	return router
}

// container returns the container of a request, decoded once. If a path has an unusual
// encoding, such as a%2Fb, chi matches r.URL.RawPath, and the parameters are still encoded.
// Otherwise chi matches r.URL.Path, and the parameters are already decoded. A second
// decoding would turn %2561 into "a". r.PathValue has the same values as chi.URLParam.
func container(r *http.Request) string {
	value := chi.URLParam(r, "container")
	if decoded, err := url.PathUnescape(value); err == nil && r.URL.RawPath != "" {
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
