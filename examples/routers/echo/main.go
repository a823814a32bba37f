// Command echo has jwtauth in the groups of an echo router:
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

// newHandler needs no option of auth: decodeParams puts the container where
// jwtauth looks for it.
func newHandler(auth *jwtauth.Auth) http.Handler {
	e := echo.New()
	// Use, not Pre, which runs before echo has found a route.
	e.Use(decodeParams)

	e.Any("/run/:container/hello", run, echo.WrapMiddleware(auth.Public))
	// What the group does not know is private too: strangers get 403, not 404.
	private := e.Group("/run/:container", echo.WrapMiddleware(auth.Private))
	private.Any("/notify", run)
	return e
}

// decodeParams decodes the parameters for c.Param and r.PathValue alike, so that
// what is checked is what the handler sees. Where a path has a spelling of its
// own, such as a%2Fb, echo goes by r.URL.RawPath, and its parameters are still
// encoded; otherwise by r.URL.Path, and they are not. It stands at the top, since
// twice would be once too often.
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

// run answers with what it sees.
func run(c echo.Context) error {
	r := c.Request()
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, 64<<10))
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "the body cannot be read")
	}
	claims, _ := jwtauth.FromContext(r.Context()) // none for a stranger
	return c.JSON(http.StatusOK, map[string]string{
		"container": c.Param("container"), "caller": claims.Container, "body": string(body),
		"uri": r.RequestURI, "query": r.URL.RawQuery,
		"token": c.QueryParam("token"), "channel": c.QueryParam("channel"),
	})
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to serve on")
	flag.Parse()
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
