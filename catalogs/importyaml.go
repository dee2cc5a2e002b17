package catalogs

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// plainScalar is text that is itself in YAML without quotes, wherever it
// stands; words that YAML takes for something else are excepted.
var plainScalar = regexp.MustCompile(`^(--?)?[A-Za-z/][A-Za-z0-9_./=-]*( [A-Za-z0-9_./=]+)*$`)

// otherWords mean something else than text to one YAML version or another.
var otherWords = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n"}

// scalar writes text as YAML. The escapes of a Go string are YAML's too.
func scalar(s string) string {
	if plainScalar.MatchString(s) && !slices.Contains(otherWords, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}

// yaml writes one entry. off: enabled is false.
func (e *entry) yaml(b *strings.Builder, off bool, warnings []Problem) {
	fmt.Fprintf(b, "  %s:\n", scalar(e.Name))
	line := func(key, value string) { fmt.Fprintf(b, "    %s: %s\n", key, value) }
	for _, w := range warnings {
		fmt.Fprintf(b, "    # not as in line %d of the source: %s %s\n", w.Line, show(w.Key[strings.LastIndexByte(w.Key, '.')+1:]), w.Text)
	}
	if e.URL != "" && e.Auth.Type == AuthNone {
		b.WriteString("    # if it asks users to sign in, add: auth: {type: oauth, account: user}\n")
	}
	if e.Title != "" {
		line("title", scalar(e.Title))
	}
	if off {
		line("enabled", "false")
	}
	if e.URL != "" {
		line("url", scalar(e.URL))
		if e.Transport != Auto {
			line("transport", string(e.Transport))
		}
	}
	if len(e.Command) > 0 {
		words := make([]string, len(e.Command))
		for i, w := range e.Command {
			words[i] = scalar(w)
		}
		line("command", "["+strings.Join(words, ", ")+"]")
	}
	if len(e.Env) > 0 {
		b.WriteString("    env:\n")
		for _, name := range sortedKeys(e.Env) {
			fmt.Fprintf(b, "      %s: %s\n", scalar(name), scalar(e.Env[name].Reveal()))
		}
	}
	if e.Dir != "" {
		line("dir", scalar(e.Dir))
	}
	if e.Auth.Type == AuthHeader {
		parts := []string{"type: header"}
		bearer := strings.EqualFold(e.Auth.Header, "Authorization")
		if !bearer {
			parts = append(parts, "header: "+scalar(e.Auth.Header))
		}
		parts = append(parts, "value: "+scalar(e.Auth.Value.Reveal()))
		if bearer && e.Auth.Prefix != "Bearer " {
			parts = append(parts, "prefix: "+scalar(e.Auth.Prefix))
		}
		line("auth", "{"+strings.Join(parts, ", ")+"}")
	}
}

// warned are the warnings about this entry; all, when it is the only one.
func (e *entry) warned(warnings []Problem, only bool) (own []Problem) {
	for _, w := range warnings {
		if only || strings.HasPrefix(w.Key, e.name.path+".") {
			own = append(own, w)
		}
	}
	return own
}
