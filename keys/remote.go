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
	// A set is used for as long as the server says, within these bounds, and for
	// usualFresh where it does not say.
	leastFresh, usualFresh, mostFresh = time.Minute, 5 * time.Minute, time.Hour

	// A failed fetch is tried again after leastRetry at most, then after up to twice as
	// long, up to mostRetry.
	leastRetry, mostRetry = time.Second, time.Minute

	// Unknown key ids cause at most askBurst fetches at once and one more every
	// askEvery. An id that a fetch did not bring is not asked for again for unknownFor.
	askBurst, askEvery = 5, 5 * time.Second
	unknownFor         = 30 * time.Second

	maxRemoteBytes = 1 << 20 // bytes of a JWK Set
	maxKeys        = 256     // in a JWK Set
	maxKidLen      = 1024    // bytes of a key id that is asked for
	maxRedirects   = 5

	// A forged token costs a verification by each key that it may be of.
	maxRemoteRSABits = 8192
	maxWithoutID     = 4 // of one algorithm: one that signs, and some from before and after
)

// Remote is a [Source] of the public keys that another service publishes as a JWK Set
// (RFC 7517, section 5). It only verifies: an Auth made of it refuses to issue.
//
//	remote, err := keys.NewRemote("https://issuer.example.com/.well-known/jwks.json")
//	...
//	go remote.Run(ctx)
//	auth, err := jwtauth.New(remote, jwtauth.WithIssuer("https://issuer.example.com"))
//
// With [Remote.Run] the keys are fetched before they are needed and renewed before they
// are old. Without Run, the first requests wait for a fetch, and later ones start one in
// the background. As long as there are keys, a request waits for the network only if it
// names an unknown key id, which may be that of a new key. All such requests share one
// fetch. If unknown ids were asked for too often, or the fetch fails, the answer is
// "cannot know now", 503, and never that of a wrong token. An id that a fetch did not
// bring is rejected without another fetch for 30 seconds.
//
// While the server cannot be reached or answers nonsense, the last good keys are used,
// until they are older than [WithMaxStale]. Then every token is answered with 503. A key
// that the server withdraws or replaces under its id verifies until the next fetch,
// which comes when its Cache-Control says: after a minute at least, an hour at most.
//
// A Remote uses public keys for signatures, at most 256, each with the algorithm that
// its alg or else its type fixes: see [Signer]. It leaves out and logs all others:
//
//   - secrets and private keys;
//   - keys whose use, key_ops or alg is for something else or unknown;
//   - keys that are too short, and RSA keys of more than 8192 bits;
//   - keys whose id is empty or has over 1024 bytes;
//   - a second key under the id and the algorithm of another;
//   - a fifth key without an id for one algorithm.
//
// A set without a key that can be used counts as an outage. A key without an id verifies
// tokens of every id. Beside one no id is unknown, and only a renewal finds new keys.
//
// So an issuer publishes a key, and signs with it once the answers from before have run
// out: see [Ring]. Tokens of a key that replaces another under its id, or that a cache on
// the way hides, are rejected until a fetch brings the key.
//
// A Remote is safe for concurrent use. It reads no wall clock, and only measures how
// much time has passed.
type Remote struct {
	url      *url.URL
	client   *http.Client
	logger   *slog.Logger
	timeout  time.Duration
	maxStale time.Duration
	insecure bool

	wake    chan struct{} // tells Run that a fetch failed
	started time.Time     // with the monotonic clock, which does not jump
	current atomic.Pointer[remoteSet]
	running atomic.Int32

	due atomic.Int64 // when the next fetch is, since the start; written under mu

	mu       sync.Mutex               // for what follows; never held for long
	flight   *flight                  // under way, or nil
	failed   error                    // of the last fetch, nil if it was good
	failures int                      // in a row
	unknown  map[string]time.Duration // key ids that a fetch did not bring, and when
	asked    time.Duration            // askEvery ahead with each fetch for an unknown id
	expiry   *time.Timer              // drops the keys when they are too old
}

