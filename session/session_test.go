package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

func login(t testing.TB, m *session.Manager, subject string, opts ...session.LoginOption) session.Pair {
	t.Helper()
	pair, err := m.Login(t.Context(), subject, opts...)
	require.NoError(t, err)
	return pair
}

func refresh(t testing.TB, m *session.Manager, token string) session.Pair {
	t.Helper()
	pair, err := m.Refresh(t.Context(), token)
	require.NoError(t, err)
	return pair
}

func claimsOf(t testing.TB, m *session.Manager, access string) jwtauth.Claims {
	t.Helper()
	c, err := m.Auth().VerifyAnyContainer(t.Context(), access)
	require.NoError(t, err)
	return c
}

// requireEnded says that no token of a pair opens anything.
func requireEnded(t testing.TB, m *session.Manager, pair session.Pair) {
	t.Helper()
	if pair.AccessToken != "" {
		_, err := m.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
	}
	if pair.RefreshToken != "" {
		_, err := m.Refresh(t.Context(), pair.RefreshToken)
		require.ErrorIs(t, err, jwtauth.ErrRevoked)
	}
}

func claimsSay(container string, opts []jwtauth.IssueOption, err error) session.Option {
	return session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		return container, opts, err
	})
}

func TestNewRefusesABadConfigurationAndNamesIt(t *testing.T) {
	short, err := revoke.New(revoke.NewMemory(), revoke.WithMaxLifetime(time.Hour))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		store session.Store
		opts  []session.Option
		want  string
	}{
		"no store":                            {nil, nil, "session.NewMemory()"},
		"a nil option":                        {session.NewMemory(), []session.Option{nil}, "option 1 is nil"},
		"no access lifetime":                  {session.NewMemory(), []session.Option{session.WithAccessTTL(0)}, "WithAccessTTL(0s)"},
		"half a second of access":             {session.NewMemory(), []session.Option{session.WithAccessTTL(1500 * time.Millisecond)}, "WithAccessTTL(1.5s)"},
		"no refresh lifetime":                 {session.NewMemory(), []session.Option{session.WithRefreshTTL(-1)}, "WithRefreshTTL"},
		"no age":                              {session.NewMemory(), []session.Option{session.WithMaxAge(0)}, "WithMaxAge(0s)"},
		"a negative grace":                    {session.NewMemory(), []session.Option{session.WithGrace(-1)}, "WithGrace(-1ns)"},
		"an endless grace":                    {session.NewMemory(), []session.Option{session.WithGrace(time.Hour)}, "between 0 and 10m0s"},
		"no time for the store":               {session.NewMemory(), []session.Option{session.WithStoreTimeout(time.Millisecond - 1)}, "WithStoreTimeout(999.999µs)"},
		"an hour for the store":               {session.NewMemory(), []session.Option{session.WithStoreTimeout(time.Hour)}, "give it 20s at most"},
		"no clock":                            {session.NewMemory(), []session.Option{session.WithClock(nil)}, "WithClock"},
		"no callback":                         {session.NewMemory(), []session.Option{session.WithClaims(nil)}, "WithClaims"},
		"no list":                             {session.NewMemory(), []session.Option{session.WithRevocations(nil)}, "WithRevocations"},
		"no refresh keys":                     {session.NewMemory(), []session.Option{session.WithRefreshKeys(nil)}, "WithRefreshKeys"},
		"nobody who listens":                  {session.NewMemory(), []session.Option{session.WithEvents(nil)}, "WithEvents"},
		"nobody who counts":                   {session.NewMemory(), []session.Option{session.WithObserver(nil)}, "WithObserver"},
		"no logger":                           {session.NewMemory(), []session.Option{session.WithLogger(nil)}, "WithLogger"},
		"no token at all":                     {session.NewMemory(), []session.Option{session.WithoutAccess(), session.WithoutRefresh()}, "leave no token"},
		"containers that nobody names":        {session.NewMemory(), []session.Option{session.WithContainers()}, "needs WithClaims"},
		"a bad option of the access tokens":   {session.NewMemory(), []session.Option{session.WithAccess(jwtauth.WithIssuer(""))}, "access tokens: jwtauth: New: WithIssuer"},
		"a list that forgets before they end": {session.NewMemory(), []session.Option{session.WithRevocations(short)}, "WithRevocations was given a list that forgets after 1h0m0s, and tokens may live 336h0m0s; give it revoke.WithMaxLifetime(336h0m0s)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := session.New(keys.HS256(secret), test.store, test.opts...)
			require.ErrorContains(t, err, "session: New: ")
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err = session.New(keys.HS256(secret[:5]), session.NewMemory())
	require.ErrorContains(t, err, "at least 32 random ones")
	_, err = session.New(keys.HS256(secret), session.NewMemory(), session.WithRefreshKeys(keys.HS256(secret[:5])))
	require.ErrorContains(t, err, "refresh tokens: ")
}

func TestAPairSaysWhoseItIsAndHowLong(t *testing.T) {
	clock := newClock()
	m := newManager(t, session.WithClock(clock.now), session.WithAccess(jwtauth.WithIssuer("https://api.example.com"), jwtauth.WithAudience("api")),
		session.WithMaxAge(15*24*time.Hour))
	pair := login(t, m, "alice", session.Label("a laptop"))
	require.Equal(t, "Bearer", pair.TokenType)
	require.EqualValues(t, 900, pair.ExpiresIn)
	require.EqualValues(t, 14*24*3600, pair.RefreshExpiresIn)
	require.Equal(t, "alice", pair.Subject)

	c := claimsOf(t, m, pair.AccessToken)
	require.Equal(t, "alice", c.Subject)
	require.Equal(t, pair.SessionID, c.SessionID)
	require.Equal(t, "https://api.example.com", c.Issuer)
	require.Equal(t, []string{"api"}, c.Audience)
	require.Equal(t, clock.now().Truncate(time.Second).Add(15*time.Minute), c.ExpiresAt)

	clock.advance(10 * 24 * time.Hour)
	next := refresh(t, m, pair.RefreshToken)
	require.EqualValues(t, 5*24*3600, next.RefreshExpiresIn, "the age of the session ends it")
	require.Equal(t, pair.SessionID, next.SessionID)
	clock.advance(5*24*time.Hour - 10*time.Second)
	last := refresh(t, m, next.RefreshToken)
	require.LessOrEqual(t, last.ExpiresIn, int64(10), "an access token does not outlive its session")
	clock.advance(10 * time.Second)
	_, err := m.Refresh(t.Context(), last.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrExpired)
	_, err = m.Auth().VerifyAnyContainer(t.Context(), last.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrExpired)
}

func TestNoKindOfTokenIsJudgedAsAnother(t *testing.T) {
	m := newManager(t)
	pair := login(t, m, "alice")
	_, err := m.Auth().VerifyAnyContainer(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrType)
	_, err = m.Refresh(t.Context(), pair.AccessToken)
	require.ErrorIs(t, err, jwtauth.ErrType)

	plain, err := jwtauth.New(keys.HS256(secret), jwtauth.WithAnyContainer(), jwtauth.WithClock(newClock().now))
	require.NoError(t, err)
	for _, token := range []string{pair.AccessToken, pair.RefreshToken} {
		_, err := plain.VerifyAnyContainer(t.Context(), token)
		require.ErrorIs(t, err, jwtauth.ErrType)
	}
	forRefresh, err := jwtauth.New(keys.HS256(secret), jwtauth.WithAnyContainer(), jwtauth.WithTypes(session.RefreshType), jwtauth.WithClock(newClock().now))
	require.NoError(t, err)
	for name, opts := range map[string][]jwtauth.IssueOption{
		"nothing":       nil,
		"no generation": {jwtauth.Subject("alice"), jwtauth.SessionID(pair.SessionID)},
		"a foreign jti": {jwtauth.Subject("alice"), jwtauth.SessionID(pair.SessionID), jwtauth.Claim("gen", 1)},
		"another type":  {jwtauth.Subject("alice"), jwtauth.SessionID(pair.SessionID), jwtauth.Claim("gen", "1")},
	} {
		token, err := forRefresh.Issue("", append(opts, jwtauth.TTL(time.Hour))...)
		require.NoError(t, err)
		_, err = m.Refresh(t.Context(), token)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, jwtauth.ErrUnavailable, name)
	}
	refresh(t, m, pair.RefreshToken)
}

