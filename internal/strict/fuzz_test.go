package strict_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/strict"
)

// requireAgreement requires that both readers accept the token and read the same from it,
// or both reject it.
func requireAgreement(t testing.TB, text string, limit int) {
	t.Helper()
	want, ok := referenceParse(text, limit)
	got, err := strict.Parse(text, limit)
	requireVerdict(t, ok, err, text)
	if !ok {
		require.Zero(t, got)
		return
	}
	require.Equal(t, want, got)
	requireAgreementOnClaims(t, got.Payload)
}

func requireAgreementOnClaims(t testing.TB, payload string) {
	t.Helper()
	for containerClaim := range claimFields {
		want, ok := referenceClaims(payload, containerClaim)
		got, err := strict.ReadClaims(payload, containerClaim)
		requireVerdict(t, ok, err, payload)
		if !ok {
			require.Zero(t, got)
			continue
		}
		// A fraction of a second is read as a float64, whose last digit is not exact.
		require.WithinDuration(t, want.ExpiresAt, got.ExpiresAt, time.Nanosecond)
		require.WithinDuration(t, want.NotBefore, got.NotBefore, time.Nanosecond)
		require.WithinDuration(t, want.IssuedAt, got.IssuedAt, time.Nanosecond)
		want.ExpiresAt, want.NotBefore, want.IssuedAt = got.ExpiresAt, got.NotBefore, got.IssuedAt
		require.Equal(t, want, got)
	}
}

// requireVerdict requires an error if and only if ok is false. The error must be one of the
// fixed strings, so that it repeats nothing of the input.
func requireVerdict(t testing.TB, ok bool, err error, input string) {
	t.Helper()
	if ok {
		require.NoError(t, err, "%q", input)
		return
	}
	require.Error(t, err, "%q", input)
	require.Contains(t, reasons, err.Error())
}

// reasons holds all errors that package strict may return.
var reasons = func() (all []string) {
	all = append(all, tooLong)
	for _, table := range [][]refusal{compactRefused, objectRefused, headerRefused, claimsRefused} {
		for _, tc := range table {
			all = append(all, tc.want)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}()

// headers and payloads return all headers and payloads of the tables, the rejected ones
// included.
func headers() (all []string) {
	for _, tc := range headerAccepted {
		all = append(all, tc.text)
	}
	for _, tc := range append(objectRefused, headerRefused...) {
		all = append(all, tc.text)
	}
	return all
}

func payloads() (all []string) {
	for _, tc := range claimsAccepted {
		all = append(all, tc.text)
	}
	for _, tc := range objectAccepted {
		all = append(all, tc.text)
	}
	for _, tc := range append(objectRefused, claimsRefused...) {
		all = append(all, tc.text)
	}
	return append(all, `{"exp":1,"tenant":"A"}`, `{"exp":1,"Tenant":"A"}`, `{"exp":1,"tenant":null}`)
}

func FuzzParse(f *testing.F) {
	for _, tc := range append(compactRefused, vectorsRefused(f)...) {
		f.Add(tc.text, limit)
	}
	for _, tc := range compactAccepted {
		f.Add(token(tc.header, tc.payload, tc.signature), limit)
	}
	for _, v := range vectors(f) {
		f.Add(v.Token, len(v.Token))
	}
	for _, header := range headers() {
		f.Add(withHeader(header), limit)
	}
	f.Add(good, len(good)-1)
	f.Add(good, -1)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		requireAgreement(t, text, limit)
		if _, err := strict.Parse(text, limit); err == nil {
			requireOneSpelling(t, text)
		}
	})
}

func FuzzDifferential(f *testing.F) {
	for _, header := range headers() {
		f.Add(header, `{"exp":1700000000}`, "signature")
	}
	for _, payload := range payloads() {
		f.Add(`{"alg":"HS256","kid":"1","typ":"JWT"}`, payload, "signature")
	}
	f.Fuzz(func(t *testing.T, header, payload, signature string) {
		text := token(header, payload, signature)
		requireAgreement(t, text, len(text))
	})
}

func FuzzObject(f *testing.F) {
	for _, text := range append(headers(), payloads()...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := strict.Object(text)
		requireVerdict(t, referenceObject(text), err, text)
		if err == nil {
			var members map[string]any
			require.NoError(t, json.Unmarshal([]byte(text), &members))
		}
	})
}

func FuzzReadClaims(f *testing.F) {
	for _, text := range append(headers(), payloads()...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, payload string) { requireAgreementOnClaims(t, payload) })
}

// marker stands for a secret. It is valid base64url, and a valid name.
const marker = "MarkerOfWhatMustNotBeRepeated"

// This test inserts the marker at many positions of each input that the tables reject. No
// error may contain the marker.
func TestNoRefusalRepeatsItsInput(t *testing.T) {
	requireSilence := func(err error) {
		t.Helper()
		if err == nil {
			return
		}
		require.NotContains(t, err.Error(), marker)
		require.Contains(t, reasons, err.Error())
		require.IsType(t, strict.Error(""), err)
	}
	parse := func(text string) {
		t.Helper()
		_, err := strict.Parse(text, limit)
		requireSilence(err)
	}
	everywhere(compactRefused, parse)
	everywhere(vectorsRefused(t), parse)
	everywhere(append(objectRefused, headerRefused...), func(text string) {
		parse(token(text, marker, marker))
	})
	everywhere(append(objectRefused, claimsRefused...), func(text string) {
		requireSilence(strict.Object(text))
		_, err := strict.ReadClaims(text, "container")
		requireSilence(err)
		_, err = strict.ReadClaims(text, marker)
		requireSilence(err)
	})
	requireParseRefuses(t, marker, 1, tooLong)
}

// everywhere calls read with every input of a table: unchanged, and with the marker inserted
// at each position up to 200.
func everywhere(table []refusal, read func(text string)) {
	for _, tc := range table {
		read(tc.text)
		for at := range min(len(tc.text), 200) + 1 {
			read(tc.text[:at] + marker + tc.text[at:])
		}
	}
}