// remoteSet is what a fetch brought.
type remoteSet struct {
	set   *Set
	left  []string // why keys were left out
	etag  string
	fresh time.Duration
}

// flight is one fetch. All requests that need its outcome wait for it.
type flight struct {
	done chan struct{}
	err  error
}

// RemoteOption is an option of [NewRemote].
type RemoteOption func(*Remote) error

// WithHTTPClient sets the client that fetches. The default is a client of its own with
// the default transport of net/http. The client is copied. Its Timeout counts as
// [WithFetchTimeout] does. Its CheckRedirect is asked about redirects that stay on the
// host; all others are refused.
func WithHTTPClient(client *http.Client) RemoteOption {
	return func(r *Remote) error {
		if client == nil {
			return errors.New("WithHTTPClient was given nil; leave it out for a client of its own")
		}
		r.client = client
		return nil
	}
}

// WithFetchTimeout sets how long a fetch may take, body included: a minute at most. The
// default is 5 seconds.
func WithFetchTimeout(d time.Duration) RemoteOption {
	return func(r *Remote) error {
		if r.timeout = d; d <= 0 || d > time.Minute {
			return fmt.Errorf("WithFetchTimeout(%v): it must lie between 0 and a minute", d)
		}
		return nil
	}
}

// WithMaxStale sets for how long keys are used after they were last fetched or found
// unchanged, while the server is out: from a minute to 30 days. The default is 6 hours.
// An attacker that keeps the answers from coming can make a key verify for that long
// after the server has withdrawn it.
func WithMaxStale(d time.Duration) RemoteOption {
	return func(r *Remote) error {
		if r.maxStale = d; d < leastFresh || d > 30*24*time.Hour {
			return fmt.Errorf("WithMaxStale(%v): it must lie between %v and 30 days", d, leastFresh)
		}
		return nil
	}
}

// WithLogger sets where outages, their ends and keys that are left out are
// logged. The default is [slog.Default].
func WithLogger(logger *slog.Logger) RemoteOption {
	return func(r *Remote) error {
		if logger == nil {
			return errors.New("WithLogger was given nil; leave it out for slog.Default")
		}
		r.logger = logger
		return nil
	}
}

// InsecureAllowHTTP allows a URL of plain HTTP. An attacker on the way can then put keys
// of their own into the set, and issue any token. It is meant for tests, and for
// networks that are encrypted by other means.
func InsecureAllowHTTP() RemoteOption {
	return func(r *Remote) error {
		r.insecure = true
		return nil
	}
}

// NewRemote returns a Remote. It fetches nothing yet: an error is about its arguments.
func NewRemote(rawURL string, opts ...RemoteOption) (*Remote, error) {
	r := &Remote{
		client: &http.Client{}, timeout: DefaultFetchTimeout, maxStale: DefaultMaxStale,
		wake: make(chan struct{}, 1), started: time.Now(), unknown: map[string]time.Duration{}, asked: -askBurst * askEvery,
	}
	errs := []error{options.Apply(r, opts)}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		errs = append(errs, errors.New("the URL must be one such as https://issuer.example.com/.well-known/jwks.json, without a password"))
	case u.Scheme == "http" && !r.insecure:
		errs = append(errs, errors.New("the URL is one of plain HTTP; use https, or see InsecureAllowHTTP"))
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

// checkRedirect returns a CheckRedirect that refuses to follow to where a third party
// would give the keys, and leaves the rest to the caller's.
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

// now returns the time since the start.
func (r *Remote) now() time.Duration { return time.Since(r.started) }

// Keys implements [Source]. See [Remote] for when it waits, at most until ctx ends.
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
		// A fetch that was under way may have begun before the key was published. The
		// next round tells.
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

// isUnknown reports whether a recent fetch for an id did not bring it.
func (r *Remote) isUnknown(kid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, missed := r.unknown[kid]
	return missed && r.now()-at < unknownFor
}

// fresh returns the current keys, waiting for a fetch if there are none. While Run is at
// work, it renews them, and this is two atomic loads.
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
		r.fetchIfDue() // which this request does not wait for
	}
	return have, nil
}

