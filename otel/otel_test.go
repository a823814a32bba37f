package otel_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/joinednode/jwtauth"
	"github.com/joinednode/jwtauth/keys"
	"github.com/joinednode/jwtauth/otel"
	"github.com/joinednode/jwtauth/revoke"
	"github.com/joinednode/jwtauth/session"
)

var key = keys.HS256([]byte("0123456789abcdef0123456789abcdef"))

// meters is a provider whose metrics the test reads.
type meters struct {
	*metric.ManualReader
	provider *metric.MeterProvider
}

func newMeters() meters {
	reader := metric.NewManualReader()
	return meters{reader, metric.NewMeterProvider(metric.WithReader(reader))}
}

func (m meters) observer(t *testing.T) func(context.Context, jwtauth.Decision) {
	t.Helper()
	observe, err := otel.Observer(otel.WithMeterProvider(m.provider))
	require.NoError(t, err)
	return observe
}

// read returns the current metrics: the name with the attributes, and the value.
func (m meters) read(t *testing.T) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, m.Collect(t.Context(), &all))
	values := map[string]float64{}
	add := func(name string, set attribute.Set, value float64) {
		values[strings.TrimSpace(name+" "+set.Encoded(attribute.DefaultEncoder()))] = value
	}
	for _, scope := range all.ScopeMetrics {
		require.Equal(t, "github.com/joinednode/jwtauth/otel", scope.Scope.Name)
		for _, one := range scope.Metrics {
			switch data := one.Data.(type) {
			case metricdata.Sum[int64]:
				require.True(t, data.IsMonotonic)
				for _, point := range data.DataPoints {
					add(one.Name, point.Attributes, float64(point.Value))
				}
			case metricdata.Gauge[int64]:
				for _, point := range data.DataPoints {
					add(one.Name, point.Attributes, float64(point.Value))
				}
			case metricdata.Gauge[float64]:
				for _, point := range data.DataPoints {
					add(one.Name, point.Attributes, point.Value)
				}
			default:
				require.Fail(t, "a metric of another kind", "%T", data)
			}
		}
	}
	return values
}

