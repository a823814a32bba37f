package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fleet is what the crowd of clients knows, and counts.
type fleet struct {
	issuer, ownerKey string
	verifiers        []*verifier

	accepted, unsure, refused, letIn atomic.Int64
}

type verifier struct {
	name, url string
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func (f *fleet) count() string {
	return fmt.Sprintf("%d accepted, %d answered 503 and asked again, %d wrongly refused, %d wrong tokens let in",
		f.accepted.Load(), f.unsure.Load(), f.refused.Load(), f.letIn.Load())
}

// send sends a request as the owner of the container.
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

// tell has the issuer take a step of a rotation.
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

// call is the status of a call with a token.
func (v *verifier) call(ctx context.Context, token string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+"/run/"+container+"/hello", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode, nil
}

// load is a crowd that calls until it is told to finish.
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

// visit mints a token and calls with it while it is young, as clients do; and once with
// one that nobody signed.
func (f *fleet) visit(ctx context.Context, v *verifier) {
	token, err := f.mint(ctx)
	if err != nil {
		time.Sleep(50 * time.Millisecond)
		return
	}
	forged := token[:strings.LastIndex(token, ".")+1] + strings.Repeat("A", 86)
	if status, err := v.call(ctx, forged); err == nil && status == http.StatusOK {
		f.letIn.Add(1)
	}
	for minted := time.Now(); ctx.Err() == nil && time.Since(minted) < tokenTTL/3; {
		status, err := v.call(ctx, token)
		late := time.Since(minted) > tokenTTL*2/3 // of a machine that is busy elsewhere
		switch {
		case err != nil:
		case status == http.StatusOK:
			f.accepted.Add(1)
			time.Sleep(5 * time.Millisecond)
		case status == http.StatusServiceUnavailable:
			f.unsure.Add(1)
			time.Sleep(100 * time.Millisecond)
		case !late:
			f.refused.Add(1)
		}
	}
}

// meets503 waits until a client that called was told that nobody knows.
func (f *fleet) meets503(ctx context.Context) error {
	for before := f.unsure.Load(); f.unsure.Load() == before; {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// recovers waits until a verifier accepts what is signed now.
func (f *fleet) recovers(ctx context.Context, v *verifier) error {
	for ctx.Err() == nil {
		token, err := f.mint(ctx)
		if err != nil {
			return err
		}
		if status, err := v.call(ctx, token); err == nil && status == http.StatusOK {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return ctx.Err()
}

// link is the way from a verifier to the issuer, which can be cut.
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
			panic(http.ErrAbortHandler) // no answer, as of a cable that was pulled
		}
		proxy.ServeHTTP(w, r)
	}))
	return l, nil
}

func (l *link) cut()  { l.broken.Store(true) }
func (l *link) mend() { l.broken.Store(false) }
