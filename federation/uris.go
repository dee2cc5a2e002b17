package federation

import (
	"net/url"
	"strings"

	"github.com/ostiary/ostiary/catalogs"
)

// The marker that names the upstream of a URI in the merged namespace. It is
// a fragment: the scheme, which clients look at, stays.
const (
	marker         = "#upstream="
	fragmentMarker = "&fragment="
)

// ExposeURI is the URI of a resource of an upstream in the merged namespace:
// its own with the marker appended; a fragment that it has is escaped inside
// the marker's. A URI template is exposed by the same rule, save that its
// fragment stays in place, as it may hold expressions to be filled in. With
// an empty prefix the URI is unchanged.
func ExposeURI(u *catalogs.Upstream, uri string) string {
	if u.Prefix == "" {
		return uri
	}
	base, fragment, found := strings.Cut(uri, "#")
	if !found || strings.Contains(uri, "{") {
		return uri + marker + u.Name
	}
	return base + marker + u.Name + fragmentMarker + url.QueryEscape(fragment)
}

// SplitURI parses the marker of a merged-namespace URI: exactly one, the last.
// It undoes ExposeURI; the expansion of an exposed template gives the
// expansion of the upstream's own. A URI without a well-formed marker is its
// own, unmarked.
func SplitURI(uri string) (upstream, own string, marked bool) {
	i := strings.LastIndex(uri, marker)
	if i < 0 {
		return "", uri, false
	}
	base := uri[:i]
	name, escaped, hasFragment := strings.Cut(uri[i+len(marker):], fragmentMarker)
	if !isUpstreamName(name) {
		return "", uri, false
	}
	if !hasFragment {
		return name, base, true
	}
	fragment, err := url.QueryUnescape(escaped)
	if err != nil {
		return "", uri, false
	}
	return name, base + "#" + fragment, true
}

// isUpstreamName: what a catalog accepts as a name.
func isUpstreamName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
