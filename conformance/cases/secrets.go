package cases

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// canary is a text that must not turn up anywhere but where it was put.
var canary = regexp.MustCompile(`CANARY-[A-Z0-9]+(?:-[A-Z0-9]+)*`)

// leaks looks for the case's canaries in everything that the target answered
// and logged.
func (r *runner) leaks(outcomes []*outcome) []string {
	var problems []string
	for _, secret := range r.c.secrets {
		if !slices.Contains(r.c.allowed[secret], "answer") {
			for i, o := range outcomes {
				if o != nil && strings.Contains(o.head+string(o.body), secret) {
					problems = append(problems, r.place(r.c.Steps[i].Line)+secret+" is in the answer")
				}
			}
		}
		if r.Log != nil && !slices.Contains(r.c.allowed[secret], "log") {
			log := r.Log()
			if i := strings.Index(log[min(r.log, len(log)):], secret); i >= 0 {
				problems = append(problems, fmt.Sprintf("%s%s is in the log", r.place(1), secret))
			}
		}
	}
	return problems
}

// Kept looks for the canaries of cases that ran in every file of the target's
// data directory.
func Kept(ran []Case, target Target) (problems []string, err error) {
	if target.Data == "" {
		return nil, nil
	}
	err = filepath.WalkDir(target.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(target.Data, path)
		if err != nil {
			return err
		}
		place := "data"
		if strings.HasPrefix(name, "audit") {
			place = "audit"
		}
		for _, c := range ran {
			for _, secret := range c.secrets {
				if bytes.Contains(content, []byte(secret)) && !slices.Contains(c.allowed[secret], place) {
					problems = append(problems, fmt.Sprintf("%s%s.txtar: %s is in %s of the data directory", folder, c.Name, secret, name))
				}
			}
		}
		return nil
	})
	return problems, err
}
