// Command gin uses jwtauth in the groups of a gin engine:
//
//	go run ./examples/routers/gin
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// newHandler returns the routes of the program. The Auth needs no option, since
// decodeParams sets r.PathValue, where jwtauth looks for the container by default.
func newHandler(auth *jwtauth.Auth) http.Handler {
	engine := gin.New()          // gin.Default logs queries with their tokens
	engine.UseEscapedPath = true // by default a%2Fb is two segments
	// With UnescapePathValues gin decodes a plus as a space. decodeParams does not.
	engine.UnescapePathValues = false
	// By default gin redirects a path with a slash at its end. The redirect repeats the token.
	engine.RedirectTrailingSlash = false
	engine.Use(decodeParams)

	engine.Group("/run/:container", wrap(auth.Public)).Any("/hello", run)
	// The handlers of a group run only for its routes. Any other path is 404, with or
	// without a token.
	engine.Group("/run/:container", wrap(auth.Private)).Any("/notify", run)
	return engine
}

// decodeParams decodes the parameters for both c.Param and r.PathValue, so that the handler
// uses the container that was checked. It must run only once per request, so it is a
// middleware of the engine. gin finds the route before it runs such a middleware.
func decodeParams(c *gin.Context) {
	for i, p := range c.Params {
		if decoded, err := url.PathUnescape(p.Value); err == nil {
			c.Params[i].Value = decoded
		}
		c.Request.SetPathValue(p.Key, c.Params[i].Value)
	}
}

// wrap turns a net/http middleware into a gin handler.
func wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r // has the claims, and no token in the URL
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort() // otherwise gin would run the handler after the denial
		}
	}
}

// run responds with what it sees of the request.
func run(c *gin.Context) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10))
	if err != nil {
		c.String(http.StatusBadRequest, "the body cannot be read")
		return
	}
	claims, _ := jwtauth.FromContext(c.Request.Context()) // the zero Claims if there is no token
	c.JSON(http.StatusOK, gin.H{
		"container": c.Param("container"), "caller": claims.Container, "body": string(body),
		"uri": c.Request.RequestURI, "query": c.Request.URL.RawQuery,
		"token": c.Query("token"), "channel": c.Query("channel"),
	})
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to serve on")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)
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
