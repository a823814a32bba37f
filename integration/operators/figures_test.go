package operators_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

const pastOneMachine = "../../docs/past-one-machine.md"

// The pages state the defaults that the code has.
func TestTheDefaultsOfThePages(t *testing.T) {
	day := func(d time.Duration) string { return fmt.Sprintf("%d days", d/(24*time.Hour)) }
	thousands := func(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
	for page, said := range map[string][]string{
		production: {
			"`WithMaxTokenSize` " + "8 KiB",
			day(jwtauth.DefaultTTL) + " for tokens of containers, " + day(session.DefaultRefreshTTL) + " for sessions",
			"`revoke.WithSkew`, " + fmt.Sprint(revoke.DefaultSkew.Seconds()) + " s |",
			"past " + fmt.Sprint(revoke.DefaultStaleness.Seconds()) + " s all calls are 503",
			fmt.Sprint(session.DefaultGrace.Seconds()) + " s of grace",
			"past " + fmt.Sprint(keys.DefaultMaxStale.Hours()) + " h every token is 503",
			"`WithCache` keeps (" + thousands(32<<10) + ")",
		},
		pastOneMachine: {
			"every " + fmt.Sprint(revoke.DefaultInterval.Milliseconds()) + " ms",
			fmt.Sprint(revoke.DefaultStaleness.Seconds()) + " s after",
			fmt.Sprint(session.DefaultAccessTTL.Minutes()) + " minutes",
			day(session.DefaultRefreshTTL),
			day(session.DefaultMaxAge),
			fmt.Sprint(session.DefaultStoreTimeout.Seconds()) + " s (`session.WithStoreTimeout`)",
			fmt.Sprint(keys.DefaultMaxStale.Hours()) + " h (`keys.WithMaxStale`)",
			thousands(32<<10) + " tokens",
			thousands(1_000_000/int(session.DefaultAccessTTL.Seconds())) + " refreshes a second",
		},
	} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		flat := strings.Join(strings.Fields(string(text)), " ")
		for _, s := range said {
			require.True(t, strings.Contains(flat, s), "%s does not say %q", page, s)
		}
	}
}

// The tests that the table of failures names exist.
func TestTheTestsThatThePageNamesExist(t *testing.T) {
	text, err := os.ReadFile(pastOneMachine)
	require.NoError(t, err)
	named := regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, named)
	for _, n := range named {
		files, err := os.ReadDir("../../" + n[1])
		require.NoError(t, err)
		found := false
		for _, f := range files {
			if strings.HasSuffix(f.Name(), "_test.go") {
				source, err := os.ReadFile("../../" + n[1] + "/" + f.Name())
				require.NoError(t, err)
				found = found || strings.Contains(string(source), "func "+n[2]+"(")
			}
		}
		require.True(t, found, strconv.Quote(n[0]))
	}
}

func TestAUsualTokenIsAsLongAsThePageSays(t *testing.T) {
	text, err := os.ReadFile(production)
	require.NoError(t, err)
	require.Contains(t, string(text), "A usual token has 200 to 600 bytes")
	for _, alg := range []string{"HS256", "EdDSA", "ES256"} {
		key, err := keys.Generate(alg)
		require.NoError(t, err)
		auth, err := jwtauth.New(key, jwtauth.WithIssuer("https://api.example.com"))
		require.NoError(t, err)
		token, err := auth.Issue("my-container", jwtauth.Subject("my-container"))
		require.NoError(t, err)
		sessions, err := session.New(key, session.NewMemory(), session.WithAccess(jwtauth.WithIssuer("https://api.example.com")))
		require.NoError(t, err)
		pair, err := sessions.Login(t.Context(), "f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
		require.NoError(t, err)
		for _, token := range []string{token, pair.AccessToken, pair.RefreshToken} {
			require.Greater(t, len(token), 200, alg)
			require.Less(t, len(token), 600, alg)
		}
	}
}
