package gateway

import (
	"slices"
	"strconv"

	"github.com/ostiary/ostiary/gateway/wire"
)

// rising lets only progress through that goes up: one request of the agent's
// may be several at the upstream, which begin anew, or lose notifications on
// the way (MCP, Progress: the value MUST increase). The zero value is ready.
type rising struct {
	last  float64
	begun bool
}

// rises reports whether a notifications/progress with these params may follow
// the ones before, and notes its value.
func (r *rising) rises(params []byte) bool {
	o, err := wire.Fields(params)
	if err != nil {
		return false
	}
	raw, _ := o.Get("progress")
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || r.begun && v <= r.last {
		return false
	}
	r.last, r.begun = v, true
	return true
}

// logOrder are the levels of RFC 5424 as MCP names them, the least severe
// first.
var logOrder = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// wantsLog reports whether an agent that wants messages of a level gets this
// one. A level that we don't know counts as the most severe.
func wantsLog(level string, params []byte) bool {
	o, err := wire.Fields(params)
	if err != nil || level == "" {
		return false
	}
	said, _ := o.String("level")
	at := slices.Index(logOrder, said)
	return at < 0 || at >= slices.Index(logOrder, level)
}
