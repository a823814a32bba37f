// Command grpc protects the standard health service of gRPC with jwtauth. Every client may
// call Check. Clients with a token for a container may also call List and Watch. The
// program is the server. With -token it is a client:
//
//	go run ./examples/routers/grpc
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
)

// newServer returns a gRPC server with the health service of each container.
func newServer(auth *jwtauth.Auth, containers containers) *grpc.Server {
	g := guard{auth, map[string]jwtauth.Policy{
		grpc_health_v1.Health_Check_FullMethodName: jwtauth.Public,
	}}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream))
	grpc_health_v1.RegisterHealthServer(server, containers)
	return server
}

// containers holds a health service for each container.
type containers map[string]*health.Server

// of returns the health service of the container in the claims.
func (c containers) of(ctx context.Context) (*health.Server, error) {
	claims, _ := jwtauth.FromContext(ctx)
	found, ok := c[claims.Container]
	if !ok {
		return nil, status.Error(codes.NotFound, "there is no such container")
	}
	return found, nil
}

// Check always returns SERVING, so that a client without a token learns nothing about the
// services of a container.
func (c containers) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// List returns the status of each service in the container of the claims.
func (c containers) List(ctx context.Context, req *grpc_health_v1.HealthListRequest) (*grpc_health_v1.HealthListResponse, error) {
	found, err := c.of(ctx)
	if err != nil {
		return nil, err
	}
	return found.List(ctx, req)
}

// Watch streams the status of one service in the container of the claims.
func (c containers) Watch(req *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	found, err := c.of(stream.Context())
	if err != nil {
		return err
	}
	return found.Watch(req, stream)
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to serve on, or to call")
	token := flag.String("token", "", "call List with this `token` instead of serving")
	container := flag.String("container", "demo", "`container` to call List for")
	flag.Parse()
	if *token != "" {
		call(*addr, *token, *container)
		return
	}
	secret := make([]byte, 32) // for this run only; a service keeps its key in a file, with keys.LoadOrCreate
	rand.Read(secret)
	auth, err := jwtauth.New(keys.HS256(secret))
	if err != nil {
		log.Fatal(err)
	}
	issued, err := auth.Issue("demo")
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("go run ./examples/routers/grpc -addr %[1]s -token %[2]s\n"+
		"go run ./examples/routers/grpc -addr %[1]s -token %[2]s -container other\n", *addr, issued)
	log.Fatal(newServer(auth, containers{"demo": health.NewServer(), "other": health.NewServer()}).Serve(listener))
}

// call calls List as a client does, and prints the result. The connection is not encrypted,
// which is acceptable only within one machine. In a network, use TLS to protect the token.
func call(addr, token, container string) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(),
		"authorization", "Bearer "+token, containerKey, container)
	list, err := grpc_health_v1.NewHealthClient(conn).List(ctx, &grpc_health_v1.HealthListRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(list.Statuses)
}
