package main

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

func TestEcho(t *testing.T) {
	auth := routertest.New(t)
	routertest.Run(t, auth, newHandler(auth))
}

func TestStrangersDoNotLearnWhatTheGroupHolds(t *testing.T) {
	auth := routertest.New(t)
	handler := newHandler(auth)
	routertest.RequireDenied(t, routertest.Send(t, handler, "GET", "/run/demo/nothing", "", ""), "not_authenticated", "")
	token := routertest.Issue(t, auth, "demo")
	require.Equal(t, 404, routertest.Send(t, handler, "GET", "/run/demo/nothing", token, "").Code)
}

func TestPreKnowsNoContainer(t *testing.T) {
	routertest.RequireNoContainer(t, func(auth *jwtauth.Auth) http.Handler {
		e := echo.New()
		e.Pre(decodeParams, echo.WrapMiddleware(auth.Private))
		e.GET("/run/:container/notify", run)
		return e
	})
}

func TestPrivateMayStandAtTheTop(t *testing.T) {
	auth := routertest.New(t)
	e := echo.New()
	e.Use(decodeParams, echo.WrapMiddleware(auth.Private))
	e.GET("/run/:container/notify", run)
	send := func(path, container string) int {
		return routertest.Send(t, e, "GET", path, routertest.Issue(t, auth, container), "").Code
	}
	require.Equal(t, 200, send("/run/demo/notify", "demo"), "echo finds the route first")
	require.Equal(t, 403, send("/run/demo/notify", "other"))
}

func TestWithoutDecodeParamsNobodyPasses(t *testing.T) {
	routertest.RequireNoContainer(t, func(auth *jwtauth.Auth) http.Handler {
		e := echo.New()
		e.GET("/run/:container/notify", run, echo.WrapMiddleware(auth.Private))
		return e
	})
}

func TestErrorsOfTheHandlerReachEcho(t *testing.T) {
	auth := routertest.New(t)
	e := echo.New()
	e.GET("/run/:container/notify", func(echo.Context) error {
		return echo.NewHTTPError(http.StatusTeapot, "short and stout")
	}, decodeParams, echo.WrapMiddleware(auth.Private))
	w := routertest.Send(t, e, "GET", "/run/demo/notify", routertest.Issue(t, auth, "demo"), "")
	require.Equal(t, 418, w.Code)
	require.Contains(t, w.Body.String(), "short and stout")
}

func TestWhatStandsBeforeTheMiddlewareSeesTheToken(t *testing.T) {
	auth := routertest.New(t)
	token := routertest.Issue(t, auth, "demo")
	serve := func(before echo.MiddlewareFunc) routertest.Answer {
		e := echo.New()
		e.Use(before, decodeParams, echo.WrapMiddleware(auth.Private))
		e.GET("/run/:container/notify", run)
		return routertest.Read(t, routertest.Send(t, e, "GET", "/run/demo/notify?token="+token, "", ""))
	}
	t.Run("a logger that writes the URI, but not one that writes the path", func(t *testing.T) {
		var logs bytes.Buffer
		log := func(withURI bool) echo.MiddlewareFunc {
			logs.Reset()
			return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
				LogURI: withURI, LogURIPath: true,
				LogValuesFunc: func(_ echo.Context, v middleware.RequestLoggerValues) error {
					logs.WriteString(v.URI + v.URIPath)
					return nil
				},
			})
		}
		serve(log(true))
		require.Contains(t, logs.String(), token)
		serve(log(false))
		require.Equal(t, "/run/demo/notify", logs.String())
	})
	t.Run("c.QueryParam, which parses once and keeps the result", func(t *testing.T) {
		answer := serve(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				c.QueryParam("anything")
				return next(c)
			}
		})
		require.Equal(t, token, answer.Token)
		require.Empty(t, answer.Query, "the request itself has no token")
	})
}
