package gateway

import (
	"context"
	"encoding/binary"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// listKey is the member of a list result that holds the items.
var listKey = [4]string{
	federation.Tool: "tools", federation.Prompt: "prompts",
	federation.Resource: "resources", federation.Template: "resourceTemplates",
}

// listTTL is how long a modern client may keep a list. Changes are announced
// on subscriptions/listen at once; this bounds clients that don't listen.
const listTTL = time.Minute

// pages are buffers for pages of lists that are longer: half a megabyte made
// anew for each would cost more in garbage collection, which walks the catalog,
// than all else that a page does.
var pages = sync.Pool{New: func() any { return new([]byte) }}

// list answers tools/list, prompts/list, resources/list and
// resources/templates/list: pre-encoded items of an immutable snapshot,
// filtered by the principal's view. One decision record, no upstream contact.
func (x *exchange) list(ctx context.Context, k federation.Kind) {
	x.settle(ctx)
	if !x.offers(capabilityOf[k]) {
		x.answer(nil, x.noMethod())
		return
	}
	v, err := x.view(ctx)
	if err != nil {
		x.g.Logger.Error("listing failed", "error", err, "decision_id", x.id)
		x.answer(nil, &refusal{status: http.StatusOK, code: CodeDenied, outcome: "denied", reason: "decision_failed", text: "denied"})
		return
	}
	list := v.lists[k]
	first, f := x.pageStart(k, list)
	if f != nil {
		x.answer(nil, f)
		return
	}
	items := list.items[first:]
	var next string
	if len(items) > x.g.Limits.Page {
		items = items[:x.g.Limits.Page]
		next = x.sealCursor(k, items[len(items)-1].ExposedAt(x.endpoint))
	}
	var body []byte
	if len(items) == len(list.items) {
		body = v.encoded(k, x.endpoint, x.version)
	} else {
		page := pages.Get().(*[]byte)
		defer pages.Put(page) // written, or copied, when the answer is finished
		*page = v.appendPage((*page)[:0], k, x.endpoint, x.version, first, len(items))
		body = *page
	}
	if f := x.recordList(ctx, k, list, len(items)); f != nil {
		x.answer(nil, f)
		return
	}

	head := make([]byte, 0, 128)
	head = append(head, `{"jsonrpc":"2.0","id":`...)
	head = append(head, x.m.ID...)
	head = append(head, `,"result":{"`...)
	head = append(append(head, listKey[k]...), `":[`...)
	tail := append(make([]byte, 0, 256), ']')
	if next != "" {
		tail = wire.AppendString(append(tail, `,"nextCursor":`...), next)
	}
	if x.era == wire.Modern {
		tail = append(tail, `,"resultType":"complete","ttlMs":`...)
		tail = strconv.AppendInt(tail, listTTL.Milliseconds(), 10)
		tail = append(tail, `,"cacheScope":"private","_meta":`...)
		tail = append(append(tail, x.g.serverMeta...), '}', '}')
	} else {
		tail = append(tail, '}', '}')
	}
	x.reply.finishParts(http.StatusOK, noStore, head, body, tail)
}

// recordList is the one record of a list: counts and a digest of the names.
func (x *exchange) recordList(ctx context.Context, k federation.Kind, list *visible, shown int) *refusal {
	x.judged = true
	req := x.g.subject(x.p)
	req.Listing, req.Agent, req.Source, req.Time = true, x.agent, x.source, policy.At(x.start)
	req.Request = policy.Act{Method: x.m.Method, Kind: k.String(), Era: x.era.String(), Endpoint: endpointPath(x.endpoint)}
	rec := x.record("decision", &req)
	revision := x.g.Decider.Revision()
	rec.Decision = &policy.Decision{Allow: true, Revision: revision}
	rec.Revisions = audit.Revisions{Policy: revision, Catalog: x.snap.Revision()}
	rec.Shown = &audit.Shown{Count: shown, Of: list.of, Digest: list.digest}
	rec.Outcome = "ok"
	began := x.g.Now()
	err := x.g.Audit.Append(ctx, rec)
	x.metrics.Record = x.g.Now().Sub(began).Microseconds()
	if err != nil {
		x.g.unwell("list not recorded", err, x.id)
		return unrecorded(err)
	}
	return nil
}

// pageStart is where the page that the request asks for begins. The empty
// string is a cursor like any other (MCP, pagination), and not one of ours.
func (x *exchange) pageStart(k federation.Kind, list *visible) (int, *refusal) {
	raw, ok := x.m.Params.Get("cursor")
	if !ok || string(raw) == "null" {
		return 0, nil
	}
	cursor, ok := wire.Unquote(raw)
	if !ok {
		return 0, refuse(http.StatusOK, codeInvalidParams, "cursor", "cursor must be a string")
	}
	after, ok := x.openCursor(k, cursor)
	if !ok {
		return 0, refuse(http.StatusOK, codeInvalidParams, "cursor", "invalid cursor; list again from the start")
	}
	at, found := slices.BinarySearchFunc(list.items, after, func(i *federation.Item, name string) int {
		return strings.Compare(i.ExposedAt(x.endpoint), name)
	})
	if found {
		at++
	}
	return at, nil
}

// cursorLife bounds how long a cursor works.
const cursorLife = time.Hour

// sealCursor makes a cursor that describes itself: the last name shown. It is
// good for this principal, endpoint and list alone, also after a restart, and
// a changed catalog moves no page.
func (x *exchange) sealCursor(k federation.Kind, last string) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(x.start.Add(cursorLife).Unix()))
	return x.g.Sealer.Seal("cursor", append(plain, last...), x.cursorBound(k))
}

func (x *exchange) openCursor(k federation.Kind, cursor string) (string, bool) {
	plain, err := x.g.Sealer.Unseal("cursor", cursor, x.cursorBound(k))
	if err != nil || len(plain) < 8 || int64(binary.BigEndian.Uint64(plain)) < x.start.Unix() {
		return "", false
	}
	return string(plain[8:]), true
}

func (x *exchange) cursorBound(k federation.Kind) []byte {
	return []byte(x.p.Key() + "\x00" + x.endpoint + "\x00" + k.String())
}
