package catalogs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options for Load and Watch.
type Options struct {
	Getenv  func(string) (string, bool) // nil = os.LookupEnv
	DataDir string                      // values never expand to a path in it; "" = there is none

	// Revision is for Watch: the revision that the caller has already; "" =
	// whatever is there when Watch starts.
	Revision string
}

// Load reads every *.yaml and *.yml file of dir, and every *.json file of
// another tool (mcpServers, servers, server.json), hidden ones aside. It gives
// the whole catalog, or no catalog and everything that is wrong with it as
// Problems. A directory that is missing or cannot be listed is another error,
// which wraps the file system's.
func Load(dir string, o Options) (*Catalog, error) {
	c, _, err := load(dir, o)
	return c, err
}

// load also gives what was read, even where the catalog is refused; nil only
// when dir itself cannot be found.
func load(dir string, o Options) (*Catalog, *sources, error) {
	s, err := newSources(dir, o)
	if err != nil {
		return nil, nil, err
	}
	if s.listing, err = list(s.dir); err != nil {
		s.lost = true
		return nil, s, directoryError(dir, err)
	}
	var problems Problems
	c := &Catalog{}
	var entries []*entry
	for _, name := range s.listing {
		f := &file{filepath.Join(dir, name), &problems, &c.Warnings}
		content, err := s.read(filepath.Join(s.dir, name), MaxFile)
		if err != nil {
			p := unread(err, "1 MiB")
			f.problemAt(0, 0, "", "this is a catalog file that "+p.text, "mend it, or remove it from the directory")
			continue
		}
		s.note(name, string(content))
		read := f.entries
		if strings.HasSuffix(name, ".json") {
			read = f.jsonEntries
		}
		es, declared := read(content)
		if declared && len(es) == 0 {
			c.Warnings = append(c.Warnings, Problem{Position: Position{File: f.name, Line: 1},
				Text: "declares no upstreams", Fix: "add some under upstreams, or remove the file"})
		}
		entries = append(entries, es...)
	}
	for _, e := range entries {
		e.checkName()
		resolved := e.resolve(s)
		e.check(s, resolved)
		slices.Sort(e.Reads)
		e.Reads = slices.Compact(e.Reads)
	}
	together(entries)
	if len(problems) > 0 {
		slices.SortStableFunc(problems, byPlace)
		return nil, s, slices.Compact(problems)
	}
	for _, e := range entries {
		c.Upstreams = append(c.Upstreams, &e.Upstream)
		c.Warnings = append(c.Warnings, e.warnings()...)
	}
	slices.SortFunc(c.Upstreams, func(a, b *Upstream) int { return cmp.Compare(a.Name, b.Name) })
	if len(c.Upstreams) == 0 {
		c.Warnings = append(c.Warnings, Problem{Position: Position{File: dir},
			Text: "no upstreams are declared here", Fix: "add a .yaml file with an upstreams key"})
	}
	slices.SortStableFunc(c.Warnings, byPlace)
	c.Revision = s.revision()
	return c, s, nil
}

// entries reads one file. declared is false when it was refused as a whole.
func (f *file) entries(content []byte) (es []*entry, declared bool) {
	root, ok := f.parse(content)
	if !ok {
		return nil, false
	}
	if root == nil || (value{f, root, ""}).null() {
		return nil, true
	}
	// upstreams without entries, all of them commented out, is no mistake.
	v := value{f, root, ""}
	before := len(*f.problems)
	empty := false
	v.mapping(func(key string, k, val value) {
		switch {
		case key == "upstreams" && val.null():
			empty = true
		case key == "upstreams":
			fileFields[0].read(&es, val)
		default:
			k.problem("is not a key that is known here", suggest(key, keysOf(fileFields)))
		}
	})
	return es, empty || len(*f.problems) == before
}

// together judges entries beside each other: names are unique over all files,
// prefixes over all that are enabled.
func together(entries []*entry) {
	names, prefixes := map[string]*entry{}, map[string]*entry{}
	for _, e := range entries {
		if first := names[e.Name]; first != nil {
			e.name.problem(fmt.Sprintf("is declared in %s already", first.Source), "rename one of them, or remove it")
			continue
		}
		names[e.Name] = e
		if !e.Enabled || e.Prefix == "" {
			continue
		}
		first := prefixes[e.Prefix]
		if first == nil {
			prefixes[e.Prefix] = e
			continue
		}
		at, ok := e.at["prefix"]
		if !ok {
			at = e.name
		}
		at.problem(fmt.Sprintf("gives its tools the prefix %s, which is that of %s (%s)", e.Prefix, first.Name, first.Source),
			"give one of the two another prefix")
	}
}

func byPlace(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// list names the catalog files of a directory, sorted. Hidden ones are left
// out: editors and mounts keep their own things there; so are JSON Schemas,
// which describe catalogs.
func list(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch {
		case e.IsDir() || strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), ".schema.json"):
		case slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())):
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func directoryError(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("catalogs: the directory %s does not exist; create it, or name another with --catalogs: %w", dir, err)
	}
	return fmt.Errorf("catalogs: the directory %s cannot be listed; correct its permissions, or name another with --catalogs: %w", dir, err)
}
