// Package reply writes JSON responses.
package reply

import (
	"encoding/json"
	"net/http"
)

// JSON encodes a body and writes it. It returns the error of the connection, or that of a
// body that cannot be encoded. Of such a body nothing is written.
func JSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return Raw(w, status, append(text, '\n'))
}

// Raw writes a body that is JSON. It does not call [http.Header.Set], which would bring
// the header names into canonical form: a denial must not cost more than an allowed
// request.
func Raw(w http.ResponseWriter, status int, json []byte) error {
	header := w.Header()
	header["Content-Type"] = []string{"application/json"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(status)
	_, err := w.Write(json)
	return err
}
