// Package routers_test wraps every router of these examples with Routes, in each setting
// that changes how the router reads a path.
package routers_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

// table holds the patterns and policies that the tests give to Routes. Every router gets
// the same patterns in its own syntax.
var table = map[string]jwtauth.Policy{
	"/run/{container}/{recipe}":      jwtauth.Private,
	"/run/{container}/hello":         jwtauth.Public,
	"/run/{container}/grüße":         jwtauth.Public,
	"/run/{container}/two%20words":   jwtauth.Public,
	"/run/{container}/%7Ejoe":        jwtauth.Public,
	"/run/{container}/{recipe}/logs": jwtauth.Private,
	"/files/{container}/open/{name}": jwtauth.Public,
	"/files/{container}/{dir}/{n}":   jwtauth.Private,
}

// ran describes the handler that ran.
type ran struct {
	pattern   string
	container string // decoded once, as in the program for this router
	claims    bool   // whether the handler got the claims of a token
}

// setting builds a router with certain options. Each of its handlers calls report with its
// own pattern, and with the container that the router found.
type setting func(report func(r *http.Request, pattern, container string)) http.Handler

// decoded returns the decoded form of a parameter that a router leaves encoded. It returns
// a value with a malformed encoding as it is.
func decoded(value string) string {
	if text, err := url.PathUnescape(value); err == nil {
		return text
	}
	return value
}

func asIs(value string, _ *http.Request) string { return value }

func always(value string, _ *http.Request) string { return decoded(value) }

func ifRawPath(value string, r *http.Request) string {
	if r.URL.RawPath != "" {
		return decoded(value)
	}
	return value
}

// colons converts a pattern to the syntax of gin and echo.
func colons(pattern string) string {
	return strings.NewReplacer("{container}", ":container", "{recipe}", ":recipe", "{name}", ":name", "{dir}", ":dir", "{n}", ":n").Replace(pattern)
}

func serveMux(report func(*http.Request, string, string)) http.Handler {
	router := http.NewServeMux()
	for pattern := range table {
		router.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { report(r, pattern, r.PathValue("container")) })
	}
	return router
}

func chiRouter(report func(*http.Request, string, string)) http.Handler {
	router := chi.NewRouter()
	for pattern := range table {
		router.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
			report(r, pattern, ifRawPath(chi.URLParam(r, "container"), r))
		})
	}
	return router
}

func gorilla(set func(*mux.Router) *mux.Router, decode func(string, *http.Request) string) setting {
	return func(report func(*http.Request, string, string)) http.Handler {
		router := set(mux.NewRouter())
		for _, literalFirst := range []bool{true, false} { // gorilla uses the first pattern that matches
			for pattern := range table {
				if strings.HasSuffix(pattern, "}") == literalFirst {
					continue
				}
				router.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
					report(r, pattern, decode(mux.Vars(r)["container"], r))
				})
			}
		}
		return router
	}
}

func ginEngine(set func(*gin.Engine), decode func(string, *http.Request) string) setting {
	return func(report func(*http.Request, string, string)) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		engine := gin.New()
		set(engine)
		for pattern := range table {
			engine.GET(colons(pattern), func(c *gin.Context) { report(c.Request, pattern, decode(c.Param("container"), c.Request)) })
		}
		return engine
	}
}

func echoRouter(report func(*http.Request, string, string)) http.Handler {
	router := echo.New()
	for pattern := range table {
		router.GET(colons(pattern), func(c echo.Context) error {
			report(c.Request(), pattern, ifRawPath(c.Param("container"), c.Request()))
			return nil
		})
	}
	return router
}

var settings = map[string]setting{
	"ServeMux": serveMux,
	"ServeMux behind a middleware": func(report func(*http.Request, string, string)) http.Handler {
		return http.AllowQuerySemicolons(serveMux(report))
	},
	"chi":                                   chiRouter,
	"gorilla":                               gorilla(func(r *mux.Router) *mux.Router { return r }, asIs),
	"gorilla with SkipClean":                gorilla(func(r *mux.Router) *mux.Router { return r.SkipClean(true) }, asIs),
	"gorilla with UseEncodedPath":           gorilla((*mux.Router).UseEncodedPath, always),
	"gorilla with both":                     gorilla(func(r *mux.Router) *mux.Router { return r.UseEncodedPath().SkipClean(true) }, always),
	"gin":                                   ginEngine(func(*gin.Engine) {}, asIs),
	"gin with UseRawPath":                   ginEngine(func(e *gin.Engine) { e.UseRawPath = true }, asIs),
	"gin with UseRawPath, left encoded":     ginEngine(func(e *gin.Engine) { e.UseRawPath, e.UnescapePathValues = true, false }, ifRawPath),
	"gin with UseEscapedPath":               ginEngine(func(e *gin.Engine) { e.UseEscapedPath = true }, asIs),
	"gin with UseEscapedPath, left encoded": ginEngine(func(e *gin.Engine) { e.UseEscapedPath, e.UnescapePathValues = true, false }, always),
	"echo":                                  echoRouter,
}

