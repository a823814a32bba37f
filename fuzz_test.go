package jwtauth_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
)

// FuzzRequest sends what strangers may write into a request. Nothing panics; a
// request is let in only with the good token, in a place where it may stand,
// on a path with one meaning; and no reading of the query that is passed on
// finds a token any more.
func FuzzRequest(f *testing.F) {
	good := goodToken()
	for _, query := range []string{"", "token=" + good, "a=1&%74oken=" + good + "&b", "token=a&token=b", "a;b", "%", "token", "&=&"} {
		for _, field := range []string{"", "Bearer " + good, "bearer  x", "Basic YTpi"} {
			f.Add(query, field, "/run/demo/notify")
		}
	}
	for _, paths := range []map[string]string{hostilePaths, rawDots, plainPaths} {
		for _, path := range paths {
			f.Add("", "Bearer "+good, path)
		}
	}
	var s seen
	auth := newAuth(f, jwtauth.WithContainer(func(*http.Request) string { return "demo" }))
	private, public := auth.Private(&s), auth.Public(&s)
	f.Fuzz(func(t *testing.T, query, field, target string) {
		path, err := url.PathUnescape(target)
		if err != nil {
			return // net/http would not have taken it
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, target, query
		r.RequestURI = target + "?" + query
		if field != "" {
			r.Header.Set("Authorization", field)
		}
		for _, policy := range []http.Handler{private, public} {
			s = seen{}
			policy.ServeHTTP(httptest.NewRecorder(), r)
			if s.ok {
				values, err := url.ParseQuery(query)
				inQuery := slices.Equal(values["token"], []string{good})
				inHeader := strings.HasSuffix(field, " "+good) && strings.EqualFold(strings.TrimRight(strings.TrimSuffix(field, good), " "), "Bearer")
				require.True(t, inHeader || inQuery && err == nil)
				require.NotContains(t, "/"+path+"/", "/../")
				require.NotContains(t, "/"+path+"/", "/./")
				require.NotContains(t, path, `\`)
				require.NotContains(t, strings.TrimPrefix(path, "/"), "//")
			}
			if s.ran {
				requireCut(t, query, s.r.URL.RawQuery)
				_, query, _ := strings.Cut(s.r.RequestURI, "?")
				rest, _ := url.ParseQuery(query)
				require.Empty(t, rest["token"])
			}
		}
	})
}

// requireCut compares what was passed on of a query with what the standard
// library reads out of both.
func requireCut(t *testing.T, before, after string) {
	t.Helper()
	want, err := url.ParseQuery(before)
	if err != nil {
		require.Empty(t, after)
		return
	}
	delete(want, "token")
	got, err := url.ParseQuery(after)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// FuzzSigned signs whatever it is given: even the holder of the key gets a
// token in only if the standard library reads the same in it.
func FuzzSigned(f *testing.F) {
	f.Add(header, claimsJSON(nil))
	f.Add(`{"alg":"HS256"}`, claimsJSON(map[string]any{"aud": []string{"api"}, "nbf": 1, "x": map[string]any{"y": []any{nil}}}))
	f.Add(`{"alg":"HS256","alg":"none"}`, `{"container":"demo","exp":1e9999}`)
	auth := newAuth(f, jwtauth.WithAudience("api"))
	f.Fuzz(func(t *testing.T, header, payload string) {
		claims, err := auth.Verify(t.Context(), sign(header, payload), "demo")
		if err != nil {
			require.Zero(t, claims)
			return
		}
		var h struct{ Alg, Typ string }
		require.NoError(t, json.Unmarshal([]byte(header), &h))
		require.Equal(t, "HS256", h.Alg)
		require.Contains(t, []string{"", "JWT"}, h.Typ)
		var c struct {
			Container string
			Exp       float64
			Nbf, Iat  *float64
			Jti, Sub  string
		}
		require.NoError(t, json.Unmarshal([]byte(payload), &c))
		require.Equal(t, "demo", c.Container)
		require.Greater(t, c.Exp, float64(now.Unix()))
		require.True(t, c.Nbf == nil || *c.Nbf <= float64(now.Unix()))
		require.True(t, c.Iat == nil || *c.Iat <= float64(now.Unix()+5))
		require.Equal(t, claims.ID, c.Jti)
		require.Equal(t, claims.Subject, c.Sub)
		require.Contains(t, claims.Audience, "api")
		var all map[string]any
		require.NoError(t, claims.Decode(&all))
	})
}
