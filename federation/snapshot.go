package federation

import (
	"cmp"
	"slices"

	"github.com/ostiary/ostiary/catalogs"
)

// Snapshot is the namespace at one moment: immutable, shared, ordered.
type Snapshot struct {
	revision string
	sections map[string]*section
	infos    []UpstreamInfo // sorted by name

	// The merged namespace: what stands in it, and what was left out of it by
	// upstream, because another holds the name.
	merged  [kinds][]*Item
	exposed [kinds]map[string]*Item
	leftOut map[string][]LeftOut

	notes func() map[string][]Note // by upstream, made once; nil = there are none
}

// UpstreamInfo is one upstream in a snapshot.
type UpstreamInfo struct {
	Config       *catalogs.Upstream
	Known        bool // it was reached at least once (maybe before a restart)
	Era          string
	Version      string
	Capabilities []byte // raw ServerCapabilities
	Instructions string
}

// Revision changes whenever anything in the snapshot does. It is a digest:
// equal content, equal revision, also after a restart.
func (s *Snapshot) Revision() string { return s.revision }

// List is every item of a kind at an endpoint, sorted by exposed name. The
// slice is shared: read only.
func (s *Snapshot) List(endpoint string, k Kind) []*Item {
	if k >= kinds {
		return nil
	}
	if endpoint == Merged {
		return s.merged[k]
	}
	if section := s.sections[endpoint]; section != nil {
		return section.own[k]
	}
	return nil
}

// Find is the tool, prompt, resource or template with this exposed name or
// URI at an endpoint.
func (s *Snapshot) Find(endpoint string, k Kind, exposed string) (*Item, bool) {
	if k >= kinds {
		return nil, false
	}
	if endpoint == Merged {
		i, ok := s.exposed[k][exposed]
		return i, ok
	}
	if section := s.sections[endpoint]; section != nil {
		i, ok := section.names[k][exposed]
		if !ok || notFit(i) {
			return nil, false
		}
		return i, true
	}
	return nil, false
}

// Ref is a resource that a URI may mean.
type Ref struct {
	Upstream *catalogs.Upstream
	URI      string // the upstream's own
	Item     *Item  // the listed resource or the template that matches; nil when neither
}

// Resolve says what a URI at an endpoint may mean. A marked URI means exactly
// one upstream; a bare one in the merged namespace means each upstream that
// lists it or has a template that it matches, in the order of their names,
// save that a bare URI which is itself listed there means its holder alone.
func (s *Snapshot) Resolve(endpoint, uri string) []Ref {
	if endpoint != Merged {
		return s.resolveAt(endpoint, uri)
	}
	if i, ok := s.exposed[Resource][uri]; ok {
		return []Ref{{Upstream: i.Upstream, URI: i.Name, Item: i}}
	}
	if upstream, own, marked := SplitURI(uri); marked {
		return s.resolveAt(upstream, own)
	}
	var refs []Ref
	for _, info := range s.infos {
		if i := s.sections[info.Config.Name].resource(uri); i != nil {
			refs = append(refs, Ref{Upstream: info.Config, URI: uri, Item: i})
		}
	}
	return refs
}

func (s *Snapshot) resolveAt(upstream, own string) []Ref {
	section := s.sections[upstream]
	if section == nil {
		return nil
	}
	return []Ref{{Upstream: section.info.Config, URI: own, Item: section.resource(own)}}
}

// Upstream is an enabled upstream and what it said of itself.
func (s *Snapshot) Upstream(name string) (UpstreamInfo, bool) {
	if section := s.sections[name]; section != nil {
		return section.info, true
	}
	return UpstreamInfo{}, false
}

// Upstreams are the enabled ones, sorted by name. The slice is shared: read
// only.
func (s *Snapshot) Upstreams() []UpstreamInfo { return s.infos }

// section is one upstream's part of the namespace. It is immutable; a
// snapshot takes over those of its predecessor that did not change.
type section struct {
	info     UpstreamInfo
	peer     *peer // nil until known
	lists    [kinds][]*Item
	own      [kinds][]*Item // those whose own names may go out as they are
	names    [kinds]map[string]*Item
	reports  [kinds][]LeftOut // what is malformed
	digests  [kinds]string    // of the lists
	revision string
}

// resource is the listed resource of that URI, or else the first template, by
// name, that it matches.
func (s *section) resource(uri string) *Item {
	if i := s.names[Resource][uri]; i != nil {
		return i
	}
	for _, t := range s.lists[Template] {
		if t.template.matches(uri) {
			return t
		}
	}
	return nil
}

// malformed is everything left out of the section, of all kinds.
func (s *section) malformed() []LeftOut { return slices.Concat(s.reports[:]...) }

func sortedInfos(sections map[string]*section) []UpstreamInfo {
	infos := make([]UpstreamInfo, 0, len(sections))
	for _, s := range sections {
		infos = append(infos, s.info)
	}
	slices.SortFunc(infos, func(a, b UpstreamInfo) int { return cmp.Compare(a.Config.Name, b.Config.Name) })
	return infos
}