// decodesPlus holds the settings in which gin reads a plus in a container as a space.
// CheckContainer finds this.
var decodesPlus = map[string]bool{"gin with UseRawPath": true, "gin with UseEscapedPath": true}

// paths holds request targets. For each it says whether any router may run a public handler
// without a token, and for which containers a token may run a handler.
var paths = map[string]struct {
	target  string
	public  bool // at least one router serves the target with a public pattern
	opensTo []string
}{
	"a private route":                                  {"/run/A/notify", false, []string{"A"}},
	"a public route":                                   {"/run/A/hello", true, []string{"A"}},
	"a public name, a letter escaped":                  {"/run/A/h%65llo", false, []string{"A"}},
	"a public name that is not ASCII":                  {"/run/A/gr%C3%BC%C3%9Fe", true, []string{"A"}},
	"a public name that is not ASCII, small hex":       {"/run/A/gr%c3%bc%c3%9fe", true, []string{"A"}},
	"a public name that is not ASCII, half of it":      {"/run/A/gr%C3%BCße", true, []string{"A"}},
	"a public name that is not ASCII, as bytes":        {"/run/A/grüße", true, []string{"A"}},
	"a public name with a space":                       {"/run/A/two%20words", true, []string{"A"}},
	"a public name with a plus for the space":          {"/run/A/two+words", false, []string{"A"}},
	"a public name whose pattern escapes without need": {"/run/A/~joe", true, []string{"A"}},
	"that name, escaped as in the pattern":             {"/run/A/%7Ejoe", true, []string{"A"}},
	"that name, its per cent sign escaped":             {"/run/A/%257Ejoe", false, []string{"A"}},
	"a container with a space":                         {"/run/A%20B/notify", false, []string{"A B"}},
	"a container with a plus":                          {"/run/A+B/notify", false, []string{"A+B"}},
	"a container with a plus beside an escape":         {"/run/%41+B/notify", false, []string{"A+B"}},
	"a container with an escaped plus":                 {"/run/A%2BB/notify", false, []string{"A+B"}},
	"a container that is not ASCII":                    {"/run/caf%C3%A9/notify", false, []string{"café"}},
	"a container that is not ASCII, public":            {"/run/caf%C3%A9/hello", true, []string{"café"}},
	"a container escaped twice":                        {"/run/%2541/notify", false, []string{"%41"}},
	"a container with a slash":                         {"/run/A%2FB/notify", false, []string{"A/B"}},
	"a slash that hides a segment":                     {"/run/A%2Fhello/logs", false, nil},
	"a slash that hides a public folder":               {"/files/A/open%2Fx", false, nil},
	"a slash in a public folder":                       {"/files/A/open/x%2Fy", true, []string{"A"}},
	"a semicolon":                                      {"/run/A/hello;x", false, []string{"A"}},
	"a last slash":                                     {"/run/A/hello/", false, nil},
}

func TestRoutes_AroundEveryRouterAndSetting(t *testing.T) {
	var containers []string
	for _, path := range paths {
		containers = append(containers, path.opensTo...)
	}
	containers = append(containers, "B", "A B", "a", "A", "%2541", "A%2FB", "caf%C3%A9")
	for name, build := range settings {
		t.Run(name, func(t *testing.T) {
			auth := routertest.New(t)
			var last *ran
			router := build(func(r *http.Request, pattern, container string) {
				if err := auth.CheckContainer(r.Context(), container); err != nil {
					return // as a handler would after denying the request
				}
				_, ok := jwtauth.FromContext(r.Context())
				last = &ran{pattern, container, ok}
			})
			wrap, err := auth.Routes(table)
			require.NoError(t, err)
			handler := wrap(router)
			send := func(target, token string) *ran {
				last = nil
				w := routertest.Send(t, handler, "GET", target, token, "")
				require.NotContains(t, []int{500, 503}, w.Code, target)
				return last
			}
			for spelling, path := range paths {
				t.Run(spelling, func(t *testing.T) {
					got := send(path.target, "")
					if got != nil {
						require.Equal(t, jwtauth.Public, table[got.pattern], "%s runs without a token", got.pattern)
						require.True(t, path.public, "%s runs without a token", got.pattern)
					}
					for _, container := range containers {
						got := send(path.target, routertest.Issue(t, auth, container))
						if got == nil || table[got.pattern] == jwtauth.Public && !got.claims {
							continue
						}
						require.Equal(t, container, got.container, "the handler of %s ran with a token of another container, %q", got.pattern, container)
						require.Contains(t, path.opensTo, container)
					}
				})
			}
		})
	}
}

