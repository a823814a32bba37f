package jwtauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
)

// denials are all errors and how clients see them by default.
var denials = []struct {
	err          error
	status       int
	code, reason string
	challenge    string
}{
	{jwtauth.ErrNoToken, 403, "not_authenticated", "", `Bearer`},
	{jwtauth.ErrAmbiguousToken, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrMalformed, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrUnknownKey, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrSignature, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrCrossOrigin, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrForbidden, 403, "token_not_valid", "", `Bearer`},
	{jwtauth.ErrNoContainer, 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{jwtauth.ErrType, 403, "token_not_valid", "wrong_type", `Bearer error="invalid_token"`},
	{jwtauth.ErrExpired, 403, "token_not_valid", "expired", `Bearer error="invalid_token"`},
	{jwtauth.ErrNotYetValid, 403, "token_not_valid", "not_yet_valid", `Bearer error="invalid_token"`},
	{jwtauth.ErrIssuer, 403, "token_not_valid", "wrong_issuer", `Bearer error="invalid_token"`},
	{jwtauth.ErrAudience, 403, "token_not_valid", "wrong_audience", `Bearer error="invalid_token"`},
	{jwtauth.ErrRevoked, 403, "token_not_valid", "revoked", `Bearer error="invalid_token"`},
	{jwtauth.ErrContainer, 403, "token_not_valid", "wrong_container", `Bearer error="insufficient_scope"`},
	{jwtauth.ErrUnavailable, 503, "unavailable", "", `Bearer`},
	{errors.New("somebody else's"), 403, "token_not_valid", "", `Bearer error="invalid_token"`},
	{nil, 403, "token_not_valid", "", `Bearer`},
}

func TestWhatADenialLooksLike(t *testing.T) {
	auth := newAuth(t)
	for _, test := range denials {
		t.Run(fmt.Sprint(test.err), func(t *testing.T) {
			w := httptest.NewRecorder()
			err := test.err
			if err != nil {
				err = fmt.Errorf("wrapped: %w", err)
			}
			auth.Deny(w, request("GET", demoPath, nil), err)
			require.Equal(t, test.status, w.Code)
			body := bodyOf(t, w)
			require.Equal(t, test.code, body.Code)
			require.Equal(t, test.reason, body.Reason)
			require.NotEmpty(t, body.Detail)
			require.NotContains(t, w.Body.String(), "wrapped")
			require.Equal(t, test.reason != "", strings.Contains(w.Body.String(), `"reason"`))
			require.Equal(t, []string{test.challenge}, w.Header()["Www-Authenticate"])
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			require.Equal(t, test.status == 503, w.Header().Get("Retry-After") != "")
		})
	}
}

// A browser that was denied asks for an icon, and would say from where.
func TestTheAddressOfADenialGoesIntoNoReferer(t *testing.T) {
	auth := newAuth(t)
	deny := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { auth.Deny(w, r, jwtauth.ErrExpired) })
	}
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"private":           auth.Private,
		"optional":          auth.Optional,
		"a rule that fails": auth.Protect(func(*http.Request) (jwtauth.Rule, error) { return jwtauth.Rule{}, errors.New("down") }),
		"Deny":              deny,
		"a refused minting": func(http.Handler) http.Handler {
			return auth.TokenEndpoint(func(*http.Request, string) ([]jwtauth.IssueOption, error) { return nil, errors.New("no") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			for query, want := range map[string]string{"?token=x.y.z": "no-referrer", "?a=1": ""} {
				if want == "" && name == "optional" {
					continue // lets it in
				}
				for _, method := range []string{"POST", "GET"} {
					w, _ := serve(wrap, request(method, demoPath+query, nil))
					require.GreaterOrEqual(t, w.Code, 400)
					require.Equal(t, want, w.Header().Get("Referrer-Policy"), method)
					if want != "" {
						require.Contains(t, w.Header().Get("Cache-Control"), "no-store")
					}
				}
			}
		})
	}
}

