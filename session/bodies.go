package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/internal/reply"
)

const notAnObject = "The body is not a JSON object."

// maxBody is the largest body of a request, in bytes.
const maxBody = 64 << 10

// fields are the members of a JSON object.
type fields map[string]json.RawMessage

// problem is a failure that is not about a token.
type problem struct {
	status       int
	code, detail string
}

// bodies are the JSON bodies for one kind of client.
type bodies interface {
	// refreshField is the name of the field that holds the refresh token.
	refreshField() string
	// required returns an answer that names the bad fields, and whether there is any. It
	// may replace the values of good ones. Clients without such answers never miss one.
	required(body fields, names ...string) (answer any, missing bool)
	// notAnObject returns the answer to a body of valid JSON that is not an object.
	notAnObject(body []byte) any
	// pair is the answer with tokens.
	pair(p Pair) any
	problem(r *http.Request, p problem) any
	wrongType(field string) any
	refused(d jwtauth.Denial, access bool) any
	// challenge returns the WWW-Authenticate field of a 401, given that of package
	// jwtauth.
	challenge(own string) string
}

// ownBodies are the bodies of [Manager.Handler] without WithSimpleJWTBodies.
type ownBodies struct{}

type denied struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Reason string `json:"reason,omitempty"`
}

func (ownBodies) refreshField() string                   { return "refresh_token" }
func (ownBodies) required(fields, ...string) (any, bool) { return nil, false }
func (ownBodies) notAnObject([]byte) any {
	return denied{Code: "malformed", Detail: notAnObject}
}
func (ownBodies) pair(p Pair) any { return p }
func (ownBodies) problem(_ *http.Request, p problem) any {
	return denied{Code: p.code, Detail: p.detail}
}
func (ownBodies) refused(d jwtauth.Denial, _ bool) any { return denied{d.Code, d.Detail, d.Reason} }
func (ownBodies) challenge(own string) string          { return own }
func (ownBodies) wrongType(field string) any {
	return denied{Code: "malformed", Detail: fmt.Sprintf("The field %s has a wrong type.", field)}
}

// writeDenial returns the WithDenial function of refresh tokens and, if clients expect
// other bodies than those of package jwtauth, of access tokens.
func (m *Manager) writeDenial(access bool) func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
	return func(w http.ResponseWriter, r *http.Request, d jwtauth.Denial) {
		if errors.Is(d.Err, ErrReused) {
			d.Reason = "reused"
		}
		if d.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", m.bodies.challenge(w.Header().Get("WWW-Authenticate")))
		}
		if access && m.simple() && errors.Is(d.Err, jwtauth.ErrMalformed) && badHeader(r) {
			reply.JSON(w, d.Status, detail{"Authorization header must contain two space-delimited values", "bad_authorization_header"})
			return
		}
		reply.JSON(w, d.Status, m.bodies.refused(d, access))
	}
}

// badHeader reports whether a request has an Authorization field with the scheme Bearer and
// not exactly one token.
func badHeader(r *http.Request) bool {
	parts := strings.Fields(r.Header.Get("Authorization"))
	return len(parts) > 0 && len(parts) != 2 && strings.EqualFold(parts[0], "Bearer")
}

func (m *Manager) writeProblem(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	reply.JSON(w, status, m.bodies.problem(r, problem{status, code, detail}))
}

// readBody returns the fields of a POST's JSON object. An empty body has no fields. It
// answers a bad body itself, and then returns false.
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
	err = json.Unmarshal(body, &all)
	switch {
	case err == nil && all != nil:
		return all, true
	case json.Valid(body):
		reply.JSON(w, http.StatusBadRequest, m.bodies.notAnObject(body))
	default:
		m.writeProblem(w, r, http.StatusBadRequest, "malformed", notAnObject)
	}
	return nil, false
}

// field decodes a field, which may be missing or null. It answers a field of a wrong type
// itself, and then returns false.
func (m *Manager) field(w http.ResponseWriter, body fields, name string, to any) bool {
	value, ok := body[name]
	if !ok {
		return true
	}
	if err := json.Unmarshal(value, to); err != nil {
		reply.JSON(w, http.StatusBadRequest, m.bodies.wrongType(name))
		return false
	}
	return true
}

// has reports whether a body has these fields. It answers missing ones itself, if clients
// expect that. Otherwise it returns true.
func (m *Manager) has(w http.ResponseWriter, body fields, names ...string) bool {
	answer, missing := m.bodies.required(body, names...)
	if missing {
		reply.JSON(w, http.StatusBadRequest, answer)
	}
	return !missing
}