// The requests of legitimate clients must reach their handlers, in the encoding that
// browsers send.
func TestRoutes_LetRightClientsThrough(t *testing.T) {
	for name, build := range settings {
		t.Run(name, func(t *testing.T) {
			auth := routertest.New(t)
			var last *ran
			wrap, err := auth.Routes(table)
			require.NoError(t, err)
			handler := wrap(build(func(r *http.Request, pattern, container string) {
				_, ok := jwtauth.FromContext(r.Context())
				last = &ran{pattern, container, ok}
			}))
			for target, want := range map[string]struct{ container, pattern string }{
				"/run/A/hello":          {"", "/run/{container}/hello"},
				"/run/A%20B/hello":      {"", "/run/{container}/hello"},
				"/run/A/notify":         {"A", "/run/{container}/{recipe}"},
				"/run/A%20B/notify":     {"A B", "/run/{container}/{recipe}"},
				"/run/caf%C3%A9/notify": {"café", "/run/{container}/{recipe}"},
				"/run/A/%C3%BC":         {"A", "/run/{container}/{recipe}"},
			} {
				last = nil
				token := ""
				if want.container != "" {
					token = routertest.Issue(t, auth, want.container)
				}
				w := routertest.Send(t, handler, "GET", target, token, "")
				require.NotNil(t, last, "%s: %d %s", target, w.Code, w.Body)
				require.Equal(t, want.pattern, last.pattern, target)
				require.Equal(t, token != "", last.claims, target)
			}
		})
	}
}

// If Routes wraps a ServeMux directly, the mux reads a path as the table does. So a public
// name needs no token, even if browsers must encode it.
func TestRoutes_KeepPublicNamesOfAServeMuxPublic(t *testing.T) {
	auth := routertest.New(t)
	wrap, err := auth.Routes(table)
	require.NoError(t, err)
	var pattern string
	handler := wrap(serveMux(func(_ *http.Request, p, _ string) { pattern = p }))
	for target, want := range map[string]string{
		"/run/A/gr%C3%BC%C3%9Fe":         "/run/{container}/grüße",
		"/run/A/two%20words":             "/run/{container}/two%20words",
		"/run/A/~joe":                    "/run/{container}/%7Ejoe",
		"/run/caf%C3%A9/gr%C3%BC%C3%9Fe": "/run/{container}/grüße",
		"/files/A/open/%C3%BC":           "/files/{container}/open/{name}",
	} {
		pattern = ""
		w := routertest.Send(t, handler, "GET", target, "", "")
		require.Equal(t, want, pattern, "%s: %d", target, w.Code)
	}
}

// A pattern that ends in {rest...} may lead to another router, which reads the segments
// again. A request without a token must not reach a private handler there.
func TestRoutes_AroundAServeMuxThatHoldsAnotherRouter(t *testing.T) {
	auth := routertest.New(t)
	wrap, err := auth.Routes(map[string]jwtauth.Policy{
		"/run/{container}/{rest...}": jwtauth.Public,
		"/run/{container}/%7Ejoe":    jwtauth.Private,
	})
	require.NoError(t, err)
	private := false
	router := chi.NewRouter()
	router.HandleFunc("/run/{container}/%7Ejoe", func(http.ResponseWriter, *http.Request) { private = true })
	router.HandleFunc("/run/{container}/*", func(http.ResponseWriter, *http.Request) {})
	outer := http.NewServeMux()
	outer.Handle("/run/{container}/{rest...}", router)
	handler := wrap(outer)
	for _, target := range []string{"/run/A/%257Ejoe", "/run/A/%7Ejoe", "/run/A/~joe"} {
		routertest.Send(t, handler, "GET", target, "", "")
		require.False(t, private, target)
	}
}

func TestCheckContainer_FindsThatGinReadsAPlusAsASpace(t *testing.T) {
	auth := routertest.New(t)
	wrap, err := auth.Routes(table)
	require.NoError(t, err)
	for name := range decodesPlus {
		for checked, want := range map[bool]string{false: "A B", true: ""} {
			got := ""
			router := settings[name](func(r *http.Request, _, container string) {
				if !checked || auth.CheckContainer(r.Context(), container) == nil {
					got = container
				}
			})
			routertest.Send(t, wrap(router), "GET", "/run/%41+B/notify", routertest.Issue(t, auth, "A+B"), "")
			require.Equal(t, want, got, "%s, with CheckContainer: %v", name, checked)
		}
	}
}
