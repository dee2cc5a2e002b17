package federation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of one listing of one upstream. What is over one of them is left out
// and reported.
const (
	maxPages   = 1000
	maxItems   = 20_000
	maxListing = 64 << 20 // bytes of definitions
)

// budget is what remains of the limits of one listing.
type budget struct{ items, bytes int }

// list reads the lists of these kinds, all pages, and commits those that could
// be read; of the others, failed, the last version stays. When none could be
// read, failed is all that was wanted. Watchers are told of what differs and of
// what was announced.
func (u *upstream) list(ctx context.Context, conn connection, want which, told announced) (failed which, err error) {
	said := conn.peer()
	left := budget{items: maxItems, bytes: maxListing}
	var raws [kinds][][]byte
	var reports [kinds][]LeftOut
	var problems []error
	var asked which
	ttl := time.Duration(-1)
	for k := range kinds {
		if asked[k] = want[k] && offers(said, k); !asked[k] {
			continue // what is not offered is an empty list
		}
		page, err := u.listKind(ctx, conn, k, &left)
		if err != nil {
			failed[k] = true
			problems = append(problems, fmt.Errorf("%s: %w", vocabulary[k].method, err))
			continue
		}
		raws[k], reports[k] = page.items, page.notes
		if page.ttl >= 0 && (ttl < 0 || page.ttl < ttl) {
			ttl = page.ttl
		}
	}
	if ttl >= 0 {
		u.health.setTTL(ttl)
	}
	err = errors.Join(problems...)
	if failed == asked && err != nil {
		return want, err
	}
	for k := range kinds {
		want[k] = want[k] && !failed[k]
	}
	return failed, cmp.Or(u.commit(said, want, raws, reports, told), err)
}

// offers says whether the upstream declares the capability behind a kind:
// asking for what it does not have is an error to some servers.
func offers(p *peer, k Kind) bool {
	return p.has([kinds]string{Tool: "tools", Prompt: "prompts", Resource: "resources", Template: "resources"}[k], "")
}

// pages is what one walk of a list gave.
type pages struct {
	items [][]byte
	notes []LeftOut
	ttl   time.Duration // the shortest of all pages; -1 none said
}

// listKind walks all pages of a list. Cursors are opaque, and the empty string
// is one. A server that gives a cursor twice would be
// walked for ever: the walk ends there, and what is new on its pages counts.
func (u *upstream) listKind(ctx context.Context, conn connection, k Kind, left *budget) (*pages, error) {
	p := &pages{ttl: -1}
	words := vocabulary[k]
	cut := func(reason string) { p.notes = append(p.notes, LeftOut{Kind: k.String(), Reason: reason}) }
	seen := map[string]bool{}
	params := []byte(`{}`)
	for n := 0; ; n++ {
		if n == maxPages {
			cut(fmt.Sprintf("the list has more than %d pages: the rest is left out", maxPages))
			return p, nil
		}
		result, err := u.askPage(ctx, conn, words.method, params)
		if err != nil || result.Raw == nil {
			return p, err
		}
		over, err := p.add(result, words.list, left)
		if err != nil {
			return nil, &Failure{Upstream: u.name, Kind: ErrBadAnswer, Detail: err.Error()}
		}
		if over != "" {
			cut(over)
			return p, nil
		}
		raw, ok := result.Get("nextCursor")
		if !ok || string(raw) == "null" {
			return p, nil
		}
		cursor, ok := wire.Unquote(raw)
		if !ok {
			return nil, &Failure{Upstream: u.name, Kind: ErrBadAnswer, Detail: "nextCursor is not a string"}
		}
		if seen[cursor] {
			if repeated := p.dropRepeated(); repeated == 0 || cursor != "" {
				cut("the upstream gives the same cursor twice: the list may be incomplete")
			}
			return p, nil
		}
		seen[cursor] = true
		params = append(append([]byte(`{"cursor":`), raw...), '}')
	}
}

