package strict_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/joinednode/jwtauth/internal/strict"
)

const (
	noExpiry     = "no claim exp"
	badAudience  = "the claim aud is neither a string nor an array of strings"
	badContainer = "the container's claim is not a string"
	folded       = "a claim that differs from a reserved one by case alone"
)

// claimsRefused holds payloads that ReadClaims rejects if the container is in the claim
// "container".
var claimsRefused = append([]refusal{
	{"no exp", `{}`, noExpiry},
	{"every claim but exp", `{"iss":"i","sub":"s","aud":"a","nbf":1,"iat":1,"jti":"j","sid":"s","container":"c"}`, noExpiry},
	{"an exp within another claim alone", `{"x":{"exp":1}}`, noExpiry},
	{"an exp with a space in its name", `{"exp ":1}`, noExpiry},
	{"a nested token for a payload", good, notObject},
	{"an array around the claims", `[{"exp":1}]`, notObject},
	{"a BOM", "\ufeff" + `{"exp":1}`, notObject},
	{"a second payload behind the first", `{"exp":1}{"exp":253402300799}`, behind},
	{"a byte behind the claims", `{"exp":1};`, behind},
	{"two exps", `{"exp":1,"exp":253402300799}`, twice},
	{"two exps, one of them escaped", `{"exp":1,"\u0065xp":253402300799}`, twice},
	{"two containers", `{"exp":1,"container":"A","container":"B"}`, twice},
	{"two containers, one of them escaped", `{"exp":1,"container":"A","c\u006fntainer":"B"}`, twice},
	{"two auds", `{"exp":1,"aud":"a","aud":["b"]}`, twice},
	{"two private claims of one name", `{"exp":1,"role":"user","role":"admin"}`, twice},
	{"two members of one name within a private claim", `{"exp":1,"x":[{"role":"user","role":"admin"}]}`, twice},
	{"two exps with 20 claims in between", `{"exp":1,` + numbered(20) + `,"exp":2}`, twice},

	{"EXP for exp", `{"EXP":1}`, folded},
	{"EXP behind exp", `{"exp":1,"EXP":253402300799}`, folded},
	{"Exp in front of exp", `{"Exp":253402300799,"exp":1}`, folded},
	{"eXp, escaped", `{"exp":1,"e\u0058p":2}`, folded},
	{"Nbf", `{"exp":1,"Nbf":0}`, folded},
	{"IAT", `{"exp":1,"IAT":0}`, folded},
	{"Iss", `{"exp":1,"Iss":"x"}`, folded},
	{"iss with a long s", "{\"exp\":1,\"i\u017fs\":\"x\"}", folded},
	{"iss with two long s, escaped", `{"exp":1,"i\u017f\u017f":"x"}`, folded},
	{"SUB", `{"exp":1,"SUB":"x"}`, folded},
	{"sub with a long s", `{"exp":1,"\u017fub":"x"}`, folded},
	{"Aud", `{"exp":1,"Aud":"x"}`, folded},
	{"Jti", `{"exp":1,"Jti":"x"}`, folded},
	{"SID", `{"exp":1,"SID":"x"}`, folded},
	{"sid with a long s", `{"exp":1,"\u017fid":"x"}`, folded},
	{"Container", `{"exp":1,"Container":"x"}`, folded},
	{"CONTAINER behind container", `{"exp":1,"container":"A","CONTAINER":"B"}`, folded},
}, wrongTypesInClaims()...)

func wrongTypesInClaims() (all []refusal) {
	add := func(name, value, want string) {
		text := `{"` + name + `":` + value
		if name != "exp" {
			text += `,"exp":1`
		}
		all = append(all, refusal{name + " that is " + value, text + "}", want})
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, value := range []string{
			`"1700000000"`, `"tomorrow"`, `""`, `null`, `true`, `false`, `[]`, `[1700000000]`, `{}`, ``,
			`-1`, `-0`, `-0.0`, `-0e0`, `-1e-9`, `-1e400`, `-`, `+1`, `.5`, `1.`, `1e`, `NaN`, `Infinity`, `-Infinity`,
			`253402300800`, `253402300799.5`, `253402300800.0`, `2.534023008e11`, `1e12`, `1e300`, `1e309`, `1e400`,
			`9223372036854775807`, `9223372036854775808`, `18446744073709551616`, `18446744075409551616`, `1` + zeros(308), `1` + zeros(400),
		} {
			add(name, value, "the claim "+name+" is not a number between 0 and the year 9999")
		}
		for _, value := range []string{`01`, `0x10`, `1_0`, `1 0`, `1e5.5`} {
			add(name, value, syntax)
		}
	}
	for _, name := range []string{"iss", "sub", "jti", "sid", "container"} {
		want := "the claim " + name + " is not a string"
		if name == "container" {
			want = badContainer
		}
		for _, value := range []string{`null`, `true`, `false`, `0`, `7`, `["A"]`, `[]`, `{}`, `A`, ``} {
			add(name, value, want)
		}
	}
	for _, value := range []string{
		`null`, `true`, `7`, `{}`, `{"a":"b"}`, `a`, ``, `[1]`, `[null]`, `["a",1]`, `["a",null]`, `["a",["b"]]`, `["a",{}]`, `[["a"]]`, `["a",]`, `[,"a"]`, `["a",`, `[`,
	} {
		add("aud", value, badAudience)
	}
	add("aud", `["a" "b"]`, syntax)
	add("aud", `["a"`, syntax) // exp is read as the next element, so its colon is wrong
	add("aud", `["a"}`, syntax)
	add("aud", `["a\u00"]`, syntax)
	add("aud", `["\ud800"]`, surrogate)
	add("sub", "\"\x00\"", control)
	return all
}