func TestClaimsAreAskedForAtEveryLoginAndRefresh(t *testing.T) {
	clock := newClock()
	var seen []session.Session
	role, failure := "cook", error(nil)
	m := newManager(t, session.WithClock(clock.now), session.WithContainers(),
		session.WithClaims(func(_ context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
			seen = append(seen, s)
			return "demo", []jwtauth.IssueOption{jwtauth.Claim("role", role), jwtauth.Subject("mallory"), jwtauth.TTL(time.Hour)}, failure
		}))
	roleOf := func(pair session.Pair) string {
		c, err := m.Auth().Verify(t.Context(), pair.AccessToken, "demo")
		require.NoError(t, err)
		require.Equal(t, "alice", c.Subject, "what the Manager sets wins")
		require.Equal(t, 15*time.Minute, c.ExpiresAt.Sub(c.IssuedAt))
		require.Equal(t, clock.now().Truncate(time.Second), c.IssuedAt)
		require.GreaterOrEqual(t, c.Stamp, clock.now().UnixMicro())
		var own struct{ Role string }
		require.NoError(t, c.Decode(&own))
		return own.Role
	}
	pair := login(t, m, "alice", session.Label("phone"))
	require.Equal(t, "cook", roleOf(pair))
	_, err := m.Auth().Verify(t.Context(), pair.AccessToken, "other")
	require.ErrorIs(t, err, jwtauth.ErrContainer)
	role = "chef"
	clock.advance(settled)
	next := refresh(t, m, pair.RefreshToken)
	require.Equal(t, "chef", roleOf(next))
	role = "owner"
	require.Equal(t, "owner", roleOf(refresh(t, m, pair.RefreshToken)), "a replay is asked about, too")
	require.Len(t, seen, 3)
	require.Equal(t, "phone", seen[2].Label)
	require.EqualValues(t, 2, seen[2].Generation)

	failure = errors.New("no connection")
	_, err = m.Refresh(t.Context(), next.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.ErrorIs(t, err, failure)
	failure = nil
	clock.advance(time.Hour)
	last := refresh(t, m, next.RefreshToken) // it changed nothing

	failure = session.ErrSubjectGone
	_, err = m.Refresh(t.Context(), last.RefreshToken)
	require.ErrorIs(t, err, session.ErrSubjectGone)
	require.ErrorIs(t, err, jwtauth.ErrRevoked)
	failure = nil
	requireEnded(t, m, last)
	failure = session.ErrSubjectGone
	_, err = m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, session.ErrSubjectGone)
}

