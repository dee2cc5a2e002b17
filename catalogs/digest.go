package catalogs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
)

// digest is equal for upstreams that mean the same. It walks the fields
// itself: whatever prints an Upstream hides its secrets, and two different
// secrets would look alike.
func digest(u *Upstream, ca string) string {
	c := *u
	c.Source, c.Reads, c.Digest = Position{}, nil, ""
	h := sha256.New()
	walk(h, reflect.ValueOf(c))
	walk(h, reflect.ValueOf(ca))
	return hex.EncodeToString(h.Sum(nil))
}

// walk writes a value so that different ones never give the same bytes.
func walk(w io.Writer, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		fmt.Fprintf(w, "s%d:%s", v.Len(), v.String())
	case reflect.Bool:
		fmt.Fprintf(w, "b%t;", v.Bool())
	case reflect.Int, reflect.Int64:
		fmt.Fprintf(w, "i%d;", v.Int())
	case reflect.Slice:
		fmt.Fprintf(w, "l%d:", v.Len())
		for i := range v.Len() {
			walk(w, v.Index(i))
		}
	case reflect.Map:
		// Every map here has text for keys.
		keys := map[string]reflect.Value{}
		for _, k := range v.MapKeys() {
			keys[k.String()] = v.MapIndex(k)
		}
		fmt.Fprintf(w, "m%d:", len(keys))
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			walk(w, reflect.ValueOf(k))
			walk(w, keys[k])
		}
	case reflect.Struct:
		for i := range v.NumField() {
			walk(w, v.Field(i))
		}
	case reflect.Interface:
		walk(w, v.Elem())
	default:
		io.WriteString(w, "-")
	}
}