func TestReadClaimsRefusesPayloadsOfTwoMeanings(t *testing.T) {
	for _, tc := range claimsRefused {
		t.Run(tc.name, func(t *testing.T) { requireClaimsRefused(t, tc.text, "container", tc.want) })
	}
}

// requireClaimsRefused requires that ReadClaims returns the error want, and no claims.
func requireClaimsRefused(t testing.TB, payload, containerClaim, want string) {
	t.Helper()
	got, err := strict.ReadClaims(payload, containerClaim)
	require.Equal(t, strict.Error(want), err)
	require.Zero(t, got)
}

func at(seconds, nanoseconds int64) time.Time { return time.Unix(seconds, nanoseconds).UTC() }

var claimsAccepted = []struct {
	name, text string
	want       strict.Claims
}{
	{"exp alone", `{"exp":1700000000}`, strict.Claims{ExpiresAt: at(1700000000, 0)}},
	{
		"every claim",
		`{"iss":"i","sub":"s","aud":"a","exp":1700000900,"nbf":1699999999,"iat":1700000000,"jti":"j","sid":"f","container":"c"}`,
		strict.Claims{
			Issuer: "i", Subject: "s", Audience: []string{"a"}, ID: "j", SessionID: "f", Container: "c",
			ExpiresAt: at(1700000900, 0), NotBefore: at(1699999999, 0), IssuedAt: at(1700000000, 0),
		},
	},
	{"names that are escaped", `{"\u0065xp":1,"c\u006fntainer":"A"}`, strict.Claims{ExpiresAt: at(1, 0), Container: "A"}},
	{"empty strings", `{"exp":1,"iss":"","sub":"","jti":"","sid":"","container":""}`, strict.Claims{ExpiresAt: at(1, 0)}},
	{"values as they stand, neither trimmed nor folded", `{"exp":1,"container":" A/B%2f\u00e9 "}`, strict.Claims{ExpiresAt: at(1, 0), Container: " A/B%2fé "}},
	{"white space around and behind", "\r\n { \"exp\" : 1 } \t\r\n", strict.Claims{ExpiresAt: at(1, 0)}},

	{"exp 0, which is a time and not none", `{"exp":0}`, strict.Claims{ExpiresAt: at(0, 0)}},
	{"times of a digit or two", `{"exp":99,"nbf":8,"iat":23}`, strict.Claims{ExpiresAt: at(99, 0), NotBefore: at(8, 0), IssuedAt: at(23, 0)}},
	{"nbf and iat 0", `{"exp":1,"nbf":0,"iat":0}`, strict.Claims{ExpiresAt: at(1, 0), NotBefore: at(0, 0), IssuedAt: at(0, 0)}},
	{"the last second of the year 9999", `{"exp":253402300799,"nbf":253402300799,"iat":253402300799}`, strict.Claims{ExpiresAt: at(253402300799, 0), NotBefore: at(253402300799, 0), IssuedAt: at(253402300799, 0)}},
	{"the last second of the year 9999 with a fraction of zero", `{"exp":253402300799.0}`, strict.Claims{ExpiresAt: at(253402300799, 0)}},
	{"the last second of the year 9999 with an exponent", `{"exp":2.53402300799E+11}`, strict.Claims{ExpiresAt: at(253402300799, 0)}},
	{"fractions", `{"exp":1700000000.25,"nbf":0.5,"iat":1699999999.875}`, strict.Claims{ExpiresAt: at(1700000000, 250e6), NotBefore: at(0, 500e6), IssuedAt: at(1699999999, 875e6)}},
	{"a time cut, not rounded, to nanoseconds", `{"exp":0.9999999999}`, strict.Claims{ExpiresAt: at(0, 999999999)}},
	{"exponents", `{"exp":1e9,"nbf":1.7E+9,"iat":17000000000e-1}`, strict.Claims{ExpiresAt: at(1000000000, 0), NotBefore: at(1700000000, 0), IssuedAt: at(1700000000, 0)}},
	{"a number too small for a float64", `{"exp":1e-400}`, strict.Claims{ExpiresAt: at(0, 0)}},
	{"zeros of every shape", `{"exp":0.0,"nbf":0e5,"iat":0E-5}`, strict.Claims{ExpiresAt: at(0, 0), NotBefore: at(0, 0), IssuedAt: at(0, 0)}},

	{"aud as a string", `{"exp":1,"aud":"a"}`, strict.Claims{ExpiresAt: at(1, 0), Audience: []string{"a"}}},
	{"aud as an empty string", `{"exp":1,"aud":""}`, strict.Claims{ExpiresAt: at(1, 0), Audience: []string{""}}},
	{"aud as an array", `{"exp":1,"aud":[ "a" , "b\u0062" ,"a"]}`, strict.Claims{ExpiresAt: at(1, 0), Audience: []string{"a", "bb", "a"}}},
	{"aud as an array of one", `{"exp":1,"aud":["a"]}`, strict.Claims{ExpiresAt: at(1, 0), Audience: []string{"a"}}},
	{"aud as an empty array, which is there and holds nobody", `{"exp":1,"aud":[]}`, strict.Claims{ExpiresAt: at(1, 0), Audience: []string{}}},
	{"aud as an empty array with a space", `{"exp":1,"aud":[ ]}`, strict.Claims{ExpiresAt: at(1, 0), Audience: []string{}}},

	{"private claims of every kind", `{"exp":1,"a":null,"b":[1,{"exp":"x","EXP":1}],"c":{"exp":2},"d":-1e300,"e":"","":0}`, strict.Claims{ExpiresAt: at(1, 0)}},
	{"the claim that others keep the container in", `{"exp":1,"tenant":7,"Tenant":"x"}`, strict.Claims{ExpiresAt: at(1, 0)}},
	{"header names", `{"exp":1,"alg":1,"crit":["exp"],"KID":1}`, strict.Claims{ExpiresAt: at(1, 0)}},
	{"names that look alike but fold to no other", "{\"exp\":1,\"\uff45xp\":2,\"\u0131ss\":2,\"expp\":2,\"ex\":2,\" exp\":2,\"exp\\u0000\":2,\"\u0455ub\":2,\"containers\":2}", strict.Claims{ExpiresAt: at(1, 0)}},
	{"more claims than most", `{` + numbered(40) + `,"exp":1}`, strict.Claims{ExpiresAt: at(1, 0)}},
}

