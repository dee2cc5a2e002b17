package rego

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// Limits of a policy directory.
const (
	MaxFiles = 1024
	MaxBytes = 16 << 20 // of all files together
)

// source is one file as it was read.
type source struct {
	name    string // as shown: with the directory in front
	folder  string // inside the directory, "." at the top
	content []byte
}

// sources are the files of a directory at one moment.
type sources struct {
	files  []source
	digest string // of names and contents
}

// wanted are the files that mean something here. Everything else, such as a
// README, may stand beside them.
func wanted(name string) bool {
	return isModule(name) || isData(name)
}

func isModule(name string) bool { return strings.HasSuffix(name, ".rego") }

func isData(name string) bool {
	return slices.Contains([]string{".json", ".yaml", ".yml"}, path.Ext(name))
}

// readSources reads dir and the folders below it. Hidden names are left
// alone: editors' droppings, and the links by which Kubernetes swaps a volume.
func readSources(dir string) (*sources, Problems) {
	s := &sources{}
	h := sha256.New()
	total := 0
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || !wanted(name):
			return nil
		case len(s.files) == MaxFiles:
			return fmt.Errorf("more than %d files; keep other things elsewhere", MaxFiles)
		}
		info, err := fs.Stat(root, name) // follows links
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a file", name)
		}
		if total += int(min(info.Size(), MaxBytes+1)); total > MaxBytes {
			return fmt.Errorf("more than %d MiB of files; keep other things elsewhere", MaxBytes>>20)
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%d:%s%d:", len(name), name, len(content))
		h.Write(content)
		s.files = append(s.files, source{filepath.Join(dir, name), path.Dir(name), content})
		return nil
	})
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) && at.Path == "." {
			err = at.Err
		}
		return nil, Problems{{File: dir, Text: err.Error(), Fix: "check --policies"}}
	}
	s.digest = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

// modules parses the .rego files.
func (s *sources) modules() (map[string]*ast.Module, Problems) {
	modules := map[string]*ast.Module{}
	var ps Problems
	for _, f := range s.files {
		if !isModule(f.name) {
			continue
		}
		m, err := ast.ParseModuleWithOpts(f.name, string(f.content), ast.ParserOptions{Capabilities: capabilities()})
		switch {
		case err != nil:
			ps = append(ps, problemsOf(err)...)
		case m == nil:
			ps = append(ps, Problem{File: f.name, Line: 1, Column: 1, Text: "is empty", Fix: "begin it with package ostiary, or remove it"})
		default:
			modules[f.name] = m
		}
	}
	if len(modules) == 0 && len(ps) == 0 {
		ps = append(ps, Problem{Text: "there is no .rego file", Fix: "write one with package ostiary and a rule allow, or copy one from policy/rego/library"})
	}
	return modules, ps
}

// data merges the data files, as `opa eval --data DIR` does: a file's content
// stands in data under the folder that the file is in.
func (s *sources) data() (map[string]any, Problems) {
	root := map[string]any{}
	var ps Problems
	for _, f := range s.files {
		if !isData(f.name) {
			continue
		}
		v, p := f.parse()
		if p == nil {
			if f.folder != "." {
				for _, name := range slices.Backward(strings.Split(f.folder, "/")) {
					v = map[string]any{name: v}
				}
			}
			if clash := merge(root, v, ""); clash != "" {
				p = &Problem{File: f.name, Line: 1, Column: 1, Text: "gives data" + clash + " a value, and so does another file", Fix: "keep one"}
			}
		}
		if p != nil {
			ps = append(ps, *p)
		}
	}
	return root, ps
}

func (f source) parse() (map[string]any, *Problem) {
	problem := func(line, column int, text string) (map[string]any, *Problem) {
		return nil, &Problem{File: f.name, Line: line, Column: column, Text: text}
	}
	var v any
	if path.Ext(f.name) == ".json" {
		value, offset, err := parseJSONAt(f.content)
		if err == nil {
			v, err = ast.JSON(value)
		}
		if err != nil {
			line, column := position(f.content, offset)
			return problem(line, column, "is not JSON: "+err.Error())
		}
	} else if err := util.Unmarshal(f.content, &v); err != nil {
		return problem(lineOf(err), 1, "is not YAML: "+err.Error())
	}
	o, ok := v.(map[string]any)
	if !ok {
		return problem(1, 1, "must hold an object")
	}
	return o, nil
}

// merge adds more to into and names the path of the first value that both
// give, or nothing.
func merge(into, more map[string]any, path string) string {
	for k, v := range more {
		old, both := into[k]
		if !both {
			into[k] = v
			continue
		}
		a, ok := old.(map[string]any)
		b, too := v.(map[string]any)
		if !ok || !too {
			return path + "." + k
		}
		if clash := merge(a, b, path+"."+k); clash != "" {
			return clash
		}
	}
	return ""
}
