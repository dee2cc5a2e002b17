package catalogs

import (
	"fmt"
	"slices"
	"strings"
)

// field is one key of a mapping and what reads it. The tables of fields are
// the format: the schema for editors is tested against them.
type field[T any] struct {
	key  string
	read func(*T, value)
}

// readFields reads a mapping by a table; a key that is not in it is a problem
// with a suggestion. It returns where each known key stands.
func readFields[T any](v value, t *T, fields []field[T]) map[string]value {
	return readSome(v, t, fields, func(key string, k value) {
		k.problem("is not a key that is known here", suggest(key, keysOf(fields)))
	})
}

// readSome is readFields with another answer to unknown keys.
func readSome[T any](v value, t *T, fields []field[T], unknown func(key string, k value)) map[string]value {
	at := map[string]value{}
	v.mapping(func(key string, k, val value) {
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.key == key })
		if i < 0 {
			unknown(key, k)
			return
		}
		at[key] = val
		if val.null() {
			val.problem("has no value", "give it one, or drop the key")
			return
		}
		fields[i].read(t, val)
	})
	return at
}

func keysOf[T any](fields []field[T]) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

// habits are the words of other tools' files, where an entry or a whole file
// is meant.
var habits = map[string]string{
	"args":        "command is the whole: [program, argument, ...]",
	"concurrency": "did you mean limits: {concurrency: 32}?",
	"cwd":         "did you mean dir?",
	"disabled":    "did you mean enabled: false?",
	"environment": "did you mean env?",
	"headers":     "did you mean auth: {type: header, header: NAME, value: VALUE}?",
	"mcpServers":  "did you mean upstreams?",
	"name":        "the name is the key above; did you mean title?",
	"response":    "did you mean limits: {response: 16MiB}?",
	"servers":     "did you mean upstreams?",
	"shared":      "did you mean sharing: shared?",
	"timeout":     "did you mean limits: {timeout: 60s}?",
	"token":       `did you mean auth: {type: header, value: "${NAME}"}?`,
	"type":        "did you mean transport?",
}

// suggest names the known key that was probably meant, or all of them.
func suggest(key string, known []string) string {
	if hint, ok := habits[key]; ok && (slices.Contains(known, "command") || slices.Contains(known, "upstreams")) {
		return hint
	}
	best, distance := "", max(len(key)/3, 1)+1
	for _, k := range known {
		if d := edits(strings.ToLower(key), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "known here: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

// edits counts the letters that were left out, added, changed or swapped with
// their neighbour. Longer words than any key are not measured: nobody meant
// them.
func edits(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
