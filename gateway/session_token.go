package gateway

import (
	"encoding/binary"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	sessionFormat = 1 // first byte of what is sealed

	sessionCapabilities = 2 << 10 // bytes of the agent's capabilities in a token
	sessionAgent        = 256     // bytes of its name, and of its version
	sessionToken        = 8 << 10 // longer ones are none of ours
)

// sessionBound ties a token to whose it is and where it counts.
func sessionBound(p *identity.Principal, endpoint string) []byte {
	key := p.Key()
	b := make([]byte, 0, len(key)+len(endpoint)+8)
	b = strconv.AppendInt(b, int64(len(key)), 10)
	b = append(b, ' ')
	b = append(b, key...)
	return append(b, endpoint...)
}

// encode is what a token seals.
func (s *session) encode() []byte {
	b := make([]byte, 0, 128+len(s.capabilities))
	b = append(b, sessionFormat)
	b = binary.AppendUvarint(b, uint64(s.created.Unix()))
	for _, field := range []string{s.id, s.version, s.agent.Name, s.agent.Version, string(s.capabilities)} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	return b
}

func decodeHead(b []byte) (id string, created time.Time, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != sessionFormat {
		return "", time.Time{}, nil, false
	}
	unix, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return "", time.Time{}, nil, false
	}
	field, rest, ok := cutField(b[1+n:])
	return string(field), time.Unix(int64(unix), 0), rest, ok
}

func (s *session) decodeRest(b []byte) bool {
	var fields [4][]byte
	for i := range fields {
		var ok bool
		if fields[i], b, ok = cutField(b); !ok {
			return false
		}
	}
	s.version, s.agent.Name, s.agent.Version = string(fields[0]), string(fields[1]), string(fields[2])
	if len(fields[3]) > 0 {
		s.capabilities = append([]byte(nil), fields[3]...)
	}
	return len(b) == 0
}

func cutField(b []byte) (field, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:size], b[size:], true
}

// relayedCapabilities are those of an agent that the gateway acts upon.
var relayedCapabilities = [...]string{"elicitation", "roots", "sampling", "extensions"}

// reduceCapabilities bounds what a token carries of an agent's capabilities:
// large ones lose what the gateway does not relay anyway, and then detail.
func reduceCapabilities(raw []byte) []byte {
	if len(raw) <= sessionCapabilities {
		return append([]byte(nil), raw...)
	}
	o, err := wire.Fields(raw)
	if err != nil {
		return nil
	}
	b := []byte{'{'}
	for _, name := range relayedCapabilities {
		value, ok := o.Get(name)
		if !ok {
			continue
		}
		if value = wire.Compact(nil, value); len(value) > sessionCapabilities/len(relayedCapabilities)-32 {
			value = []byte("{}")
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(wire.AppendString(b, name), ':')
		b = append(b, value...)
	}
	return append(b, '}')
}

// shorten cuts s to at most n bytes, between characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