func (r *Remote) isDue() bool { return r.now() >= time.Duration(r.due.Load()) }

var (
	errBusy = errors.New("keys: Remote: many unknown key ids were asked for a moment ago")
	errNone = errors.New("keys: Remote: the keys are too old")
)

// ask makes a fetch for an id that the keys at hand lack, unless one is under way or too
// many were made. It returns nil if it is known that there is no such key.
func (r *Remote) ask(kid string, have *remoteSet) *flight {
	if len(kid) > maxKidLen { // readRemote leaves out such keys
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.asked = max(r.asked, now-askBurst*askEvery)
	at, missed := r.unknown[kid]
	switch {
	case r.current.Load() != have: // a fetch landed meanwhile
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

// fetchIfDue makes a fetch, unless one is under way or none is due.
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

// fetch begins a fetch, for an unknown id, or if kid is "" because one is due. r.mu is
// held. The fetch belongs to no request: it goes on when those that wait for it end.
func (r *Remote) fetch(kid string) *flight {
	f := &flight{done: make(chan struct{})}
	r.flight = f
	go func() {
		defer close(f.done)
		f.err = errors.New("keys: Remote: the HTTP client ended the goroutine of the fetch")
		defer func() {
			if problem := recover(); problem != nil { // of the caller's transport or CheckRedirect
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

// fail sets when a failed fetch is tried again. Processes of a fleet that fail at the
// same time do not come back at the same time.
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
	r.log().Error("jwtauth: the JWK Set cannot be fetched; the last good keys, if any, stay for a while", "url", r.where(), "error", err)
}

// land takes over what a fetch brought, and sets when the next is due.
func (r *Remote) land(have, got *remoteSet, kid string) {
	changed := have == nil || !slices.Equal(have.left, got.left)
	if have != nil && have.set.same(got.set) {
		got.set = have.set // by whose identity caches know that nothing changed
	} else {
		changed = true
	}

	r.mu.Lock()
	now, recovered := r.now(), r.failed != nil
	r.flight, r.failed, r.failures = nil, nil, 0
	r.due.Store(int64(now + got.fresh*9/10 + rand.N(got.fresh/10)))
	if kid != "" && !got.set.mayKnow(kid) {
		// They stay few, since fetches for an id are.
		maps.DeleteFunc(r.unknown, func(_ string, at time.Duration) bool { return now-at >= unknownFor })
		r.unknown[strings.Clone(kid)] = now
	}
	if r.expiry != nil {
		r.expiry.Stop()
	}
	// The timer keeps no Remote alive that its users have dropped.
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
	if outage { // else no request came for so long, and the next one fetches
		r.log().Error("jwtauth: the keys of the JWK Set are too old; every token is answered with 503", "url", r.where(), "age", r.maxStale)
	}
}

// get makes one request, which bypasses all caches on the way if past is true.
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
// the error of ctx. A failure is logged, and tried again. Of several calls at once, one
// does the work. A fetch that is under way when ctx ends goes on to its own end.
func (r *Remote) Run(ctx context.Context) error {
	r.running.Add(1)
	defer r.running.Add(-1)
	for ctx.Err() == nil {
		_ = r.wait(ctx, r.fetchIfDue()) // a failure sets when to try again
		select {
		case <-ctx.Done():
		case <-r.wake: // to look at when it is due now
		case <-time.After(max(time.Duration(r.due.Load())-r.now(), leastRetry/10)):
		}
	}
	return ctx.Err()
}

func (r *Remote) log() *slog.Logger { return options.Logger(r.logger) }
