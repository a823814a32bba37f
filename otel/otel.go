// Package otel reports the decisions of package jwtauth to OpenTelemetry: a counter, and
// attributes on the span of the request. It also has gauges for a revocation list.
//
//	observe, err := otel.Observer()
//	if err != nil {
//		log.Fatal(err)
//	}
//	auth, err := jwtauth.New(key, jwtauth.WithObserver(observe))
//	if err != nil {
//		log.Fatal(err)
//	}
//	sessions, err := session.New(key, store, session.WithObserver(observe))
//
// Most programs need only [Observer], and [ObserveRevocations] if they have a revocation
// list.
//
// # What is measured
//
// The counter jwtauth.decisions ({decision}) has the following attributes and those of
// [WithAttributes]. Each has few values, so no client can create series of its own
// choosing.
//
//	jwtauth.operation   request, verify, recheck, mint; login and refresh of package session
//	jwtauth.policy      private, public, optional; only for a request; private if a rule of
//	                    Protect returned none
//	jwtauth.allowed     true, false
//	jwtauth.reason      why there is no good token, such as expired; absent if there is one;
//	                    package session adds some, and for an allowed refresh retried
//	                    or recovered
//	jwtauth.in          header, query, form, cookie; absent if it was no request, if no
//	                    token was found, or if a custom extractor does not say where
//	jwtauth.cached      true if the token was in the cache
//
// The attributes are also set on the span of the context, if it is recorded. An absent
// one is "" there. If there are several decisions in one span, the span shows the last
// one. No attribute contains a token, a claim, or a string that a client chose.
//
// [ObserveRevocations] adds the gauges jwtauth.revocations.age (s),
// jwtauth.revocations.entries ({entry}) and jwtauth.revocations.ready (1 or 0).
package otel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/revoke"
)

// scope is the name of the instrumentation.
const scope = "github.com/joinednode/jwtauth/otel"

type config struct {
	provider   metric.MeterProvider
	attributes []attribute.KeyValue
}

// Option configures [Observer] and [ObserveRevocations].
type Option func(*config) error

// WithMeterProvider sets the provider of the instruments. The default is the global one.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(c *config) error {
		if c.provider = provider; provider == nil {
			return errors.New("WithMeterProvider was given nil; leave it out for the global one")
		}
		return nil
	}
}

// WithAttributes adds attributes to all measurements and spans, such as a name for each
// of several Auths or lists. Without such a name, two lists with the same provider share
// their gauges, and only the list registered last is shown.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(c *config) error {
		for _, a := range attributes {
			if a.Key == "" || strings.HasPrefix(string(a.Key), "jwtauth.") {
				return fmt.Errorf("WithAttributes was given one named %q; give it one of its own, as those of jwtauth are taken", a.Key)
			}
		}
		c.attributes = append(c.attributes, attributes...)
		return nil
	}
}

func configure(opts []Option) (c config, m metric.Meter, err error) {
	var errs []error
	for i, opt := range opts {
		if opt == nil {
			errs = append(errs, fmt.Errorf("option %d is nil; leave it out", i+1))
		} else if err := opt(&c); err != nil {
			errs = append(errs, err)
		}
	}
	if c.provider == nil {
		c.provider = otel.GetMeterProvider()
	}
	return c, c.provider.Meter(scope), errors.Join(errs...)
}

// Observer returns a function for [jwtauth.WithObserver] and for WithObserver of package
// session. It may serve any number of Auths and Managers, and is safe for concurrent use.
// An error names the option, or comes from the meter.
func Observer(opts ...Option) (func(ctx context.Context, d jwtauth.Decision), error) {
	c, m, err := configure(opts)
	if err != nil {
		return nil, fmt.Errorf("otel: Observer: %w", err)
	}
	decisions, err := m.Int64Counter("jwtauth.decisions",
		metric.WithUnit("{decision}"), metric.WithDescription("Decisions about tokens, requests and sessions."))
	if err != nil {
		return nil, fmt.Errorf("otel: Observer: %w", err)
	}
	var known sync.Map // from Decision to told; there are few decisions
	return func(ctx context.Context, d jwtauth.Decision) {
		found, ok := known.Load(d)
		if !ok {
			found, _ = known.LoadOrStore(d, tell(d, c.attributes))
		}
		t := found.(told)
		decisions.Add(ctx, 1, t.options...)
		if span := trace.SpanFromContext(ctx); span.IsRecording() {
			span.SetAttributes(t.attributes...)
		}
	}, nil
}

// told holds a Decision in the form of OpenTelemetry.
type told struct {
	attributes []attribute.KeyValue // with absent ones as "", to overwrite an earlier decision's on a span
	options    []metric.AddOption   // without absent ones
}

func tell(d jwtauth.Decision, more []attribute.KeyValue) told {
	var policy, in string
	if d.Operation == "request" {
		policy = d.Policy.String()
	}
	if d.In != 0 {
		in = d.In.String()
	}
	attributes := append(slices.Clip(more),
		attribute.String("jwtauth.operation", d.Operation),
		attribute.Bool("jwtauth.allowed", d.Allowed),
		attribute.Bool("jwtauth.cached", d.Cached),
	)
	present := slices.Clone(attributes)
	for name, value := range map[string]string{"jwtauth.policy": policy, "jwtauth.reason": d.Reason, "jwtauth.in": in} {
		attributes = append(attributes, attribute.String(name, value))
		if value != "" {
			present = append(present, attribute.String(name, value))
		}
	}
	return told{attributes, []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(present...))}}
}

// ObserveRevocations reads the status of a list whenever metrics are collected, until
// Unregister of the registration is called. Age is the time since the log was last read,
// and absent if it never was. Ready is 0 while the list cannot answer. Then every request
// with an otherwise good token is denied with 503, except on Public routes.
func ObserveRevocations(list *revoke.List, opts ...Option) (metric.Registration, error) {
	c, m, err := configure(opts)
	if list == nil {
		err = errors.Join(err, errors.New("the list is nil; make one with revoke.New"))
	}
	if err != nil {
		return nil, fmt.Errorf("otel: ObserveRevocations: %w", err)
	}
	age, err1 := m.Float64ObservableGauge("jwtauth.revocations.age",
		metric.WithUnit("s"), metric.WithDescription("Time since the revocation log was last read."))
	entries, err2 := m.Int64ObservableGauge("jwtauth.revocations.entries",
		metric.WithUnit("{entry}"), metric.WithDescription("Revocations that this process holds in memory."))
	ready, err3 := m.Int64ObservableGauge("jwtauth.revocations.ready",
		metric.WithDescription("1 if revocations can be checked, 0 if not."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("otel: ObserveRevocations: %w", err)
	}
	whose := metric.WithAttributes(c.attributes...)
	registration, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := list.Status()
		if s.Age >= 0 {
			o.ObserveFloat64(age, s.Age.Seconds(), whose)
		}
		o.ObserveInt64(entries, int64(s.Entries), whose)
		o.ObserveInt64(ready, oneIf(s.Ready), whose)
		return nil
	}, age, entries, ready)
	if err != nil {
		return nil, fmt.Errorf("otel: ObserveRevocations: %w", err)
	}
	return registration, nil
}

func oneIf(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
