package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"fortio.org/fortio/fhttp"
	"fortio.org/fortio/periodic"
	fortiolog "fortio.org/log"
)

// There are a thousand clients, each with its own token and its own connection that is
// kept alive. This many have a request under way at any time.
const (
	loadTokens = 1000
	loadAtOnce = 16
)

// throughput is what one server did in one round, in requests per second.
type throughput struct{ bare, private float64 }

// serve sends requests to a real server over the loopback interface, in turns to a bare
// handler and to the same one behind Private. Both get the same requests, including the
// token. The clients are fortio's fast ones, which write prepared bytes: slower clients
// would hide the server's cost.
func serve(progress io.Writer, rounds int, each time.Duration) ([]throughput, error) {
	fortiolog.SetLogLevelQuiet(fortiolog.Error)
	s, err := startServer()
	if err != nil {
		return nil, err
	}
	defer s.close()
	bare, err := s.callers("/bare/")
	if err != nil {
		return nil, err
	}
	defer bare.close()
	private, err := s.callers("/private/")
	if err != nil {
		return nil, err
	}
	defer private.close()

	for _, c := range []callers{bare, private} { // the very first turn is slower
		if _, err := s.load(c, each/4); err != nil {
			return nil, err
		}
	}
	var all []throughput
	for round := range rounds {
		fmt.Fprintf(progress, "  round %d of %d\n", round+1, rounds)
		var t throughput
		turns := []func() error{
			func() (err error) { t.bare, err = s.load(bare, each); return err },
			func() (err error) { t.private, err = s.load(private, each); return err },
		}
		if round%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			if err := turn(); err != nil {
				return nil, err
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// server counts the handlers' calls: a denied request must not count as a fast one.
type server struct {
	http   *http.Server
	url    string
	ran    atomic.Int64
	tokens []string
}

func startServer() (*server, error) {
	a := hs256()
	s := &server{tokens: make([]string, loadTokens)}
	for i := range s.tokens {
		s.tokens[i] = a.mint()
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.ran.Add(1)
		io.WriteString(w, "hello")
	})
	mux := http.NewServeMux()
	mux.Handle("GET /bare/{container}/hello", hello)
	mux.Handle("GET /private/{container}/hello", newAuth(a.key).Private(hello))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.url = "http://" + listener.Addr().String()
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(listener) // close ends it
	if err := s.judge(a); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) close() { s.http.Close() }

// judge returns an error unless the bare route allows a request without a token, and the
// private route allows a good token and denies bad ones.
func (s *server) judge(a algorithm) error {
	for _, c := range []struct {
		prefix, token string
		status        int
	}{
		{"/bare/", "", http.StatusOK},
		{"/private/", s.tokens[0], http.StatusOK},
		{"/private/", a.forged(), http.StatusForbidden},
		{"/private/", a.mint(with("container", "another")), http.StatusForbidden},
	} {
		r, err := http.NewRequest(http.MethodGet, s.url+c.prefix+container+"/hello", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", bearer(c.token))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != c.status {
			return fmt.Errorf("%s answers with %d, not %d", c.prefix, answer.StatusCode, c.status)
		}
	}
	return nil
}

// caller is a share of the clients, which send one request after the other. Several
// callers run at once.
type caller struct {
	clients []fhttp.Fetcher
	next    int
}

// Run sends one request.
func (c *caller) Run(ctx context.Context, _ periodic.ThreadID) (bool, string) {
	c.next = (c.next + 1) % len(c.clients)
	status, _, _ := c.clients[c.next].StreamFetch(ctx)
	return status == http.StatusOK, ""
}

type callers []*caller

// callers connects all clients. Each has received one response before callers returns.
func (s *server) callers(prefix string) (callers, error) {
	fhttp.BufferSizeKb = 4 // for each client; a response has a few hundred bytes
	all := make(callers, loadAtOnce)
	for i := range all {
		all[i] = &caller{}
	}
	for i, token := range s.tokens {
		o := fhttp.NewHTTPOptions(s.url + prefix + container + "/hello")
		o.HTTPReqTimeOut = time.Minute
		if err := o.AddAndValidateExtraHeader("Authorization: " + bearer(token)); err != nil {
			return nil, err
		}
		client, err := fhttp.NewFastClient(o)
		if err != nil {
			return nil, err
		}
		c := all[i%loadAtOnce]
		c.clients = append(c.clients, client)
		if status, _, _ := client.StreamFetch(context.Background()); status != http.StatusOK {
			all.close()
			return nil, fmt.Errorf("%s answers with %d to a good token", prefix, status)
		}
	}
	return all, nil
}

func (c callers) close() {
	for _, caller := range c {
		for _, client := range caller.clients {
			client.Close()
		}
	}
}

// load lets the callers send requests as fast as they get responses.
func (s *server) load(c callers, each time.Duration) (float64, error) {
	r := periodic.NewPeriodicRunner(&periodic.RunnerOptions{QPS: -1, NumThreads: len(c), Duration: each, Out: io.Discard})
	defer r.Options().Abort()
	for i := range c { // NewPeriodicRunner does not keep them
		r.Options().Runners[i] = c[i]
	}
	before := s.ran.Load()
	got := r.Run()
	if bad := got.ErrorsDurationHistogram.Count; bad != 0 {
		return 0, fmt.Errorf("%d requests were not answered with 200", bad)
	}
	if ran := s.ran.Load() - before; ran != got.DurationHistogram.Count {
		return 0, fmt.Errorf("the handler ran %d times for %d requests", ran, got.DurationHistogram.Count)
	}
	return got.ActualQPS, nil
}
