package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/authtest"
	"github.com/joinednode/jwtauth/keys"
)

// TestLeaks_NothingHoldsAToken triggers every rejection under every policy, with the token in
// every place. It searches the response, the log, the error, and the request that handlers,
// rules, denial functions and authorize see. The request keeps the header field that carried
// the token, since handlers may pass it on. A token from the URL must be removed everywhere.
func TestLeaks_NothingHoldsAToken(t *testing.T) {
	tokens := map[string]string{"good": authtest.GoodToken()}
	for name, test := range authtest.BadTokens() {
		if strings.Trim(test.Token, ".") != "" {
			tokens[name] = test.Token
		}
	}
	tokens["with the token as its kid"] = authtest.Sign(`{"alg":"HS512","kid":"`+strings.ReplaceAll(authtest.GoodToken(), ".", "-")+`"}`, authtest.ClaimsJSON(nil))
	places := map[string]func(token string) *http.Request{
		"a header": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token))
		},
		"two headers": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath, http.Header{"Authorization": {"Bearer " + token, "Bearer " + token}})
		},
		"a garbled header": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath, authtest.Bearer(token+" "+token))
		},
		"the query": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath+"?a=1&token="+token, nil)
		},
		"the query twice": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath+"?token="+token+"&token="+token, nil)
		},
		"a query that is none": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath+"?%&token="+token, nil)
		},
		"the query, escaped": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath+"?%74oken="+token, nil)
		},
		"the header and query": func(token string) *http.Request {
			return authtest.Request("GET", authtest.DemoPath+"?token="+token, authtest.Bearer(token))
		},
		"a path of two meanings": func(token string) *http.Request { return authtest.Request("GET", "/run/demo/%2e%2e?token="+token, nil) },
		"another container": func(token string) *http.Request {
			return authtest.Request("GET", "/run/other/notify?token="+token, authtest.Bearer(token))
		},
		"a cross-origin request": func(token string) *http.Request {
			return authtest.Request("POST", authtest.DemoPath+"?token="+token, http.Header{"Sec-Fetch-Site": {"cross-site"}})
		},
	}
	down := errors.New("down")
	for setup, opts := range map[string][]jwtauth.Option{
		"by default":         nil,
		"with revocations":   {jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return true, nil }))},
		"without them":       {jwtauth.WithRevocations(authtest.CheckerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return false, down }))},
		"with Bearer status": {jwtauth.WithStatus(jwtauth.BearerStatus)},
	} {
		for place, build := range places {
			for kind, token := range tokens {
				t.Run(setup+", "+place+", a token "+kind, func(t *testing.T) {
					var log authtest.LogBuffer
					sees := func(who string) func(r *http.Request) {
						return func(r *http.Request) { authtest.Leaks(t, "what "+who+" sees", dump(t, r), token) }
					}
					auth := authtest.NewAuth(t, append(opts, jwtauth.WithLogger(log.Logger()),
						jwtauth.WithDenial(func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
							sees("the denial function")(r)
							authtest.Leaks(t, "the denial", fmt.Sprintf("%v %+v", d, d.Err), token)
							w.WriteHeader(d.Status)
						}))...)
					plain := authtest.NewAuth(t, append(opts, jwtauth.WithLogger(log.Logger()))...)
					for _, auth := range []*jwtauth.Auth{auth, plain} {
						all := authtest.Policies(auth)
						all["TokenEndpoint"] = func(http.Handler) http.Handler {
							return auth.TokenEndpoint(func(r *http.Request, _ string) ([]jwtauth.IssueOption, error) {
								sees("authorize")(r)
								return nil, errors.New("no")
							})
						}
						all["Protect, which asks"] = auth.Protect(func(r *http.Request) (jwtauth.Rule, error) {
							sees("the rule")(r)
							return jwtauth.Rule{}, down
						})
						for policy, wrap := range all {
							r := build(token)
							if policy == "TokenEndpoint" {
								r.Method = "POST"
							}
							r.ParseForm()
							w, s := authtest.Serve(wrap, r)
							authtest.Leaks(t, "the response of "+policy, fmt.Sprint(w.Header(), w.Body), token)
							if s.Ran {
								sees("the handler of " + policy)(s.R)
							}
							_, err := auth.Check(build(token))
							authtest.Leaks(t, "the error", fmt.Sprintf("%v %+v", err, err), token)
							w = httptest.NewRecorder()
							auth.Deny(w, r, err)
							authtest.Leaks(t, "the response of Deny", fmt.Sprint(w.Header(), w.Body), token)
						}
					}
					require.NotEmpty(t, log.String())
					authtest.Leaks(t, "the log", log.String(), token)
				})
			}
		}
	}
}

// dump returns all that a handler can print of a request, except the header field that carried
// the token.
func dump(t *testing.T, r *http.Request) string {
	t.Helper()
	r = r.Clone(r.Context())
	delete(r.Header, "Authorization")
	wire, err := httputil.DumpRequest(r, true)
	require.NoError(t, err)
	text := fmt.Sprintf("%s %s %s %v %v %v", wire, r.RequestURI, r.URL, r.Form, r.PostForm, r.Context())
	for _, verb := range []string{"%v", "%+v", "%s"} { // the last is careless, and prints more
		text += fmt.Sprintf(verb, r)
	}
	return text
}

// TestLeaks_NoErrorHoldsASecret tests the errors of configuration and of keys.
func TestLeaks_NoErrorHoldsASecret(t *testing.T) {
	short := []byte("a secret that is too short")
	_, err := jwtauth.New(keys.HS256(short))
	require.Error(t, err)
	require.NotContains(t, err.Error(), string(short))
}

// Something outside may have cleared one copy of the query and left another.
func TestLeaks_ATokenIsCutWhereverItsQueryWasCopiedTo(t *testing.T) {
	for name, leave := range map[string]func(r *http.Request){
		"the request line alone": func(r *http.Request) { r.URL.RawQuery = "" },
		"the parsed form alone": func(r *http.Request) {
			r.Form = r.URL.Query()
			r.URL.RawQuery, r.RequestURI = "", authtest.DemoPath
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := authtest.Request("GET", authtest.DemoPath+"?a=1&token="+authtest.GoodToken(), authtest.Bearer(authtest.GoodToken()))
			leave(r)
			_, s := authtest.Serve(authtest.NewAuth(t).Private, r)
			require.True(t, s.Ran)
			authtest.Leaks(t, "the request line", s.R.RequestURI, authtest.GoodToken())
			authtest.Leaks(t, "the form", fmt.Sprint(s.R.Form), authtest.GoodToken())
		})
	}
}
