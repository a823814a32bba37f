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

// newSessions returns a Manager whose store survives the program, and may be shared by
// several processes.
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

// newHandler returns the whole service: endpoints for clients that keep tokens
// themselves, endpoints for browsers that keep them in cookies, and a page that can use
// both.
func newHandler(sessions *session.Manager, all users) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/jwt/", sessions.JSONHandler(all.authenticate))
	mux.Handle("/auth/cookie/", sessions.Handler(all.authenticate))
	mux.Handle("GET /api/me", sessions.Require(http.HandlerFunc(me)))
	handlePage(mux)
	return mux
}

// users holds the users of this demonstration. A real service asks a database at every
// login. It returns the database's errors, which are answered with 503.
type users struct {
	byEmail map[string]user
	logger  *slog.Logger
	nobody  user // stands in for an unknown e-mail address; nothing knows its password
}

type user struct {
	// subject identifies the user in tokens and logs. It is not the e-mail address, which
	// is personal and may change. The subject must never change, since sessions are found
	// by it.
	subject string
	hash    []byte
	// failures limits wrong passwords. Right ones do not count, so that a user who logs in
	// often is never locked out.
	failures *rate.Limiter
}

// newUsers returns alice and bob, with these passwords.
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

// hashCost is a variable so that tests can lower it. They would take minutes otherwise.
var hashCost = bcrypt.DefaultCost

func newUser(subject, password string) (user, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	// Ten wrong passwords lock the user. Each minute allows another try.
	return user{subject, hash, rate.NewLimiter(rate.Every(time.Minute), 10)}, err
}

// authenticate is the callback of Manager.Handler. It compares a hash even if there is no
// such user or the user is locked, so that neither the response nor its time tells a
// client which.
//
// Ten wrong passwords also lock out the user who knows the right one, for a minute after
// the last. A real service also limits tries by the client's address, before it hashes
// anything.
func (all users) authenticate(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
	u, exists := all.byEmail[c.Email]
	if !exists {
		u = all.nobody
	}
	wrong := bcrypt.CompareHashAndPassword(u.hash, []byte(c.Password))
	locked := u.failures.Tokens() < 1
	if wrong != nil && u.failures.Allow() && u.failures.Tokens() < 1 {
		all.logger.WarnContext(r.Context(), "login: too many wrong passwords, so logins are locked for a minute", "subject", u.subject)
	}
	if wrong != nil || !exists || locked {
		return "", nil, session.ErrCredentials
	}
	return u.subject, []session.LoginOption{session.Label(r.UserAgent())}, nil
}

// me returns the user. Require has already allowed the request.
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