// askPage sends one list request. A Raw of nil without an error means that the
// upstream has no such method: an empty list.
func (u *upstream) askPage(ctx context.Context, conn connection, method string, params []byte) (wire.Object, error) {
	p := conn.peer()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(u.config.Load().Limits.Timeout, defaultTimeout))
	defer cancel()
	answer, err := conn.do(ctx, &Call{
		Upstream: u.name, Method: method, Params: params,
		Agent: Agent{Era: p.Era, Version: p.Version, Capabilities: fullCapabilities},
	})
	if err != nil {
		return wire.Object{}, u.failure(err)
	}
	if answer.Error != nil {
		if answer.Error.Code == wire.CodeMethodNotFound {
			return wire.Object{}, nil
		}
		return wire.Object{}, &Failure{Upstream: u.name, Kind: ErrBadAnswer, Detail: fmt.Sprintf("error %d: %s", answer.Error.Code, shortened(answer.Error.Message))}
	}
	result, err := wire.Fields(answer.Result)
	if err != nil {
		return wire.Object{}, &Failure{Upstream: u.name, Kind: ErrBadAnswer, Detail: "the result is not an object"}
	}
	return result, nil
}

// add takes one page's items, as far as the budget goes; over says what limit
// ended it.
func (p *pages) add(result wire.Object, list string, left *budget) (over string, err error) {
	if raw, ok := result.Get("ttlMs"); ok {
		if ms, err := strconv.ParseInt(string(raw), 10, 64); err == nil && ms >= 0 {
			ttl := time.Duration(min(ms, pollCeiling.Milliseconds())) * time.Millisecond
			if p.ttl < 0 || ttl < p.ttl {
				p.ttl = ttl
			}
		}
	}
	raw, ok := result.Get(list)
	if !ok {
		return "", errors.New(list + " is missing from the answer")
	}
	elements, err := wire.Elements(raw)
	if err != nil {
		return "", errors.New(list + " is not an array")
	}
	for _, e := range elements {
		if left.items == 0 {
			return fmt.Sprintf("the upstream has more than %d items: the rest is left out", maxItems), nil
		}
		if left.bytes < len(e) {
			return fmt.Sprintf("the upstream's definitions are more than %d bytes: the rest is left out", maxListing), nil
		}
		left.items--
		left.bytes -= len(e)
		p.items = append(p.items, e)
	}
	return "", nil
}

// dropRepeated removes items that came before, byte for byte.
func (p *pages) dropRepeated() (repeated int) {
	kept := p.items[:0]
	seen := make(map[string]bool, len(p.items))
	for _, i := range p.items {
		key := string(bytes.TrimSpace(i))
		if seen[key] {
			repeated++
			continue
		}
		seen[key] = true
		kept = append(kept, i)
	}
	p.items = kept
	return repeated
}

// commit makes what was listed the upstream's section, persists it and tells
// the watchers.
func (u *upstream) commit(said *peer, listed which, raws [kinds][][]byte, reports [kinds][]LeftOut, told announced) error {
	for {
		was, config := u.f.Snapshot().sections[u.name], u.config.Load()
		if was == nil || u.retired.Load() {
			return errLost // the entry is gone
		}
		next := was.with(config, said, listed, raws, reports)
		committed := false
		before, after, err := u.f.namespace.update(nil, func(sections map[string]*section) {
			// Encoding was done outside the lock: a reload may have come between.
			if committed = !u.retired.Load() && sections[u.name] == was && u.config.Load() == config; committed {
				sections[u.name] = next
			}
		})
		switch {
		case err != nil:
			return err
		case u.retired.Load():
			return errLost
		case !committed:
			continue
		}
		u.f.persist(before, after)
		u.tell(was, next)
		change, differs := difference(was, next)
		for k := range kinds {
			change.Kinds[k] = change.Kinds[k] || told[k]
			differs = differs || told[k]
		}
		if differs {
			change.Upstream = u.name
			u.f.watchers.notify(change)
		}
		return nil
	}
}

// with is the section after these kinds were listed anew: the section itself
// if nothing differs.
func (s *section) with(config *catalogs.Upstream, said *peer, listed which, raws [kinds][][]byte, reports [kinds][]LeftOut) *section {
	lists, notes := s.lists, s.reports
	for k := range kinds {
		if listed[k] {
			var leftOut []LeftOut
			lists[k], leftOut = encode(config, k, raws[k], s.names[k])
			notes[k] = slices.Concat(reports[k], leftOut)
		}
	}
	next := newSection(config, said, lists, notes)
	if next.revision == s.revision && slices.Equal(next.malformed(), s.malformed()) && s.info.Config == config {
		return s
	}
	return next
}
