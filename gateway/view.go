package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sync"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/policy"
)

// view is what one principal sees at one endpoint: a visibility set over one
// snapshot. It is immutable but for the encoded lists, which are made on
// first use.
type view struct {
	snap     *federation.Snapshot
	revision string // of the decider
	lists    [4]*visible
}

// visible is one list of a view. Views over one snapshot that show the same
// share it, so that what is kept does not grow with users or agents.
type visible struct {
	items  []*federation.Item // in the snapshot's order
	of     int                // before filtering
	hidden map[*federation.Item]struct{}
	digest string // of the exposed names shown

	shapes [forms]shape
}

// shape is a list in one form, encoded once for the view.
type shape struct {
	once   sync.Once
	items  [][]byte // of visible.items, in their order; nil in formOwn
	joined []byte   // comma-separated
}

func (v *visible) shows(i *federation.Item) bool {
	_, hidden := v.hidden[i]
	return !hidden
}

// methodOf is the later act that listing a kind is judged as:
// callable implies listed.
var methodOf = [4]string{
	federation.Tool: "tools/call", federation.Prompt: "prompts/get",
	federation.Resource: "resources/read", federation.Template: "resources/read",
}

// views remembers views while snapshot and policy stay the same.
type views struct {
	mu     sync.RWMutex
	m      map[string]*view
	snap   *federation.Snapshot // that shared is of
	shared map[string]*visible  // by endpoint, kind and digest
}

// share is v, or the equal list that is remembered already. It needs mu.
func (vs *views) share(snap *federation.Snapshot, endpoint string, k federation.Kind, v *visible) *visible {
	if vs.snap != snap || len(vs.shared) >= viewsKept {
		vs.snap, vs.shared = snap, make(map[string]*visible)
	}
	key := endpoint + "\x00" + k.String() + v.digest
	if other := vs.shared[key]; other != nil {
		return other
	}
	vs.shared[key] = v
	return v
}

// viewsKept bounds how many principals' views are remembered; above it all
// are forgotten, since making one is cheap beside finding the least used.
const viewsKept = 4096

// view returns what the principal of x sees at its endpoint now.
func (x *exchange) view(ctx context.Context) (*view, error) {
	return x.g.viewOf(ctx, x.p, x.endpoint, x.snap, x.agent)
}

// viewKey names all that a listing may depend on besides snapshot and policy:
// two tokens of one user may differ in groups, scopes or age. Each part stands
// behind its length, so that no two run together.
func viewKey(p *identity.Principal, endpoint string, agent policy.Agent) string {
	b := make([]byte, 0, 256)
	add := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, s := range []string{p.Key(), endpoint, agent.Name, agent.Version, p.Grant.Resource, p.Client.Kind, p.Client.VerifiedName, p.Client.RedirectHost, p.Name} {
		add(s)
	}
	for _, list := range [][]string{p.Groups, p.AMR, p.Grant.Scopes} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			add(s)
		}
	}
	b = binary.BigEndian.AppendUint64(b, uint64(p.AuthTime.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Grant.ConsentedAt.UnixNano()))
	return string(b)
}

func (g *Gateway) viewOf(ctx context.Context, p *identity.Principal, endpoint string, snap *federation.Snapshot, agent policy.Agent) (*view, error) {
	key := viewKey(p, endpoint, agent)
	revision := g.Decider.Revision()
	g.views.mu.RLock()
	v := g.views.m[key]
	g.views.mu.RUnlock()
	if v != nil && v.snap == snap && v.revision == revision {
		return v, nil
	}
	v = &view{snap: snap, revision: revision}
	for k := range v.lists {
		list, err := g.judgeList(ctx, p, endpoint, snap, agent, federation.Kind(k))
		if err != nil {
			return nil, err
		}
		v.lists[k] = list
	}
	g.views.mu.Lock()
	defer g.views.mu.Unlock()
	for k, list := range v.lists {
		v.lists[k] = g.views.share(snap, endpoint, federation.Kind(k), list)
	}
	if g.views.m == nil || len(g.views.m) >= viewsKept {
		g.views.m = make(map[string]*view)
	}
	g.views.m[key] = v
	return v, nil
}

func (g *Gateway) judgeList(ctx context.Context, p *identity.Principal, endpoint string, snap *federation.Snapshot, agent policy.Agent, k federation.Kind) (*visible, error) {
	all := snap.List(endpoint, k)
	v := &visible{of: len(all)}
	req := g.subject(p)
	req.Listing, req.Agent, req.Time = true, agent, policy.At(g.Now())
	req.Request = policy.Act{Method: methodOf[k], Kind: k.String(), Endpoint: endpointPath(endpoint)}
	upstreams := make([]string, len(all))
	targets := make([]policy.Target, len(all))
	for i, item := range all {
		upstreams[i], targets[i] = item.Upstream.Name, targetOf(item)
	}
	shown, err := g.Decider.Visible(ctx, &req, upstreams, targets)
	if err != nil {
		return nil, err
	}
	names := sha256.New()
	v.items = make([]*federation.Item, 0, len(all))
	for i, item := range all {
		if !shown[i] {
			if v.hidden == nil {
				v.hidden = make(map[*federation.Item]struct{})
			}
			v.hidden[item] = struct{}{}
			continue
		}
		v.items = append(v.items, item)
		names.Write([]byte(item.ExposedAt(endpoint)))
		names.Write([]byte{'\n'})
	}
	v.digest = hex.EncodeToString(names.Sum(nil))
	return v, nil
}

// encoded is one of the view's lists, all of it, for agents of a protocol
// revision. An item of an upstream of that revision or an older one is as its
// upstream gave it.
func (v *view) encoded(k federation.Kind, endpoint, version string) []byte {
	return v.shape(k, endpoint, formOf(version)).joined
}

// appendPage appends what encoded gives, for count items from first on.
func (v *view) appendPage(b []byte, k federation.Kind, endpoint, version string, first, count int) []byte {
	f := formOf(version)
	var items [][]byte // of a form that is not their own
	if f != formOwn {
		items = v.shape(k, endpoint, f).items
	}
	for n := first; n < first+count; n++ {
		if n > first {
			b = append(b, ',')
		}
		if f != formOwn {
			b = append(b, items[n]...)
		} else {
			b = append(b, v.lists[k].items[n].BytesAt(endpoint)...)
		}
	}
	return b
}

func (v *view) shape(k federation.Kind, endpoint string, f form) *shape {
	list := v.lists[k]
	s := &list.shapes[f]
	s.once.Do(func() {
		items := make([][]byte, len(list.items))
		for n, i := range list.items {
			as := f
			if u, _ := v.snap.Upstream(i.Upstream.Name); !older(newest[f], u.Version) {
				as = formOwn
			}
			items[n] = fitItem(i, endpoint, as)
			if as == form2511 && k == federation.Tool {
				items[n] = withTaskSupport(v.snap, i, items[n])
			}
		}
		s.joined = join(items)
		if f != formOwn {
			s.items = items
		}
	})
	return s
}

// join splices definitions into the inside of a JSON array.
func join(items [][]byte) []byte { return bytes.Join(items, []byte{','}) }
