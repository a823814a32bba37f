package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/joinednode/jwtauth/internal/options"
)

// Defaults of a [Remote].
const (
	DefaultFetchTimeout = 5 * time.Second
	DefaultMaxStale     = 6 * time.Hour
)

const (
	// The next fetch is due when the server says, within the first and the last of
	// these, or after usualFresh if the server does not say. See freshFor.
	leastFresh, usualFresh, mostFresh = time.Minute, 5 * time.Minute, time.Hour

	// A failed fetch is tried again after leastRetry at most, then after up to twice as
	// long each time, up to mostRetry.
	leastRetry, mostRetry = time.Second, time.Minute

	// Unknown key IDs cause at most askBurst fetches in a row, and one more every
	// askEvery. An ID that a fetch did not bring is not asked for again for unknownFor.
	askBurst, askEvery = 5, 5 * time.Second
	unknownFor         = 30 * time.Second

	maxRemoteBytes = 1 << 20 // bytes of a JWK Set
	maxKeys        = 256     // in a JWK Set
	maxKidLen      = 1024    // bytes of a key ID
	maxRedirects   = 5

	// A forged token can cost one verification by each key that might have signed it.
	maxRemoteRSABits = 8192
	maxWithoutID     = 4 // for one algorithm: the key that signs, and former and future ones
)

// Remote is a [Source] of the public keys that another service publishes as a JWK Set
// (RFC 7517, section 5). It only verifies: an Auth made with it cannot issue. Call
// [Remote.Run] in a goroutine, so that requests need not wait for the network.
//
// If keys cannot be fetched, the last good ones are used for up to [WithMaxStale]. After
// that requests are answered with 503. See "Keys that another service publishes" in the
// package comment. A Remote is safe for concurrent use. It measures how much time has
// passed, and does not use the wall clock.
type Remote struct {
	url      *url.URL
	client   *http.Client
	logger   *slog.Logger
	timeout  time.Duration
	maxStale time.Duration
	insecure bool

	wake    chan struct{} // tells Run that a fetch has failed
	started time.Time     // with the monotonic clock, which does not jump
	current atomic.Pointer[remoteSet]
	running atomic.Int32

	due atomic.Int64 // when the next fetch is due, since started; written under mu

	mu       sync.Mutex               // guards the fields below; never held for long
	flight   *flight                  // the current fetch, or nil
	failed   error                    // the error of the last fetch, or nil
	failures int                      // in a row
	unknown  map[string]time.Duration // key IDs that a fetch did not bring, and when
	asked    time.Duration            // moves ahead by askEvery with each fetch for an unknown ID
	expiry   *time.Timer              // drops the keys when they are too old
}

// remoteSet is the result of a fetch.
type remoteSet struct {
	set   *Set
	left  []string // why keys were left out
	etag  string
	fresh time.Duration
}

// flight is one fetch. All requests that need its result wait for it.
type flight struct {
	done chan struct{}
	err  error
}

// RemoteOption is an option of [NewRemote].
type RemoteOption func(*Remote) error

// WithHTTPClient sets the client that fetches. The default uses net/http's default
// transport. The client is copied. Its Timeout counts in addition to [WithFetchTimeout].
// Redirects to another host, from https to http, and more than five are never followed.
// The client's CheckRedirect is asked about the others.
func WithHTTPClient(client *http.Client) RemoteOption {
	return func(r *Remote) error {
		if client == nil {
			return errors.New("WithHTTPClient was given nil; leave it out for the default client")
		}
		r.client = client
		return nil
	}
}

// WithFetchTimeout sets how long a fetch may take, body included, up to one minute. The
// default is 5 seconds.
func WithFetchTimeout(d time.Duration) RemoteOption {
	return func(r *Remote) error {
		if r.timeout = d; d <= 0 || d > time.Minute {
			return fmt.Errorf("WithFetchTimeout(%v): it must be above 0, and at most a minute", d)
		}
		return nil
	}
}

