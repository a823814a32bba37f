// Command servemux uses jwtauth with the handlers of http.ServeMux:
//
//	go run ./examples/routers/servemux
package main

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"path"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// newHandler returns the routes of the program. The Auth needs no option, since ServeMux
// decodes the container once and puts it into r.PathValue, where jwtauth looks for it by
// default.
func newHandler(auth *jwtauth.Auth) http.Handler {
	private := http.NewServeMux()
	private.HandleFunc("/run/{container}/notify", run)

	mux := http.NewServeMux()
	mux.Handle("/run/{container}/hello", auth.Public(http.HandlerFunc(run)))
	// A group is another ServeMux behind a pattern that names the container. Unknown paths
	// of the group are private, too. A client without a token gets 403, not 404.
	//
	// The pattern must not end in a slash. If it did, ServeMux would redirect /run/demo.
	mux.Handle("/run/{container}/{recipe}", auth.Private(private))
	return withoutRedirects(mux)
}

// withoutRedirects responds with 404 to a path with dot segments, empty segments or a last
// slash. ServeMux would redirect most such paths, and the redirect would repeat the query
// with its token.
func withoutRedirects(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Clean(r.URL.Path) != r.URL.Path {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
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
		"container": r.PathValue("container"), "caller": claims.Container, "body": string(body),
		"uri": r.RequestURI, "query": r.URL.RawQuery,
		"token": r.FormValue("token"), "channel": r.FormValue("channel"),
	})
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to serve on")
	flag.Parse()
	secret := make([]byte, 32) // for this run only; a service keeps its key in a file, with keys.LoadOrCreate
	rand.Read(secret)
	auth, err := jwtauth.New(keys.HS256(secret))
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
