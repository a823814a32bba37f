// Command echo uses jwtauth in the groups of an echo router:
//
//	go run ./examples/routers/echo
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

	"github.com/labstack/echo/v4"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// newHandler returns the routes of the program. The Auth needs no option, since
// decodeParams sets r.PathValue, where jwtauth looks for the container by default.
func newHandler(auth *jwtauth.Auth) http.Handler {
	e := echo.New()
	// Do not call e.Pre. Such a middleware runs before echo has found a route.
	e.Use(decodeParams)

	e.Any("/run/:container/hello", run, echo.WrapMiddleware(auth.Public))
	// Unknown paths of the group are private, too. A client without a token gets 403, not 404.
	private := e.Group("/run/:container", echo.WrapMiddleware(auth.Private))
	private.Any("/notify", run)
	return e
}

// decodeParams decodes the parameters for both c.Param and r.PathValue, so that the handler
// uses the container that was checked. If a path has an unusual encoding, such as a%2Fb,
// echo matches r.URL.RawPath, and the parameters are still encoded. Otherwise echo matches
// r.URL.Path, and the parameters are already decoded. decodeParams must run only once per
// request, so it is a middleware of the whole router.
func decodeParams(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		values := c.ParamValues()
		for i, name := range c.ParamNames() {
			if decoded, err := url.PathUnescape(values[i]); err == nil && c.Request().URL.RawPath != "" {
				values[i] = decoded
			}
			c.Request().SetPathValue(name, values[i])
		}
		c.SetParamValues(values...)
		return next(c)
	}
}

// run responds with what it sees of the request.
func run(c echo.Context) error {
	r := c.Request()
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, 64<<10))
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "the body cannot be read")
	}
	claims, _ := jwtauth.FromContext(r.Context()) // the zero Claims if there is no token
	return c.JSON(http.StatusOK, map[string]string{
		"container": c.Param("container"), "caller": claims.Container, "body": string(body),
		"uri": r.RequestURI, "query": r.URL.RawQuery,
		"token": c.QueryParam("token"), "channel": c.QueryParam("channel"),
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
