package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

var start = time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)

// service is the program, with a clock and ticks that the test controls, and one revoked
// token.
type service struct {
	auth    *jwtauth.Auth
	url     string
	now     atomic.Pointer[time.Time]
	ticks   chan time.Time
	stopped chan struct{}         // gets a value when a handler has ended
	revoked atomic.Value          // string: the revoked jti
	outage  atomic.Pointer[error] // the error of the revocation list, or nil
}

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{ticks: make(chan time.Time), stopped: make(chan struct{}, 1)}
	s.at(start)
	s.revoked.Store("")
	s.auth = routertest.New(t, jwtauth.WithRevocations(s), jwtauth.WithClock(func() time.Time { return *s.now.Load() }))
	server := httptest.NewServer(newHandler(s.auth, func() (<-chan time.Time, func()) {
		return s.ticks, func() { s.stopped <- struct{}{} }
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *service) at(now time.Time) { s.now.Store(&now) }

// tick sends a tick, and returns once the stream has received it.
func (s *service) tick(t *testing.T) {
	t.Helper()
	select {
	case s.ticks <- *s.now.Load():
	case <-t.Context().Done():
		require.Fail(t, "the stream takes no tick")
	}
}

// Revoked makes service the revocation checker of its own Auth.
func (s *service) Revoked(_ context.Context, c jwtauth.Claims) (bool, error) {
	if err := s.outage.Load(); err != nil {
		return false, *err
	}
	return c.ID == s.revoked.Load(), nil
}

// stream is an open stream of either kind.
type stream interface {
	next(t *testing.T) string // returns the next message
	end(t *testing.T)         // requires that the server ends the stream and gives the reason
	leave()                   // closes the stream, as a client does
}

type eventStream struct {
	lines *bufio.Reader
	body  io.Closer
}

func (s eventStream) next(t *testing.T) string {
	t.Helper()
	line, err := s.lines.ReadString('\n')
	require.NoError(t, err)
	_, err = s.lines.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(strings.TrimPrefix(line, "data:"))
}

func (s eventStream) end(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(s.lines)
	require.NoError(t, err)
	require.Equal(t, "event: end\ndata: the token is not valid any more\n\n", string(rest))
}

func (s eventStream) leave() { s.body.Close() }

type socketStream struct{ conn *websocket.Conn }

func (s socketStream) next(t *testing.T) string {
	t.Helper()
	_, message, err := s.conn.Read(t.Context())
	require.NoError(t, err)
	return string(message)
}

func (s socketStream) end(t *testing.T) {
	t.Helper()
	_, _, err := s.conn.Read(t.Context())
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
	require.ErrorContains(t, err, "the token is not valid any more")
}

func (s socketStream) leave() { s.conn.CloseNow() }

// kinds has the path of each kind of stream, and a function that opens one. The function
// returns the status of the response, even if the request was denied.
var kinds = map[string]struct {
	path string
	open func(t *testing.T, url string) (s stream, status int)
}{
	"events": {"/events", func(t *testing.T, url string) (stream, int) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return eventStream{bufio.NewReader(resp.Body), resp.Body}, resp.StatusCode
	}},
	"socket": {"/socket", func(t *testing.T, url string) (stream, int) {
		conn, resp, err := websocket.Dial(t.Context(), url, nil)
		if err != nil {
			require.NotNil(t, resp, "%v", err)
			return nil, resp.StatusCode
		}
		t.Cleanup(func() { conn.CloseNow() })
		return socketStream{conn}, resp.StatusCode
	}},
}

func TestStreams(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			// open opens a stream with a token that is valid for an hour.
			open := func(t *testing.T) (*service, stream) {
				t.Helper()
				s := serve(t)
				token := routertest.Issue(t, s.auth, "demo", jwtauth.TTL(time.Hour), jwtauth.ID("the-jti"))
				opened, status := kind.open(t, s.url+"/run/demo"+kind.path+"?token="+token)
				require.Contains(t, []int{200, 101}, status)
				s.tick(t)
				require.Equal(t, "demo at 15:09:26", opened.next(t))
				return s, opened
			}
			t.Run("goes on while the token is good", func(t *testing.T) {
				s, opened := open(t)
				s.at(start.Add(time.Hour - time.Second))
				s.tick(t)
				require.Equal(t, "demo at 16:09:25", opened.next(t))
			})
			t.Run("ends when the token expires", func(t *testing.T) {
				s, opened := open(t)
				s.at(start.Add(time.Hour))
				s.tick(t)
				opened.end(t)
				<-s.stopped
			})
			t.Run("ends when the token is revoked", func(t *testing.T) {
				s, opened := open(t)
				s.revoked.Store("the-jti")
				s.tick(t)
				opened.end(t)
				<-s.stopped
			})
			t.Run("ends when the revocations are out of reach", func(t *testing.T) {
				s, opened := open(t)
				outage := error(io.ErrUnexpectedEOF)
				s.outage.Store(&outage)
				s.tick(t)
				opened.end(t)
				<-s.stopped
			})
			t.Run("ends when the client leaves", func(t *testing.T) {
				s, opened := open(t)
				opened.leave()
				<-s.stopped
			})
			t.Run("is not opened without a token of the container", func(t *testing.T) {
				s := serve(t)
				url := s.url + "/run/demo" + kind.path
				for _, query := range []string{"", "?token=", "?token=a.b.c", "?token=" + routertest.Issue(t, s.auth, "other")} {
					_, status := kind.open(t, url+query)
					require.Equal(t, 403, status, query)
				}
				old := routertest.Issue(t, s.auth, "demo", jwtauth.TTL(time.Hour))
				s.at(start.Add(time.Hour))
				_, status := kind.open(t, url+"?token="+old)
				require.Equal(t, 403, status)
			})
		})
	}
}

func TestASocketIsNotOpenedForAPageOfAnotherOrigin(t *testing.T) {
	s := serve(t)
	token := routertest.Issue(t, s.auth, "demo")
	_, resp, err := websocket.Dial(t.Context(), s.url+"/run/demo/socket?token="+token, &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://somewhere.example"}},
	})
	require.Error(t, err)
	require.Equal(t, 403, resp.StatusCode)
}
