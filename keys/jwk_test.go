package keys_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/keys"
)

func TestGenerate_MakesAKeyThatIsKnownByItsID(t *testing.T) {
	forEach(t, algorithms, func(t *testing.T, alg string) {
		k, err := keys.Generate(alg)
		require.NoError(t, err)
		require.Equal(t, alg, k.Algorithm())
		requireAccepted(t, k, tokenBy(t, k))
		text, err := json.Marshal(published(t, newRing(t, k)))
		require.NoError(t, err)
		if !isSymmetric(alg) {
			require.Contains(t, string(text), k.ID())
		}
		other, err := keys.Generate(alg)
		require.NoError(t, err)
		require.NotEqual(t, k.ID(), other.ID())
	})
	_, err := keys.Generate("none")
	require.ErrorContains(t, err, `keys: Generate: the algorithm "none" is not known`)
}