func TestReadClaimsReadsWhatPayloadsSay(t *testing.T) {
	for _, tc := range claimsAccepted {
		t.Run(tc.name, func(t *testing.T) {
			got, err := strict.ReadClaims(tc.text, "container")
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestAContainersClaimOfAnotherName(t *testing.T) {
	got, err := strict.ReadClaims(`{"exp":1,"tenant":"A","container":{"x":[1]},"Container":null}`, "tenant")
	require.NoError(t, err)
	require.Equal(t, strict.Claims{ExpiresAt: at(1, 0), Container: "A"}, got, "the claim container may then hold anything")

	got, err = strict.ReadClaims(`{"exp":1,"container":"A"}`, "tenant")
	require.NoError(t, err)
	require.Empty(t, got.Container, "the claim container must then be ignored")

	for _, tc := range []refusal{
		{"a tenant that is no string", `{"exp":1,"tenant":7}`, badContainer},
		{"a tenant that is null", `{"exp":1,"tenant":null}`, badContainer},
		{"Tenant", `{"exp":1,"Tenant":"A"}`, folded},
		{"TENANT behind tenant", `{"exp":1,"tenant":"A","TENANT":"B"}`, folded},
		{"two tenants", `{"exp":1,"tenant":"A","t\u0065nant":"B"}`, twice},
		{"EXP, as ever", `{"exp":1,"EXP":2}`, folded},
	} {
		t.Run(tc.name, func(t *testing.T) { requireClaimsRefused(t, tc.text, "tenant", tc.want) })
	}

	_, err = strict.ReadClaims(`{"exp":1,"straße":"A"}`, "straße")
	require.NoError(t, err)
	requireClaimsRefused(t, `{"exp":1,"STRAẞE":"A"}`, "straße", folded)
}

func TestReserved(t *testing.T) {
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "container",
		"ISS", "Sub", "aUd", "EXP", "Nbf", "IAT", "Jti", "SID", "Container", "CONTAINER",
		"i\u017fs", "\u017fub", "\u017fid",
	} {
		require.True(t, strict.Reserved(name, "container"), name)
	}
	for _, name := range []string{"", "role", "scope", "exp ", "expires", "ex", "alg", "kid", "tenant", "containers", "\uff45xp", "\u0131ss"} {
		require.False(t, strict.Reserved(name, "container"), name)
	}
	require.True(t, strict.Reserved("Tenant", "tenant"))
	require.True(t, strict.Reserved("\u212aey", "key"), "a kelvin sign folds to k")
	require.True(t, strict.Reserved("exp", "tenant"))
	require.False(t, strict.Reserved("container", "tenant"))
}
