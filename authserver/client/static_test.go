package client

import (
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/store"
)

func TestTheOperatorsClients(t *testing.T) {
	r := &Registry{Store: nothing{}, Static: []store.Client{
		{ID: "desk", Name: "Help desk", RedirectURIs: []string{"https://desk.example/cb"}},
		{ID: "bot", SecretHash: SecretHash("s"), GrantTypes: []string{clientCredentials}, Scopes: []string{"mcp"}},
		{ID: "signer", AuthMethod: authPrivateKey, Keys: []byte(publicSet), GrantTypes: []string{clientCredentials, jwtBearer}},
	}}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	c, err := r.Client(t.Context(), "desk")
	if err != nil || c.Kind != Static || !c.Verified || c.Name != "Help desk" || c.AuthMethod != authNone || !slices.Equal(c.GrantTypes, []string{authorizationCode, refreshToken}) {
		t.Errorf("%+v, %v", c, err)
	}
	c.RedirectURIs[0] = "spoilt"
	if c, _ := r.Client(t.Context(), "desk"); c.RedirectURIs[0] == "spoilt" {
		t.Error("the caller got the registry's own")
	}
	if c, err := r.Client(t.Context(), "bot"); err != nil || c.AuthMethod != authBasic || c.Name != "bot" {
		t.Errorf("%+v, %v", c, err)
	}
	if err := r.Used(t.Context(), "desk"); err != nil {
		t.Error(err)
	}
}

func TestAnOperatorsClientThatCantWorkIsRefusedAtStart(t *testing.T) {
	good := []string{"https://a.example/cb"}
	tests := map[string]struct {
		c    store.Client
		says string
	}{
		"no id":                    {store.Client{RedirectURIs: good}, "id"},
		"a space in the id":        {store.Client{ID: "a b", RedirectURIs: good}, "id"},
		"a URL as its id":          {store.Client{ID: "https://a.example/c", RedirectURIs: good}, "pin it"},
		"no redirect URI":          {store.Client{ID: "a"}, "redirect"},
		"a bad redirect URI":       {store.Client{ID: "a", RedirectURIs: []string{"http://a.example"}}, "redirect"},
		"a scheme not listed":      {store.Client{ID: "a", RedirectURIs: []string{"vscode://x/cb"}}, "privateSchemes"},
		"an unknown grant":         {store.Client{ID: "a", RedirectURIs: good, GrantTypes: []string{"password"}}, "password"},
		"a public one for itself":  {store.Client{ID: "a", GrantTypes: []string{clientCredentials}}, "secret or keys"},
		"a public one with ID-JAG": {store.Client{ID: "a", GrantTypes: []string{jwtBearer}}, "secret or keys"},
		"a method without secret":  {store.Client{ID: "a", RedirectURIs: good, AuthMethod: authPost}, "needs a secret"},
		"a method without keys":    {store.Client{ID: "a", RedirectURIs: good, AuthMethod: authPrivateKey}, "needs keys"},
		"keys twice":               {store.Client{ID: "a", RedirectURIs: good, AuthMethod: authPrivateKey, Keys: []byte(publicSet), KeysURI: "https://k.example/k"}, "either"},
		"secret keys":              {store.Client{ID: "a", RedirectURIs: good, AuthMethod: authPrivateKey, Keys: []byte(privateSet)}, "secret"},
		"a keys URI of no kind":    {store.Client{ID: "a", RedirectURIs: good, AuthMethod: authPrivateKey, KeysURI: "ftp://k/k"}, "keys URI"},
		"an unknown method":        {store.Client{ID: "a", RedirectURIs: good, AuthMethod: "magic"}, "magic"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := (&Registry{Static: []store.Client{tt.c}}).Check()
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want …%s…", err, tt.says)
			}
		})
	}
	twice := store.Client{ID: "a", RedirectURIs: good}
	if err := (&Registry{Static: []store.Client{twice, twice}}).Check(); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same id twice: %v", err)
	}
}
