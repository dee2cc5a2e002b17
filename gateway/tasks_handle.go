package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/store/audit"
)

const (
	// taskIDMax bounds an upstream's task id. Ours travels in a header, and
	// holds it.
	taskIDMax = 1 << 10

	// taskArguments is up to what size a handle holds the call's arguments,
	// for the same reason. Of larger ones it knows the digest, so rules see a
	// request about such a task without arguments.
	taskArguments = 2 << 10

	// A handle lives as long as its task and at least a day: an upstream may
	// lengthen a task's life, and answers for one that it has forgotten.
	taskLeast = 24 * time.Hour
	taskMost  = 30 * 24 * time.Hour
)

// taskRef is what the task id that an agent has stands for. It holds all that
// the gateway needs to know of the task, and so survives a restart.
type taskRef struct {
	upstream  string
	id        string   // the upstream's own
	era       wire.Era // of the upstream
	tool      string   // its own name
	arguments []byte   // of the call; nil when it had none, or over taskArguments
	digest    [sha256.Size]byte
	size      int // of the arguments
	expires   time.Time
	kept      bool   // the result is ours to keep: the upstream made no task
	masks     []byte // sealed masks of the call's result; nil = none
}

// taskLife is how long the handle of a task with this ttl works; negative is
// without limit.
func taskLife(ttl time.Duration) time.Duration {
	if ttl < 0 {
		return taskMost
	}
	return min(max(ttl, taskLeast), taskMost)
}

// sealTask makes the task id that the agent gets. It is good for this
// principal and endpoint alone.
func (x *exchange) sealTask(r *taskRef) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(r.expires.Unix()))
	flags := byte(r.era) << 1
	if r.kept {
		flags |= 1
	}
	b = append(b, flags)
	for _, s := range []string{r.upstream, r.id, r.tool, string(r.arguments), string(r.masks)} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.AppendUvarint(b, uint64(r.size))
	return x.g.Sealer.Seal("task", append(b, r.digest[:]...), x.taskBound())
}

func (x *exchange) taskBound() []byte { return []byte(x.p.Key() + "\x00" + x.endpoint) }

// openTask reads a task id of ours that is still good.
func (x *exchange) openTask(handle string) (*taskRef, bool) {
	b, err := x.g.Sealer.Unseal("task", handle, x.taskBound())
	if err != nil || len(b) < 9 {
		return nil, false
	}
	r := &taskRef{expires: time.Unix(int64(binary.BigEndian.Uint64(b)), 0), era: wire.Era(b[8] >> 1), kept: b[8]&1 != 0}
	b = b[9:]
	var parts [5]string
	for i := range parts {
		part, rest, ok := cutField(b)
		if !ok {
			return nil, false
		}
		parts[i], b = string(part), rest
	}
	size, used := binary.Uvarint(b)
	if used <= 0 || size > math.MaxInt32 || len(b)-used != len(r.digest) {
		return nil, false
	}
	r.upstream, r.id, r.tool, r.size = parts[0], parts[1], parts[2], int(size)
	if parts[3] != "" {
		r.arguments = []byte(parts[3])
	}
	if parts[4] != "" {
		r.masks = []byte(parts[4])
	}
	copy(r.digest[:], b[used:])
	return r, !x.g.Now().After(r.expires)
}

// taskTarget is the target of a request about a task: it is judged as the call
// that made it. A task of a tool that this principal may not see now is as
// unknown as one that never was, after the same work.
func (x *exchange) taskTarget(ctx context.Context, handle string) *target {
	t := &target{method: "tools/call", kind: "tool", task: new(taskRef)}
	ref, ok := x.openTask(handle)
	if !ok {
		return t
	}
	item, ok := x.snap.Find(ref.upstream, federation.Tool, ref.tool)
	if !ok {
		return t
	}
	v, err := x.view(ctx)
	if err != nil {
		x.g.Logger.Error("visibility not known", "error", err, "decision_id", x.id)
		return t // unknown: fails closed
	}
	t.task, t.item, t.upstream, t.name, t.exposed, t.arguments = ref, item, item.Upstream, item.Name, handle, ref.arguments
	t.masks = ref.masksOf()
	t.known = v.lists[federation.Tool].shows(item)
	return t
}

// unknownTask answers for every task that is not there for this principal.
func unknownTask() *refusal {
	return &refusal{status: http.StatusOK, code: codeInvalidParams, outcome: "not_found", reason: "unknown_task", text: "Unknown task"}
}

// masksOf are the masks of the call's result. Its arguments, on which they may
// depend, are not always known later.
func (r *taskRef) masksOf() *masks {
	if r == nil {
		return nil
	}
	return unsealMasks(r.masks)
}

// about says in a record which request about the task it was, beside the call
// that it was judged as.
func (r *taskRef) about(rec *audit.Record, method string) {
	rec.Detail = method
	if rec.Arguments == nil && r.size > 0 && rec.Request.Method == "tools/call" { // not of a question in it
		rec.Arguments = &audit.Payload{Digest: hex.EncodeToString(r.digest[:]), Size: r.size}
	}
}

// millis is a duration in JSON, in whole milliseconds; otherwise when it is
// none.
func millis(raw []byte, otherwise time.Duration) time.Duration {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return otherwise
	}
	return time.Duration(n) * time.Millisecond
}