func get(h http.Handler, path string, fields ...string) int {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

var hello = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

func TestDecisionsAreCounted(t *testing.T) {
	m := newMeters()
	auth, err := jwtauth.New(key, jwtauth.WithObserver(m.observer(t)))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/private", auth.Private(hello))
	mux.Handle("/run/{container}/public", auth.Public(hello))
	token, err := auth.Issue("demo", jwtauth.Subject("alice@mail.invalid"), jwtauth.ID("the-jti"))
	require.NoError(t, err)

	require.Equal(t, 200, get(mux, "/run/demo/private", "Authorization", "Bearer "+token))
	require.Equal(t, 200, get(mux, "/run/demo/private", "Authorization", "Bearer "+token))
	require.Equal(t, 200, get(mux, "/run/demo/private?token="+token))
	require.Equal(t, 403, get(mux, "/run/other/private", "Authorization", "Bearer "+token))
	require.Equal(t, 403, get(mux, "/run/demo/private"))
	require.Equal(t, 200, get(mux, "/run/demo/public"))
	_, err = auth.Verify(t.Context(), "garbage", "demo")
	require.Error(t, err)

	measured := m.read(t)
	require.Equal(t, map[string]float64{
		"jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=false,jwtauth.in=header,jwtauth.operation=request,jwtauth.policy=private":                                1,
		"jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=true,jwtauth.in=header,jwtauth.operation=request,jwtauth.policy=private":                                 1,
		"jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=true,jwtauth.in=query,jwtauth.operation=request,jwtauth.policy=private":                                  1,
		"jwtauth.decisions jwtauth.allowed=false,jwtauth.cached=true,jwtauth.in=header,jwtauth.operation=request,jwtauth.policy=private,jwtauth.reason=wrong_container": 1,
		"jwtauth.decisions jwtauth.allowed=false,jwtauth.cached=false,jwtauth.operation=request,jwtauth.policy=private,jwtauth.reason=no_token":                         1,
		"jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=false,jwtauth.operation=request,jwtauth.policy=public,jwtauth.reason=no_token":                           1,
		"jwtauth.decisions jwtauth.allowed=false,jwtauth.cached=false,jwtauth.operation=verify,jwtauth.reason=malformed":                                                1,
	}, measured)
	holdsNobody(t, fmt.Sprint(measured), token)
}

// holdsNobody requires that a string contains no token and no user.
func holdsNobody(t *testing.T, text string, tokens ...string) {
	t.Helper()
	for _, secret := range append(tokens, "alice", "the-jti", "demo", "the-kid") {
		require.NotContains(t, text, secret)
	}
}

// No request of a client adds a series.
func TestNoClientMakesASeriesOfItsOwn(t *testing.T) {
	m := newMeters()
	auth, err := jwtauth.New(key, jwtauth.WithObserver(m.observer(t)), jwtauth.WithAnyContainer())
	require.NoError(t, err)
	handler := auth.Private(hello)
	for i := range 100 {
		get(handler, fmt.Sprintf("/demo/%d?token=alice-%d", i, i))
		attacker, err := jwtauth.New(keys.HS256([]byte(fmt.Sprintf("%032d", i+1))).WithID(fmt.Sprintf("the-kid-%d", i)), jwtauth.WithAnyContainer())
		require.NoError(t, err)
		token, err := attacker.Issue("", jwtauth.Subject(fmt.Sprintf("alice-%d", i)), jwtauth.ID(fmt.Sprintf("the-jti-%d", i)))
		require.NoError(t, err)
		get(handler, "/", "Authorization", "Bearer "+token)
	}
	measured := m.read(t)
	require.Len(t, measured, 2)
	holdsNobody(t, fmt.Sprint(measured))
}

func TestSessionsAreCounted(t *testing.T) {
	m := newMeters()
	clock := time.Now()
	sessions, err := session.New(key, session.NewMemory(), session.WithObserver(m.observer(t)), session.WithClock(func() time.Time { return clock }))
	require.NoError(t, err)
	pair, err := sessions.Login(t.Context(), "alice")
	require.NoError(t, err)
	clock = clock.Add(time.Minute) // the refresh token now rotates
	for range 2 {
		_, err = sessions.Refresh(t.Context(), pair.RefreshToken)
		require.NoError(t, err)
	}
	require.Equal(t, map[string]float64{
		"jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=false,jwtauth.operation=login":                          1,
		"jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=false,jwtauth.operation=refresh":                        1,
		"jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=false,jwtauth.operation=refresh,jwtauth.reason=retried": 1,
	}, m.read(t))
}

func TestTheSpanOfARequestSaysWhatWasDecided(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(recorder)).Tracer("test")
	observe, err := otel.Observer(otel.WithMeterProvider(newMeters().provider), otel.WithAttributes(attribute.String("of", "recipes")))
	require.NoError(t, err)
	auth, err := jwtauth.New(key, jwtauth.WithObserver(observe))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/run/{container}/private", auth.Private(hello))
	token, err := auth.Issue("demo", jwtauth.Subject("alice"), jwtauth.ID("the-jti"))
	require.NoError(t, err)

	r := httptest.NewRequest("GET", "/run/other/private", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	ctx, span := tracer.Start(t.Context(), "request")
	_, err = auth.Verify(ctx, "garbage", "demo") // nothing of it may stay
	require.Error(t, err)
	mux.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	span.End()

	require.Len(t, recorder.Ended(), 1)
	attributes := recorder.Ended()[0].Attributes()
	require.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("jwtauth.operation", "request"), attribute.String("jwtauth.policy", "private"),
		attribute.Bool("jwtauth.allowed", false), attribute.String("jwtauth.reason", "wrong_container"),
		attribute.String("jwtauth.in", "header"), attribute.Bool("jwtauth.cached", false),
		attribute.String("of", "recipes"),
	}, attributes)
	holdsNobody(t, fmt.Sprint(attributes), token)

	ctx, span = tracer.Start(t.Context(), "a second chance")
	mux.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	_, err = auth.Verify(ctx, token, "demo")
	require.NoError(t, err)
	span.End()
	for _, a := range recorder.Ended()[1].Attributes() {
		switch a.Key {
		case "jwtauth.policy", "jwtauth.reason", "jwtauth.source":
			require.Empty(t, a.Value.AsString(), "nothing of the first decision stays")
		}
	}
}

