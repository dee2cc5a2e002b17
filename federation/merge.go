package federation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
	"github.com/ostiary/ostiary/catalogs"
)

// newSection makes one upstream's part of the namespace.
func newSection(u *catalogs.Upstream, said *peer, lists [kinds][]*Item, reports [kinds][]LeftOut) *section {
	s := &section{peer: said, lists: lists, own: lists, reports: reports}
	s.info.Config = u
	if said != nil {
		s.info.Known = true
		s.info.Era = said.Era.String()
		s.info.Version = said.Version
		s.info.Capabilities = said.Capabilities
		s.info.Instructions = said.Instructions
	}
	all := sha256.New()
	// Source and Reads say where the entry stands, not what it is.
	config := *u
	config.Source, config.Reads, config.Env, config.Auth = catalogs.Position{}, nil, nil, catalogs.Auth{}
	fmt.Fprintf(all, "%#v\x00%#v\x00", config, s.info.Known)
	if said != nil {
		fmt.Fprintf(all, "%q%q%q%q%q", s.info.Era, s.info.Version, s.info.Capabilities, said.ServerInfo, s.info.Instructions)
	}
	for k := range kinds {
		s.names[k] = make(map[string]*Item, len(lists[k]))
		list := sha256.New()
		for _, i := range lists[k] {
			s.names[k][i.Name] = i
			fmt.Fprintf(list, "%x%q%q%t", i.sum, i.Exposed, i.Labels, u.TrustAnnotations)
		}
		if slices.ContainsFunc(lists[k], notFit) {
			s.own[k] = slices.DeleteFunc(slices.Clone(lists[k]), notFit)
		}
		s.digests[k] = hex.EncodeToString(list.Sum(nil))
		io.WriteString(all, s.digests[k])
	}
	s.revision = hex.EncodeToString(all.Sum(nil))
	return s
}

// namespace is the write side: the items of all upstreams in an indexed
// database, from which each commit derives the next Snapshot and swaps the
// pointer. Readers load the pointer and never wait.
type namespace struct {
	writing sync.Mutex // one writer at a time
	items   *memdb.MemDB
	current atomic.Pointer[Snapshot]
}

// itemIndex keys an *Item; queries give the start of a key.
type itemIndex func(*Item) []byte

func (f itemIndex) FromObject(o any) (bool, []byte, error) { return true, f(o.(*Item)), nil }

func (f itemIndex) FromArgs(args ...any) ([]byte, error) {
	key, ok := args[0].([]byte)
	if !ok {
		return nil, fmt.Errorf("item index: key of type %T", args[0])
	}
	return key, nil
}

func (f itemIndex) PrefixFromArgs(args ...any) ([]byte, error) { return f.FromArgs(args...) }

// Names have no control characters (checkName), so a NUL ends them.
func ownKey(i *Item) []byte {
	return append(append(append([]byte(i.Upstream.Name), 0, byte(i.Kind)), i.Name...), 0)
}

func exposedKey(i *Item) []byte {
	return append(append([]byte{byte(i.Kind)}, i.Exposed...), 0)
}

func newNamespace() *namespace {
	// Ordered by kind and exposed name, then by upstream: merging is one walk
	// of the index.
	items, err := memdb.NewMemDB(&memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		"items": {Name: "items", Indexes: map[string]*memdb.IndexSchema{
			"id":      {Name: "id", Unique: true, Indexer: itemIndex(ownKey)},
			"exposed": {Name: "exposed", Indexer: itemIndex(exposedKey)},
		}},
	}})
	if err != nil {
		panic("federation: item table: " + err.Error()) // the schema above is wrong
	}
	n := &namespace{items: items}
	empty := &Snapshot{}
	empty.seal()
	n.current.Store(empty)
	return n
}

// update makes the next snapshot: change gets the sections to alter (a copy of
// its own). Only the items of sections that changed are touched, and only the
// kinds that changed are merged again. yielding, by upstream, holds own names
// that gave way to another's before (a restart): they do so again.
func (n *namespace) update(yielding map[string]yields, change func(map[string]*section)) (before, after *Snapshot, err error) {
	n.writing.Lock()
	defer n.writing.Unlock()
	before = n.current.Load()
	sections := maps.Clone(before.sections)
	if sections == nil {
		sections = map[string]*section{}
	}
	change(sections)

	txn := n.items.Txn(true)
	defer txn.Abort()
	var touched [kinds]bool
	for name, old := range before.sections {
		if sections[name] != old {
			if err := replaceItems(txn, old, sections[name], &touched); err != nil {
				return before, before, err
			}
		}
	}
	for name, s := range sections {
		if before.sections[name] == nil {
			if err := replaceItems(txn, nil, s, &touched); err != nil {
				return before, before, err
			}
		}
	}

	after = &Snapshot{sections: sections, merged: before.merged, exposed: before.exposed, infos: sortedInfos(sections)}
	for k := range kinds {
		if touched[k] {
			if err := after.merge(txn, k, before, yielding); err != nil {
				return before, before, err
			}
		}
	}
	if touched == ([kinds]bool{}) {
		after.leftOut, after.notes = before.leftOut, before.notes
	} else {
		after.collectLeftOut()
		infos := after.infos
		after.notes = sync.OnceValue(func() map[string][]Note { return lookAlikes(sections, infos) })
	}
	after.seal()
	txn.Commit()
	n.current.Store(after)
	return before, after, nil
}