func TestLoginRefuses(t *testing.T) {
	m := newManager(t)
	for name, test := range map[string]struct {
		subject string
		opts    []session.LoginOption
		want    string
	}{
		"nobody":                 {"", nil, "1 to 1024 bytes"},
		"a subject too long":     {strings.Repeat("x", session.MaxText+1), nil, "1 to 1024 bytes"},
		"a subject not in UTF-8": {"\xff", nil, "UTF-8"},
		"a subject with a NUL":   {"ali\x00ce", nil, "control characters"},
		"a nil option":           {"alice", []session.LoginOption{nil}, "option 1 is nil"},
		"an age of nothing":      {"alice", []session.LoginOption{session.MaxAge(0)}, "MaxAge(0s)"},
		"an age over the most":   {"alice", []session.LoginOption{session.MaxAge(session.DefaultMaxAge + 1)}, "WithMaxAge"},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := m.Login(t.Context(), test.subject, test.opts...)
			require.ErrorContains(t, err, test.want)
			require.Zero(t, pair)
		})
	}
	login(t, m, strings.Repeat("x", session.MaxText))
}

func TestLabelsAreMadeHarmless(t *testing.T) {
	m := newManager(t)
	for given, want := range map[string]string{
		"Firefox on Linux":            "Firefox on Linux",
		"a\x00b\x1b[31mc\r\nd\u0085e": "ab[31mcde",
		"\xff\xfex":                   "x",
		strings.Repeat("ä", 200):      strings.Repeat("ä", 128),
		"":                            "",
	} {
		subject := "user of " + want
		login(t, m, subject, session.Label(given))
		all, err := m.Sessions(t.Context(), subject)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, want, all[0].Label)
	}
}