// down is a log that can be read only while it is up.
type down struct {
	*revoke.Memory
	err error
}

func (d *down) Since(ctx context.Context, cursor string, limit int) (revoke.Page, error) {
	if d.err != nil {
		return revoke.Page{}, d.err
	}
	return d.Memory.Since(ctx, cursor, limit)
}

func TestARevocationListIsMeasured(t *testing.T) {
	const age, entries, ready = "jwtauth.revocations.age", "jwtauth.revocations.entries", "jwtauth.revocations.ready"
	m := newMeters()
	log := &down{revoke.NewMemory(), errors.New("down")}
	list, err := revoke.New(log)
	require.NoError(t, err)
	registration, err := otel.ObserveRevocations(list, otel.WithMeterProvider(m.provider))
	require.NoError(t, err)
	require.Equal(t, map[string]float64{entries: 0, ready: 0}, m.read(t), "it was never read")

	log.err = nil
	require.NoError(t, list.Sync(t.Context()))
	require.NoError(t, list.RevokeToken(t.Context(), "", "the-jti", time.Now().Add(time.Hour)))
	measured := m.read(t)
	require.GreaterOrEqual(t, measured[age], 0.0)
	delete(measured, age)
	require.Equal(t, map[string]float64{entries: 1, ready: 1}, measured)

	require.NoError(t, registration.Unregister())
	require.Empty(t, m.read(t))
}

func TestTwoListsAndTwoAuthsAreToldApartByAttributes(t *testing.T) {
	m := newMeters()
	for name, err := range map[string]error{"sessions": nil, "recipes": errors.New("down")} {
		list, made := revoke.New(&down{revoke.NewMemory(), err})
		require.NoError(t, made)
		require.Equal(t, err != nil, list.Sync(t.Context()) != nil)
		whose := otel.WithAttributes(attribute.String("of", name))
		_, made = otel.ObserveRevocations(list, otel.WithMeterProvider(m.provider), whose)
		require.NoError(t, made)
		observe, made := otel.Observer(otel.WithMeterProvider(m.provider), whose, otel.WithAttributes(attribute.Int("shard", 7)))
		require.NoError(t, made)
		observe(t.Context(), jwtauth.Decision{Operation: "mint", Allowed: true})
	}
	measured := m.read(t)
	require.Equal(t, 1.0, measured["jwtauth.revocations.ready of=sessions"])
	require.Contains(t, measured, "jwtauth.revocations.ready of=recipes")
	require.Equal(t, 0.0, measured["jwtauth.revocations.ready of=recipes"])
	require.Equal(t, 1.0, measured["jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=false,jwtauth.operation=mint,of=sessions,shard=7"])
	require.Equal(t, 1.0, measured["jwtauth.decisions jwtauth.allowed=true,jwtauth.cached=false,jwtauth.operation=mint,of=recipes,shard=7"])
}

func TestWhatCannotBeIsAnErrorThatNamesIt(t *testing.T) {
	_, err := otel.Observer(otel.WithMeterProvider(nil))
	require.ErrorContains(t, err, "WithMeterProvider")
	_, err = otel.Observer(nil)
	require.ErrorContains(t, err, "option 1 is nil")
	for _, name := range []string{"", "jwtauth.reason"} {
		_, err = otel.Observer(otel.WithAttributes(attribute.String(name, "x")))
		require.ErrorContains(t, err, fmt.Sprintf("WithAttributes was given one named %q", name))
	}
	_, err = otel.ObserveRevocations(nil)
	require.ErrorContains(t, err, "the list is nil")
	_, err = otel.Observer()
	require.NoError(t, err, "the global provider needs nothing")
}
