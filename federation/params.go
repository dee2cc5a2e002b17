package federation

import (
	"bytes"
	"strconv"

	"github.com/ostiary/ostiary/gateway/wire"
)

// Methods of notifications that are handled by name.
const (
	methodProgress     = "notifications/progress"
	methodLog          = "notifications/message"
	methodCancelled    = "notifications/cancelled"
	methodElicited     = "notifications/elicitation/complete"
	methodUpdated      = "notifications/resources/updated"
	methodAcknowledged = "notifications/subscriptions/acknowledged"

	MethodTask       = "notifications/tasks"        // SEP-2663: the whole task
	MethodTaskStatus = "notifications/tasks/status" // MCP 2025-11-25: without its result
)

// Methods of the gateway's own requests.
const (
	methodDiscover    = "server/discover"
	methodInitialize  = "initialize"
	methodListen      = "subscriptions/listen"
	methodSubscribe   = "resources/subscribe"
	methodUnsubscribe = "resources/unsubscribe"
	methodSetLevel    = "logging/setLevel"
)

const metaProgress = "progressToken"

// metaWriter writes the _meta that the gateway puts into a request.
type metaWriter struct {
	modern []byte // the constant members of a modern request; nil = legacy
	client []byte // clientInfo
}

func newMetaWriter(era wire.Era, version string) metaWriter {
	client := append([]byte(nil), `{"name":"ostiary","version":`...)
	client = append(wire.AppendString(client, version), '}')
	w := metaWriter{client: client}
	if era == wire.Modern {
		w.modern = []byte(`"` + wire.MetaVersion + `":"` + wire.LatestModern + `","` + wire.MetaClientInfo + `":` + string(client) + `,"` + wire.MetaCapabilities + `":`)
	}
	return w
}

// params returns c.Params with the gateway's _meta as their first member.
// token is the progress token to ask with; nil asks for none. What of the
// agent's _meta travels was chosen before; a member that is the gateway's own
// to write is left out of it, whatever it says.
func (w *metaWriter) params(c *Call, token []byte) []byte {
	size := len(c.Params) + len(c.Meta) + len(c.Agent.Capabilities) + len(w.modern) + 128
	dst := append(make([]byte, 0, size), `{"_meta":{`...)
	start := len(dst)
	if w.modern != nil {
		dst = append(dst, w.modern...)
		if c.Agent.Capabilities != nil {
			dst = append(dst, c.Agent.Capabilities...)
		} else {
			dst = append(dst, '{', '}')
		}
		if c.Agent.LogLevel != "" {
			dst = append(dst, `,"`+wire.MetaLogLevel+`":`...)
			dst = wire.AppendString(dst, c.Agent.LogLevel)
		}
	}
	if token != nil {
		dst = comma(dst, start)
		dst = append(dst, `"`+metaProgress+`":`...)
		dst = append(dst, token...)
	}
	if c.Meta != nil {
		dst = appendMeta(dst, start, c.Meta)
	}
	if len(dst) == start {
		return c.Params // nothing to say: byte for byte what the agent sent
	}
	dst = append(dst, '}')
	rest, _ := bytes.CutPrefix(bytes.TrimSpace(c.Params), []byte{'{'})
	if rest = bytes.TrimLeft(rest, " \t\r\n"); !bytes.HasPrefix(rest, []byte{'}'}) {
		dst = append(dst, ',')
	}
	return append(dst, rest...)
}

// appendMeta appends the members of meta that the gateway does not own.
func appendMeta(dst []byte, start int, meta []byte) []byte {
	o, err := wire.Fields(meta)
	if err != nil {
		return dst
	}
	for _, m := range o.Members {
		switch m.Key {
		case wire.MetaVersion, wire.MetaClientInfo, wire.MetaCapabilities, wire.MetaLogLevel, metaProgress:
			continue
		}
		dst = comma(dst, start)
		dst = append(dst, o.Raw[m.From:m.To]...)
	}
	return dst
}

func comma(dst []byte, start int) []byte {
	if len(dst) > start {
		return append(dst, ',')
	}
	return dst
}

// own is params of a request of the gateway's own: members, and the _meta
// that the era wants.
func (w *metaWriter) own(members string) []byte {
	c := Call{Params: []byte(`{` + members + `}`)}
	return w.params(&c, nil)
}

// withToken puts the agent's own progress token in the place of ours. ok is
// false when the notification is about another token: it is not this call's.
func withToken(params wire.Object, ours, agents []byte) (out []byte, ok bool) {
	for _, m := range params.Members {
		if m.Key == metaProgress {
			if !bytes.Equal(params.Raw[m.Start:m.End], ours) {
				return nil, false
			}
			edit := []wire.Edit{{Start: m.Start, End: m.End, With: agents}}
			return wire.Splice(nil, params.Raw, edit), true
		}
	}
	return nil, false
}

// number is an id of ours as written in JSON. Numbers are what every server
// echoes without harm.
func number(n uint64) []byte { return strconv.AppendUint(make([]byte, 0, 20), n, 10) }
