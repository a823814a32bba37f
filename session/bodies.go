package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/joinednode/jwtauth"
)

// maxBody is how many bytes the body of a request may have.
const maxBody = 64 << 10

// fields are those of a JSON object.
type fields map[string]json.RawMessage

// problem is why a request is not even judged.
type problem struct {
	status       int
	code, detail string
}

// bodies are the JSON of one kind of clients.
type bodies interface {
	// refreshField is where a request has its refresh token.
	refreshField() string
	// required are the fields that are missing, of those that must be there.
	required(body fields, names ...string) (answer any, missing bool)
	// pair is the answer with tokens.
	pair(p Pair) any
	problem(r *http.Request, p problem) any
	wrongType(field string) any
	refused(d jwtauth.Denial, access bool) any
	// challenge is the WWW-Authenticate of a 401, given jwtauth's own.
	challenge(own string) string
}

// ownBodies are those of [Manager.Handler].
type ownBodies struct{}

type denied struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Reason string `json:"reason,omitempty"`
}

func (ownBodies) refreshField() string                   { return "refresh_token" }
func (ownBodies) required(fields, ...string) (any, bool) { return nil, false }
func (ownBodies) pair(p Pair) any                        { return p }
func (ownBodies) problem(_ *http.Request, p problem) any {
	return denied{Code: p.code, Detail: p.detail}
}
func (ownBodies) refused(d jwtauth.Denial, _ bool) any { return denied{d.Code, d.Detail, d.Reason} }
func (ownBodies) challenge(own string) string          { return own }
func (ownBodies) wrongType(field string) any {
	return denied{Code: "malformed", Detail: fmt.Sprintf("The field %s has another type.", field)}
}

// writeDenial is the WithDenial of refresh tokens, and of access tokens where clients
// expect other bodies than jwtauth's.
func (m *Manager) writeDenial(access bool) func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
	return func(w http.ResponseWriter, _ *http.Request, d jwtauth.Denial) {
		if errors.Is(d.Err, ErrReused) {
			d.Reason = "reused"
		}
		if d.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", m.bodies.challenge(w.Header().Get("WWW-Authenticate")))
		}
		writeJSON(w, d.Status, m.bodies.refused(d, access))
	}
}

func (m *Manager) writeProblem(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	writeJSON(w, status, m.bodies.problem(r, problem{status, code, detail}))
}

// readBody reads the JSON object of a POST, or writes what is wrong with it. A body
// that is empty is one without fields.
func (m *Manager) readBody(w http.ResponseWriter, r *http.Request) (fields, bool) {
	if r.Method != http.MethodPost || r.Body == nil {
		return nil, true
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		m.writeProblem(w, r, http.StatusRequestEntityTooLarge, "too_large", "The body has more than 64 KiB.")
		return nil, false
	}
	if err != nil {
		m.writeProblem(w, r, http.StatusBadRequest, "malformed", "The body cannot be read.")
		return nil, false
	}
	if len(body) == 0 {
		return nil, true
	}
	given := r.Header.Get("Content-Type")
	if kind, _, err := mime.ParseMediaType(given); given != "" && (kind != "application/json" || err != nil) {
		m.writeProblem(w, r, http.StatusUnsupportedMediaType, "unsupported_media_type", "Send application/json.")
		return nil, false
	}
	var all fields
	if err := json.Unmarshal(body, &all); err != nil || all == nil {
		m.writeProblem(w, r, http.StatusBadRequest, "malformed", "The body is not a JSON object.")
		return nil, false
	}
	return all, true
}

// field decodes a field, which may be missing or null, or writes that it is of
// another type.
func (m *Manager) field(w http.ResponseWriter, body fields, name string, to any) bool {
	value, ok := body[name]
	if !ok {
		return true
	}
	if err := json.Unmarshal(value, to); err != nil {
		writeJSON(w, http.StatusBadRequest, m.bodies.wrongType(name))
		return false
	}
	return true
}

// has writes which of the fields are missing, where clients want to be told.
func (m *Manager) has(w http.ResponseWriter, body fields, names ...string) bool {
	answer, missing := m.bodies.required(body, names...)
	if missing {
		writeJSON(w, http.StatusBadRequest, answer)
	}
	return !missing
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(body)
}
