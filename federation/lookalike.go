package federation

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Note is something about an item that its operator should know; the item is
// served all the same.
type Note struct {
	Note string `json:"note"` // LookAlike
	Kind string `json:"kind"`
	Name string `json:"name"`
	Text string `json:"text"`
}

// LookAlike: the item's name can be taken for that of another item, by people
// or by models.
const LookAlike = "look_alike"

// maxNotes is how many notes are made of one upstream.
const maxNotes = 100

// homoglyphs are letters of other alphabets that can't be told from Latin ones,
// after case folding.
var homoglyphs = map[rune]rune{
	// Cyrillic
	'а': 'a', 'в': 'b', 'с': 'c', 'ԁ': 'd', 'е': 'e', 'ғ': 'f', 'һ': 'h', 'н': 'h', 'і': 'i', 'ӏ': 'l', 'ј': 'j', 'к': 'k',
	'м': 'm', 'о': 'o', 'р': 'p', 'ԛ': 'q', 'г': 'r', 'ѕ': 's', 'т': 't', 'ѵ': 'v', 'ԝ': 'w', 'х': 'x', 'у': 'y', 'ү': 'y', 'з': '3',
	// Greek
	'α': 'a', 'β': 'b', 'ε': 'e', 'ζ': 'z', 'η': 'n', 'ι': 'i', 'κ': 'k', 'μ': 'm', 'ν': 'v', 'ο': 'o', 'ρ': 'p', 'τ': 't', 'υ': 'u',
	'χ': 'x', 'ω': 'w', 'ϲ': 'c', 'ϳ': 'j',
	// Armenian, and letters of Latin itself
	'օ': 'o', 'ս': 'u', 'հ': 'h', 'ո': 'n', 'ց': 'g', 'զ': 'q', 'ı': 'i', 'ɩ': 'i', 'ɡ': 'g', 'ɑ': 'a', 'ʀ': 'r', 'ꞓ': 'c',
}

// skeleton is equal for names that look alike: compatibility forms are one
// (NFKC), so are letter cases, homoglyphs, 0 and O, 1, l and I; what can't be
// seen is gone. Unicode's own tables (UTS 39) know more pairs.
func skeleton(name string) string {
	plain := func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		}
		switch r {
		case '0':
			return 'o'
		case '1', 'i', '|':
			return 'l'
		}
		return r
	}
	if strings.IndexFunc(name, func(r rune) bool { return r >= 0x80 }) < 0 {
		return strings.Map(plain, name)
	}
	name = strings.ToLower(norm.NFKC.String(strings.Map(func(r rune) rune {
		if invisible(r) {
			return -1
		}
		return r
	}, name)))
	return strings.Map(func(r rune) rune {
		if twin, ok := homoglyphs[r]; ok {
			r = twin
		}
		return plain(r)
	}, name)
}

// lookAlikes are the notes on tools and prompts whose names look like that of
// another, by upstream. Equal names are no look-alikes: each stands behind its
// own prefix. It walks the whole namespace once.
func lookAlikes(sections map[string]*section, infos []UpstreamInfo) map[string][]Note {
	notes := map[string][]Note{}
	for _, k := range []Kind{Tool, Prompt} {
		first := map[string]*Item{}    // by skeleton
		others := map[string][]*Item{} // all, the first too, of those that have company
		var order []string
		for _, info := range infos {
			for _, i := range sections[info.Config.Name].lists[k] {
				s := skeleton(i.Name)
				switch holder := first[s]; {
				case holder == nil:
					first[s] = i
				case others[s] != nil:
					others[s] = append(others[s], i)
				default:
					order = append(order, s)
					others[s] = []*Item{holder, i}
				}
			}
		}
		for _, s := range order {
			for _, i := range others[s] {
				upstream := i.Upstream.Name
				if other := unlike(i, others[s]); other != nil && len(notes[upstream]) < maxNotes {
					notes[upstream] = append(notes[upstream], Note{
						Note: LookAlike, Kind: k.String(), Name: shortened(i.Name),
						Text: "its name looks like " + visible(shortened(other.Name)) + " of upstream " + other.Upstream.Name,
					})
				}
			}
		}
	}
	return notes
}

// unlike is an item of the group with another name than i: of another upstream
// if there is one.
func unlike(i *Item, group []*Item) (found *Item) {
	for _, other := range group {
		if other.Name == i.Name {
			continue
		}
		if other.Upstream.Name != i.Upstream.Name {
			return other
		}
		if found == nil {
			found = other
		}
	}
	return found
}

// notesOf are the notes on one upstream's items. They are made when first
// asked for: only operators ask.
func (s *Snapshot) notesOf(upstream string) []Note {
	if s.notes == nil {
		return nil
	}
	return s.notes()[upstream]
}
