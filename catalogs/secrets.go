package catalogs

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// What follows finds values in other tools' files that should not stand in a
// file at all. It errs to the side of secrets: one too many costs a variable.

// secretWords are words that the name of a secret has.
var secretWords = []string{
	"apikey", "auth", "authorization", "bearer", "cookie", "credential", "credentials", "dsn", "jwt", "key", "pass",
	"passphrase", "passwd", "password", "pat", "secret", "session", "signature", "sig", "token",
}

// secretWord says that a name, of a variable, a header, a flag or a query
// parameter, is that of a secret.
func secretWord(name string) bool {
	for _, word := range nameWords(name) {
		if slices.Contains(secretWords, word) {
			return true
		}
	}
	lower := strings.ToLower(name)
	return slices.ContainsFunc([]string{"token", "secret", "passw", "apikey", "credential"}, func(s string) bool {
		return strings.Contains(lower, s)
	})
}

// nameWords takes GITHUB_TOKEN, X-Api-Key and accessKey apart.
func nameWords(name string) []string {
	var b strings.Builder
	before := ' '
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
		before = r
	}
	return strings.FieldsFunc(b.String(), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// knownForms are how the tokens of well-known services look, wherever they
// stand in a text.
var knownForms = regexp.MustCompile(`(^|[^A-Za-z0-9])(gh[oprsu]_|github_pat_|glpat-|sk-|[rs]k_(live|test)_|xox[abeprs]-|xapp-|AKIA|ASIA|AIza|ya29\.|eyJ|hf_|npm_|pypi-|dop_v1_|lin_api_|ntn_|secret_|shpat_|SG\.|figd_|tvly-)[A-Za-z0-9_-]{12}|-----BEGIN `)

// passwords are where a URL holds one (RFC 3986 3.2.1).
var passwords = regexp.MustCompile(`://[^/@:\s]*:([^/@\s]+)@`)

// minRandom is the least length at which text is judged by its letters.
const minRandom = 20

// looksSecret says that a value, whatever its name, looks like a token: it
// begins like one, or is a long run of letters and digits in no order.
func looksSecret(v string) bool {
	if knownForms.MatchString(v) {
		return true
	}
	if len(v) < minRandom {
		return false
	}
	letters, digits, turns := 0, 0, 0
	before := byte(0)
	for i := range len(v) {
		class := byte(0)
		switch c := v[i]; {
		case c >= '0' && c <= '9':
			class = '0'
			digits++
		case c >= 'a' && c <= 'z':
			class = 'a'
			letters++
		case c >= 'A' && c <= 'Z':
			class = 'A'
			letters++
		case !strings.ContainsRune("_-+/=~.", rune(c)) || strings.ContainsRune("/.", rune(c)) && i == 0:
			return false
		}
		if class == 0 {
			continue
		}
		if before != 0 && class != before {
			turns++
		}
		before = class
	}
	return letters > 0 && digits > 0 && turns*5 >= len(v)
}

// secretEnv says that the value of an environment variable is a secret.
func secretEnv(name, v string) bool {
	if harmless(name, v) {
		return false
	}
	return secretWord(name) || looksSecret(v)
}

// harmless are values that a name such as USE_AUTH or TOKEN_FILE has.
func harmless(name, v string) bool {
	words := nameWords(name)
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	switch {
	case slices.Contains([]string{"", "true", "false", "yes", "no", "on", "off", "none", "null"}, strings.ToLower(v)):
		return true
	case slices.Contains([]string{"file", "path", "dir"}, last):
		return true
	}
	// MAX_TOKENS: 4096
	return slices.Contains(words, "tokens") && len(v) < 8 && strings.Trim(v, "0123456789") == ""
}

// bare says that a value, in our words, refers to nothing: all of it is
// written out.
func bare(raw string) bool {
	t, f := parseTemplate(raw, false)
	return f == nil && t.fixed()
}

// hider replaces secrets by references to variables.
type hider struct {
	upstream string
	taken    map[string]string // the variables named so far, and the secret each stands for
	found    func(name, key string)
}

// put gives the reference that stands for a secret. words name it, with the
// upstream's name before them where another secret has that name; key is where
// it stood.
func (h *hider) put(words, key, secret string) string {
	for n := 1; ; n++ {
		for _, name := range []string{variable(words), variable(h.upstream + "_" + words)} {
			if n > 1 {
				name += "_" + strconv.Itoa(n)
			}
			if was, ok := h.taken[name]; !ok || was == secret {
				h.taken[name] = secret
				h.found(name, key)
				return "${" + name + "}"
			}
		}
	}
}

// withDefault is a reference to a variable with a default.
var withDefault = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*):-([^}]*)\}`)

// inside replaces what is secret within a value that refers to variables: their
// defaults, and the password of a URL.
func (h *hider) inside(raw, key string) string {
	raw = withDefault.ReplaceAllStringFunc(raw, func(ref string) string {
		if m := withDefault.FindStringSubmatch(ref); secretEnv(m[1], m[2]) {
			h.found(m[1], key)
			return "${" + m[1] + "}"
		}
		return ref
	})
	return h.password(raw, key)
}

// password replaces the password of a URL inside a value.
func (h *hider) password(raw, key string) string {
	at := passwords.FindStringSubmatchIndex(raw)
	if at == nil || !bare(raw[at[2]:at[3]]) {
		return raw
	}
	return raw[:at[2]] + h.put(h.upstream+"_password", key, raw[at[2]:at[3]]) + raw[at[3]:]
}

// hide replaces the secrets of one entry, whose values are in our words.
func (h *hider) hide(e *entry) {
	for _, name := range sortedKeys(e.Env) {
		v := e.Env[name].Reveal()
		if bare(v) && secretEnv(name, v) {
			v = h.put(name, "env."+name, v)
		}
		e.Env[name] = Secret(h.inside(v, "env."+name))
	}
	for i, arg := range e.Command {
		if i > 0 {
			e.Command[i] = h.inside(h.argument(e.Command[i-1], arg), "command")
		}
	}
	e.URL = h.link(h.inside(e.URL, "url"), "url")
	if v := e.Auth.Value.Reveal(); e.Auth.Type == AuthHeader {
		scheme, rest := authScheme(e.Auth.Header, v)
		if bare(rest) {
			words := h.upstream + "_" + e.Auth.Header
			if scheme != "" {
				words = h.upstream + "_token"
			}
			rest = h.put(words, "auth.value", rest)
		}
		e.Auth.Prefix, e.Auth.Value = scheme, Secret(h.inside(rest, "auth.value"))
	}
}

// authScheme takes `Bearer xyz` apart; other headers have no scheme.
func authScheme(header, v string) (scheme, rest string) {
	if !strings.EqualFold(header, "Authorization") {
		return "", v
	}
	first, after, ok := strings.Cut(v, " ")
	if !ok || !headerName.MatchString(first) {
		return "", v
	}
	return first + " ", strings.TrimLeft(after, " ")
}

// argument judges one word of a command: the value of a flag, `--flag=value`,
// `NAME=value`, `Header: value`, a URL, or a token by its looks.
func (h *hider) argument(before, arg string) string {
	if !bare(arg) {
		if strings.Contains(arg, "://") {
			return h.link(arg, "command")
		}
		return arg
	}
	isFlag := strings.HasPrefix(before, "-") && !strings.Contains(before, "=")
	if isFlag && len(before) > 2 && secretWord(before) && !strings.HasPrefix(arg, "-") && !harmless(before, arg) {
		return h.put(h.upstream+"_"+before, "command", arg)
	}
	for _, sep := range []string{"=", ":"} {
		name, v, ok := strings.Cut(arg, sep)
		v, space := strings.TrimLeft(v, " "), v[:len(v)-len(strings.TrimLeft(v, " "))]
		if !ok || v == "" || strings.ContainsAny(name, "/?& ") || strings.HasPrefix(v, "//") || !secretEnv(name, v) {
			continue
		}
		scheme, rest := authScheme(name, v)
		if !strings.HasPrefix(name, "-") && sep == "=" && envName.MatchString(name) {
			return name + sep + h.put(name, "command", v)
		}
		return name + sep + space + scheme + h.put(h.upstream+"_"+name, "command", rest)
	}
	if strings.Contains(arg, "://") && !looksSecret(arg) {
		return h.link(arg, "command")
	}
	if looksSecret(arg) {
		return h.put(h.upstream+"_"+strings.TrimLeft(before, "-"), "command", arg)
	}
	return arg
}

// link replaces secrets in the path and the query of a URL.
func (h *hider) link(raw, key string) string {
	head, query, has := strings.Cut(raw, "?")
	if at := strings.Index(head, "://"); at >= 0 {
		parts := strings.Split(head[at+3:], "/")
		for i, p := range parts {
			if i > 0 && bare(p) && looksSecret(p) {
				parts[i] = h.put(h.upstream+"_path_secret", key, p)
			}
		}
		head = head[:at+3] + strings.Join(parts, "/")
	}
	if !has {
		return head
	}
	pairs := strings.Split(query, "&")
	for i, p := range pairs {
		if name, v, ok := strings.Cut(p, "="); ok && bare(v) && secretEnv(name, v) {
			pairs[i] = name + "=" + h.put(h.upstream+"_"+name, key, v)
		}
	}
	return head + "?" + strings.Join(pairs, "&")
}

// LooksSecret says that the value of a variable or a query parameter with this
// name is probably a secret.
func LooksSecret(name, value string) bool { return secretEnv(name, value) }
