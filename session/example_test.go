package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/session"
)

// must returns the value, and panics if there is an error. A program would handle the error.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// exampleManager returns a Manager, and a function that moves its clock forward.
func exampleManager(opts ...session.Option) (m *session.Manager, pass func(time.Duration)) {
	now := time.Date(2026, time.March, 14, 12, 0, 0, 0, time.UTC)
	opts = append([]session.Option{session.WithClock(func() time.Time { return now }), session.WithLogger(quiet)}, opts...)
	return must(session.New(keys.HS256(secret), session.NewMemory(), opts...)), func(d time.Duration) { now = now.Add(d) }
}

func Example() {
	key := keys.HS256(secret) // or keys.LoadOrCreate("signing.jwk", "EdDSA")
	sessions, err := session.New(key, session.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	checkPassword := func(r *http.Request, c session.Credentials) (string, []session.LoginOption, error) {
		if c.Email != "alice@example.com" || c.Password != "correct horse" { // a real service asks its user database
			return "", nil, session.ErrCredentials
		}
		return "alice", []session.LoginOption{session.Label(r.UserAgent())}, nil
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/jwt/", sessions.Handler(checkPassword))
	mux.Handle("/api/me", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := jwtauth.FromContext(r.Context())
		fmt.Fprint(w, claims.Subject)
	})))

	post := httptest.NewRequest("POST", "/auth/jwt/create/", strings.NewReader(`{"email":"alice@example.com","password":"wrong"}`))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, post)
	fmt.Println(w.Code)

	pair, err := sessions.Login(context.Background(), "alice") // as create/ does for the right password
	if err != nil {
		fmt.Println(err)
		return
	}
	call := httptest.NewRequest("GET", "/api/me", nil)
	call.Header.Set("Authorization", "Bearer "+pair.AccessToken)
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, call)
	fmt.Println(w.Code, w.Body)
	// Output:
	// 401
	// 200 alice
}

// A second tab, or a client that lost a response, gets the same successor. A token whose
// successor was used counts as stolen.
func ExampleManager_Refresh() {
	m, pass := exampleManager()
	ctx := context.Background()
	first := must(m.Login(ctx, "alice"))
	pass(15 * time.Minute)
	second := must(m.Refresh(ctx, first.RefreshToken))
	pass(20 * time.Second)
	again := must(m.Refresh(ctx, first.RefreshToken))
	fmt.Println("the same successor:", again.RefreshToken == second.RefreshToken)

	pass(15 * time.Minute)
	third := must(m.Refresh(ctx, second.RefreshToken))
	_, err := m.Refresh(ctx, first.RefreshToken)
	fmt.Println("stolen:", errors.Is(err, session.ErrReused))
	_, err = m.Refresh(ctx, third.RefreshToken)
	fmt.Println("the session has ended:", errors.Is(err, jwtauth.ErrRevoked))
	// Output:
	// the same successor: true
	// stolen: true
	// the session has ended: true
}

func ExampleManager_Logout() {
	m, _ := exampleManager()
	ctx := context.Background()
	pair := must(m.Login(ctx, "alice"))
	fmt.Println(m.Logout(ctx, "alice", pair.SessionID))
	_, err := m.Auth().VerifyAnyContainer(ctx, pair.AccessToken)
	fmt.Println(errors.Is(err, jwtauth.ErrRevoked))
	fmt.Println(m.Logout(ctx, "bob", pair.SessionID))
	// Output:
	// <nil>
	// true
	// session: Logout: session: no such session
}

// After a change of the password, all sessions except the current one end.
func ExampleManager_LogoutAll() {
	m, _ := exampleManager()
	ctx := context.Background()
	must(m.Login(ctx, "alice"))
	must(m.Login(ctx, "alice"))
	here := must(m.Login(ctx, "alice"))
	fmt.Println(m.LogoutAll(ctx, "alice", here.SessionID))
	// Output: 2 <nil>
}

func ExampleManager_Sessions() {
	m, pass := exampleManager()
	ctx := context.Background()
	must(m.Login(ctx, "alice", session.Label("a laptop")))
	pass(time.Hour)
	must(m.Login(ctx, "alice", session.Label("a phone"), session.MaxAge(8*time.Hour)))
	for _, s := range must(m.Sessions(ctx, "alice")) {
		fmt.Println(s.Label, s.Rotated.Format(time.Kitchen), s.IdleExpires.Format(time.DateOnly))
	}
	// Output:
	// a phone 1:00PM 2026-03-14
	// a laptop 12:00PM 2026-03-28
}

// A login without a password can end with WritePair.
func ExampleManager_WritePair() {
	m, _ := exampleManager()
	byCode := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ... after checking the code that was sent by SMS:
		pair, err := m.Login(r.Context(), "alice")
		if err != nil {
			m.Auth().Deny(w, r, err)
			return
		}
		m.WritePair(w, r, pair)
	})
	w := httptest.NewRecorder()
	byCode.ServeHTTP(w, httptest.NewRequest("POST", "/login-by-code", nil))
	fmt.Println(w.Code, w.Header().Get("Cache-Control"), strings.Contains(w.Body.String(), `"refresh_token":"`))
	// Output: 200 no-store true
}

