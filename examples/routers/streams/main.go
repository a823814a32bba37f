// Command streams has a WebSocket and a stream of server-sent events that end when the
// token that opened them is no longer valid:
//
//	go run ./examples/routers/streams
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// ticker starts the ticks of one stream. At each tick the stream rechecks its token and
// sends a message.
type ticker func() (ticks <-chan time.Time, stop func())

func everySecond() (<-chan time.Time, func()) {
	t := time.NewTicker(time.Second)
	return t.C, t.Stop
}

// newHandler returns the routes of the program. A browser must send the token in the query,
// since neither EventSource nor WebSocket lets a page set header fields.
func newHandler(auth *jwtauth.Auth, tick ticker) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /run/{container}/events", auth.Private(events(auth, tick)))
	mux.Handle("GET /run/{container}/socket", auth.Private(socket(auth, tick)))
	return mux
}

// events returns a handler that sends a line per tick until the token expires or is
// revoked. The browser then connects again, and is denied.
func events(auth *jwtauth.Auth, tick ticker) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := jwtauth.FromContext(r.Context()) // Private requires a token
		w.Header().Set("Content-Type", "text/event-stream")
		stream := http.NewResponseController(w)
		ticks, stop := tick()
		defer stop()
		for {
			if err := stream.Flush(); err != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case now := <-ticks:
				// Every error ends the stream, even an outage of the revocation list. So
				// the stream fails closed.
				if auth.Recheck(r.Context(), claims) != nil {
					io.WriteString(w, "event: end\ndata: the token is not valid any more\n\n")
					return
				}
				fmt.Fprintf(w, "data: %s at %s\n\n", claims.Container, now.Format(time.TimeOnly))
			}
		}
	})
}

// socket returns a handler that does the same with a WebSocket. Accept also rejects pages of
// other origins. The token alone would keep them out, since a browser does not send it by
// itself.
func socket(auth *jwtauth.Auth, tick ticker) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := jwtauth.FromContext(r.Context())
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // Accept has written the response
		}
		defer conn.CloseNow()
		ctx := conn.CloseRead(r.Context()) // ends when the client disconnects
		ticks, stop := tick()
		defer stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticks:
				if auth.Recheck(ctx, claims) != nil {
					conn.Close(websocket.StatusPolicyViolation, "the token is not valid any more")
					return
				}
				line := fmt.Sprintf("%s at %s", claims.Container, now.Format(time.TimeOnly))
				if conn.Write(ctx, websocket.MessageText, []byte(line)) != nil {
					return
				}
			}
		}
	})
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to serve on")
	flag.Parse()
	secret := make([]byte, 32) // for this run only; a service keeps its key in a file, with keys.LoadOrCreate
	rand.Read(secret)
	auth, err := jwtauth.New(keys.HS256(secret))
	if err != nil {
		log.Fatal(err)
	}
	token, err := auth.Issue("demo", jwtauth.TTL(time.Minute)) // short, to see it expire
	if err != nil {
		log.Fatal(err)
	}
	// Not every version of curl supports ws:. So this command sends the handshake itself,
	// and prints the raw frames.
	fmt.Printf("curl -N 'http://%[1]s/run/demo/events?token=%[2]s'\n"+
		"curl -N -o - -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "+
		"-H 'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==' 'http://%[1]s/run/demo/socket?token=%[2]s'\n", *addr, token)
	// A WriteTimeout would end the streams.
	server := &http.Server{Addr: *addr, Handler: newHandler(auth, everySecond), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}
