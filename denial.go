package jwtauth

import (
	"encoding/json"
	"errors"
	"net/http"
)

// Denial is a refused request as the client is to see it; Err alone is for logs.
type Denial struct {
	Err    error
	Status int // 403 unless WithStatus says otherwise; 503 for ErrUnavailable
	// Code is "not_authenticated" where no token came, and where
	// [Auth.TokenEndpoint] gives none; "unavailable" where nothing can be known
	// now; else "token_not_valid".
	Code   string
	Detail string // for people; the same for all with this Code, but for TokenEndpoint's
	// Reason is why a genuine token was refused: expired, not_yet_valid,
	// wrong_type, wrong_issuer, wrong_audience, wrong_container or revoked. For
	// all else it is empty: whoever has no genuine token learns nothing.
	Reason string
}

// Deny writes the response to a request that is not let in, with the error of
// [Auth.Check], [Auth.Verify] or another method of the Auth, or [ErrForbidden] for
// what a good token may not do, which nil stands for, too. An error that is none of
// this package's is denied like a bad token.
func (a *Auth) Deny(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		err = ErrForbidden
	}
	r, _ = a.cutURL(w, r)
	a.deny(w, r, err)
}

// deny expects a request whose URL holds no token.
func (a *Auth) deny(w http.ResponseWriter, r *http.Request, err error) {
	a.write(w, r, a.denialOf(err))
}

func (a *Auth) denialOf(err error) Denial {
	d := Denial{Err: err, Code: "token_not_valid", Detail: "The token is not valid."}
	switch {
	case errors.Is(err, ErrUnavailable):
		d.Status = http.StatusServiceUnavailable
		d.Code, d.Detail = "unavailable", "The token cannot be judged now. Try again."
		return d
	case errors.Is(err, ErrNoToken):
		d.Code, d.Detail = "not_authenticated", "A token is needed."
	}
	if d.Status = a.status(err); d.Status < 400 || d.Status > 599 {
		d.Status = http.StatusForbidden
	}
	if name, genuine := reasonOf(err); genuine {
		d.Reason = name
	}
	return d
}

// write sets the headers of every denial and leaves the rest to WithDenial's
// function.
func (a *Auth) write(w http.ResponseWriter, r *http.Request, d Denial) {
	header := w.Header()
	set(header, "Cache-Control", "no-store")
	set(header, "Www-Authenticate", a.challenge(d))
	if d.Code == "unavailable" {
		set(header, "Retry-After", retryAfter)
	}
	a.denial(w, r, d)
}

// retryAfter is how many seconds a client should wait after a 503.
const retryAfter = "5"

// set is header.Set for a name that is in canonical form already. To refuse a
// token must cost no more than to accept one, or refusals would be a weapon.
func set(header http.Header, name, value string) { header[name] = []string{value} }

// challenge is the WWW-Authenticate field of RFC 6750, section 3: without an
// error where no token came, where nothing is known about it, or where another
// would not help.
func (a *Auth) challenge(d Denial) string {
	switch {
	case d.Code != "token_not_valid", errors.Is(d.Err, ErrForbidden):
		return "Bearer"
	case d.Status == http.StatusBadRequest:
		return `Bearer error="invalid_request"`
	case errors.Is(d.Err, ErrContainer):
		return `Bearer error="insufficient_scope"`
	}
	return `Bearer error="invalid_token"`
}

// writeDenial is the default of WithDenial.
func writeDenial(w http.ResponseWriter, _ *http.Request, d Denial) {
	// All three are texts of this package, which need no escapes.
	body := `{"code":"` + d.Code + `","detail":"` + d.Detail + `"`
	if d.Reason != "" {
		body += `,"reason":"` + d.Reason + `"`
	}
	writeBody(w, d.Status, []byte(body+"}\n"))
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("jwtauth: " + err.Error()) // there is no such body
	}
	writeBody(w, status, append(text, '\n'))
}

func writeBody(w http.ResponseWriter, status int, json []byte) {
	set(w.Header(), "Content-Type", "application/json")
	set(w.Header(), "X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(json) // a client that is gone needs no answer
}

// BearerStatus is for [WithStatus]: the statuses of RFC 6750, section 3.1. 400
// for more than one token; 403 for a token of another container, and for what no
// other token could change (ErrCrossOrigin, ErrForbidden); 401 otherwise.
func BearerStatus(err error) int {
	switch {
	case errors.Is(err, ErrAmbiguousToken):
		return http.StatusBadRequest
	case errors.Is(err, ErrContainer), errors.Is(err, ErrCrossOrigin), errors.Is(err, ErrForbidden):
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}