// WithMaxStale sets for how long keys are used after the last successful fetch, from one
// minute to 30 days. The default is 6 hours. After that every token is answered with 503.
// An attacker who blocks the fetches can keep a withdrawn key in use for that long.
func WithMaxStale(d time.Duration) RemoteOption {
	return func(r *Remote) error {
		if r.maxStale = d; d < leastFresh || d > 30*24*time.Hour {
			return fmt.Errorf("WithMaxStale(%v): it must lie between %v and 30 days", d, leastFresh)
		}
		return nil
	}
}

// WithLogger sets where outages, their ends, changes of the keys and keys that are left
// out are logged. The default is [slog.Default].
func WithLogger(logger *slog.Logger) RemoteOption {
	return func(r *Remote) error {
		if logger == nil {
			return errors.New("WithLogger was given nil; leave it out for slog.Default")
		}
		r.logger = logger
		return nil
	}
}

// InsecureAllowHTTP allows an http URL. An attacker on the network can then add keys of
// their own to the set, and issue any token. Use it only for tests, and for networks that
// are encrypted by other means.
func InsecureAllowHTTP() RemoteOption {
	return func(r *Remote) error {
		r.insecure = true
		return nil
	}
}

// NewRemote returns a Remote for a JWK Set at this URL. It does not fetch yet: an error is
// about the arguments.
func NewRemote(rawURL string, opts ...RemoteOption) (*Remote, error) {
	r := &Remote{
		client: &http.Client{}, timeout: DefaultFetchTimeout, maxStale: DefaultMaxStale,
		wake: make(chan struct{}, 1), started: time.Now(), unknown: map[string]time.Duration{}, asked: -askBurst * askEvery,
	}
	errs := []error{options.Apply(r, opts)}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		errs = append(errs, errors.New("the URL must be one such as https://issuer.example.com/.well-known/jwks.json, without a password or user name"))
	case u.Scheme == "http" && !r.insecure:
		errs = append(errs, errors.New("the URL is plain HTTP; use https, or see InsecureAllowHTTP"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("keys: NewRemote: %w", err)
	}
	r.url = u
	own := *r.client
	own.CheckRedirect = r.checkRedirect(r.client.CheckRedirect)
	r.client = &own
	return r, nil
}

// checkRedirect returns a CheckRedirect that follows no redirect that would let a third
// party supply the keys. It asks the caller's CheckRedirect about the others.
func (r *Remote) checkRedirect(callers func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, via []*http.Request) error {
		switch {
		case !strings.EqualFold(next.URL.Host, r.url.Host) || next.URL.Scheme != "https" && next.URL.Scheme != r.url.Scheme:
			return fmt.Errorf("a redirect to another host, or to plain HTTP: %s://%s", next.URL.Scheme, next.URL.Host)
		case len(via) > maxRedirects:
			return errors.New("too many redirects")
		case callers != nil:
			return callers(next, via)
		}
		return nil
	}
}

// now returns the time since NewRemote.
func (r *Remote) now() time.Duration { return time.Since(r.started) }

// Keys implements [Source]. It may wait for a fetch, at most until ctx ends: see the
// package comment.
func (r *Remote) Keys(ctx context.Context, kid string) (*Set, error) {
	for range 3 {
		have, err := r.fresh(ctx)
		if err != nil {
			return nil, err
		}
		if have.set.mayKnow(kid) {
			return have.set, nil
		}
		f := r.ask(kid, have)
		if f == nil {
			return have.set, nil
		}
		// A fetch that had already begun may have missed a key published since. The
		// next round asks again.
		if err := r.wait(ctx, f); err != nil {
			return nil, err
		}
	}
	have, err := r.fresh(ctx)
	if err != nil || !have.set.mayKnow(kid) && !r.isUnknown(kid) {
		return nil, errors.Join(err, errBusy)
	}
	return have.set, nil
}

