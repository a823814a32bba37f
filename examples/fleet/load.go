package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// fleet holds the addresses of the processes, and the secret with which clients get tokens.
type fleet struct {
	issuer, ownerKey string
	verifiers        []*verifier
	broken           atomic.Int64 // calls without a response, or with an unexpected one
}

// verifier holds the address of a verifier, and counts its responses: calls that it
// accepted, calls that it answered with 503 (unsure), calls with a valid token that it
// denied (refused), and calls with a forged token that it accepted (letIn).
type verifier struct {
	name, url                        string
	accepted, unsure, refused, letIn atomic.Int64
}

var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// count returns a sentence with the counts of all verifiers, and an error if any response
// was wrong.
func (f *fleet) count() (says string, err error) {
	for _, v := range f.verifiers {
		says += fmt.Sprintf("%s: %d accepted, %d answered 503 and retried; ", v.name, v.accepted.Load(), v.unsure.Load())
		if v.refused.Load()+v.letIn.Load() > 0 {
			err = errors.New("requests were wrongly denied, or wrong tokens were accepted")
		}
	}
	if n := f.broken.Load(); n > 0 {
		err = fmt.Errorf("%d calls had no response, or an unexpected one", n)
	}
	return strings.TrimSuffix(says, "; "), err
}

// sum returns the sum of one counter over all verifiers.
func (f *fleet) sum(of func(*verifier) *atomic.Int64) (n int64) {
	for _, v := range f.verifiers {
		n += of(v).Load()
	}
	return n
}

// send sends a request to the issuer as the owner of the container, and returns the body
// of the response.
func (f *fleet) send(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.issuer+path, nil)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(container, f.ownerKey)
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the issuer answered %d: %s", response.StatusCode, body)
	}
	return body, err
}

// tell makes the issuer take a step of a rotation: "add", "rotate" or "retire".
func (f *fleet) tell(ctx context.Context, step string) error {
	_, err := f.send(ctx, "/"+step)
	return err
}

func (f *fleet) mint(ctx context.Context) (string, error) {
	body, err := f.send(ctx, "/create-token/"+container)
	var answer struct{ Token string }
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	return answer.Token, err
}

// call returns the status and the body of a call with a token.
func (v *verifier) call(ctx context.Context, token string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+"/run/"+container+"/hello", nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// load starts crowd clients for each verifier. They call it until finish is called, which
// waits for their last calls.
func (f *fleet) load(ctx context.Context, crowd int) (finish func()) {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range crowd {
		for _, v := range f.verifiers {
			all.Go(func() {
				for ctx.Err() == nil {
					f.visit(ctx, v)
				}
			})
		}
	}
	return func() { stop(); all.Wait() }
}

// visit gets a token, and calls with it for a third of its lifetime. It also calls once
// with a token that an attacker has forged in the issuer's name.
func (f *fleet) visit(ctx context.Context, v *verifier) {
	minted := time.Now()
	token, err := f.mint(ctx)
	if err != nil {
		f.broke(ctx, v, err)
		return
	}
	forged, err := forge(token)
	if err != nil {
		f.broke(ctx, v, err)
		return
	}
	switch status, body, err := v.call(ctx, forged); {
	case err != nil || status != http.StatusOK && status != http.StatusForbidden && status != http.StatusServiceUnavailable:
		f.broke(ctx, v, fmt.Errorf("%d %s: %w", status, body, err))
	case status == http.StatusOK:
		v.letIn.Add(1)
	}
	for ctx.Err() == nil && time.Since(minted) < tokenTTL/3 {
		switch status, body, err := v.call(ctx, token); {
		case err != nil:
			f.broke(ctx, v, err)
		case status == http.StatusOK:
			v.accepted.Add(1)
			time.Sleep(5 * time.Millisecond)
		case status == http.StatusServiceUnavailable:
			v.unsure.Add(1)
			time.Sleep(100 * time.Millisecond)
		case strings.Contains(body, `"reason":"expired"`): // the call took long on a busy machine
			return
		default:
			v.refused.Add(1)
		}
	}
}

// broke counts and prints an error that no client should see. It ignores errors after the
// clients have been told to finish.
func (f *fleet) broke(ctx context.Context, v *verifier, err error) {
	if ctx.Err() == nil {
		f.broken.Add(1)
		fmt.Fprintf(os.Stderr, "fleet: %s: %v\n", v.name, err)
		time.Sleep(50 * time.Millisecond)
	}
}

// forge returns a token with the key ID of the given one, and with the right issuer and
// container, but signed with the attacker's key.
func forge(token string) (string, error) {
	header, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return "", err
	}
	var names struct{ Kid string }
	if err := json.Unmarshal(text, &names); err != nil {
		return "", err
	}
	auth, err := jwtauth.New(attackersKey.WithID(names.Kid), jwtauth.WithIssuer(issuerName), jwtauth.WithTTL(tokenTTL))
	if err != nil {
		return "", err
	}
	return auth.Issue(container)
}

var attackersKey = func() keys.Key {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return keys.Signer(private)
}()

// meets503 waits until a client gets a 503 from the verifier.
func (v *verifier) meets503(ctx context.Context) error {
	for before := v.unsure.Load(); v.unsure.Load() == before; {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// accepts waits for a minute at most, until the verifier has accepted more calls than the
// number before.
func (v *verifier) accepts(ctx context.Context, before int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for v.accepted.Load() == before {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%s has accepted nothing: %w", v.name, err)
		}
	}
	return nil
}

// recovers waits until a verifier accepts a new token.
func (f *fleet) recovers(ctx context.Context, v *verifier) error {
	for ctx.Err() == nil {
		token, err := f.mint(ctx)
		if err != nil {
			return err
		}
		if status, _, err := v.call(ctx, token); err == nil && status == http.StatusOK {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return ctx.Err()
}

// link is a proxy between a verifier and the issuer. It can cut the connection.
type link struct {
	*httptest.Server
	broken atomic.Bool
}

func newLink(issuer string) (*link, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	l := new(link)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.broken.Load() {
			panic(http.ErrAbortHandler) // no response, as if a cable was pulled
		}
		proxy.ServeHTTP(w, r)
	}))
	return l, nil
}

func (l *link) cut()  { l.broken.Store(true) }
func (l *link) mend() { l.broken.Store(false) }
