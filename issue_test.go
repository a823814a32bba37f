package jwtauth

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzAppendText compares the strings of issued tokens with encoding/json's.
func FuzzAppendText(f *testing.F) {
	for b := range 256 {
		f.Add("a" + string([]byte{byte(b)}))
	}
	f.Add("\u2028\u2029")
	f.Add(`x","admin":true,"y":"z`)
	f.Fuzz(func(t *testing.T, text string) {
		want, err := json.Marshal(text)
		require.NoError(t, err)
		got := appendText([]byte("before"), text)
		require.Equal(t, "before"+string(want), string(got))
		var back string
		require.NoError(t, json.Unmarshal(got[len("before"):], &back))
		require.True(t, back == text || !utf8.ValidString(text))
	})
}
