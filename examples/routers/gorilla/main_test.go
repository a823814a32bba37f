package main

import (
	"net/http"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

func TestGorilla(t *testing.T) {
	auth := routertest.New(t, jwtauth.WithContainer(container))
	routertest.Run(t, auth, newHandler(auth))
}

func TestPrivateAroundTheRouterDeniesEveryone(t *testing.T) {
	routertest.RequireNoContainer(t, func(auth *jwtauth.Auth) http.Handler {
		router := mux.NewRouter()
		router.HandleFunc("/run/{container}/notify", run)
		return auth.Private(router)
	}, jwtauth.WithContainer(container))
}

func TestWhatTheOptionsOfTheRouterAreFor(t *testing.T) {
	router := mux.NewRouter()
	router.HandleFunc("/run/{container}/notify", run)
	t.Run("without SkipClean a redirect repeats the token", func(t *testing.T) {
		w := routertest.Send(t, router, "GET", "/run//demo/notify?token=secret", "", "")
		require.Equal(t, "/run/demo/notify?token=secret", w.Header().Get("Location"))
	})
	t.Run("without UseEncodedPath a slash cannot be escaped", func(t *testing.T) {
		require.Equal(t, 404, routertest.Send(t, router, "GET", "/run/a%2Fb/notify", "", "").Code)
	})
	t.Run("without UseEncodedPath the variables are decoded already", func(t *testing.T) {
		// The function container would decode them a second time.
		w := routertest.Send(t, router, "GET", "/run/%2561/notify", "", "")
		require.Equal(t, "a", routertest.Read(t, w).Container)
	})
}
