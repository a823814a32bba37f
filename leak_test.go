package jwtauth_test

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
	"github.com/joinednode/jwtauth/keys"
)

// leaks fails the test if text holds a token, whole or in any of its segments.
// The first one, the header, is the same in most tokens, and no secret.
func leaks(t *testing.T, where, text, token string) {
	t.Helper()
	for i, segment := range strings.Split(token, ".") {
		if (i > 0 || !strings.Contains(token, ".")) && len(segment) > 6 {
			require.NotContains(t, text, segment, "a token in %s", where)
		}
	}
}

// TestNothingHoldsAToken runs every refusal through every policy, with the
// token in every place, and looks into all that comes out: the response, the
// log, the error, and the request as handlers, rules, denial functions and
// authorize see it. Of that request, the header field that brought the token
// stays, for handlers that pass it on; everything made of the URL must not.
func TestNothingHoldsAToken(t *testing.T) {
	tokens := map[string]string{"good": goodToken()}
	for name, test := range badTokens() {
		if strings.Trim(test.token, ".") != "" {
			tokens[name] = test.token
		}
	}
	tokens["with the token as its kid"] = sign(`{"alg":"HS512","kid":"`+strings.ReplaceAll(goodToken(), ".", "-")+`"}`, claimsJSON(nil))
	places := map[string]func(token string) *http.Request{
		"a header": func(token string) *http.Request { return request("GET", demoPath, bearer(token)) },
		"two headers": func(token string) *http.Request {
			return request("GET", demoPath, http.Header{"Authorization": {"Bearer " + token, "Bearer " + token}})
		},
		"a garbled header":       func(token string) *http.Request { return request("GET", demoPath, bearer(token+" "+token)) },
		"the query":              func(token string) *http.Request { return request("GET", demoPath+"?a=1&token="+token, nil) },
		"the query twice":        func(token string) *http.Request { return request("GET", demoPath+"?token="+token+"&token="+token, nil) },
		"a query that is none":   func(token string) *http.Request { return request("GET", demoPath+"?%&token="+token, nil) },
		"the query, escaped":     func(token string) *http.Request { return request("GET", demoPath+"?%74oken="+token, nil) },
		"the header and query":   func(token string) *http.Request { return request("GET", demoPath+"?token="+token, bearer(token)) },
		"a path of two meanings": func(token string) *http.Request { return request("GET", "/run/demo/%2e%2e?token="+token, nil) },
		"another container": func(token string) *http.Request {
			return request("GET", "/run/other/notify?token="+token, bearer(token))
		},
		"a cross-origin request": func(token string) *http.Request {
			return request("POST", demoPath+"?token="+token, http.Header{"Sec-Fetch-Site": {"cross-site"}})
		},
	}
	down := errors.New("down")
	for setup, opts := range map[string][]jwtauth.Option{
		"by default":         nil,
		"with revocations":   {jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return true, nil }))},
		"without them":       {jwtauth.WithRevocations(checkerFunc(func(context.Context, jwtauth.Claims) (bool, error) { return false, down }))},
		"with Bearer status": {jwtauth.WithStatus(jwtauth.BearerStatus)},
	} {
		for place, build := range places {
			for kind, token := range tokens {
				t.Run(setup+", "+place+", a token "+kind, func(t *testing.T) {
					var log logBuffer
					sees := func(who string) func(r *http.Request) {
						return func(r *http.Request) { leaks(t, "what "+who+" sees", dump(t, r), token) }
					}
					auth := newAuth(t, append(opts, jwtauth.WithLogger(log.logger()),
						jwtauth.WithDenial(func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
							sees("the denial function")(r)
							leaks(t, "the denial", fmt.Sprintf("%v %+v", d, d.Err), token)
							w.WriteHeader(d.Status)
						}))...)
					plain := newAuth(t, append(opts, jwtauth.WithLogger(log.logger()))...)
					for _, auth := range []*jwtauth.Auth{auth, plain} {
						all := policies(auth)
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
							w, s := serve(wrap, r)
							leaks(t, "the response of "+policy, fmt.Sprint(w.Header(), w.Body), token)
							if s.ran {
								sees("the handler of " + policy)(s.r)
							}
							_, err := auth.Check(build(token))
							leaks(t, "the error", fmt.Sprintf("%v %+v", err, err), token)
							w = httptest.NewRecorder()
							auth.Deny(w, r, err)
							leaks(t, "the response of Deny", fmt.Sprint(w.Header(), w.Body), token)
						}
					}
					require.NotEmpty(t, log.String())
					leaks(t, "the log", log.String(), token)
				})
			}
		}
	}
}

// dump is all that a handler can print of a request, but for the header field
// that it came in.
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

// TestNoErrorHoldsASecret is for the errors of configuration and of keys.
func TestNoErrorHoldsASecret(t *testing.T) {
	short := []byte("a secret that is too short")
	_, err := jwtauth.New(keys.HS256(short))
	require.Error(t, err)
	require.NotContains(t, err.Error(), string(short))
}

// Something outside may have cleared one copy of the query and left another.
func TestATokenIsCutWhereverItsQueryWasCopiedTo(t *testing.T) {
	for name, leave := range map[string]func(r *http.Request){
		"the request line alone": func(r *http.Request) { r.URL.RawQuery = "" },
		"the parsed form alone": func(r *http.Request) {
			r.Form = r.URL.Query()
			r.URL.RawQuery, r.RequestURI = "", demoPath
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("GET", demoPath+"?a=1&token="+goodToken(), bearer(goodToken()))
			leave(r)
			_, s := serve(newAuth(t).Private, r)
			require.True(t, s.ran)
			leaks(t, "the request line", s.r.RequestURI, goodToken())
			leaks(t, "the form", fmt.Sprint(s.r.Form), goodToken())
		})
	}
}
