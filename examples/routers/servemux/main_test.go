package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

func TestServeMux(t *testing.T) {
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

func TestPrivateAroundTheMuxDeniesEveryone(t *testing.T) {
	routertest.RequireNoContainer(t, func(auth *jwtauth.Auth) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("/run/{container}/notify", run)
		return auth.Private(mux)
	})
}
