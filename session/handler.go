package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/reply"
	"github.com/joinednode/jwtauth/internal/strict"
)

// Credentials are what a client sent to create/. They hide themselves from logs.
type Credentials struct {
	Email    string
	Username string
	Password string

	fields map[string]json.RawMessage
}

// Decode decodes all that the client sent into v, as [json.Unmarshal] does: for
// fields of your own, such as a one-time code.
func (c Credentials) Decode(v any) error {
	all, err := json.Marshal(c.fields)
	if err != nil {
		return err
	}
	return json.Unmarshal(all, v)
}

// String hides the password, and who it may be of.
func (c Credentials) String() string { return "session.Credentials" }

// GoString is [Credentials.String].
func (c Credentials) GoString() string { return c.String() }

// MarshalText is [Credentials.String].
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue is [Credentials.String].
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Handler serves sessions over HTTP, as JSON, wherever it is mounted: it looks at
// the last segment of the path, with or without a slash behind it.
//
//		mux.Handle("/auth/jwt/", sessions.Handler(checkPassword))
//
//	  - POST create/ {"email" or "username", "password"}: 200 with a [Pair]. Any field
//	    reaches authenticate. It returns the subject, which it has authenticated, or
//	    [ErrCredentials]: 401 with the code credentials_not_valid, always the same,
//	    whatever was wrong. It should take as
//	    long for users that do not exist, and limit how often one may try: this
//	    package does neither. Any other error is 503.
//	  - POST refresh/ {"refresh_token"}: 200 with a [Pair], as [Manager.Refresh].
//	  - POST verify/ {"token"}: 200 {} if it is a live access token.
//	  - POST logout/: 204. It ends the session of the access token that the request
//	    brings, or of {"refresh_token"}, and both its tokens; with "session_id" that
//	    session of the same subject instead, with "everywhere": true all of them. It
//	    is not an error if it had ended already; but a token whose session has ended
//	    may end no other: 401.
//	  - GET sessions/: 200 {"sessions"}, those of the subject of the access token that
//	    the request brings.
//
// Failures are 401 with the code token_not_valid, and a reason if the token was
// authentic: expired, revoked, reused; not_authenticated where there is no token. 400
// is for a body that is no JSON object or whose fields have other types, 413 for
// one of more than 64 KiB, 415 for another media type, 503 with Retry-After for an
// outage, after which the client must keep its tokens and try again. All answers
// have Cache-Control: no-store.
//
// Without [WithCookies] nothing here is taken from what browsers send by themselves,
// so a page of another origin can do nothing that it has no token for. With it, all
// tokens come and go in cookies: bodies have the two lifetimes at most, tokens
// elsewhere are ignored, a POST of another origin is 403, and cookies are taken away by
// a logout of the caller's own session and by theft, and never by an outage.
//
// Handler panics if authenticate is nil.
func (m *Manager) Handler(authenticate func(r *http.Request, c Credentials) (subject string, opts []LoginOption, err error)) http.Handler {
	return m.serve(authenticate, m.cookies != nil)
}

// JSONHandler is what [Manager.Handler] is without [WithCookies]: for clients that keep
// tokens themselves, beside browsers that keep them in cookies. Give it a path of its
// own, outside of that of the cookies.
func (m *Manager) JSONHandler(authenticate func(r *http.Request, c Credentials) (subject string, opts []LoginOption, err error)) http.Handler {
	return m.serve(authenticate, false)
}

// server is a Handler of one kind.
type server struct {
	m            *Manager
	authenticate func(r *http.Request, c Credentials) (string, []LoginOption, error)
	byCookies    bool
}

