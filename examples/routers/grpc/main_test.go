package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/examples/routers/internal/routertest"
)

// service is the program, with a clock and revocations that the test controls.
type service struct {
	auth    *jwtauth.Auth
	client  grpc_health_v1.HealthClient
	demo    *health.Server
	now     atomic.Pointer[time.Time]
	revoked atomic.Bool
	outage  atomic.Bool
}

var start = time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{demo: health.NewServer()}
	s.at(start)
	s.auth = routertest.New(t, jwtauth.WithRevocations(s), jwtauth.WithClock(func() time.Time { return *s.now.Load() }))
	server := newServer(s.auth, containers{"demo": s.demo, "café": health.NewServer()})
	listener := bufconn.Listen(64 << 10)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	s.client = grpc_health_v1.NewHealthClient(conn)
	return s
}

func (s *service) at(now time.Time) { s.now.Store(&now) }

// Revoked makes service the revocation checker of its own Auth.
func (s *service) Revoked(context.Context, jwtauth.Claims) (bool, error) {
	if s.outage.Load() {
		return false, errors.New("out of reach")
	}
	return s.revoked.Load(), nil
}

func TestWhoMayCall(t *testing.T) {
	s := serve(t)
	demo, other := routertest.Issue(t, s.auth, "demo"), routertest.Issue(t, s.auth, "other")
	for name, c := range map[string]struct {
		metadata []string
		want     codes.Code
	}{
		"a token of the container":        {[]string{"authorization", "Bearer " + demo, containerKey, "demo"}, codes.OK},
		"a scheme in small letters":       {[]string{"authorization", "bearer " + demo, containerKey, "demo"}, codes.OK},
		"a container that is not ASCII":   {[]string{"authorization", "Bearer " + routertest.Issue(t, s.auth, "café"), containerKey, "café"}, codes.OK},
		"nothing":                         {nil, codes.Unauthenticated},
		"a container alone":               {[]string{containerKey, "demo"}, codes.Unauthenticated},
		"garbage":                         {[]string{"authorization", "Bearer a.b.c", containerKey, "demo"}, codes.Unauthenticated},
		"a forged signature":              {[]string{"authorization", "Bearer " + demo[:len(demo)-10] + "AAAAAAAAAA", containerKey, "demo"}, codes.Unauthenticated},
		"another scheme":                  {[]string{"authorization", "Basic " + demo, containerKey, "demo"}, codes.Unauthenticated},
		"two tokens":                      {[]string{"authorization", "Bearer " + other, "authorization", "Bearer " + demo, containerKey, "demo"}, codes.Unauthenticated},
		"a token of another container":    {[]string{"authorization", "Bearer " + other, containerKey, "demo"}, codes.PermissionDenied},
		"a token without a container":     {[]string{"authorization", "Bearer " + demo}, codes.InvalidArgument},
		"a token with two containers":     {[]string{"authorization", "Bearer " + demo, containerKey, "demo", containerKey, "café"}, codes.InvalidArgument},
		"a token with an empty container": {[]string{"authorization", "Bearer " + demo, containerKey, ""}, codes.InvalidArgument},
		"a container in URL encoding":     {[]string{"authorization", "Bearer " + demo, containerKey, "d%65mo"}, codes.PermissionDenied},
		"a container that does not exist": {[]string{"authorization", "Bearer " + other, containerKey, "other"}, codes.NotFound},
		"two containers in one value":     {[]string{"authorization", "Bearer " + demo, containerKey, "demo,café"}, codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs(c.metadata...))
			_, err := s.client.List(ctx, &grpc_health_v1.HealthListRequest{})
			require.Equal(t, c.want, status.Code(err), "a private method: %v", err)

			stream, err := s.client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
			require.NoError(t, err, "a stream's status comes with its first message")
			_, err = stream.Recv()
			require.Equal(t, c.want, status.Code(err), "a private stream: %v", err)

			_, err = s.client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			require.NoError(t, err, "a public method")
		})
	}
}

func TestAStreamOutlivesItsTokenByNoMessage(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*service)
		want    codes.Code
	}{
		"the token expires":                   {func(s *service) { s.at(start.Add(time.Hour)) }, codes.Unauthenticated},
		"the token is revoked":                {func(s *service) { s.revoked.Store(true) }, codes.Unauthenticated},
		"the revocations are out of reach":    {func(s *service) { s.outage.Store(true) }, codes.Unavailable},
		"nothing, in the token's last second": {func(s *service) { s.at(start.Add(time.Hour - time.Second)) }, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			token := routertest.Issue(t, s.auth, "demo", jwtauth.TTL(time.Hour))
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token, containerKey, "demo")
			stream, err := s.client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
			require.NoError(t, err)
			first, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, first.Status)

			c.happens(s)
			s.demo.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
			second, err := stream.Recv()
			require.Equal(t, c.want, status.Code(err), "%v", err)
			if c.want == codes.OK {
				require.Equal(t, grpc_health_v1.HealthCheckResponse_NOT_SERVING, second.Status)
			}
		})
	}
}

func TestAnOutageIsNotTheTokensFault(t *testing.T) {
	s := serve(t)
	token := routertest.Issue(t, s.auth, "demo")
	s.outage.Store(true)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token, containerKey, "demo")
	_, err := s.client.List(ctx, &grpc_health_v1.HealthListRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}
