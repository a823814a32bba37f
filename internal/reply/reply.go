// Package reply writes JSON responses.
package reply

import (
	"encoding/json"
	"net/http"
)

// JSON encodes a body and writes it as the response. If the body cannot be encoded, JSON
// writes nothing. It returns the error of the encoding or of the connection.
func JSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return Raw(w, status, append(text, '\n'))
}

// Raw writes a response whose body already is JSON. It sets header fields directly,
// because [http.Header.Set] would bring their names into canonical form. That takes time,
// and a denial must not cost more than an allowed request.
func Raw(w http.ResponseWriter, status int, json []byte) error {
	header := w.Header()
	header["Content-Type"] = []string{"application/json"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(status)
	_, err := w.Write(json)
	return err
}