// isUnknown reports whether a recent fetch for a key ID did not bring it.
func (r *Remote) isUnknown(kid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, missed := r.unknown[kid]
	return missed && r.now()-at < unknownFor
}

// fresh returns the current keys, waiting for a fetch if there are none. While Run renews
// the keys, it costs two atomic loads.
func (r *Remote) fresh(ctx context.Context) (*remoteSet, error) {
	have := r.current.Load()
	switch {
	case have == nil:
		if err := r.wait(ctx, r.fetchIfDue()); err != nil {
			return nil, err
		}
		if have = r.current.Load(); have == nil {
			return nil, errNone
		}
	case r.running.Load() == 0 && r.isDue():
		r.fetchIfDue() // in the background
	}
	return have, nil
}

func (r *Remote) isDue() bool { return r.now() >= time.Duration(r.due.Load()) }

var (
	errBusy = errors.New("keys: Remote: too many unknown key IDs were asked for; try again later")
	errNone = errors.New("keys: Remote: the keys are too old")
)

// ask returns the fetch to wait for before a key ID that the current keys lack is looked
// up again: a new one, the one under way, or an ended one with the reason why there is no
// new one. It returns nil if the ID is known to be missing.
func (r *Remote) ask(kid string, have *remoteSet) *flight {
	if len(kid) > maxKidLen { // readRemote leaves such keys out
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.asked = max(r.asked, now-askBurst*askEvery)
	at, missed := r.unknown[kid]
	switch {
	case r.current.Load() != have: // the keys have changed meanwhile
		return ended(nil)
	case missed && now-at < unknownFor:
		return nil
	case r.flight != nil:
		return r.flight
	case r.failed != nil && !r.isDue():
		return ended(r.failed)
	case r.asked+askEvery > now:
		return ended(errBusy)
	}
	r.asked += askEvery
	return r.fetch(kid)
}

// fetchIfDue starts a fetch if one is due and none is under way. It returns the one to
// wait for, or an ended one with the error of the last fetch.
func (r *Remote) fetchIfDue() *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.flight != nil:
		return r.flight
	case !r.isDue():
		return ended(r.failed)
	}
	return r.fetch("")
}

func ended(err error) *flight {
	f := &flight{done: make(chan struct{}), err: err}
	close(f.done)
	return f
}

