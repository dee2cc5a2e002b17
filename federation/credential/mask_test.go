package credential

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

const secret = `s3cr3t/ün+<"key">`

func TestAMaskHidesASecretInEveryCheapForm(t *testing.T) {
	m := NewMask(secret)
	escaped, _ := json.Marshal(secret)
	every := ""
	for _, r := range []byte("plain-secret") {
		every += `\u00` + string("0123456789abcdef"[r>>4]) + string("0123456789ABCDEF"[r&15])
	}
	for name, tt := range map[string]struct {
		mask *Mask
		raw  string
	}{
		"in a text":              {m, `{"a":` + string(escaped) + `}`},
		"as a key":               {m, `{` + string(escaped) + `:1}`},
		"not escaped for HTML":   {m, `{"a":"x s3cr3t/ün+<\"key\"> y"}`},
		"with a solidus escaped": {m, `{"a":"s3cr3t\/ün+<\"key\">"}`},
		"every letter escaped":   {NewMask("plain-secret"), `["` + every + `", "` + every + `"]`},
		"half of it escaped":     {NewMask("plain-secret"), `["pl\u0061in-s\u0065cret"]`},
		"beside a surrogate":     {NewMask("plain-secret"), `["\ud83d\ude00plain-secret\ud83d"]`},
		"outside the BMP":        {NewMask("plain-😀-secret"), `["plain-\ud83d\ude00-secret"]`},
		"percent-encoded":        {m, `{"a":"` + url.QueryEscape(secret) + `"}`},
		"as a path":              {m, `{"a":"` + url.PathEscape(secret) + `"}`},
		"base64":                 {m, `{"a":"` + base64.StdEncoding.EncodeToString([]byte(secret)) + `"}`},
		"base64 of a header":     {m, `{"a":"` + base64.StdEncoding.EncodeToString([]byte("Bearer "+secret+" x")) + `"}`},
		"base64url of a header":  {m, `{"a":"` + base64.RawURLEncoding.EncodeToString([]byte("authorization: Bearer "+secret)) + `"}`},
		"as a number":            {NewMask("1234567890"), `{"a":1234567890, "b":"1234567890", "c":-1.1234567890e1}`},
	} {
		got := tt.mask.JSON([]byte(tt.raw))
		if !json.Valid(got) {
			t.Errorf("%s: no JSON any more: %s", name, got)
		}
		var v any
		json.Unmarshal(got, &v)
		b, _ := json.Marshal(v)
		for _, form := range append(base64Forms(secret), "s3cr3t", "plain-", "1234567890", every) {
			if strings.Contains(string(got), form) || strings.Contains(string(b), form) {
				t.Errorf("%s: %s still tells %s", name, got, form)
			}
		}
	}
}

func TestAMaskLeavesAloneWhatIsNoSecret(t *testing.T) {
	m := NewMask(secret, "short")
	for _, raw := range []string{`{"a":"s3cr3t/ün+","short":"\u003cshort\u003e\/"}`, `{"s3cr3t/":"ün+<\"key\">"}`, `"\`, `"\u`, `"\u12`, `"\ud83d\u`, ``} {
		if got := m.JSON([]byte(raw)); string(got) != raw {
			t.Errorf("%s became %s", raw, got)
		}
	}
	if NewMask("1234567") != nil || NewMask("12345678") == nil {
		t.Error("the least length of a secret that is masked is not 8")
	}
	var none *Mask
	if none.Text("x") != "x" || string(none.JSON([]byte("x"))) != "x" {
		t.Error("no mask changes something")
	}
	if got := NewMask("plain-secret").Text("a plain-secret here"); got != "a (credential) here" {
		t.Error(got)
	}
}

func FuzzMaskedJSONStaysJSONAndTellsNothing(f *testing.F) {
	f.Add(`{"a":"pl\u0061in-secret","plain-secret":1}`)
	f.Add(`["\"plain-secret\\","\ud83d\ude00","cGxhaW4tc2VjcmV0"]`)
	f.Fuzz(func(t *testing.T, raw string) {
		got := NewMask("plain-secret", "12345678", `a"b\c,d:e`).JSON([]byte(raw))
		if json.Valid([]byte(raw)) {
			if !json.Valid(got) {
				t.Fatalf("%q became %q", raw, got)
			}
			plain, _ := unescaped(got, false)
			if strings.Contains(string(plain), "plain-secret") {
				t.Fatalf("%q tells it", got)
			}
		}
	})
}
