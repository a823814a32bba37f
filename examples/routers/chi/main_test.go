package main

import (
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

func TestChi(t *testing.T) {
	auth := routertest.New(t, jwtauth.WithContainer(container))
	routertest.Run(t, auth, newHandler(auth))
}

func TestUseAtTheTopKnowsNoContainer(t *testing.T) {
	atTheTop := func(use func(http.Handler) http.Handler) http.Handler {
		router := chi.NewRouter()
		router.Use(use)
		router.HandleFunc("/run/{container}/notify", run)
		return router
	}
	t.Run("Private denies every request", func(t *testing.T) {
		routertest.RequireNoContainer(t, func(auth *jwtauth.Auth) http.Handler {
			return atTheTop(auth.Private)
		}, jwtauth.WithContainer(container))
	})
	t.Run("Public accepts a token of any container", func(t *testing.T) {
		auth := routertest.New(t, jwtauth.WithContainer(container))
		other := routertest.Issue(t, auth, "other")
		w := routertest.Send(t, atTheTop(auth.Public), "GET", "/run/demo/notify", other, "")
		require.Equal(t, "other", routertest.Read(t, w).Caller)
	})
}

func TestWherePrivateMayStand(t *testing.T) {
	auth := routertest.New(t, jwtauth.WithContainer(container))
	demo, other := routertest.Issue(t, auth, "demo"), routertest.Issue(t, auth, "other")
	for name, build := range map[string]func(chi.Router){
		"With": func(r chi.Router) { r.With(auth.Private).Get("/run/{container}/notify", run) },
		"Group": func(r chi.Router) {
			r.Group(func(r chi.Router) {
				r.Use(auth.Private)
				r.Get("/run/{container}/notify", run)
			})
		},
		"Route below the container": func(r chi.Router) {
			r.Route("/run/{container}", func(r chi.Router) {
				r.Use(auth.Private)
				r.Get("/notify", run)
			})
		},
		"a mounted router": func(r chi.Router) {
			mounted := chi.NewRouter()
			mounted.Use(auth.Private)
			mounted.Get("/notify", run)
			r.Mount("/run/{container}", mounted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			router := chi.NewRouter()
			build(router)
			send := func(token string) int {
				return routertest.Send(t, router, "GET", "/run/demo/notify", token, "").Code
			}
			require.Equal(t, 200, send(demo))
			require.Equal(t, 403, send(other))
			require.Equal(t, 403, send(""))
		})
	}
}
