package otel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/otel"
	"github.com/joinednode/jwtauth/revoke"
)

func ExampleObserver() {
	reader := metric.NewManualReader() // a service uses an exporter's reader
	provider := metric.NewMeterProvider(metric.WithReader(reader))

	observe, err := otel.Observer(otel.WithMeterProvider(provider))
	if err != nil {
		panic(err)
	}
	auth, err := jwtauth.New(key, jwtauth.WithObserver(observe))
	if err != nil {
		panic(err)
	}
	auth.Verify(context.Background(), "garbage", "my-container")

	var all metricdata.ResourceMetrics
	reader.Collect(context.Background(), &all)
	counter := all.ScopeMetrics[0].Metrics[0]
	point := counter.Data.(metricdata.Sum[int64]).DataPoints[0]
	reason, _ := point.Attributes.Value("jwtauth.reason")
	fmt.Println(counter.Name, reason.AsString(), point.Value)
	// Output: jwtauth.decisions malformed 1
}

func ExampleObserveRevocations() {
	list, err := revoke.New(revoke.NewMemory())
	if err != nil {
		panic(err)
	}
	registration, err := otel.ObserveRevocations(list)
	if err != nil {
		panic(err)
	}
	defer registration.Unregister()
	// Output:
}
