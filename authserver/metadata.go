package authserver

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Words of the metadata and of the requests.
const (
	scopeMCP     = "mcp"
	scopeOffline = "offline_access"

	grantCode              = "authorization_code"
	grantRefresh           = "refresh_token"
	grantClientCredentials = "client_credentials"
	grantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"

	// profileIDJAG is advertised when an enterprise's identity provider may
	// vouch for people (MCP ext-auth, enterprise-managed authorization).
	profileIDJAG = "urn:ietf:params:oauth:grant-profile:id-jag"
)

// authMethods are the ways in which a client may authenticate.
var authMethods = []string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"}

// metadata is RFC 8414's document.
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	PushedEndpoint        string   `json:"pushed_authorization_request_endpoint"` // RFC 9126 5
	Scopes                []string `json:"scopes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	GrantProfiles         []string `json:"authorization_grant_profiles_supported,omitempty"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgorithms   []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevokeAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported"`
	RevokeAuthAlgorithms  []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`               // RFC 7636
	IssParameter          bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 3
	ClientDocuments       bool     `json:"client_id_metadata_document_supported"`
	Prompts               []string `json:"prompt_values_supported"`
}

// resourceMetadata is RFC 9728's document.
type resourceMetadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
	Methods  []string `json:"bearer_methods_supported"`
	Name     string   `json:"resource_name"`
}

// serveMetadata answers RFC 8414 and OpenID Connect Discovery, under the names
// of the issuer and of every resource.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	for _, known := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		path = strings.TrimPrefix(path, known)
	}
	path = strings.TrimSuffix(path, "/.well-known/openid-configuration")
	if path = strings.TrimSuffix(path, "/"); path != "" && !resourcePath(path) {
		http.NotFound(w, r)
		return
	}
	base := s.base(r)
	m := metadata{
		Issuer:                base,
		AuthorizationEndpoint: base + "/oauth/authorize",
		TokenEndpoint:         base + "/oauth/token",
		RevocationEndpoint:    base + "/oauth/revoke",
		PushedEndpoint:        base + "/oauth/par",
		Scopes:                s.scopes(),
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{"query"},
		GrantTypes:            slices.Sorted(maps.Keys(s.grants)),
		TokenAuthMethods:      authMethods,
		TokenAuthAlgorithms:   assertionAlgorithms,
		RevokeAuthMethods:     authMethods,
		RevokeAuthAlgorithms:  assertionAlgorithms,
		ChallengeMethods:      []string{"S256"},
		IssParameter:          true,
		ClientDocuments:       s.Clients.Documents.Accepted(),
		Prompts:               []string{"none", "login", "consent", "select_account"},
	}
	if s.Clients.Registration.Enabled {
		m.RegistrationEndpoint = base + "/oauth/register"
	}
	if s.grants[grantJWTBearer] != nil {
		m.GrantProfiles = []string{profileIDJAG}
	}
	s.writeDocument(w, r, m)
}

// serveResourceMetadata answers RFC 9728 for /mcp and for every well-formed
// upstream name: it does not tell which exist.
func (s *Server) serveResourceMetadata(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/.well-known/oauth-protected-resource"), "/")
	if path == "" {
		path = mergedPath
	}
	if !resourcePath(path) {
		http.NotFound(w, r)
		return
	}
	base := s.base(r)
	s.writeDocument(w, r, resourceMetadata{
		Resource: base + path,
		Servers:  []string{base},
		// Agents ask for every scope that stands here, so it is the least one.
		Scopes:  []string{scopeMCP},
		Methods: []string{"header"},
		Name:    "Ostiary",
	})
}

func (s *Server) writeDocument(w http.ResponseWriter, r *http.Request, doc any) {
	s.crossOrigin(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			http.Error(w, "use GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=300")
		if s.Loopback {
			w.Header().Set("Vary", "Host") // the document follows the name used
		}
		writeJSON(w, http.StatusOK, doc)
	})(w, r)
}

// scopes are all that can be asked for.
func (s *Server) scopes() []string {
	all := append(slices.Collect(maps.Keys(s.Scopes)), scopeMCP, scopeOffline)
	slices.Sort(all)
	return slices.Compact(all)
}