// simpleJWT are the bodies of djangorestframework-simplejwt 5.5 and Django REST framework
// 3.14, in their words.
type simpleJWT struct{}

type detail struct {
	Detail string `json:"detail"`
	Code   string `json:"code,omitempty"`
}

func (simpleJWT) refreshField() string { return "refresh" }

func (simpleJWT) required(body fields, names ...string) (any, bool) {
	answer := map[string][]string{}
	for _, name := range names {
		value, given := body[name]
		text, isText := charField(value)
		switch {
		case !given:
			answer[name] = []string{"This field is required."}
		case string(value) == "null":
			answer[name] = []string{"This field may not be null."}
		case !isText:
			answer[name] = []string{"Not a valid string."}
		case text == "":
			answer[name] = []string{"This field may not be blank."}
		case strings.ContainsRune(text, 0):
			answer[name] = []string{"Null characters are not allowed."}
		default:
			body[name], _ = json.Marshal(text) // a string can always be encoded
		}
	}
	return answer, len(answer) > 0
}

// charField reads a value as Django REST framework does: a number counts as its text, and
// spaces around a text are cut. It reports whether the value is a string or a number.
func charField(value json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return strings.TrimSpace(text), true
	}
	var number json.Number
	err := json.Unmarshal(value, &number)
	return number.String(), err == nil
}

func (simpleJWT) notAnObject(body []byte) any {
	var value any
	if err := json.Unmarshal(body, &value); err != nil { // such as a number that is too large
		value = 0.0
	}
	message := "Invalid data. Expected a dictionary, but got %s."
	switch value.(type) {
	case nil:
		message = "No data provided"
	case []any:
		message = fmt.Sprintf(message, "list")
	case string:
		message = fmt.Sprintf(message, "str")
	case bool:
		message = fmt.Sprintf(message, "bool")
	default:
		message = fmt.Sprintf(message, "int")
	}
	return nonField(message)
}

// nonField is an answer that is not about one field.
func nonField(message string) any {
	return map[string][]string{"non_field_errors": {message}}
}

func (simpleJWT) pair(p Pair) any {
	return struct {
		Refresh string `json:"refresh,omitempty"`
		Access  string `json:"access,omitempty"`
	}{p.RefreshToken, p.AccessToken}
}

func (simpleJWT) problem(r *http.Request, p problem) any {
	switch p.code {
	case "not_found":
		return detail{Detail: "Not found."}
	case "method_not_allowed":
		return detail{Detail: fmt.Sprintf(`Method "%s" not allowed.`, r.Method)}
	case "unsupported_media_type":
		return detail{Detail: fmt.Sprintf(`Unsupported media type "%s" in request.`, r.Header.Get("Content-Type"))}
	case "malformed":
		return detail{Detail: "JSON parse error - " + p.detail}
	case "credentials_not_valid":
		return detail{Detail: "No active account found with the given credentials"}
	}
	return detail{Detail: p.detail}
}

func (simpleJWT) challenge(string) string { return `Bearer realm="api"` }

func (simpleJWT) wrongType(field string) any {
	return map[string][]string{field: {"Not a valid string."}}
}

func (simpleJWT) refused(d jwtauth.Denial, access bool) any {
	message := "Token is invalid"
	switch {
	case d.Status != http.StatusUnauthorized:
		return detail{d.Detail, d.Code}
	case errors.Is(d.Err, jwtauth.ErrNoToken):
		return detail{Detail: "Authentication credentials were not provided."}
	case errors.Is(d.Err, jwtauth.ErrType):
		message = "Token has wrong type"
	case d.Reason == "expired":
		message = "Token is expired"
	case d.Reason == "revoked", d.Reason == "reused":
		message = "Token is blacklisted"
	}
	if !access {
		return detail{message, d.Code}
	}
	type about struct {
		Class   string `json:"token_class"`
		Type    string `json:"token_type"`
		Message string `json:"message"`
	}
	return struct {
		detail
		Messages []about `json:"messages"`
	}{detail{"Given token not valid for any token type", d.Code}, []about{{"AccessToken", "access", message}}}
}

// WithSimpleJWTBodies makes [Manager.Handler], [Manager.WritePair] and the denials of
// [Manager.Require] use the JSON bodies of djangorestframework-simplejwt 5.5, alone or
// behind djoser. Clients of those need no change. See "The bodies of simplejwt" in the
// package comment.
func WithSimpleJWTBodies() Option {
	return func(c *config) error {
		c.bodies = simpleJWT{}
		return nil
	}
}

func (m *Manager) simple() bool {
	_, is := m.bodies.(simpleJWT)
	return is
}