func (m *Manager) serve(authenticate func(r *http.Request, c Credentials) (string, []LoginOption, error), byCookies bool) http.Handler {
	if authenticate == nil {
		panic("session: Handler: authenticate is nil, and without it anyone could log in as anyone")
	}
	s := server{m, authenticate, byCookies}
	type endpoint struct {
		methods   string // as Allow has them
		operation string // as the observer has it
		serve     func(w http.ResponseWriter, r *http.Request, body fields)
	}
	endpoints := map[string]endpoint{
		"create":   {http.MethodPost, "login", s.create},
		"verify":   {http.MethodPost, "verify", s.verify},
		"logout":   {http.MethodPost, "verify", s.logout},
		"sessions": {"GET, HEAD", "verify", s.sessions},
	}
	if !m.noRefresh {
		endpoints["refresh"] = endpoint{http.MethodPost, "refresh", s.renew}
		if m.simple() {
			endpoints["blacklist"] = endpoint{http.MethodPost, "verify", s.blacklist}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		e, found := endpoints[path.Base(r.URL.Path)]
		switch {
		case !found:
			m.writeProblem(w, r, http.StatusNotFound, "not_found", "There is nothing here.")
			return
		case !slices.Contains(strings.Split(e.methods, ", "), r.Method):
			w.Header().Set("Allow", e.methods)
			m.writeProblem(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "Use "+e.methods+".")
			return
		}
		if s.byCookies {
			// A login, too: a page could log its victim in as another user.
			if err := m.crossOrigin.Check(r); err != nil {
				err = fmt.Errorf("%w: %w", jwtauth.ErrCrossOrigin, err)
				m.decided(r.Context(), e.operation, reason(err), false)
				s.deny(w, r, err)
				return
			}
		}
		if body, ok := m.readBody(w, r); ok {
			e.serve(w, r, body)
		}
	})
}

func (s server) create(w http.ResponseWriter, r *http.Request, body fields) {
	name := "email"
	if _, ok := body["username"]; ok {
		name = "username"
	}
	if !s.m.has(w, body, name, "password") {
		return
	}
	if body == nil {
		s.m.writeProblem(w, r, http.StatusBadRequest, "malformed", "The body is empty.")
		return
	}
	for name := range body {
		for _, known := range []string{"email", "username", "password"} {
			if name != known && strings.EqualFold(name, known) { // Decode would take it for that
				s.m.writeProblem(w, r, http.StatusBadRequest, "malformed", "The names of fields are in small letters.")
				return
			}
		}
	}
	c := Credentials{fields: body}
	for name, to := range map[string]*string{"email": &c.Email, "username": &c.Username, "password": &c.Password} {
		if !s.m.field(w, body, name, to) {
			return
		}
	}
	subject, opts, err := s.authenticate(r, c)
	if err != nil && !errors.Is(err, ErrCredentials) {
		err = s.m.outage(r.Context(), "authenticating", err)
	}
	var pair Pair
	if err == nil {
		pair, err = s.m.Login(r.Context(), subject, opts...)
	} else {
		s.m.decided(r.Context(), "login", reason(err), false)
	}
	switch {
	case err == nil:
		s.deliver(w, r, pair)
	case errors.Is(err, jwtauth.ErrUnavailable):
		s.deny(w, r, err)
	case errors.Is(err, ErrCredentials), errors.Is(err, ErrSubjectGone):
		w.Header().Set("WWW-Authenticate", s.m.bodies.challenge("Bearer"))
		s.m.writeProblem(w, r, http.StatusUnauthorized, "credentials_not_valid", "No active account was found with these credentials.")
	default: // the server's mistake, such as no subject
		s.deny(w, r, s.m.outage(r.Context(), "a login", err))
	}
}

// refreshToken returns the refresh token of a request, "" if there is none.
func (s server) refreshToken(w http.ResponseWriter, r *http.Request, body fields) (token string, ok bool) {
	if s.byCookies {
		return refreshCookie(r), true
	}
	ok = s.m.field(w, body, s.m.bodies.refreshField(), &token)
	return token, ok
}

var fromAccessCookie = jwtauth.FromCookie(AccessCookie)

// accessToken returns the access token of a request, from where its kind of clients has it.
func (s server) accessToken(r *http.Request) (string, error) {
	extract := s.m.access.Extract
	if s.byCookies {
		extract = fromAccessCookie // the origin was checked before
	}
	found, err := extract(r)
	if !s.byCookies && found.In == jwtauth.InCookie {
		return "", jwtauth.ErrNoToken
	}
	if err == nil && found.Token == "" {
		err = jwtauth.ErrNoToken
	}
	return found.Token, err
}

func (s server) renew(w http.ResponseWriter, r *http.Request, body fields) {
	if !s.byCookies && !s.m.has(w, body, s.m.bodies.refreshField()) {
		return
	}
	token, ok := s.refreshToken(w, r, body)
	if !ok {
		return
	}
	if token == "" {
		s.m.decided(r.Context(), "refresh", reason(jwtauth.ErrNoToken), false)
		s.deny(w, r, jwtauth.ErrNoToken)
		return
	}
	pair, err := s.m.Refresh(r.Context(), token)
	if err != nil {
		s.deny(w, r, err)
		return
	}
	s.deliver(w, r, pair)
}

