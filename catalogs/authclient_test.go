package catalogs

import (
	"reflect"
	"strings"
	"testing"
)

func TestAClientOfAnAuthorizationServerIsReadAndHeldToItsRules(t *testing.T) {
	u, err := only(t, `url: https://a.example/mcp, auth: {type: client_credentials, clientId: me, clientSecret: "${S}", issuer: https://login.example, scopes: [a, b, a]}`,
		Options{Getenv: vars("S", "s3cret")})
	if err != nil {
		t.Fatal(err)
	}
	want := OAuthClient{ID: "me", Secret: "s3cret", How: ClientBasic, Issuer: "https://login.example", Scopes: []string{"a", "b"}}
	if !reflect.DeepEqual(u.Auth.Client, want) {
		t.Errorf("%+v", u.Auth.Client)
	}
	const server = "issuer: https://login.example"
	for keys, want := range map[string]string{
		`clientId: me, clientSecret: x, clientAuth: post, tokenUrl: https://login.example/token`: "",
		`clientId: me, clientSecret: x, tokenUrl: http://127.0.0.1:1/token`:                      "",
		`clientId: me, privateKey: x, ` + server:                                                 "",
		`clientSecret: x, ` + server:                                                             "does not say which client",
		`clientId: me, ` + server:                                                                "needs either",
		`clientId: me, clientSecret: x, privateKey: y, ` + server:                                "needs either",
		`clientId: me, privateKey: x, clientAuth: post, ` + server:                               "has no meaning with a privateKey",
		`clientId: me, clientSecret: x, clientAuth: none, ` + server:                             "must be basic or post",
		`clientId: me, clientSecret: x`:                                                          "which authorization server",
		`clientId: me, clientSecret: "", ` + server:                                              "is empty",
		`clientId: me, clientSecret: x, issuer: http://login.example`:                            "is not the https URL",
		`clientId: me, clientSecret: x, tokenUrl: "https://u:p@login.example"`:                   "is not the https URL",
		`clientId: me, clientSecret: x, issuer: "https://login.example#a"`:                       "is not the https URL",
		`clientId: me, clientSecret: x, scopes: ["a b"], ` + server:                              "cannot be a scope",
		`clientId: me, clientSecret: x, account: user, ` + server:                                "has no meaning for this type",
		`clientId: me, clientSecret: x, secret: y, ` + server:                                    "is not a key that is known here",
	} {
		_, err := only(t, "url: https://a.example/mcp, auth: {type: client_credentials, "+keys+"}", Options{})
		if (err == nil) != (want == "") || want != "" && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
}

func TestCredentialsThatWillNotWorkAreWarnedAbout(t *testing.T) {
	for entry, want := range map[string]string{
		`url: https://a.example/mcp, auth: {type: header, value: "1234567"}`:  "are not masked",
		`url: https://a.example/mcp, auth: {type: header, value: "12345678"}`: "",
		`url: https://a.example/mcp, auth: {type: oauth}`:                     "can't be used yet",
		`url: https://a.example/mcp, enabled: false, auth: {type: oauth}`:     "",
		`url: http://a.example/mcp, auth: {type: header, value: "12345678"}`:  "is not sent",
		`url: http://127.0.0.1/mcp, auth: {type: header, value: "12345678"}`:  "",
		`url: https://a.example/mcp`:                                          "",
	} {
		c, err := Load(folder(t, "a.yaml", "upstreams: {x: {"+entry+"}}\n"), Options{Getenv: none})
		if err != nil {
			t.Fatal(entry, err)
		}
		got := ""
		for _, w := range c.Warnings {
			got += w.String()
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", entry, got, want)
		}
	}
}
