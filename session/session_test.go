package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

func TestNew_RefusesABadConfigurationAndNamesIt(t *testing.T) {
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
		"nothing that listens":                {session.NewMemory(), []session.Option{session.WithEvents(nil)}, "WithEvents"},
		"nothing that counts":                 {session.NewMemory(), []session.Option{session.WithObserver(nil)}, "WithObserver"},
		"no logger":                           {session.NewMemory(), []session.Option{session.WithLogger(nil)}, "WithLogger"},
		"no token at all":                     {session.NewMemory(), []session.Option{session.WithoutAccess(), session.WithoutRefresh()}, "leave no token"},
		"containers without WithClaims":       {session.NewMemory(), []session.Option{session.WithContainers()}, "needs WithClaims"},
		"a bad option of the access tokens":   {session.NewMemory(), []session.Option{session.WithAccess(jwtauth.WithIssuer(""))}, "access tokens: jwtauth: New: WithIssuer"},
		"a list that forgets before they end": {session.NewMemory(), []session.Option{session.WithRevocations(short)}, "WithRevocations was given a list that keeps revocations for 1h0m0s, but tokens may live 336h0m0s; give it revoke.WithMaxLifetime(336h0m0s)"},
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

func TestLogin_Refuses(t *testing.T) {
	m := newManager(t)
	for name, test := range map[string]struct {
		subject string
		opts    []session.LoginOption
		want    string
	}{
		"no subject":             {"", nil, "1 to 1024 bytes"},
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

func TestLogin_APairSaysWhoseItIsAndHowLong(t *testing.T) {
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
	require.EqualValues(t, 5*24*3600, next.RefreshExpiresIn, "the session must end at its maximum age")
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

// If a subject is revoked during a login, the login must fail, and leave no session.
func TestLogin_DoesNotOutrunARevocationOfItsSubject(t *testing.T) {
	clock := newClock()
	list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(clock.now))
	require.NoError(t, err)
	var during func(ctx context.Context, subject string)
	m := newManager(t, session.WithClock(clock.now), session.WithRevocations(list),
		session.WithClaims(func(ctx context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
			if during != nil {
				during(ctx, s.Subject)
			}
			return "", nil, nil
		}))
	during = func(ctx context.Context, subject string) {
		require.NoError(t, list.RevokeSubject(ctx, "", subject))
		clock.advance(time.Second)
	}
	_, err = m.Login(t.Context(), "alice")
	require.ErrorIs(t, err, jwtauth.ErrUnavailable)
	all, err := m.Sessions(t.Context(), "alice")
	require.NoError(t, err)
	require.Empty(t, all)
	during = nil
	pair := login(t, m, "alice")
	_, err = m.Auth().VerifyAnyContainer(t.Context(), pair.AccessToken)
	require.NoError(t, err)
}

func TestLogin_AnAccessTokenDoesNotOutliveItsSessionThoughTheCallbackIsSlow(t *testing.T) {
	clock := newClock()
	slow := func(context.Context, session.Session) (string, []jwtauth.IssueOption, error) {
		clock.advance(10 * time.Second)
		return "", nil, nil
	}
	m := newManager(t, session.WithClock(clock.now), session.WithClaims(slow), session.WithRefreshTTL(time.Minute), session.WithMaxAge(time.Minute))
	pair, err := m.Login(t.Context(), "alice")
	require.NoError(t, err)
	assert.LessOrEqual(t, decode(t, pair.AccessToken).Expires, decode(t, pair.RefreshToken).MaxExpires)
}

func TestPair_HidesItsTokens(t *testing.T) {
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

func TestLogout_EndsOneSessionAndBothItsTokens(t *testing.T) {
	var seen recorder
	m := newManager(t, session.WithEvents(seen.report))
	laptop, phone, bobs := login(t, m, "alice"), login(t, m, "alice"), login(t, m, "bob")
	seen.take()
	require.ErrorIs(t, m.Logout(t.Context(), "alice", bobs.SessionID), session.ErrNoSession, "a session of another subject must not be found")
	require.ErrorIs(t, m.Logout(t.Context(), "alice", "nonsense"), session.ErrNoSession)
	require.Empty(t, seen.take())
	for range 2 { // a logout may be repeated
		require.NoError(t, m.Logout(t.Context(), "alice", laptop.SessionID))
	}
	require.Equal(t, []session.Event{{Kind: session.LoggedOut, SessionID: laptop.SessionID, Subject: "alice", Reason: session.ReasonLogout}}, seen.take())
	requireEnded(t, m, laptop)
	for _, pair := range []session.Pair{phone, bobs} {
		claimsOf(t, m, pair.AccessToken)
		refresh(t, m, pair.RefreshToken)
	}
}

func TestLogout_AsksNoStoreAboutWhatCannotBeASession(t *testing.T) {
	f := newFaulty()
	m := newManagerOver(t, faultyStore{f})
	for _, id := range []string{"", "x", strings.Repeat("A", 25), strings.Repeat("A", 27), strings.Repeat("a", 26), strings.Repeat("A", 25) + "\x00", strings.Repeat("A", 60_000)} {
		require.ErrorIs(t, m.Logout(t.Context(), "alice", id), session.ErrNoSession)
	}
	require.Zero(t, f.calls["Get"])
	require.ErrorIs(t, m.Logout(t.Context(), "alice", strings.Repeat("A", 26)), session.ErrNoSession)
	require.Equal(t, 1, f.calls["Get"])
}

func TestLogout_ThatMeetsAnOutageIsCalledAgain(t *testing.T) {
	for _, c := range []fault{
		{call: "Get"}, {call: "Append"}, {call: "Append", after: true}, {call: "Revoke"}, {call: "Revoke", after: true},
	} {
		t.Run(fmt.Sprintf("%s fails (after its effect: %v)", c.call, c.after), func(t *testing.T) {
			s := newScene(t)
			s.faults.fault = &c
			require.ErrorIs(t, s.m.Logout(t.Context(), "alice", s.first.SessionID), jwtauth.ErrUnavailable)
			require.True(t, c.fired)
			require.NoError(t, s.m.Logout(t.Context(), "alice", s.first.SessionID))
			s.take()
			s.ended(s.first)
			other := s.manager(newList(t, s.faults.log, s.now))
			_, err := other.Refresh(t.Context(), s.first.RefreshToken)
			require.ErrorIs(t, err, jwtauth.ErrRevoked)
			assert.False(t, lives(t.Context(), other, s.first.AccessToken))
		})
	}
}

func TestLogout_ALogThatHangsIsAnOutageInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty()
		list, err := revoke.New(faultyLog{f})
		require.NoError(t, err)
		require.NoError(t, list.Sync(t.Context()))
		m := newManagerOver(t, f.store, session.WithRevocations(list))
		pair, err := m.Login(t.Context(), "alice")
		require.NoError(t, err)
		f.fault = hanging("Append")
		begun := time.Now()
		require.ErrorIs(t, m.Logout(t.Context(), pair.Subject, pair.SessionID), jwtauth.ErrUnavailable)
		require.Equal(t, 5*time.Second, time.Since(begun))
		f.fault = nil
		require.NoError(t, m.Logout(t.Context(), pair.Subject, pair.SessionID))
	})
}

func TestLogout_CountsThoughTheClockIsSetBack(t *testing.T) {
	s := newScene(t)
	s.advance(time.Hour)
	ahead := s.refreshes(s.first, session.Refreshed)
	s.advance(-time.Hour)
	require.NoError(t, s.m.Logout(t.Context(), "alice", s.first.SessionID))
	s.take()
	s.ended(s.first, ahead)
	s.advance(time.Hour)
	s.ended(s.first, ahead)
}

func TestLogoutAll_EndsAllExceptThoseNamed(t *testing.T) {
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
	n, err = m.LogoutAll(t.Context(), "carol")
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestLogoutAll_GoesOnPastOneThatFails(t *testing.T) {
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

func TestSessions_AreListedTheLastUsedFirst(t *testing.T) {
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

func TestRun_DeletesWhatHasExpired(t *testing.T) {
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

// A clock that is wrong for a while must not make Run delete live sessions.
func TestRun_BelievesNoClockThatJumps(t *testing.T) {
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

func TestRefreshTokens_AreRevokedByTheHandlerOfTheList(t *testing.T) {
	type service struct {
		*session.Manager
		clock  *clock
		faults *faulty
	}
	others := func(m *session.Manager) []revoke.TokenKind { return []revoke.TokenKind{m.RefreshTokens()} }
	otherKeys := func(f *faulty) []session.Option {
		f.key = keys.HS256([]byte(strings.Repeat("r", 31) + "!"))
		return []session.Option{session.WithRefreshKeys(faultyKeys{f})}
	}
	for name, c := range map[string]struct {
		opts   func(f *faulty) []session.Option
		token  func(s service, p session.Pair) string
		kinds  func(m *session.Manager) []revoke.TokenKind
		status int
		code   string
		ends   bool // whether the session ends
	}{
		"a live refresh token ends its session":        {nil, func(_ service, p session.Pair) string { return p.RefreshToken }, others, 200, "", true},
		"also one that is signed with keys of its own": {otherKeys, func(_ service, p session.Pair) string { return p.RefreshToken }, others, 200, "", true},
		"and one that was replaced": {nil, func(s service, p session.Pair) string {
			s.clock.advance(settled)
			refresh(t, s.Manager, p.RefreshToken)
			return p.RefreshToken
		}, others, 200, "", true},
		"without it the token is of a kind that cannot be revoked": {nil, func(_ service, p session.Pair) string { return p.RefreshToken }, nil, 400, "unsupported_token_type", false},
		"an access token is revoked alone":                         {nil, func(_ service, p session.Pair) string { return p.AccessToken }, others, 200, "", false},
		"a forged refresh token ends nothing":                      {nil, func(_ service, p session.Pair) string { return p.RefreshToken[:len(p.RefreshToken)-4] + "AAAA" }, others, 200, "", false},
		"an outage is 503": {nil, func(s service, p session.Pair) string {
			s.faults.fault = &fault{call: "Revoke"}
			return p.RefreshToken
		}, others, 503, "temporarily_unavailable", false},
		"an outage of its keys is 503": {otherKeys, func(s service, p session.Pair) string {
			s.faults.fault = &fault{call: "Keys"}
			return p.RefreshToken
		}, others, 503, "temporarily_unavailable", false},
		"a client that may not revoke it ends nothing": {nil, func(_ service, p session.Pair) string { return p.RefreshToken }, others, 403, "access_denied", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := service{clock: newClock(), faults: newFaulty()}
			list, err := revoke.New(revoke.NewMemory(), revoke.WithClock(s.clock.now), revoke.WithLogger(quiet))
			require.NoError(t, err)
			opts := []session.Option{session.WithClock(s.clock.now), session.WithRevocations(list)}
			if c.opts != nil {
				opts = append(opts, c.opts(s.faults)...)
			}
			s.Manager = newManagerOver(t, faultyStore{s.faults}, opts...)
			p, err := s.Login(t.Context(), "alice")
			require.NoError(t, err)
			var kinds []revoke.TokenKind
			if c.kinds != nil {
				kinds = c.kinds(s.Manager)
			}
			var asked []jwtauth.Claims
			server := httptest.NewServer(list.Handler(s.Auth(), func(_ *http.Request, claims jwtauth.Claims) error {
				asked = append(asked, claims)
				if c.status == 403 {
					return errors.New("not yours")
				}
				return nil
			}, kinds...))
			defer server.Close()
			token := c.token(s, p)
			response, err := server.Client().PostForm(server.URL, url.Values{"token": {token}})
			require.NoError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, response.StatusCode, "%s", body)
			require.Contains(t, string(body), c.code)
			require.Len(t, asked, 1)
			if c.ends {
				require.Equal(t, "alice", asked[0].Subject)
			}
			s.faults.fault = nil
			all, err := s.Sessions(t.Context(), "alice")
			require.NoError(t, err)
			require.Len(t, all, map[bool]int{true: 0, false: 1}[c.ends])
			_, err = s.Auth().VerifyAnyContainer(t.Context(), p.AccessToken)
			if c.ends {
				require.ErrorIs(t, err, jwtauth.ErrRevoked, "the access token of the session must be revoked, too")
			}
		})
	}
}
