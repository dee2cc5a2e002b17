package gateway

import "github.com/ostiary/ostiary/store/audit"

// payload is a part of an exchange as it stands in its record: what policy saw
// clear, and what was done with it afterwards, shown. The log redacts it.
func (x *exchange) payload(clear, shown []byte) *audit.Payload {
	return audit.NewPayload(shown, clear, x.g.Limits.Record)
}