// replaceItems puts the items of next where those of old were; either may be
// nil. Items that both share are not touched.
func replaceItems(txn *memdb.Txn, old, next *section, touched *[kinds]bool) error {
	for k := range kinds {
		if next == nil || old == nil || !slices.Equal(old.lists[k], next.lists[k]) {
			touched[k] = true
		} else {
			continue
		}
		if old != nil {
			for _, i := range old.lists[k] {
				if next == nil || next.names[k][i.Name] == nil {
					if err := txn.Delete("items", i); err != nil {
						return fmt.Errorf("namespace: %w", err)
					}
				}
			}
		}
		if next != nil {
			for _, i := range next.lists[k] {
				if old == nil || old.names[k][i.Name] != i {
					if err := txn.Insert("items", i); err != nil {
						return fmt.Errorf("namespace: %w", err)
					}
				}
			}
		}
	}
	return nil
}

// merge fills in kind k: every item under its exposed name, one holder each.
func (s *Snapshot) merge(txn *memdb.Txn, k Kind, before *Snapshot, yielding map[string]yields) error {
	rows, err := txn.Get("items", "exposed_prefix", []byte{byte(k)})
	if err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	list := make([]*Item, 0, len(before.merged[k]))
	names := make(map[string]*Item, len(before.merged[k]))
	for row := rows.Next(); row != nil; row = rows.Next() {
		i := row.(*Item)
		if impersonates(i) || i.Upstream.Prefix == "" && notFit(i) {
			continue
		}
		holder, taken := names[i.Exposed]
		switch {
		case !taken:
			list = append(list, i)
		case prefers(i, holder, before.exposed[k][i.Exposed], yielding):
			list[len(list)-1] = i
		default:
			continue
		}
		names[i.Exposed] = i
	}
	s.merged[k], s.exposed[k] = list, names
	return nil
}

// prefers says whether i, and not rival, whose upstream's name comes first,
// has the exposed name of both. A held name stays with its holder.
func prefers(i, rival, held *Item, yielding map[string]yields) bool {
	if held != nil {
		return sameTarget(i, held) && !sameTarget(rival, held)
	}
	return yielding[rival.Upstream.Name].has(rival) && !yielding[i.Upstream.Name].has(i)
}

// impersonates says that the URI of an upstream without prefix carries a
// marker: in the merged namespace it would mean another upstream.
func impersonates(i *Item) bool {
	if i.Upstream.Prefix != "" || i.Kind != Resource && i.Kind != Template {
		return false
	}
	_, _, marked := SplitURI(i.Name)
	return marked
}

// notFit says that the item's own name can't go out as it is.
func notFit(i *Item) bool { return i.unfit != "" }

func sameTarget(a, b *Item) bool {
	return a.Upstream.Name == b.Upstream.Name && a.Name == b.Name
}

// collectLeftOut reports, by upstream, what does not stand in the merged
// namespace, or not at the upstream's own endpoint. Only names without prefix,
// or with equal hashes, can collide, so it is nearly always empty.
func (s *Snapshot) collectLeftOut() {
	s.leftOut = map[string][]LeftOut{}
	for name, section := range s.sections {
		for k := range kinds {
			for _, i := range section.lists[k] {
				if reason := s.absent(i); reason != "" {
					s.leftOut[name] = append(s.leftOut[name], LeftOut{Kind: k.String(), Name: shortened(i.Name), Reason: reason})
				}
			}
		}
	}
}

// absent says why an item can't be had somewhere; "" when it can everywhere.
func (s *Snapshot) absent(i *Item) string {
	holder := s.exposed[i.Kind][i.Exposed]
	switch {
	case notFit(i) && i.Upstream.Prefix == "":
		return i.unfit + "; give the entry a prefix"
	case notFit(i):
		return i.unfit + "; the merged namespace alone has it, as " + i.Exposed
	case holder == i:
		return ""
	case holder != nil && !impersonates(i):
		return "upstream " + holder.Upstream.Name + " already has " + shortened(i.Exposed) + " in the merged namespace; give the entry a prefix"
	}
	return "its URI ends in a marker that means another upstream; give the entry a prefix"
}

// seal computes the revision: of the sections, and of who holds what.
func (s *Snapshot) seal() {
	sum := sha256.New()
	for _, info := range s.infos {
		section := s.sections[info.Config.Name]
		io.WriteString(sum, info.Config.Name+"\x00"+section.revision)
		for _, l := range s.leftOut[info.Config.Name] {
			io.WriteString(sum, strings.Join([]string{"", l.Kind, l.Name, l.Reason}, "\x00"))
		}
	}
	s.revision = hex.EncodeToString(sum.Sum(nil)[:16])
}

// yieldsOf are the names of one upstream that another holds.
func (s *Snapshot) yieldsOf(upstream string) yields {
	if len(s.leftOut[upstream]) == 0 {
		return nil
	}
	y := yields{}
	for k := range kinds {
		for _, i := range s.sections[upstream].lists[k] {
			if s.exposed[k][i.Exposed] != i {
				y.add(i)
			}
		}
	}
	return y
}

// yields are own names of one upstream that another holds in the merged
// namespace.
type yields map[string]bool

func (y yields) has(i *Item) bool { return y[i.Kind.String()+" "+i.Name] }
func (y yields) add(i *Item)      { y[i.Kind.String()+" "+i.Name] = true }
