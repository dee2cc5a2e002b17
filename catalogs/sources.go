package catalogs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sources reads everything that a load reads, and remembers it, so that the
// revision covers all of it and Watch can ask whether any of it changed.
type sources struct {
	dir     string // absolute
	data    string // the data directory, absolute, links resolved; "" = none
	getenv  func(string) (string, bool)
	listing []string
	lost    bool // dir could not be listed
	files   map[string]snapshot
	vars    map[string]string
	digest  hash.Hash
}

func newSources(dir string, o Options) (*sources, error) {
	s := &sources{getenv: o.Getenv, files: map[string]snapshot{}, vars: map[string]string{}, digest: sha256.New()}
	if s.getenv == nil {
		s.getenv = os.LookupEnv
	}
	var err error
	if s.dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("catalogs: %w", err)
	}
	if o.DataDir != "" {
		data, err := filepath.Abs(o.DataDir)
		if err != nil {
			return nil, fmt.Errorf("catalogs: %w", err)
		}
		s.data = real(data)
	}
	return s, nil
}

// snapshot is what a file held when it was read up to a limit.
type snapshot struct {
	limit int
	sum   [sha256.Size]byte
}

// note adds a named value to the revision. Lengths go in as well: two values
// must not be taken for two others with the same letters in a row.
func (s *sources) note(name, v string) {
	fmt.Fprintf(s.digest, "%d:%s%d:%s", len(name), name, len(v), v)
}

func (s *sources) revision() string { return hex.EncodeToString(s.digest.Sum(nil)) }

func (s *sources) variable(name string) (string, bool) {
	v, ok := s.getenv(name)
	s.vars[name] = fingerprint(v, ok)
	return v, ok
}

func fingerprint(v string, ok bool) string {
	if !ok {
		return ""
	}
	sum := sha256.Sum256([]byte(v))
	return string(sum[:])
}

var (
	errIrregular = errors.New("not a regular file")
	errTooLarge  = errors.New("too large")
)

// read returns a file of at most limit bytes.
func (s *sources) read(path string, limit int) ([]byte, error) {
	content, err := readFile(path, limit)
	s.files[path] = snapshot{limit, sum(content, err)}
	return content, err
}

func sum(content []byte, err error) [sha256.Size]byte {
	if err != nil {
		return sha256.Sum256([]byte("error: " + err.Error()))
	}
	return sha256.Sum256(content)
}

// readFile looks before it opens: opening a named pipe would wait for a
// writer, for ever.
func readFile(path string, limit int) ([]byte, error) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errIrregular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(content) > limit {
		return nil, errTooLarge
	}
	return content, nil
}

// secretFile is the content of a file that a value names.
func (s *sources) secretFile(path string) (string, *fault) {
	if f := s.forbidden(path); f != nil {
		return "", f
	}
	content, err := s.read(path, MaxValue)
	if err != nil {
		return "", fileFault(err, "64 KiB")
	}
	return string(content), nil
}

// forbidden refuses files that show what the gateway keeps to itself.
func (s *sources) forbidden(path string) *fault {
	target := real(path)
	switch {
	case s.data != "" && within(target, s.data):
		return &fault{"names a file in the gateway's data directory", "keep what upstreams need somewhere else"}
	// The environ and mem files there hold all that the process knows.
	case within(target, "/proc"):
		return &fault{"names a file in /proc", "name a variable with ${NAME} instead"}
	}
	return nil
}

// fileFault says why a file that a value names cannot be read.
func fileFault(err error, limit string) *fault {
	f := unread(err, limit)
	return &fault{"names a file that " + f.text, f.fix}
}

func unread(err error, limit string) *fault {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &fault{"does not exist", "create it, correct the path (it starts at the catalog's directory), or set enabled: false"}
	case errors.Is(err, fs.ErrPermission):
		return &fault{"the gateway may not read", "give the gateway's account read permission"}
	case errors.Is(err, errIrregular):
		return &fault{"is not a regular file", "name a regular file"}
	case errors.Is(err, errTooLarge):
		return &fault{"has more than " + limit, "check that this is the right file"}
	}
	return &fault{"cannot be read", "check the file and its disk"}
}

// leadsToData reports whether a value is, or holds as in --db=PATH or A:B, a
// path in the data directory. A bare word is a path only where one is
// expected: "data" may be a subcommand.
func (s *sources) leadsToData(v string, path bool) bool {
	if s.data == "" {
		return false
	}
	if path {
		return within(real(absolute(s.dir, v)), s.data)
	}
	pieces := strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune("=:,;@ \t\n'\"", r) })
	for _, piece := range append(pieces, v) {
		if !strings.ContainsAny(piece, `/\`) {
			continue
		}
		// A process starts in the gateway's directory unless dir says more;
		// both readings of a relative path are refused.
		if p, err := filepath.Abs(piece); err == nil && within(real(p), s.data) {
			return true
		}
		if within(real(absolute(s.dir, piece)), s.data) {
			return true
		}
	}
	return false
}

// real is path with its links resolved as far as it exists.
func real(path string) string {
	rest := ""
	for p := filepath.Clean(path); ; {
		if target, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(target, rest)
		}
		parent := filepath.Dir(p)
		if parent == p {
			return filepath.Clean(path)
		}
		rest = filepath.Join(filepath.Base(p), rest)
		p = parent
	}
}

func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// changed reports whether a load would read something else now.
func (s *sources) changed() bool {
	if listing, err := list(s.dir); (err != nil) != s.lost || !slices.Equal(listing, s.listing) {
		return true
	}
	for name, before := range s.vars {
		if v, ok := s.getenv(name); fingerprint(v, ok) != before {
			return true
		}
	}
	for path, before := range s.files {
		if sum(readFile(path, before.limit)) != before.sum {
			return true
		}
	}
	return false
}
