package main

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

// newSessions returns a Manager that logs its events, and accepts access tokens from the
// Authorization field and from a cookie.
func newSessions(ring *keys.Ring, store session.Store, list *revoke.List, accessTTL, grace time.Duration, logger *slog.Logger) (*session.Manager, error) {
	return session.New(ring, store,
		session.WithRevocations(list),
		session.WithAccessTTL(accessTTL),
		session.WithGrace(grace),
		session.WithLogger(logger),
		session.WithEvents(func(e session.Event) {
			logger.Info("session", "event", e.Kind, "subject", e.Subject, "session", e.SessionID, "reason", e.Reason)
		}),
		session.WithCookies(session.Cookies{Path: "/auth/cookie/"}),
		// Tokens are not read from the query, since URLs end up in histories and logs.
		session.WithAccess(jwtauth.WithLogger(logger), jwtauth.WithExtractors(
			jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie(session.AccessCookie))),
	)
}

// newHandler returns the whole service. Clients that keep tokens themselves use
// /auth/jwt/, and browsers that keep them in cookies use /auth/cookie/. The page can use
// either.
func newHandler(sessions *session.Manager, all users) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/jwt/", sessions.JSONHandler(all.authenticate))
	mux.Handle("/auth/cookie/", sessions.Handler(all.authenticate))
	mux.Handle("GET /api/me", sessions.Require(http.HandlerFunc(me)))
	handlePage(mux)
	return mux
}

// users holds the users of this demonstration. A real service looks them up in a database
// at every login. If the look-up fails, authenticate returns that error, and the response
// is 503.
type users struct {
	byEmail map[string]user
	logger  *slog.Logger
	nobody  user // stands in for an unknown e-mail address; has a random password
}

type user struct {
	// subject identifies the user in tokens and logs. It must never change, since sessions
	// are found by it. An e-mail address may change, and should not be in logs.
	subject string
	hash    []byte
	// failures limits wrong passwords. Logins with the right password do not count, so a
	// user who logs in often is never locked out.
	failures *rate.Limiter
}

// newUsers returns alice and bob with the given passwords.
func newUsers(alice, bob string, logger *slog.Logger) (users, error) {
	all := users{byEmail: map[string]user{}, logger: logger}
	var err error
	if all.nobody, err = newUser("nobody", rand.Text()); err != nil {
		return users{}, err
	}
	for _, u := range []struct{ email, subject, password string }{
		{"alice@example.com", "user-1", alice},
		{"bob@example.com", "user-2", bob},
	} {
		if all.byEmail[u.email], err = newUser(u.subject, u.password); err != nil {
			return users{}, err
		}
	}
	return all, nil
}

// hashCost is a variable so that tests can lower it. With the default cost they would take
// minutes.
var hashCost = bcrypt.DefaultCost

func newUser(subject, password string) (user, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	// Ten wrong passwords lock the user. After each minute one more is allowed.
	return user{subject, hash, rate.NewLimiter(rate.Every(time.Minute), 10)}, err
}

// authenticate is the callback of Manager.Handler. It compares a hash even if the user is
// locked or does not exist. So neither the response nor its timing tells a client which of
// these was the case.
//
// An attacker who tries ten wrong passwords also locks out the real user, for up to a
// minute. A real service also limits tries by the client's address, before it hashes
// anything.
func (all users) authenticate(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
	u, exists := all.byEmail[c.Email]
	if !exists {
		u = all.nobody
	}
	wrong := bcrypt.CompareHashAndPassword(u.hash, []byte(c.Password))
	locked := u.failures.Tokens() < 1
	if wrong != nil && u.failures.Allow() && u.failures.Tokens() < 1 {
		all.logger.WarnContext(r.Context(), "login: too many wrong passwords, so this user is locked out for up to a minute", "subject", u.subject)
	}
	if wrong != nil || !exists || locked {
		return "", nil, session.ErrCredentials
	}
	return u.subject, []session.LoginOption{session.Label(r.UserAgent())}, nil
}

// me writes the subject and the session of the request's token, which Require has verified.
func me(w http.ResponseWriter, r *http.Request) {
	claims, _ := jwtauth.FromContext(r.Context())
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store") // the response is for one user
	json.NewEncoder(w).Encode(struct {      // an error means that the client is gone
		Subject string    `json:"subject"`
		Session string    `json:"session"`
		Expires time.Time `json:"expires"`
	}{claims.Subject, claims.SessionID, claims.ExpiresAt})
}
