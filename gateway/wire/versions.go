package wire

import (
	"fmt"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// The revisions of MCP, oldest first.
const (
	Version20241105 = mcp.ProtocolVersion20241105
	Version20250326 = mcp.ProtocolVersion20250326
	Version20250618 = mcp.ProtocolVersion20250618
	Version20251125 = mcp.ProtocolVersion20251125
	Version20260728 = mcp.ProtocolVersion20260728

	LatestLegacy = Version20251125
	LatestModern = Version20260728

	// AssumedVersion is that of a legacy request that names none (MCP
	// 2025-06-18, Transports, Protocol Version Header).
	AssumedVersion = Version20250326
)

// Reserved keys of params._meta (SEP-2575).
const (
	MetaVersion      = mcp.MetaKeyProtocolVersion
	MetaClientInfo   = mcp.MetaKeyClientInfo
	MetaCapabilities = mcp.MetaKeyClientCapabilities
	MetaServerInfo   = mcp.MetaKeyServerInfo
	MetaLogLevel     = mcp.MetaKeyLogLevel
	MetaSubscription = mcp.MetaKeySubscriptionID
)

// Versions are all revisions that we speak, newest first. The slice is the
// caller's.
func Versions() []string {
	return []string{Version20260728, Version20251125, Version20250618, Version20250326, Version20241105}
}

// KnownVersion reports whether version is a revision that we speak, and of
// which era it is.
func KnownVersion(version string) (Era, bool) {
	return eraOf(version), mcp.IsValidProtocolVersion(version)
}

// NegotiateLegacy is the version to answer an initialize request with: the
// requested one where we speak it and it is legacy, else our latest legacy one
// (MCP 2025-11-25, Lifecycle, Version Negotiation).
func NegotiateLegacy(requested string) string { return mcp.NegotiateLegacyVersion(requested) }

// VersionError: the protocol version that a request names is not a version at
// all, or it names two.
type VersionError struct {
	Requested string // as sent, at most 64 bytes of it; for data.requested
	Text      string
}

func (e *VersionError) Error() string { return e.Text }

// EraOf chooses the era of a request from its markers: a reserved modern key in
// _meta, or a version header from 2026-07-28 on. The method name plays no part.
// m is nil for requests without a message (GET, DELETE).
//
// version is what the body names in the modern era, else the header, else
// AssumedVersion. Whether we speak it is for the caller to ask (KnownVersion);
// in the modern era "" means that neither names one. The error is a
// *VersionError, beside the era that the rest of the request has.
func EraOf(h http.Header, m *Message) (era Era, version string, err error) {
	header, headerErr := versionHeader(h)
	if m != nil {
		_, named := m.Meta.Get(MetaVersion)
		_, capable := m.Meta.Get(MetaCapabilities)
		if named || capable {
			if version, ok := m.Meta.String(MetaVersion); ok {
				return Modern, version, nil
			}
			return Modern, header, headerErr
		}
	}
	if headerErr != nil {
		return Legacy, header, headerErr
	}
	if header == "" {
		return Legacy, AssumedVersion, nil
	}
	return eraOf(header), header, nil
}

func eraOf(version string) Era {
	if isDate(version) && mcp.IsModernProtocol(version) {
		return Modern
	}
	return Legacy
}

// versionHeader is the one value of MCP-Protocol-Version, or "".
func versionHeader(h http.Header) (string, error) {
	value, ok, err := single(h, mcp.HeaderProtocolVersion)
	short := value[:min(len(value), 64)]
	switch {
	case err != nil:
		return "", &VersionError{Requested: short, Text: err.Error()}
	case ok && !isDate(value):
		return short, &VersionError{Requested: short, Text: fmt.Sprintf("%s is not a protocol version (YYYY-MM-DD)", mcp.HeaderProtocolVersion)}
	}
	return value, nil
}

// isDate reports whether version has the form of a revision's name.
func isDate(version string) bool {
	_, err := time.Parse(time.DateOnly, version)
	return err == nil
}