func (r *Remote) wait(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch starts a fetch, for an unknown key ID or, if kid is "", because one is due. The
// caller holds r.mu. The fetch goes on when the requests that wait for it end.
func (r *Remote) fetch(kid string) *flight {
	f := &flight{done: make(chan struct{})}
	r.flight = f
	go func() {
		defer close(f.done)
		f.err = errors.New("keys: Remote: the HTTP client ended the goroutine of the fetch")
		defer func() {
			if problem := recover(); problem != nil { // the caller's transport or CheckRedirect panicked
				f.err = fmt.Errorf("keys: Remote: %w", r.withoutQuery(fmt.Errorf("the HTTP client panicked: %v", problem)))
			}
			if f.err != nil {
				r.fail(f.err)
			}
		}()
		have := r.current.Load()
		got, err := r.get(have, kid != "")
		if f.err = err; err == nil {
			r.land(have, got, kid)
		}
	}()
	return f
}

// fail records a failed fetch, and sets when the next try is. The time is random, so that
// processes that fail at the same time do not try again at the same time.
func (r *Remote) fail(err error) {
	r.mu.Lock()
	after := min(leastRetry<<min(r.failures, 10), mostRetry)
	r.due.Store(int64(r.now() + after/2 + rand.N(after/2)))
	r.flight, r.failed = nil, err
	r.failures++
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	r.log().Error("jwtauth: the JWK Set cannot be fetched; the last good keys, if any, are used for up to WithMaxStale", "url", r.where(), "error", err)
}

// land takes over the result of a fetch, and sets when the next one is due.
func (r *Remote) land(have, got *remoteSet, kid string) {
	changed := have == nil || !slices.Equal(have.left, got.left)
	if have != nil && have.set.same(got.set) {
		got.set = have.set // callers compare the pointers to find out whether keys changed
	} else {
		changed = true
	}

	r.mu.Lock()
	now, recovered := r.now(), r.failed != nil
	r.flight, r.failed, r.failures = nil, nil, 0
	r.due.Store(int64(now + got.fresh*9/10 + rand.N(got.fresh/10)))
	if kid != "" && !got.set.mayKnow(kid) {
		// The map stays small, since fetches for a key ID are rare.
		maps.DeleteFunc(r.unknown, func(_ string, at time.Duration) bool { return now-at >= unknownFor })
		r.unknown[strings.Clone(kid)] = now
	}
	if r.expiry != nil {
		r.expiry.Stop()
	}
	// The weak pointers let a Remote be freed that is no longer used.
	remote, set := weak.Make(r), weak.Make(got)
	r.expiry = time.AfterFunc(r.maxStale, func() {
		if r, old := remote.Value(), set.Value(); r != nil && old != nil {
			r.expire(old)
		}
	})
	r.current.Store(got)
	r.mu.Unlock()

	if recovered {
		r.log().Info("jwtauth: the JWK Set can be fetched again", "url", r.where())
	}
	if changed {
		r.log().Info("jwtauth: the keys are those of the JWK Set", "url", r.where(), "kids", got.set.ids(), "left out", got.left)
	}
}

// expire drops keys that were not renewed in time.
func (r *Remote) expire(old *remoteSet) {
	if !r.current.CompareAndSwap(old, nil) {
		return
	}
	r.mu.Lock()
	outage := r.failed != nil
	r.mu.Unlock()
	if outage { // otherwise no request came for that long, and the next one fetches
		r.log().Error("jwtauth: the keys of the JWK Set are too old; every token is answered with 503", "url", r.where(), "age", r.maxStale)
	}
}

// get fetches the set once. If past is true, it asks the caches on the way not to answer
// by themselves.
func (r *Remote) get(have *remoteSet, past bool) (*remoteSet, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("keys: Remote: %w", err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if past {
		request.Header.Set("Cache-Control", "no-cache")
	}
	if have != nil && have.etag != "" {
		request.Header.Set("If-None-Match", have.etag)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("keys: Remote: %w", r.withoutQuery(err))
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotModified && have != nil && have.etag != "":
		again := *have
		again.fresh = r.freshFor(response.Header, have.fresh)
		return &again, nil
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("keys: Remote: the server answered %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRemoteBytes+1))
	if err != nil {
		return nil, fmt.Errorf("keys: Remote: the answer broke off: %w", r.withoutQuery(err))
	}
	if len(text) > maxRemoteBytes {
		return nil, fmt.Errorf("keys: Remote: the answer has more than %d bytes", maxRemoteBytes)
	}
	set, left, err := readRemote(text)
	if err != nil {
		return nil, fmt.Errorf("keys: Remote: %w", err)
	}
	return &remoteSet{set, left, response.Header.Get("ETag"), r.freshFor(response.Header, usualFresh)}, nil
}

// Run fetches the keys, and renews them before they are old, until ctx ends. It returns
// the error of ctx. It logs a failed fetch and tries again. If several calls run at once,
// one of them does the work. A fetch that is under way when ctx ends is not cancelled.
func (r *Remote) Run(ctx context.Context) error {
	r.running.Add(1)
	defer r.running.Add(-1)
	for ctx.Err() == nil {
		_ = r.wait(ctx, r.fetchIfDue()) // fail has set when to try again
		select {
		case <-ctx.Done():
		case <-r.wake: // the next fetch is due at another time now
		case <-time.After(max(time.Duration(r.due.Load())-r.now(), leastRetry/10)):
		}
	}
	return ctx.Err()
}

func (r *Remote) log() *slog.Logger { return options.Logger(r.logger) }
