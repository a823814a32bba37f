package main

import (
	"context"
	"net/http"

	ginjwt "github.com/appleboy/gin-jwt/v2"
	jwtmiddleware "github.com/auth0/go-jwt-middleware/v3"
	"github.com/auth0/go-jwt-middleware/v3/validator"
	cristal "github.com/cristalhq/jwt/v5"
	"github.com/gin-gonic/gin"
	chijwtauth "github.com/go-chi/jwtauth/v5"
	"github.com/golang-jwt/jwt/v5"
	echojwt "github.com/labstack/echo-jwt/v4"
	"github.com/labstack/echo/v4"
	"github.com/lestrrat-go/jwx/v2/jwa"
	jwxjwt "github.com/lestrrat-go/jwx/v2/jwt"
)

// Names of the lines that targets mention, and of their modules.
const (
	chiName     = "go-chi/jwtauth Verifier and Authenticator"
	auth0Name   = "auth0/go-jwt-middleware CheckJWT"
	echoName    = "labstack/echo-jwt in echo"
	ginName     = "appleboy/gin-jwt in gin"
	cristalName = "cristalhq/jwt ParseClaims"
	golangName  = "golang-jwt/jwt Parse"
	jwxName     = "lestrrat-go/jwx jwt.Parse"
)

// peerModules are the modules whose versions are printed.
var peerModules = []string{
	"github.com/go-chi/jwtauth/v5",
	"github.com/auth0/go-jwt-middleware/v3",
	"github.com/labstack/echo-jwt/v4",
	"github.com/labstack/echo/v4",
	"github.com/appleboy/gin-jwt/v2",
	"github.com/gin-gonic/gin",
	"github.com/cristalhq/jwt/v5",
	"github.com/golang-jwt/jwt/v5",
	"github.com/golang-jwt/jwt/v4",
	"github.com/lestrrat-go/jwx/v2",
	"github.com/lestrrat-go/jwx/v3",
	"fortio.org/fortio",
}

// unasked are the checks that a middleware lacks if it uses only the signature and the
// times of a token.
var unasked = []*check{checkIssuer, checkAudience, checkContainer, checkNames, checkQuery, checkPath}

// peers returns the other middlewares, each configured as in its own README. Loggers and
// routers that a middleware does not need are left out, in favour of the peer.
func peers() []middleware {
	return []middleware{
		{chiName, unasked, chi},
		{auth0Name, []*check{checkContainer, checkNames, checkQuery, checkPath}, auth0},
		{echoName, unasked, inEcho(echojwt.JWT(secret))},
		{ginName, unasked, inGin(ginGuard())},
	}
}

func chi(next http.Handler) http.Handler {
	tokenAuth := chijwtauth.New("HS256", secret, nil)
	return chijwtauth.Verifier(tokenAuth)(chijwtauth.Authenticator(tokenAuth)(next))
}

func auth0(next http.Handler) http.Handler {
	v := must(validator.New(
		validator.WithKeyFunc(func(context.Context) (any, error) { return secret, nil }),
		validator.WithAlgorithm(validator.HS256),
		validator.WithIssuer(issuer),
		validator.WithAudience(audience),
	))
	return must(jwtmiddleware.New(jwtmiddleware.WithValidator(v))).CheckJWT(next)
}

// inEcho returns an echo router with one route, since echo's middlewares need a router.
func inEcho(guard ...echo.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		e := echo.New()
		e.Use(guard...)
		e.GET("/run/:container/hello", func(c echo.Context) error {
			next.ServeHTTP(c.Response(), c.Request())
			return nil
		})
		return e
	}
}

// inGin returns a gin router with one route, since gin's middlewares need a router.
func inGin(guard ...gin.HandlerFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		gin.SetMode(gin.ReleaseMode) // otherwise gin prints its routes
		engine := gin.New()
		engine.Use(guard...)
		engine.GET("/run/:container/hello", func(c *gin.Context) {
			next.ServeHTTP(c.Writer, c.Request)
		})
		return engine
	}
}

func ginGuard() gin.HandlerFunc {
	return must(ginjwt.New(&ginjwt.GinJWTMiddleware{
		Realm:         "test zone",
		Key:           secret,
		TokenLookup:   "header: Authorization, query: token, cookie: jwt",
		TokenHeadName: "Bearer",
	})).MiddlewareFunc()
}

// bareParsers returns the libraries that only parse and verify, called as in their
// READMEs.
func bareParsers() []parser {
	noClaims := []*check{checkIssuer, checkAudience, checkContainer, checkNames}
	return []parser{
		// The caller checks the claims, with methods that are not timed.
		{cristalName, append([]*check{checkExpiry, checkNotBefore}, noClaims...), func(token string) func() error {
			verifier := must(cristal.NewVerifierHS(cristal.HS256, secret))
			raw := []byte(token)
			return func() error {
				var claims cristal.RegisteredClaims
				return cristal.ParseClaims(raw, verifier, &claims)
			}
		}},
		{golangName, noClaims, func(token string) func() error {
			keyFunc := func(*jwt.Token) (any, error) { return secret, nil }
			return func() error {
				_, err := jwt.Parse(token, keyFunc, jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}))
				return err
			}
		}},
		{jwxName, noClaims, func(token string) func() error {
			raw := []byte(token)
			return func() error {
				_, err := jwxjwt.Parse(raw, jwxjwt.WithKey(jwa.HS256, secret))
				return err
			}
		}},
	}
}