// The role is looked up at each refresh, so a change takes effect after 15 minutes at the
// latest.
func ExampleWithClaims() {
	roles := map[string]string{"alice": "editor"}
	m, _ := exampleManager(session.WithClaims(func(_ context.Context, s session.Session) (string, []jwtauth.IssueOption, error) {
		role, ok := roles[s.Subject]
		if !ok {
			return "", nil, session.ErrSubjectGone
		}
		return "", []jwtauth.IssueOption{jwtauth.Claim("role", role)}, nil
	}))
	ctx := context.Background()
	pair := must(m.Login(ctx, "alice"))
	claims := must(m.Auth().VerifyAnyContainer(ctx, pair.AccessToken))
	var own struct{ Role string }
	fmt.Println(claims.Decode(&own), own.Role)

	delete(roles, "alice")
	_, err := m.Refresh(ctx, pair.RefreshToken)
	fmt.Println(errors.Is(err, session.ErrSubjectGone))
	// Output:
	// <nil> editor
	// true
}

func ExampleWithEvents() {
	m, pass := exampleManager(session.WithEvents(func(e session.Event) { fmt.Println(e.Kind, "of", e.Subject) }))
	ctx := context.Background()
	pair := must(m.Login(ctx, "alice"))
	pass(15 * time.Minute)
	must(m.Refresh(ctx, pair.RefreshToken))
	must(m.Refresh(ctx, pair.RefreshToken))
	m.Logout(ctx, "alice", pair.SessionID)
	// Output:
	// login of alice
	// refresh of alice
	// retried of alice
	// logout of alice
}

func ExampleWithObserver() {
	m, pass := exampleManager(session.WithObserver(func(_ context.Context, d jwtauth.Decision) {
		fmt.Printf("%s %t %q\n", d.Operation, d.Allowed, d.Reason)
	}))
	pair := must(m.Login(context.Background(), "alice"))
	pass(15 * time.Minute)
	must(m.Refresh(context.Background(), pair.RefreshToken))
	must(m.Refresh(context.Background(), pair.RefreshToken))
	// Output:
	// login true ""
	// refresh true ""
	// refresh true "retried"
}

// Browsers get cookies that no script can read. Apps get the tokens.
func ExampleWithCookies() {
	sessions, _ := exampleManager(session.WithCookies(session.Cookies{
		Path:           "/auth/web/",
		TrustedOrigins: []string{"https://app.example.com"},
	}))
	checkPassword := func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
		return "alice", nil, nil
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/web/", sessions.Handler(checkPassword))
	mux.Handle("/auth/app/", sessions.JSONHandler(checkPassword))

	r := httptest.NewRequest("POST", "/auth/web/create/", strings.NewReader(`{}`))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Print(w.Code, " ", w.Body)
	for _, c := range w.Result().Cookies() {
		fmt.Println(c.Name, c.Path, c.MaxAge, c.HttpOnly)
	}

	r.Header.Set("Sec-Fetch-Site", "cross-site") // as browsers send it for a page of another site
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// 200 {"expires_in":900,"refresh_expires_in":1209600}
	// __Host-access / 1209600 true
	// __Host-session / 1209600 true
	// __Secure-refresh /auth/web/ 1209600 true
	// 403
}

// Some logins end in a redirect, such as those of OIDC.
func ExampleManager_SetCookies() {
	sessions, _ := exampleManager(session.WithCookies(session.Cookies{Path: "/auth/web/"}))
	callback := func(w http.ResponseWriter, r *http.Request) {
		pair, err := sessions.Login(r.Context(), "alice") // the user that the provider named
		if err == nil {
			err = sessions.SetCookies(w, pair)
		}
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
	w := httptest.NewRecorder()
	callback(w, httptest.NewRequest("GET", "/callback", nil))
	fmt.Println(w.Code, len(w.Result().Cookies()))
	// Output: 303 3
}

// These bodies are for clients that were written for djoser or
// djangorestframework-simplejwt.
func ExampleWithSimpleJWTBodies() {
	sessions, _ := exampleManager(session.WithSimpleJWTBodies())
	checkPassword := func(*http.Request, session.Credentials) (string, []session.LoginOption, error) {
		return "", nil, session.ErrCredentials
	}
	for _, body := range []string{`{"email":"alice@example.com"}`, `{"email":"alice@example.com","password":"wrong"}`} {
		w := httptest.NewRecorder()
		sessions.Handler(checkPassword).ServeHTTP(w, httptest.NewRequest("POST", "/auth/jwt/create/", strings.NewReader(body)))
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 400 {"password":["This field is required."]}
	// 401 {"detail":"No active account found with the given credentials"}
}