func TestLogoutEndsOneSessionAndBothItsTokens(t *testing.T) {
	var seen recorder
	m := newManager(t, session.WithEvents(seen.report))
	laptop, phone, bobs := login(t, m, "alice"), login(t, m, "alice"), login(t, m, "bob")
	seen.take()
	require.ErrorIs(t, m.Logout(t.Context(), "alice", bobs.SessionID), session.ErrNoSession, "both must match")
	require.ErrorIs(t, m.Logout(t.Context(), "alice", "nonsense"), session.ErrNoSession)
	require.Empty(t, seen.take())
	for range 2 { // it may be repeated
		require.NoError(t, m.Logout(t.Context(), "alice", laptop.SessionID))
	}
	require.Equal(t, []session.Event{{Kind: session.LoggedOut, SessionID: laptop.SessionID, Subject: "alice", Reason: session.ReasonLogout}}, seen.take())
	requireEnded(t, m, laptop)
	for _, pair := range []session.Pair{phone, bobs} {
		claimsOf(t, m, pair.AccessToken)
		refresh(t, m, pair.RefreshToken)
	}
}

func TestLogoutAllEndsAllButThoseExcepted(t *testing.T) {
	clock := newClock()
	m := newManager(t, session.WithClock(clock.now))
	var alices []session.Pair
	for range 4 {
		alices = append(alices, login(t, m, "alice"))
		clock.advance(time.Second)
	}
	bobs := login(t, m, "bob")
	n, err := m.LogoutAll(t.Context(), "alice", alices[1].SessionID)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	left, err := m.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, alices[1].SessionID, left[0].ID)
	for i, pair := range alices {
		if i != 1 {
			requireEnded(t, m, pair)
		}
	}
	refresh(t, m, alices[1].RefreshToken)
	refresh(t, m, bobs.RefreshToken)
	n, err = m.LogoutAll(t.Context(), "nobody")
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestLogoutAllGoesOnPastOneThatFails(t *testing.T) {
	f := newFaulty()
	m := newManagerOver(t, faultyStore{f})
	pairs := []session.Pair{login(t, m, "alice"), login(t, m, "alice"), login(t, m, "alice")}
	f.fault = &fault{call: "Revoke"}
	n, err := m.LogoutAll(t.Context(), "alice")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	require.Equal(t, len(pairs)-1, n)
	left, err := m.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, left, 1)
	for _, pair := range pairs {
		requireEnded(t, m, pair)
	}
}

func TestSessionsAreListedTheLastUsedFirst(t *testing.T) {
	clock := newClock()
	m := newManager(t, session.WithClock(clock.now))
	first := login(t, m, "alice", session.Label("first"))
	clock.advance(time.Minute)
	login(t, m, "alice", session.Label("second"), session.MaxAge(time.Hour))
	login(t, m, "bob")
	clock.advance(time.Minute)
	refresh(t, m, first.RefreshToken)
	labels := func() (all []string) {
		list, err := m.Sessions(t.Context(), "alice")
		require.NoError(t, err)
		for _, s := range list {
			all = append(all, s.Label)
		}
		return all
	}
	require.Equal(t, []string{"first", "second"}, labels())
	clock.advance(time.Hour)
	require.Equal(t, []string{"first"}, labels())
}

// What is revoked beside the Manager, by a list that others share, ends sessions,
// too; and the next login is good at once, whatever the second.
func TestWhatAListRevokesIsEnded(t *testing.T) {
	clock := newClock()
	list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(clock.now))
	require.NoError(t, err)
	m := newManager(t, session.WithClock(clock.now), session.WithRevocations(list))
	for range 5 {
		pair := login(t, m, "alice")
		next := refresh(t, m, pair.RefreshToken)
		require.NoError(t, list.RevokeSubject(t.Context(), m.Auth().Issuer(), "alice"))
		for _, p := range []session.Pair{pair, next} {
			requireEnded(t, m, p)
		}
	}
	refresh(t, m, login(t, m, "alice").RefreshToken)
}

func TestAPairHidesItsTokens(t *testing.T) {
	pair := login(t, newManager(t), "alice")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "pair", pair)
	for _, text := range []string{fmt.Sprint(pair), fmt.Sprintf("%+v %#v", pair, pair), log.String()} {
		require.Contains(t, text, pair.SessionID)
		require.NotContains(t, text, pair.AccessToken)
		require.NotContains(t, text, pair.RefreshToken)
	}
	text, err := json.Marshal(session.Credentials{Email: "alice", Password: "secret"})
	require.NoError(t, err)
	require.Equal(t, `"session.Credentials"`, string(text))
}

