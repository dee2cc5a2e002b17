package federation

import (
	"errors"
	"fmt"
	"strings"
)

// Words of Status.Confinement: by what a stdio upstream is kept from the data
// directory, and from the memory and environment of other processes.
const (
	confinedByUser      = "user"
	confinedByNamespace = "namespace"
	confinedByLandlock  = "landlock"
	unconfined          = "none (confine: false)"
)

// launch starts the program of p.cmd, confined unless its entry says
// otherwise. Its error is in the operator's words.
func (p *process) launch(d *dialConfig) error {
	u := d.Upstream
	switch {
	case p.cmd.Err != nil:
		return cannotStart(u.Command[0], p.cmd.Err)
	case u.Confine || u.User != "":
		return p.confine(d)
	}
	p.confinement = unconfined
	if err := p.run(nil); err != nil {
		return cannotStart(u.Command[0], err)
	}
	return nil
}

// meansError says why one means of confinement can't be had here.
type meansError struct{ means, reason string }

func (e *meansError) Error() string { return e.means + ": " + e.reason }

func cannotConfine(reasons []error) error {
	return fmt.Errorf("can't be confined here (%s); set confine: false to run it with this user's rights",
		strings.ReplaceAll(errors.Join(reasons...).Error(), "\n", "; "))
}

// confinement is how the processes of u are confined, "" while none was
// started or u has none.
func (u *upstream) confinement() string {
	if config := u.config.Load(); len(config.Command) > 0 && !config.Confine && config.User == "" {
		return unconfined
	}
	if by := u.confinedBy.Load(); by != nil {
		return *by
	}
	return ""
}

// Unconfined says that a stdio upstream runs with the gateway's own rights.
func (s Status) Unconfined() bool { return s.Confinement == unconfined }

// notice remembers how conn's process is confined, and has the log say it
// when that is news.
func (u *upstream) notice(conn connection) {
	s, ok := behind(conn).(*stdio)
	if !ok {
		return
	}
	by := s.p.confinement
	if was := u.confinedBy.Swap(&by); was != nil && *was == by {
		return
	}
	log := u.f.config.Logger.With("upstream", u.name, "confinement", by)
	if by == unconfined {
		log.Warn("stdio upstream runs with this user's rights and could read the data directory")
		return
	}
	log.Info("stdio upstream is confined")
}

// secretFiles are files that hold the credentials of upstreams, except those
// that u's own entry reads.
func (u *upstream) secretFiles() []string {
	own := fileReads(u)
	var files []string
	for _, other := range *u.f.upstreams.Load() {
		for file := range fileReads(other) {
			if !own[file] {
				files = append(files, file)
			}
		}
	}
	return files
}

// fileReads are the files that an entry's values are read from. Certificates
// of authorities are no secret, and all programs need them.
func fileReads(u *upstream) map[string]bool {
	config := u.config.Load()
	files := make(map[string]bool)
	for _, read := range config.Reads {
		if file, ok := strings.CutPrefix(read, "file:"); ok && file != config.CAFile {
			files[file] = true
		}
	}
	return files
}
