package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// handleKind says what a requestState of ours stands for.
type handleKind byte

const (
	noHandle   handleKind = iota // the request carries none
	ofUpstream                   // the upstream's own requestState
	ofParked                     // a call that waits here for answers
	ofTask                       // a task, sealed once more, that the gateway waits for
	ofVisit                      // a request that did not run before a page was visited
)

// handle is what a requestState seals.
type handle struct {
	kind  handleKind
	round uint64 // of a parked call
	text  string // the upstream's own state, or the parked call's id
}

// stateBound is what a requestState is bound to: whoever holds it can resume
// only this very request (MCP 2026-07-28, MRTR: requestState is
// attacker-controlled).
func (x *exchange) stateBound(t *target) []byte {
	sum := sha256.Sum256(t.arguments)
	return slices.Concat([]byte(strings.Join([]string{
		x.p.Key(), x.endpoint, t.upstream.Name, t.method, t.name, t.exposed, "",
	}, "\x00")), sum[:])
}

// sealHandle makes a requestState that is good for life.
func (x *exchange) sealHandle(h handle, life time.Duration, bound []byte) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(x.g.Now().Add(life).Unix()))
	plain = binary.AppendUvarint(append(plain, byte(h.kind)), h.round)
	return x.g.Sealer.Seal("state", append(plain, h.text...), bound)
}

// openHandle opens a requestState that the agent sent, as a raw JSON value.
func (x *exchange) openHandle(raw, bound []byte) (handle, *refusal) {
	token, ok := wire.Unquote(raw)
	if !ok {
		return handle{}, badState()
	}
	plain, err := x.g.Sealer.Unseal("state", token, bound)
	if err != nil || len(plain) < 10 || int64(binary.BigEndian.Uint64(plain)) < x.g.Now().Unix() {
		return handle{}, badState()
	}
	round, n := binary.Uvarint(plain[9:])
	if n <= 0 {
		return handle{}, badState()
	}
	return handle{kind: handleKind(plain[8]), round: round, text: string(plain[9+n:])}, nil
}

// badState answers for every requestState that leads nowhere. Nothing runs.
func badState() *refusal {
	return refuse(http.StatusOK, codeInvalidParams, "request_state", "requestState is not one of this request, or has expired; call again without it")
}
