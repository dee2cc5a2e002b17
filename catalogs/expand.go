package catalogs

import (
	"path/filepath"
	"slices"
	"strings"
)

// template is a value taken apart.
type template struct {
	file  bool // the whole is the name of a file
	parts []part
}

// part is literal text, or a variable when name is set.
type part struct {
	text     string // literal, or what stands in for a variable
	name     string
	fallback bool // text stands in
}

// fault is what is wrong with a value; it never repeats a value that was read.
type fault struct{ text, fix string }

// parseTemplate takes a value apart without reading anything. path says that
// the value is a path already.
func parseTemplate(raw string, path bool) (t template, f *fault) {
	switch {
	case strings.HasPrefix(raw, "$file:"):
		raw = raw[1:]
	case strings.HasPrefix(raw, "file:") && path:
		return t, &fault{"is a path already", "drop file: in front of it"}
	case strings.HasPrefix(raw, "file:"):
		t.file, raw = true, strings.TrimPrefix(raw, "file:")
		if strings.HasPrefix(raw, "///") {
			raw = raw[2:] // file:///etc/x, as a URL
		}
		if raw == "" {
			return t, &fault{"names no file", "write file:PATH"}
		}
	}
	var literal strings.Builder
	for raw != "" {
		i := strings.Index(raw, "${")
		if i < 0 {
			literal.WriteString(raw)
			break
		}
		if i > 0 && raw[i-1] == '$' {
			literal.WriteString(raw[:i-1] + "${")
			raw = raw[i+2:]
			continue
		}
		literal.WriteString(raw[:i])
		name, rest, closed := strings.Cut(raw[i+2:], "}")
		if !closed {
			return t, &fault{"opens ${ and does not close it", "write ${NAME}, or $${ for a literal ${"}
		}
		p := part{}
		p.name, p.text, p.fallback = strings.Cut(name, ":-")
		switch {
		case strings.Contains(p.text, "${"):
			return t, &fault{"has a variable inside the default of another", "write a plain default: ${NAME:-text}"}
		case !envName.MatchString(p.name):
			return t, &fault{"holds a ${...} that names no variable", "write ${NAME} or ${NAME:-text}, or $${ for a literal ${"}
		}
		t.parts = append(t.parts, part{text: literal.String()}, p)
		literal.Reset()
		raw = rest
	}
	t.parts = append(t.parts, part{text: literal.String()})
	return t, nil
}

// reads names what the template would read.
func (t template) reads(base string) (names []string) {
	var path strings.Builder
	for _, p := range t.parts {
		if p.name != "" {
			names = append(names, p.name)
			path.WriteString("${" + p.name + "}")
		} else {
			path.WriteString(p.text)
		}
	}
	if t.file {
		names = append(names, "file:"+absolute(base, path.String()))
	}
	return names
}

// fixed reports whether the template reads nothing.
func (t template) fixed() bool {
	return !t.file && !slices.ContainsFunc(t.parts, func(p part) bool { return p.name != "" })
}

// expand reads what the template names. What was read is not looked at again:
// a variable cannot name another one, nor a file.
func (s *sources) expand(t template, base string) (string, *fault) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		if forbiddenName(p.name) {
			return "", &fault{"names " + p.name + ", which is the gateway's own", "OSTIARY_ variables never reach an upstream; use a variable of another name"}
		}
		v, set := s.variable(p.name)
		switch {
		case v == "" && p.fallback:
			v = p.text
		case !set:
			return "", &fault{"names the variable " + p.name + ", which is not set",
				"set it, give a default with ${" + p.name + ":-text}, or set enabled: false"}
		}
		b.WriteString(v)
	}
	out := b.String()
	if t.file {
		content, f := s.secretFile(absolute(base, out))
		if f != nil {
			return "", f
		}
		out = strings.TrimSuffix(strings.TrimSuffix(content, "\n"), "\r")
	}
	switch {
	case len(out) > MaxValue:
		return "", &fault{"is longer than 64 KiB once expanded", "check what the variable or file holds"}
	case strings.ContainsRune(out, 0):
		return "", &fault{"holds a NUL byte once expanded", "check what the variable or file holds"}
	}
	return out, nil
}

// forbiddenName: the gateway's own settings, its master key among them, in
// any case since some systems do not tell cases apart.
func forbiddenName(name string) bool {
	return strings.HasPrefix(strings.ToUpper(name), "OSTIARY_")
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// resolve expands the values of an entry, or only takes them apart when it is
// disabled. It reports whether all went well.
func (e *entry) resolve(s *sources) bool {
	good := true
	for _, r := range e.values {
		t, f := parseTemplate(r.raw, r.path)
		if f != nil {
			r.problem(f.text, f.fix)
			good = false
			continue
		}
		e.Reads = append(e.Reads, t.reads(s.dir)...)
		if !e.Enabled {
			r.set(r.raw)
			continue
		}
		out, f := s.expand(t, s.dir)
		if f == nil && s.leadsToData(out, r.path) {
			f = &fault{"leads into the gateway's data directory", "keep what upstreams need somewhere else"}
		}
		if f != nil {
			r.problem(f.text, f.fix)
			good = false
			continue
		}
		s.note(r.value.path, out)
		r.set(out)
	}
	return good
}
