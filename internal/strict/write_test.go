package strict_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/strict"
)

// FuzzWriter compares written strings with those of encoding/json, and reads them back.
func FuzzWriter(f *testing.F) {
	for b := range 256 {
		f.Add("a" + string([]byte{byte(b)}))
	}
	f.Add("\u2028\u2029")
	f.Add(`x","admin":true,"y":"z`)
	f.Fuzz(func(t *testing.T, value string) {
		want, err := json.Marshal(value)
		require.NoError(t, err)
		var w strict.Writer
		w.String("sub", value)
		w.Number("exp", 1)
		written := string(w.Bytes())
		require.Equal(t, `{"sub":`+string(want)+`,"exp":1}`, written)
		var back struct{ Sub string }
		require.NoError(t, json.Unmarshal([]byte(written), &back))
		require.True(t, back.Sub == value || !utf8.ValidString(value))
		c, err := strict.ReadClaims(written, "container")
		require.NoError(t, err)
		require.Equal(t, back.Sub, c.Subject)
	})
}

func TestWriter_WritesWhatTheReaderReadsBack(t *testing.T) {
	var w strict.Writer
	require.Equal(t, "{}", string(new(strict.Writer).Bytes()), "no claim")
	w.String("iss", "https://api.example.com/?a=<b>&c")
	w.Number("exp", 253402300799)
	w.Number("nbf", 0)
	require.NoError(t, w.Any("aud", []string{"a", "b"}))
	require.NoError(t, w.Any("x", map[string]any{"y": []any{nil, 1.5}}))
	c, err := strict.ReadClaims(string(w.Bytes()), "container")
	require.NoError(t, err)
	require.Equal(t, "https://api.example.com/?a=<b>&c", c.Issuer)
	require.Equal(t, int64(253402300799), c.ExpiresAt.Unix())
	require.Zero(t, c.NotBefore.Unix())
	require.Equal(t, []string{"a", "b"}, c.Audience)

	var bad strict.Writer
	require.Error(t, bad.Any("x", func() {}))
}
