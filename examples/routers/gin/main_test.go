package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

func TestGin(t *testing.T) {
	auth := routertest.New(t)
	routertest.Run(t, auth, newHandler(auth))
}

func TestPrivateMayStandAtTheTop(t *testing.T) {
	auth := routertest.New(t)
	engine := gin.New()
	engine.Use(decodeParams, wrap(auth.Private))
	engine.GET("/run/:container/notify", run)
	send := func(path, container string) int {
		return routertest.Send(t, engine, "GET", path, routertest.Issue(t, auth, container), "").Code
	}
	require.Equal(t, 200, send("/run/demo/notify", "demo"), "gin finds the route first")
	require.Equal(t, 403, send("/run/demo/notify", "other"))
}

func TestWithoutDecodeParamsNobodyPasses(t *testing.T) {
	routertest.RequireNoContainer(t, func(auth *jwtauth.Auth) http.Handler {
		engine := gin.New()
		engine.GET("/run/:container/notify", wrap(auth.Private), run)
		return engine
	})
}

func TestGinDecodesAPlusAsASpace(t *testing.T) {
	engine := gin.New()
	engine.UseEscapedPath = true
	engine.GET("/run/:container/notify", run)
	w := routertest.Send(t, engine, "GET", "/run/a+b/notify", "", "")
	require.Equal(t, "a b", routertest.Read(t, w).Container)
}

func TestCheckContainer_DeniesWhatGinReadsInAnotherWay(t *testing.T) {
	auth := routertest.New(t)
	engine := gin.New()
	engine.UseEscapedPath = true
	engine.Use(func(c *gin.Context) {
		if err := auth.CheckContainer(c.Request.Context(), c.Param("container")); err != nil {
			auth.Deny(c.Writer, c.Request, err)
			c.Abort()
		}
	})
	engine.GET("/run/:container/notify", run)
	wrap, err := auth.Routes(map[string]jwtauth.Policy{"/run/{container}/notify": jwtauth.Private})
	require.NoError(t, err)
	send := func(path, container string) *httptest.ResponseRecorder {
		return routertest.Send(t, wrap(engine), "GET", path, routertest.Issue(t, auth, container), "")
	}
	require.Equal(t, "ab", routertest.Read(t, send("/run/ab/notify", "ab")).Container)
	routertest.RequireDenied(t, send("/run/a+b/notify", "a+b"), "token_not_valid", "wrong_container")
}

func TestNothingRunsBehindADenial(t *testing.T) {
	auth := routertest.New(t)
	engine := gin.New()
	ran := false
	engine.GET("/run/:container/notify", decodeParams, wrap(auth.Private),
		func(*gin.Context) { ran = true }, wrap(auth.Public), run)
	routertest.RequireDenied(t, routertest.Send(t, engine, "GET", "/run/demo/notify", "", ""), "not_authenticated", "")
	require.False(t, ran)
}

func TestWhatStandsBeforeTheMiddlewareSeesTheToken(t *testing.T) {
	auth := routertest.New(t)
	token := routertest.Issue(t, auth, "demo")
	serve := func(before gin.HandlerFunc) routertest.Answer {
		engine := gin.New()
		engine.GET("/run/:container/notify", before, decodeParams, wrap(auth.Private), run)
		return routertest.Read(t, routertest.Send(t, engine, "GET", "/run/demo/notify?token="+token, "", ""))
	}
	t.Run("gin's logger, unless it is told to skip the query", func(t *testing.T) {
		var logs bytes.Buffer
		serve(gin.LoggerWithConfig(gin.LoggerConfig{Output: &logs}))
		require.Contains(t, logs.String(), token)

		logs.Reset()
		serve(gin.LoggerWithConfig(gin.LoggerConfig{Output: &logs, SkipQueryString: true}))
		require.Contains(t, logs.String(), "/run/demo/notify")
		require.NotContains(t, logs.String(), token)
	})
	t.Run("c.Query, which parses once and keeps the result", func(t *testing.T) {
		answer := serve(func(c *gin.Context) { c.Query("anything") })
		require.Equal(t, token, answer.Token)
		require.Empty(t, answer.Query, "the request itself has no token")
	})
}
