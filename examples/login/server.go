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

// newSessions keeps sessions in a store that outlives the program, and that other
// processes may share.
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
		// Not from the query: what is in a URL ends up in histories and logs.
		session.WithAccess(jwtauth.WithLogger(logger), jwtauth.WithExtractors(
			jwtauth.FromHeader("Authorization", "Bearer"), jwtauth.FromCookie(session.AccessCookie))),
	)
}

// newHandler returns the whole service: for clients that keep tokens themselves, for
// browsers that keep them in cookies, and a page that can do both.
func newHandler(sessions *session.Manager, all users) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/jwt/", sessions.JSONHandler(all.authenticate))
	mux.Handle("/auth/cookie/", sessions.Handler(all.authenticate))
	mux.Handle("GET /api/me", sessions.Require(http.HandlerFunc(me)))
	handlePage(mux)
	return mux
}

// users are those of a demonstration. A real service asks a database at every
// login, and returns its errors as they are: they are answered with 503.
type users struct {
	byEmail map[string]user
	nobody  user // has a password that nobody knows
}

type user struct {
	// subject is what tokens and logs name: never the e-mail, which is personal, and
	// which its owner may change. It stays the same for as long as there is the user:
	// sessions are found by it.
	subject string
	hash    []byte
	tries   *rate.Limiter
}

// newUsers makes alice and bob, with these passwords.
func newUsers(alice, bob string) (users, error) {
	all := users{byEmail: map[string]user{}}
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

// hashCost is lowered by tests alone, which would take minutes.
var hashCost = bcrypt.DefaultCost

func newUser(subject, password string) (user, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	// Ten guesses at once, and another every minute.
	return user{subject, hash, rate.NewLimiter(rate.Every(time.Minute), 10)}, err
}

// authenticate is for Manager.Handler, which answers all that is wrong alike. So
// that time does not tell either, whether there is such a user and whether there
// were too many tries, a hash is compared in any case.
//
// Too many tries shut the right user out, too, until they cease: a real service
// limits them by the client's address as well, before anything is hashed.
func (all users) authenticate(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
	u, exists := all.byEmail[c.Email]
	if !exists {
		u = all.nobody
	}
	wrong := bcrypt.CompareHashAndPassword(u.hash, []byte(c.Password))
	if allowed := u.tries.Allow(); wrong != nil || !exists || !allowed {
		return "", nil, session.ErrCredentials
	}
	return u.subject, []session.LoginOption{session.Label(r.UserAgent())}, nil
}

// me says who calls. Require stands before it.
func me(w http.ResponseWriter, r *http.Request) {
	claims, _ := jwtauth.FromContext(r.Context())
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store") // it is one user's
	json.NewEncoder(w).Encode(struct {      // a client that is gone needs no answer
		Subject string    `json:"subject"`
		Session string    `json:"session"`
		Expires time.Time `json:"expires"`
	}{claims.Subject, claims.SessionID, claims.ExpiresAt})
}
