package main

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEveryMiddlewarePassesAndRefusesWhatTheTableSays(t *testing.T) {
	all := peers()
	for i := range all {
		t.Run(all[i].name, func(t *testing.T) { require.NoError(t, judgeMiddleware(all[i], hs256())) })
	}
	for _, a := range []algorithm{hs256(), eddsa(), es256(), rs256()} {
		t.Run("ours, "+a.name(), func(t *testing.T) {
			require.NoError(t, judgeMiddleware(ours(a), a))
			require.NoError(t, judgeMiddleware(ours(a, withoutCache()...), a))
			require.NoError(t, judgeMiddleware(ours(a, withCacheFor(10)...), a))
		})
	}
}

func TestEveryParserPassesAndRefusesWhatTheTableSays(t *testing.T) {
	for _, p := range append([]parser{verifying(hs256())}, bareParsers()...) {
		t.Run(p.name, func(t *testing.T) { require.NoError(t, judgeParser(p, hs256())) })
	}
}

func TestBothIssuersMakeTokensOfTheSameClaims(t *testing.T) {
	require.NoError(t, judgeIssuers())
}

// The checks must find each library that cheats.
func TestNoCheatPasses(t *testing.T) {
	honest := ours(hs256())
	cheats := map[string]middleware{
		"one that allows every request": {wrap: func(next http.Handler) http.Handler { return next }},
		"one that denies every request": {wrap: func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		}},
		"one that answers without the handler": {wrap: func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
		}},
		"one whose missing checks are not listed": {wrap: chi},
		"one said to lack a check that it makes":  {lacks: []*check{checkContainer}, wrap: honest.wrap},
		"one said to accept forged tokens":        {lacks: []*check{checkSignature}, wrap: honest.wrap},
		"one that runs the handler twice":         {wrap: func(next http.Handler) http.Handler { return honest.wrap(twice(next)) }},
		"one that allows what it denied before":   {wrap: forgetful(honest.wrap)},
		"one that changes the shared request":     {wrap: func(next http.Handler) http.Handler { return marking(honest.wrap(next)) }},
		"one that denies with status 200":         {wrap: polite(honest.wrap)},
	}
	for name, m := range cheats {
		t.Run(name, func(t *testing.T) { require.Error(t, judgeMiddleware(m, hs256())) })
	}
}

func twice(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		next.ServeHTTP(w, r)
	})
}

// forgetful allows the second of two requests with the same token.
func forgetful(wrap func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		seen := map[string]bool{}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token := r.Header.Get("Authorization")
			if seen[token] {
				next.ServeHTTP(w, r)
				return
			}
			seen[token] = true
			wrap(next).ServeHTTP(w, r)
		})
	}
}

func marking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Seen", "yes")
		next.ServeHTTP(w, r)
	})
}

// polite denies requests with status 200.
func polite(wrap func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			wrap(next).ServeHTTP(&discard{header: http.Header{}}, r)
		})
	}
}

func TestARunIsWorthlessIfTheHandlerDidNotRunEachTime(t *testing.T) {
	shortly(t)
	lazy := middleware{wrap: func(next http.Handler) http.Handler {
		n := 0
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; n%2 == 0 {
				next.ServeHTTP(w, r)
			}
		})
	}}
	_, err := once(accepting("lazy", lazy, hs256().mint()))
	require.ErrorContains(t, err, "the handler ran")
	_, err = once(refusing("lazy", lazy, hs256().mint()))
	require.Error(t, err)
	_, err = once(refusing("open", middleware{wrap: ours(hs256()).wrap}, hs256().mint()))
	require.Error(t, err)
}

func TestTheServerRefusesOnThePrivateRouteAlone(t *testing.T) {
	s, err := startServer() // calls judge
	require.NoError(t, err)
	s.close()
}

func TestTokensHaveTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{200, 512, 1024, 8192} {
		token := hs256().sized(size)
		require.LessOrEqual(t, len(token), size)
		require.GreaterOrEqual(t, len(token), size-2)
	}
	good := hs256().mint()
	require.Len(t, hs256().forged(), len(good))
	require.Len(t, garbage(good), len(good))
}

func TestRatiosAreMediansOfWhatWasTimedTogether(t *testing.T) {
	r := results{
		"a": {{ns: 10}, {ns: 100}, {ns: 30}},
		"b": {{ns: 5}, {ns: 50}, {ns: 10}},
	}
	require.InDelta(t, 30, r.of("a").ns, 0)
	require.InDelta(t, 2, r.ratio("a", "b"), 0)
	require.Panics(t, func() { r.of("c") }, "a hole in a table must not read like zero")
}

func TestTargetsAreMetAtTheirBoundAndNotBeyond(t *testing.T) {
	require.Equal(t, "yes", atMost("", 2, 2).met())
	require.Equal(t, "**no**", atMost("", 2, 2.001).met())
	require.Equal(t, "yes", atLeast("", 2, 2).met())
	require.Equal(t, "**no**", atLeast("", 2, 1.999).met())
	require.Equal(t, "n/a", figures{}.coresTarget().met())
}

// shortly makes testing.Benchmark run for less than a second.
func shortly(t *testing.T) {
	t.Helper()
	restore, err := benchtime(time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(restore)
}

func TestEveryNameIsUsedOnce(t *testing.T) {
	var names []string
	for _, s := range slices.Concat(guards(), parsers(), floors(), issuers(), refusals(), asymmetric(eddsa())) {
		require.NotContains(t, names, s.name, "two lines with the same name would become one")
		names = append(names, s.name)
	}
}
