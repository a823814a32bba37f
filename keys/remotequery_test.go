package keys_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

// The query of the URL may hold a secret, such as an API key.
func TestRemote_TheQueryOfTheURLIsInNoLogAndNoError(t *testing.T) {
	queries := map[string]string{
		"a value":                          "v=1&api_key=the%2Fsecret",
		"a query without a name":           "the-secret",
		"a value that begins like another": "tenant=acme-corp&api_key=acme-corp-secret",
		"a value in small letters":         "api_key=the%2fsecret",
		"a value with a space":             "api_key=the%20secret",
		"a value with a plus":              "api_key=the+secret",
		"a value without a name":           "v=1&the-secret",
		"a value behind a semicolon":       "v=1;api_key=the-secret",
	}
	for name, test := range map[string]struct {
		transport func(i *issuer) http.RoundTripper
		says      string
		is        error
	}{
		"a server that is down": {func(i *issuer) http.RoundTripper { return i }, "keys: Remote: " + errDown.Error(), errDown},
		"a client within the client, which names the URL": {func(i *issuer) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) { return (&http.Client{Transport: i}).Get(r.URL.String()) })
		}, errDown.Error(), errDown},
		"a Location that is no URL and repeats the query": {func(*issuer) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				value := r.URL.RawQuery[strings.LastIndexByte(r.URL.RawQuery, '=')+1:]
				decoded, err := url.QueryUnescape(value)
				require.NoError(t, err)
				w.Header().Set("Location", "https://issuer.example.com:84x43/"+url.PathEscape(decoded)+"?"+value+"&"+url.QueryEscape(decoded)+"&"+decoded)
				w.WriteHeader(http.StatusFound)
				return w.Result(), nil
			})
		}, "invalid port", nil},
		"a body that breaks off and names the URL": {func(*issuer) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				response := w.Result()
				response.Body = io.NopCloser(iotest.ErrReader(fmt.Errorf("%w: %v", errDown, r.URL)))
				return response, nil
			})
		}, "broke off", errDown},
		"a server that answers": {func(i *issuer) http.RoundTripper { i.publish(first(t)); return i }, "the keys are those of the JWK Set", nil},
	} {
		for kind, query := range queries {
			t.Run(name+", "+kind, func(t *testing.T) {
				i := newIssuer(t)
				remote, err := keys.NewRemote("https://issuer.example.com/jwks?"+query,
					keys.WithHTTPClient(&http.Client{Transport: test.transport(i)}), keys.WithLogger(slog.New(slog.NewTextHandler(&i.log, nil))))
				require.NoError(t, err)
				_, err = remote.Keys(t.Context(), "first")
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				said := fmt.Sprint(err, i.logged())
				require.Contains(t, said, test.says)
				require.Contains(t, said, "url=https://issuer.example.com/jwks ")
				require.NotContains(t, said, "secret")
			})
		}
	}
}
