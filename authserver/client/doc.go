// Package client knows the programs that may ask for tokens. It finds a client
// by its id, wherever it comes from, and says whether a redirect URI is its own:
//
//   - static: set up by the operator, in the configuration or the store;
//   - dynamic: registered itself (RFC 7591) at Registry.ServeHTTP;
//   - document: its id is an https URL where a document describes it (client id
//     metadata document, draft-ietf-oauth-client-id-metadata-document, MCP
//     2026-07-28 Authorization).
//
// The last two are strangers: what they say of themselves is shown as such, and
// they get nothing without a person's consent. A client's name is Verified only
// where it is the operator's own word.
//
// Everything that is fetched is named by a stranger, so fetches are guarded: the
// address is checked when it is dialled, after name resolution; no redirects, no
// proxy, few bytes, little time, few at once. Pictures are never fetched.
//
// To its neighbours the package hands store.Client values; it knows neither
// tokens nor people.
package client
