package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

var tokenChapters = map[string]func(*testing.T, *Place){
	"tokens bind purpose and bound bytes":   tokensBind,
	"tokens survive reopening and rotation": tokensSurvive,
	"an altered token is a bad token":       alteredTokens,
}

func tokensBind(t *testing.T, p *Place) {
	b := p.Open(t)
	token := b.Seal("session", []byte("plain"), []byte("alice"))
	if strings.ContainsAny(token, "+/=") || strings.Contains(token, "plain") {
		t.Errorf("token %q", token)
	}
	if b.Seal("session", []byte("plain"), []byte("alice")) == token {
		t.Error("two tokens are alike")
	}
	if got, err := b.Unseal("session", token, []byte("alice")); err != nil || string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
	for _, c := range [][2]string{{"cursor", "alice"}, {"session", "bob"}, {"session", ""}, {"sessiona", "lice"}, {"", "sessionalice"}} {
		if got, err := b.Unseal(c[0], token, []byte(c[1])); got != nil || err != store.ErrBadToken {
			t.Errorf("for %q it opens as %q, %v", c, got, err)
		}
	}
	if got, err := b.Unseal("p", b.Seal("p", nil, nil), nil); err != nil || len(got) != 0 {
		t.Errorf("an empty token: %q, %v", got, err)
	}
}

func tokensSurvive(t *testing.T, p *Place) {
	b := p.Open(t)
	ctx := t.Context()
	tokens := []string{b.Seal("session", []byte("0"), nil)}
	if err := b.SaveSnapshot(ctx, "up", []byte("sealed by the first key")); err != nil {
		t.Fatal(err)
	}
	insert(t, b, "jti", "old", p.Now().Add(time.Hour))
	for i := range 2 {
		if err := b.RotateKeys(ctx); err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, b.Seal("session", []byte{byte('1' + i)}, nil))
		b.Close()
		b = p.Open(t)
	}
	for i, token := range tokens {
		if got, err := b.Unseal("session", token, nil); err != nil || string(got) != fmt.Sprint(i) {
			t.Errorf("token of key %d: %q, %v", i+1, got, err)
		}
	}
	if v, err := b.LoadSnapshot(ctx, "up"); err != nil || string(v) != "sealed by the first key" {
		t.Errorf("%q, %v", v, err)
	}
	if !present(t, b, "jti", "old") {
		t.Error("a key of before the rotation is gone")
	}
}

func alteredTokens(t *testing.T, p *Place) {
	b := p.Open(t)
	token := b.Seal("session", []byte("plain text"), []byte("bound"))
	bad := []string{"", "A", "AQ", token + "A", token[1:], token[:len(token)-1], token + "\n", "\n" + token, token[:9] + "\r\n" + token[9:], token + "=", strings.ToUpper(token)}
	for i := range token {
		c := byte('A')
		if token[i] == c {
			c = 'B'
		}
		bad = append(bad, token[:i]+string(c)+token[i+1:])
	}
	for _, s := range bad {
		if got, err := b.Unseal("session", s, []byte("bound")); got != nil || err != store.ErrBadToken {
			t.Errorf("%q opens as %q, %v", s, got, err)
		}
	}
}
