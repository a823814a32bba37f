package jwtauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

func mux(auth *jwtauth.Auth, authorize func(*http.Request, string) ([]jwtauth.IssueOption, error)) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/create-token/{container}", auth.TokenEndpoint(authorize))
	return mux
}

func mint(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func everyone(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, nil }

func TestTheTokenEndpointMintsForWhoeverIsAuthorized(t *testing.T) {
	auth := newAuth(t)
	h := mux(auth, func(r *http.Request, container string) ([]jwtauth.IssueOption, error) {
		user, _, _ := r.BasicAuth()
		if user != container {
			return nil, errors.New("not the owner")
		}
		return []jwtauth.IssueOption{jwtauth.Subject(user), jwtauth.TTL(time.Hour)}, nil
	})
	r := request("POST", "/create-token/de%20mo", nil)
	r.SetBasicAuth("de mo", "x")
	w := mint(h, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	claims, err := auth.Verify(t.Context(), body["token"].(string), "de mo")
	require.NoError(t, err)
	require.Equal(t, "de mo", claims.Subject)
	delete(body, "token")
	require.Equal(t, map[string]any{"token_type": "Bearer", "expires_in": 3600.0, "container": "de mo"}, body)

	r = request("POST", "/create-token/other", nil)
	r.SetBasicAuth("demo", "x")
	w = mint(h, r)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Equal(t, "not_authenticated", bodyOf(t, w).Code)
	require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"), "never a Basic challenge")
	require.NotContains(t, w.Body.String(), "owner")
}

func TestATokenOfTheEndpointLivesTenDays(t *testing.T) {
	w := mint(mux(newAuth(t), everyone), request("POST", "/create-token/demo", nil))
	require.Contains(t, w.Body.String(), `"expires_in":864000`)
}

func TestTheTokenEndpointRefuses(t *testing.T) {
	failing := func(err error) func(*http.Request, string) ([]jwtauth.IssueOption, error) {
		return func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, err }
	}
	badOptions := func(*http.Request, string) ([]jwtauth.IssueOption, error) {
		return []jwtauth.IssueOption{jwtauth.Subject("")}, nil
	}
	never := func(*http.Request, string) ([]jwtauth.IssueOption, error) {
		t.Error("authorize was asked")
		return nil, nil
	}
	site := func(site string) http.Header { return http.Header{"Sec-Fetch-Site": {site}} }
	for name, test := range map[string]struct {
		authorize func(*http.Request, string) ([]jwtauth.IssueOption, error)
		method    string
		path      string
		header    http.Header
		status    int
	}{
		"another method":               {never, "GET", "/create-token/demo", nil, 405},
		"HEAD":                         {never, "HEAD", "/create-token/demo", nil, 405},
		"OPTIONS":                      {never, "OPTIONS", "/create-token/demo", nil, 405},
		"whoever is not authorized":    {failing(errors.New("no")), "POST", "/create-token/demo", nil, 403},
		"while nothing can be known":   {failing(fmt.Errorf("%w: ldap", jwtauth.ErrUnavailable)), "POST", "/create-token/demo", nil, 503},
		"a page of another origin":     {never, "POST", "/create-token/demo", site("cross-site"), 403},
		"options that make no token":   {badOptions, "POST", "/create-token/demo", nil, 503},
		"a container that is no UTF-8": {never, "POST", "/create-token/%ff", nil, 403},
		"a path with two meanings":     {never, "POST", "/create-token/%2e%2e", nil, 403},
		"a path with a backslash":      {never, "POST", "/create-token/a%5cb", nil, 403},
	} {
		t.Run(name, func(t *testing.T) {
			w := mint(mux(newAuth(t), test.authorize), request(test.method, test.path, test.header))
			require.Equal(t, test.status, w.Code)
			require.NotContains(t, w.Body.String(), `"token"`)
			require.NotContains(t, fmt.Sprint(w.Header()), "Basic")
			if test.status == 405 {
				require.Equal(t, "POST", w.Header().Get("Allow"))
			} else {
				require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			}
		})
	}
	t.Run("a route that names no container", func(t *testing.T) {
		log := captureDefaultLog(t)
		w := mint(newAuth(t).TokenEndpoint(never), request("POST", "/create-token", nil))
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Contains(t, log.String(), "level=ERROR")
	})
	t.Run("keys that cannot sign", func(t *testing.T) {
		auth, err := jwtauth.New(sourceFunc(func(context.Context, string) (*keys.Set, error) { return new(keys.Set), nil }))
		require.NoError(t, err)
		w := mint(mux(auth, everyone), request("POST", "/create-token/demo", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
	})
}

func TestTheTokenEndpointAnswers403WhateverTheStatusOfTokens(t *testing.T) {
	auth := newAuth(t, jwtauth.WithStatus(jwtauth.BearerStatus))
	for _, err := range []error{errors.New("no"), jwtauth.ErrAmbiguousToken, jwtauth.ErrExpired, jwtauth.ErrNoToken} {
		w := mint(mux(auth, func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, err }),
			request("POST", "/create-token/demo?token=x", nil))
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Equal(t, "not_authenticated", bodyOf(t, w).Code)
		require.Empty(t, bodyOf(t, w).Reason)
	}
	w := mint(mux(auth, everyone), request("POST", "/create-token/demo?token=x", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
}

func TestAServiceWithoutContainersMints(t *testing.T) {
	auth := newAuth(t, jwtauth.WithAnyContainer())
	w := mint(auth.TokenEndpoint(everyone), request("POST", "/token", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.NotContains(t, w.Body.String(), "container")
}

func TestAuthorizeMayAskForATokenInTurn(t *testing.T) {
	auth := newAuth(t)
	h := mux(auth, func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
		require.Empty(t, r.URL.RawQuery)
		claims, err := auth.Check(r)
		return []jwtauth.IssueOption{jwtauth.Claim("from", claims.ID)}, err
	})
	require.Equal(t, http.StatusOK, mint(h, request("POST", "/create-token/demo?token="+goodToken(), nil)).Code)
	require.Equal(t, http.StatusForbidden, mint(h, request("POST", "/create-token/other?token="+goodToken(), nil)).Code)

	outer := http.NewServeMux()
	outer.Handle("/create-token/{container}", auth.Private(auth.TokenEndpoint(func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
		_, ok := jwtauth.FromContext(r.Context())
		require.True(t, ok, "the verdict of a middleware around the endpoint stays")
		return nil, nil
	})))
	require.Equal(t, http.StatusOK, mint(outer, request("POST", "/create-token/demo?token="+goodToken(), nil)).Code)
}
