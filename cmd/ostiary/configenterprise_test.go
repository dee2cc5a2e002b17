package main

import (
	"slices"
	"strings"
	"testing"
)

func TestAnEnterpriseIsConfiguredByTheFile(t *testing.T) {
	c, err := loadConfig(write(t, "ostiary.yaml", `
oauth:
  enterprise:
    - {issuer: "https://idp.example", jwksUri: "https://idp.example/keys", groupsClaim: roles, clients: [desk, "https://agent.example/client.json"]}
    - {issuer: "https://second.example", jwksUri: "https://second.example/keys"}
`), nil, environ())
	if err != nil {
		t.Fatal(err)
	}
	e := c.Enterprise
	if len(e) != 2 || e[0].Issuer != "https://idp.example" || e[0].JWKSURI != "https://idp.example/keys" || e[0].GroupsClaim != "roles" ||
		!slices.Equal(e[0].Clients, []string{"desk", "https://agent.example/client.json"}) || e[1].Issuer != "https://second.example" || e[1].Clients != nil {
		t.Errorf("%+v", e)
	}
	for _, tt := range []struct{ file, want string }{
		{"oauth: {enterprise: {issuer: a}}", ":1:21: oauth.enterprise: want a list"},
		{"oauth: {enterprise: [a]}", "oauth.enterprise[0]: want keys with values"},
		{"oauth: {enterprise: [{issuer: a}]}", "oauth.enterprise[0].jwksUri: is missing"},
		{"oauth: {enterprise: [{jwksUri: a}]}", "oauth.enterprise[0].issuer: is missing"},
		{"oauth: {enterprise: [{issuer: [a], jwksUri: b}]}", "oauth.enterprise[0].issuer: want one value"},
		{"oauth: {enterprise: [{issuer: a, jwksUri: b, clients: c}]}", "oauth.enterprise[0].clients: want a list"},
		{"oauth: {enterprise: [{issuer: a, jwksUri: b, jwksUrl: c}]}", `oauth.enterprise[0].jwksUrl: unknown key, did you mean "jwksUri"?`},
	} {
		_, err := loadConfig(write(t, "ostiary.yaml", tt.file+"\n"), nil, environ())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want …%s…", tt.file, err, tt.want)
		}
	}
}