func TestEventsTellTheStoryOfASession(t *testing.T) {
	var seen recorder
	clock := newClock()
	m := newManager(t, session.WithClock(clock.now), session.WithEvents(seen.report))
	pair := login(t, m, "alice")
	clock.advance(time.Minute)
	refresh(t, m, pair.RefreshToken)
	refresh(t, m, pair.RefreshToken)
	clock.advance(time.Minute)
	next := refresh(t, m, pair.RefreshToken)
	clock.advance(time.Minute)
	refresh(t, m, next.RefreshToken)
	_, err := m.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, session.ErrReused)
	_, err = m.Refresh(t.Context(), pair.RefreshToken)
	require.NotErrorIs(t, err, session.ErrReused, "it had ended before")
	all := seen.take()
	var kinds []session.EventKind
	for _, e := range all {
		require.Equal(t, pair.SessionID, e.SessionID)
		require.Equal(t, "alice", e.Subject)
		kinds = append(kinds, e.Kind)
	}
	require.Equal(t, []session.EventKind{session.LoggedIn, session.Refreshed, session.Retried, session.Recovered, session.Refreshed, session.Reused}, kinds)
	require.Equal(t, session.ReasonAnswerLost, all[3].Reason)
	require.Equal(t, session.ReasonReused, all[5].Reason)
}

func TestOneKindOfTokenMayBeEnough(t *testing.T) {
	clock := newClock()
	t.Run("access alone", func(t *testing.T) {
		m := newManager(t, session.WithClock(clock.now), session.WithoutRefresh(), session.WithAccessTTL(time.Hour))
		pair := login(t, m, "alice")
		require.Empty(t, pair.RefreshToken)
		require.Zero(t, pair.RefreshExpiresIn)
		require.EqualValues(t, 3600, pair.ExpiresIn)
		claimsOf(t, m, pair.AccessToken)
		all, err := m.Sessions(t.Context(), "alice")
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.NoError(t, m.Logout(t.Context(), "alice", pair.SessionID))
		requireEnded(t, m, pair)
		login(t, m, "alice")
		clock.advance(time.Hour)
		all, err = m.Sessions(t.Context(), "alice")
		require.NoError(t, err)
		require.Empty(t, all, "it ends with its token")
	})
	t.Run("refresh alone", func(t *testing.T) {
		m := newManager(t, session.WithClock(clock.now), session.WithoutAccess())
		pair := login(t, m, "alice")
		require.Empty(t, pair.AccessToken)
		require.Zero(t, pair.ExpiresIn)
		clock.advance(settled)
		next := refresh(t, m, pair.RefreshToken)
		require.Empty(t, next.AccessToken)
		require.NotEqual(t, pair.RefreshToken, next.RefreshToken)
	})
}

func TestWithoutAccessTheCallbackSeesWhoIsGone(t *testing.T) {
	var gone error
	m := newManager(t, session.WithoutAccess(), session.WithClaims(func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		return "", nil, gone
	}))
	pair := login(t, m, "alice")
	gone = session.ErrSubjectGone
	_, err := m.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, session.ErrSubjectGone)
	_, err = m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, session.ErrSubjectGone)
	gone = nil
	requireEnded(t, m, pair)
}

func TestRefreshTokensMayHaveKeysOfTheirOwn(t *testing.T) {
	other := []byte("another secret of 32 bytes, or so")
	store := session.NewMemory()
	m := newManagerOver(t, store, session.WithRefreshKeys(keys.HS256(other)))
	pair := login(t, m, "alice")
	_, err := newManagerOver(t, store).Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, jwtauth.ErrSignature)
	refresh(t, m, pair.RefreshToken)
}

func TestRunTakesOutWhatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := session.NewMemory()
		m := newManagerOver(t, store, session.WithClock(time.Now), session.WithRefreshTTL(time.Hour))
		gone := login(t, m, "alice")
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Hour+time.Minute)
		defer stop()
		require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
		_, found, err := store.Get(t.Context(), "alice", gone.SessionID)
		require.NoError(t, err)
		require.False(t, found)
	})
}

// A clock that is wrong for a while must not cost anybody's session.
func TestRunBelievesNoClockThatJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, jump := session.NewMemory(), time.Duration(0)
		m := newManagerOver(t, store, session.WithClock(func() time.Time { return time.Now().Add(jump) }))
		pair := login(t, m, "alice")
		jump = 365 * 24 * time.Hour
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Hour+time.Minute)
		defer stop()
		m.Run(ctx)
		jump = 0
		refresh(t, m, pair.RefreshToken)
	})
}