func (s server) verify(w http.ResponseWriter, r *http.Request, body fields) {
	var token string
	var err error
	if s.byCookies {
		token, err = s.accessToken(r)
	} else {
		if !s.m.has(w, body, "token") || !s.m.field(w, body, "token", &token) {
			return
		}
		if token == "" {
			err = jwtauth.ErrNoToken
		}
	}
	if err != nil {
		s.m.decided(r.Context(), "verify", reason(err), false)
	} else {
		err = s.verifyEither(r.Context(), token)
	}
	if err != nil {
		s.deny(w, r, err)
		return
	}
	reply.JSON(w, http.StatusOK, struct{}{})
}

// verifyEither verifies an access token or, for the clients of simplejwt, a refresh token.
// A token says itself which of them it is, and each Auth demands its own type.
func (s server) verifyEither(ctx context.Context, token string) error {
	if s.m.simple() {
		if t, err := strict.Parse(token, maxBody); err == nil && t.Type == RefreshType {
			_, err := s.m.refresh.VerifyAnyContainer(ctx, token)
			s.m.decided(ctx, "verify", reason(err), err == nil)
			return err
		}
	}
	_, err := s.m.access.VerifyAnyContainer(ctx, token)
	return err
}

// blacklist is a logout by the refresh token alone.
func (s server) blacklist(w http.ResponseWriter, r *http.Request, body fields) {
	if s.byCookies || s.m.has(w, body, s.m.bodies.refreshField()) {
		s.logout(w, r, body)
	}
}

