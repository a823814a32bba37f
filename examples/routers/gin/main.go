// Command gin has jwtauth in the groups of a gin engine:
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

// newHandler needs no option of auth: decodeParams puts the container where
// jwtauth looks for it.
func newHandler(auth *jwtauth.Auth) http.Handler {
	engine := gin.New()          // gin.Default logs queries as they came, token and all
	engine.UseEscapedPath = true // by default a%2Fb would be two segments
	// Gin decodes like a form, where a plus is a space: decodeParams does it.
	engine.UnescapePathValues = false
	// The redirect to the path without its last slash would repeat the token.
	engine.RedirectTrailingSlash = false
	engine.Use(decodeParams)

	engine.Group("/run/:container", wrap(auth.Public)).Any("/hello", run)
	// The handlers of a group run for routes that match; what does not exist is
	// 404 to everyone.
	engine.Group("/run/:container", wrap(auth.Private)).Any("/notify", run)
	return engine
}

// decodeParams decodes the parameters for c.Param and r.PathValue alike, so that
// what is checked is what the handler sees. It stands at the top, since twice
// would be once too often; gin has found the route by then.
func decodeParams(c *gin.Context) {
	for i, p := range c.Params {
		if decoded, err := url.PathUnescape(p.Value); err == nil {
			c.Params[i].Value = decoded
		}
		c.Request.SetPathValue(p.Key, c.Params[i].Value)
	}
}

// wrap makes a middleware of net/http one of gin's.
func wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r // with the claims, and without the token of the URL
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort() // or gin would run the handler behind the denial
		}
	}
}

// run answers with what it sees.
func run(c *gin.Context) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10))
	if err != nil {
		c.String(http.StatusBadRequest, "the body cannot be read")
		return
	}
	claims, _ := jwtauth.FromContext(c.Request.Context()) // none for a stranger
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
	secret := make([]byte, 32) // of this run; keys.LoadOrCreate keeps one
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
