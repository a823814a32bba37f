// Package reply writes JSON responses.
package reply

import (
	"encoding/json"
	"net/http"
)

// JSON encodes a body and writes it. The error is that of the client's connection, or of
// a body that cannot be encoded, of which nothing is written.
func JSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return Raw(w, status, append(text, '\n'))
}

// Raw writes a body that is JSON. It sets no header by [http.Header.Set], which would have
// to bring its name into canonical form: a denial must cost no more than a request that is
// allowed.
func Raw(w http.ResponseWriter, status int, json []byte) error {
	header := w.Header()
	header["Content-Type"] = []string{"application/json"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(status)
	_, err := w.Write(json)
	return err
}