func TestBearerStatusIsThatOfRFC6750(t *testing.T) {
	auth := newAuth(t, jwtauth.WithStatus(jwtauth.BearerStatus))
	want := map[error]struct {
		status    int
		challenge string
	}{
		jwtauth.ErrNoToken:        {401, "Bearer"},
		jwtauth.ErrAmbiguousToken: {400, `Bearer error="invalid_request"`},
		jwtauth.ErrContainer:      {403, `Bearer error="insufficient_scope"`},
		jwtauth.ErrCrossOrigin:    {403, `Bearer error="invalid_token"`},
		jwtauth.ErrForbidden:      {403, "Bearer"},
		jwtauth.ErrUnavailable:    {503, "Bearer"},
	}
	for _, test := range denials {
		expected, listed := want[test.err]
		if !listed {
			expected.status, expected.challenge = 401, `Bearer error="invalid_token"`
		}
		if test.err == nil {
			expected.status, expected.challenge = 403, "Bearer"
		}
		w := httptest.NewRecorder()
		auth.Deny(w, request("GET", demoPath, nil), test.err)
		require.Equal(t, expected.status, w.Code, "%v", test.err)
		require.Equal(t, expected.challenge, w.Header().Get("WWW-Authenticate"), "%v", test.err)
	}
}

func TestWithStatusIsNeverAskedAboutOutagesAndCannotLetIn(t *testing.T) {
	for _, answer := range []int{0, 200, 302, 399, 600} {
		auth := newAuth(t, jwtauth.WithStatus(func(err error) int {
			require.NotErrorIs(t, err, jwtauth.ErrUnavailable)
			return answer
		}))
		w := httptest.NewRecorder()
		auth.Deny(w, request("GET", demoPath, nil), jwtauth.ErrExpired)
		require.Equal(t, http.StatusForbidden, w.Code)
		w = httptest.NewRecorder()
		auth.Deny(w, request("GET", demoPath, nil), fmt.Errorf("%w: %w", jwtauth.ErrUnavailable, jwtauth.ErrExpired))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Empty(t, bodyOf(t, w).Reason)
	}
}

func TestWhoeverHasNoGenuineTokenLearnsNothing(t *testing.T) {
	auth := newAuth(t)
	responses := map[string][]string{}
	for name, test := range badTokens() {
		w, _ := serve(auth.Private, request("GET", demoPath, bearer(test.token)))
		if reason := bodyOf(t, w).Reason; reason == "" {
			dump := fmt.Sprint(w.Code, w.Header(), w.Body)
			responses[dump] = append(responses[dump], name)
		} else {
			require.Contains(t, []error{jwtauth.ErrType, jwtauth.ErrExpired, jwtauth.ErrNotYetValid, jwtauth.ErrAudience, jwtauth.ErrContainer}, test.want)
		}
	}
	for _, r := range []*http.Request{
		request("GET", demoPath, http.Header{"Authorization": {"Bearer"}}),
		request("GET", demoPath, http.Header{"Authorization": {"Bearer a", "Bearer b"}}),
		request("GET", demoPath+"?token=a&token=b", nil),
		request("GET", demoPath+"?%&token="+goodToken(), nil),
	} {
		w, _ := serve(auth.Private, r)
		w.Header().Del("Referrer-Policy") // tells of its own URL, which the client knows
		dump := fmt.Sprint(w.Code, w.Header(), w.Body)
		responses[dump] = append(responses[dump], r.URL.RawQuery)
	}
	require.Len(t, responses, 1, "all of these must be answered alike")
}

func TestWithDenialWritesItsOwnResponse(t *testing.T) {
	var denied jwtauth.Denial
	var request2 *http.Request
	auth := newAuth(t, jwtauth.WithDenial(func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
		denied, request2 = d, r
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
	}))
	token := sign(header, claimsJSON(map[string]any{"exp": 1}))
	w, s := serve(auth.Private, request("GET", demoPath+"?a=1&token="+token, nil))
	require.False(t, s.ran)
	require.Equal(t, http.StatusTeapot, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
	require.ErrorIs(t, denied.Err, jwtauth.ErrExpired)
	require.Equal(t, "expired", denied.Reason)
	require.Equal(t, http.StatusForbidden, denied.Status)
	require.Equal(t, demoPath+"?a=1", request2.RequestURI)
	require.Equal(t, "a=1", request2.URL.RawQuery)

	r := request("GET", demoPath+"?token="+token, nil)
	auth.Deny(httptest.NewRecorder(), r, jwtauth.ErrForbidden)
	require.Equal(t, demoPath, request2.RequestURI, "Deny cuts the URL too")
}
