package cases

import (
	"maps"
	"slices"
	"strings"
)

// count counts what came for one upstream.
func count(hits []Hit, upstream string) (n int) {
	for _, h := range hits {
		if h.Upstream == upstream {
			n++
		}
	}
	return n
}

// seen is what reached an upstream, or all of them, since a mark.
type seen struct {
	hits, replies []Hit
	counts        map[string]int // by method
}

// mark is a point in a Recorder's memory.
type mark struct {
	hits, replies int
	counts        map[string]int
}

func (rec *Recorder) mark() mark {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return mark{len(rec.hits), len(rec.replies), maps.Clone(rec.counts)}
}

// since is what reached an upstream, "" = any but the control's. A redirect
// that was followed counts everywhere.
func (rec *Recorder) since(m mark, upstream string) seen {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	others := func(h Hit) bool { return upstream != "" && h.Upstream != upstream && h.Upstream != elsewhere }
	s := seen{
		hits:    slices.DeleteFunc(slices.Clone(rec.hits[m.hits:]), others),
		replies: slices.DeleteFunc(slices.Clone(rec.replies[m.replies:]), others),
		counts:  map[string]int{},
	}
	for key, n := range rec.counts {
		if name, method, _ := strings.Cut(key, " "); upstream == name || upstream == "" && name != control {
			s.counts[method] += n - m.counts[key]
		}
	}
	return s
}

// Hits are the requests that acted so far, oldest first.
func (rec *Recorder) Hits() []Hit { return rec.since(mark{}, "").hits }