func (s server) logout(w http.ResponseWriter, r *http.Request, body fields) {
	refreshToken, ok := s.refreshToken(w, r, body)
	if !ok {
		return
	}
	var other string
	var everywhere bool
	if !s.m.field(w, body, "session_id", &other) || !s.m.field(w, body, "everywhere", &everywhere) {
		return
	}
	c, err := s.caller(r, refreshToken)
	wider := everywhere || other != "" && other != c.SessionID
	switch {
	case err == nil && wider:
		err = s.m.logoutOthers(r.Context(), c, other, everywhere)
	case err == nil, errors.Is(err, jwtauth.ErrRevoked) && !wider:
		// Not Logout: the tokens end even if the store has lost the session.
		if err = s.m.end(r.Context(), c.Subject, c.SessionID, ReasonLogout); err != nil {
			err = s.m.outage(r.Context(), "a logout", err)
		}
	}
	ended := err == nil && (everywhere || !wider)
	dead := err != nil && !everywhere && other == "" && status(err) == http.StatusUnauthorized && !errors.Is(err, jwtauth.ErrUnavailable)
	if s.byCookies && (ended || dead) { // there is nothing left to keep them for
		s.m.SetCookies(w, Pair{})
	}
	if err != nil {
		s.deny(w, r, err)
		return
	}
	if s.m.simple() {
		reply.JSON(w, http.StatusOK, struct{}{})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// logoutOthers ends another session of the caller's subject, or all, the caller's
// own last: until then it may be tried again. A token that is good by itself is not
// enough: its session must be live, and a refresh token not long replaced.
func (m *Manager) logoutOthers(ctx context.Context, caller jwtauth.Claims, other string, everywhere bool) error {
	s, found, err := m.store.Get(ctx, caller.Subject, caller.SessionID)
	if err != nil {
		return m.outage(ctx, "a logout", err)
	}
	generation := s.Generation // of an access token it is not known
	var own refreshClaims
	if err := caller.Decode(&own); err == nil && caller.ID == refreshID(caller.SessionID, own.Generation) {
		generation = own.Generation
	}
	now := m.now()
	switch m.rules.check(s, found, generation, now, now) {
	case gone, expired, stolen:
		return fmt.Errorf("%w: of a session that has ended, or long replaced", jwtauth.ErrRevoked)
	}
	if !everywhere {
		if err := m.Logout(ctx, caller.Subject, other); !errors.Is(err, ErrNoSession) {
			return err
		}
		return nil
	}
	if _, err := m.LogoutAll(ctx, caller.Subject, caller.SessionID); err != nil {
		return err
	}
	if err := m.end(ctx, caller.Subject, caller.SessionID, ReasonLogout); err != nil {
		return m.outage(ctx, "a logout", err)
	}
	return nil
}

// caller returns the claims of the token that a request comes with: the refresh token if
// there is one, else the access token, of any container. It returns them beside ErrRevoked,
// too: such a token may still end its own session.
func (s server) caller(r *http.Request, refreshToken string) (jwtauth.Claims, error) {
	if refreshToken == "" {
		return s.accessCaller(r)
	}
	c, err := s.m.inspectRefresh(r.Context(), refreshToken)
	hopeless := err != nil && !errors.Is(err, jwtauth.ErrRevoked) && !errors.Is(err, jwtauth.ErrUnavailable)
	if s.byCookies && hopeless { // a browser sends both tokens, and does not choose
		return s.accessCaller(r)
	}
	s.m.decided(r.Context(), "verify", reason(err), err == nil)
	return ofSession(c, err)
}

// accessCaller is caller for the access token.
func (s server) accessCaller(r *http.Request) (jwtauth.Claims, error) {
	token, err := s.accessToken(r)
	if err != nil {
		s.m.decided(r.Context(), "verify", reason(err), false)
		return jwtauth.Claims{}, err
	}
	c, err := s.m.access.Inspect(r.Context(), token) // which is observed
	if own := s.m.access.Issuer(); own != "" && c.Issuer != own && (err == nil || errors.Is(err, jwtauth.ErrRevoked)) {
		// Of jwtauth.WithTrustedIssuer: good for calls, and no business with sessions
		// here, whatever sub and sid it names.
		return jwtauth.Claims{}, jwtauth.ErrIssuer
	}
	return ofSession(c, err)
}

// ofSession returns claims and the error beside them. Claims that name no session or no
// subject are an error.
func ofSession(c jwtauth.Claims, err error) (jwtauth.Claims, error) {
	if (err == nil || errors.Is(err, jwtauth.ErrRevoked)) && (c.SessionID == "" || c.Subject == "") {
		return jwtauth.Claims{}, fmt.Errorf("%w: a token of no session", jwtauth.ErrMalformed)
	}
	return c, err
}

// listed is a session as its user sees it.
type listed struct {
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	Expires  time.Time `json:"expires"`
	Label    string    `json:"label"`
	Current  bool      `json:"current"`
}

func (s server) sessions(w http.ResponseWriter, r *http.Request, _ fields) {
	c, err := s.caller(r, "")
	if err != nil {
		s.deny(w, r, err)
		return
	}
	all, err := s.m.Sessions(r.Context(), c.Subject)
	if err != nil {
		s.deny(w, r, err)
		return
	}
	answer := struct {
		Sessions []listed `json:"sessions"`
	}{make([]listed, 0, len(all))}
	for _, one := range all {
		answer.Sessions = append(answer.Sessions, listed{one.ID, one.Created, one.Rotated, one.IdleExpires, one.Label, one.ID == c.SessionID})
	}
	reply.JSON(w, http.StatusOK, answer)
}

// WritePair writes a pair as [Manager.Handler] does for create/: for logins by other
// ways, such as OIDC or a code by SMS; where those end in a redirect, see
// [Manager.SetCookies]. With [WithCookies] it sets cookies: for an app that keeps its
// tokens itself write the Pair as JSON instead. The error is that of writing, or that
// of SetCookies, of which the client hears nothing but 503.
func (m *Manager) WritePair(w http.ResponseWriter, r *http.Request, p Pair) error {
	w.Header().Set("Cache-Control", "no-store")
	if m.cookies == nil {
		return reply.JSON(w, http.StatusOK, m.bodies.pair(p))
	}
	if err := m.SetCookies(w, p); err != nil {
		err = m.outage(r.Context(), "delivering a pair", err)
		m.deny(w, r, err)
		return err
	}
	return reply.JSON(w, http.StatusOK, struct {
		ExpiresIn        int64 `json:"expires_in,omitempty"`
		RefreshExpiresIn int64 `json:"refresh_expires_in,omitempty"`
	}{p.ExpiresIn, p.RefreshExpiresIn})
}

// deliver writes a pair. It needs no error: a client that is gone logs in or asks again.
func (s server) deliver(w http.ResponseWriter, r *http.Request, p Pair) {
	if s.byCookies {
		s.m.WritePair(w, r, p)
		return
	}
	reply.JSON(w, http.StatusOK, s.m.bodies.pair(p))
}

// deny denies a request. If its token was stolen, it also deletes the cookies.
func (s server) deny(w http.ResponseWriter, r *http.Request, err error) {
	if s.byCookies && errors.Is(err, ErrReused) {
		s.m.SetCookies(w, Pair{})
	}
	s.m.deny(w, r, err)
}

// deny writes the denial of a refresh token, which all denials look like.
func (m *Manager) deny(w http.ResponseWriter, r *http.Request, err error) {
	m.refresh.Deny(w, r, err)
}
