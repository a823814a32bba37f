package revoke_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/revoke"
)

// The owner of a container takes one of its tokens back. A token that is nobody's
// is not an error, and strangers learn nothing about any.
func ExampleList_Handler() {
	list, err := revoke.New(revoke.NewMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := jwtauth.New(keys.HS256(secret), jwtauth.WithRevocations(list))
	if err != nil {
		fmt.Println(err)
		return
	}
	ownerMayRevoke := func(r *http.Request, c jwtauth.Claims) error {
		user, password, _ := r.BasicAuth()
		if password != "the key of "+user { // a real service asks its user database
			return errors.New("nobody we know")
		}
		if c.ExpiresAt.IsZero() {
			return nil // nobody's token: nothing will be done
		}
		if c.Container != user {
			return errors.New("another owner's token")
		}
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("/revoke", list.Handler(auth, ownerMayRevoke))

	token, err := auth.Issue("demo")
	if err != nil {
		fmt.Println(err)
		return
	}
	post := func(user, token string) {
		r := httptest.NewRequest("POST", "/revoke", strings.NewReader(url.Values{"token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(user, "the key of demo")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		_, err := auth.Verify(r.Context(), token, "demo")
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()), errors.Is(err, jwtauth.ErrRevoked))
	}
	post("stranger", token)
	post("demo", token)
	post("demo", "garbage")
	// Output:
	// 403 {"error":"access_denied","error_description":"You may not revoke this token."} false
	// 200  true
	// 200  false
}
