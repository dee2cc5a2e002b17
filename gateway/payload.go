package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/ostiary/ostiary/store/audit"
)

// payload is raw as it stands in a record: in clear up to limits.record,
// above it a digest and the leading bytes.
func (x *exchange) payload(raw []byte) *audit.Payload {
	if raw == nil {
		return nil
	}
	sum := sha256.Sum256(raw)
	p := &audit.Payload{Digest: hex.EncodeToString(sum[:]), Size: len(raw)}
	if len(raw) <= x.g.Limits.Record {
		p.Value = raw
	} else {
		p.Preview = strings.ToValidUTF8(string(raw[:min(previewBytes, len(raw))]), "")
	}
	return p
}

const previewBytes = 1024
