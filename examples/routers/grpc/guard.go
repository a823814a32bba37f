package main

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/joinednode/jwtauth"
)

// containerKey is the metadata key under which a client sends the container of a call. The
// suffix -bin lets values contain characters that are not ASCII.
const containerKey = "container-bin"

// guard checks the token and the container that a client sends in the metadata of a call.
type guard struct {
	auth *jwtauth.Auth
	// policies maps the full name of a method to its policy. A method that is missing here
	// has the zero Policy, which is Private. So a new method is never public by mistake.
	policies map[string]jwtauth.Policy
}

// bearer extracts a token from metadata as strictly as jwtauth does from the header of an
// HTTP request.
var bearer = jwtauth.FromHeader("Authorization", "Bearer")

// claims verifies the token of a call, and returns its claims. The token must be for the
// container that the call names.
func (g guard) claims(ctx context.Context) (jwtauth.Claims, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	presented, err := bearer(&http.Request{Header: http.Header{"Authorization": md.Get("authorization")}})
	if err != nil {
		return jwtauth.Claims{}, err
	}
	if presented.Token == "" {
		return jwtauth.Claims{}, jwtauth.ErrNoToken
	}
	containers := md.Get(containerKey)
	if len(containers) != 1 {
		return jwtauth.Claims{}, jwtauth.ErrNoContainer
	}
	return g.auth.Verify(ctx, presented.Token, containers[0])
}

// check returns the context for the handler of a method, with the claims of a valid token.
// Handlers must use the container of these claims, and not one that the message names.
func (g guard) check(ctx context.Context, method string) (context.Context, error) {
	claims, err := g.claims(ctx)
	switch policy := g.policies[method]; {
	case err == nil:
		return jwtauth.NewContext(ctx, claims), nil
	case policy == jwtauth.Public, policy == jwtauth.Optional && errors.Is(err, jwtauth.ErrNoToken):
		return ctx, nil
	}
	return nil, denial(err)
}

// denial returns the error for the client. About a token that is not authentic it says
// only that the token is not valid.
func denial(err error) error {
	switch {
	case errors.Is(err, jwtauth.ErrUnavailable):
		return status.Error(codes.Unavailable, "the token cannot be verified now; try again")
	case errors.Is(err, jwtauth.ErrNoToken):
		return status.Error(codes.Unauthenticated, "a token is needed")
	case errors.Is(err, jwtauth.ErrContainer):
		return status.Error(codes.PermissionDenied, "the token is of another container")
	case errors.Is(err, jwtauth.ErrNoContainer): // the client's fault, since the client names the container
		return status.Error(codes.InvalidArgument, "the call names no container")
	}
	return status.Error(codes.Unauthenticated, "the token is not valid")
}

func (g guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := g.check(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (g guard) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := g.check(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	guarded := &guardedStream{ServerStream: stream, ctx: ctx, auth: g.auth}
	err = handler(srv, guarded)
	if guarded.err != nil {
		return guarded.err // even if the handler returned another error
	}
	return err
}

// guardedStream passes no message in either direction once the token that opened the
// stream is no longer valid.
type guardedStream struct {
	grpc.ServerStream
	ctx  context.Context
	auth *jwtauth.Auth
	err  error // why SendMsg fails; needs no lock, since handlers must not send concurrently
}

func (s *guardedStream) Context() context.Context { return s.ctx }

func (s *guardedStream) recheck() error {
	claims, ok := jwtauth.FromContext(s.ctx)
	if !ok {
		return nil // the policy let the call in without claims
	}
	if err := s.auth.Recheck(s.ctx, claims); err != nil {
		return denial(err)
	}
	return nil
}

func (s *guardedStream) SendMsg(m any) error {
	if s.err == nil {
		s.err = s.recheck()
	}
	if s.err != nil { // after a failure send no later message, so that the client gets no gap
		return s.err
	}
	return s.ServerStream.SendMsg(m)
}

func (s *guardedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.recheck() // the wait for the message may have been long
}
