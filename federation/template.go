package federation

import (
	"errors"
	"regexp"
	"strings"
	"sync"
)

// Limits of one URI template.
const (
	maxURI         = 8 << 10 // bytes of a URI or template
	maxExpressions = 64      // {…} of one template
)

var errTemplate = errors.New("uriTemplate is not a URI template (RFC 6570)")

// uriTemplate tells which URIs a template can expand to. It is turned into a
// regular expression of Go's linear-time engine at first use, so a hostile
// template costs no more than its length times the URI's; a matcher of its own
// was preferred to a library's because servers match more loosely than RFC
// 6570 expands (raw UTF-8, ":" in simple values).
type uriTemplate struct {
	prefix  string // literal start, checked before anything is compiled
	pattern string
	compile func() *regexp.Regexp
}

// operators of RFC 6570 2.2 (levels 1 to 3, explode and prefix modifiers
// accepted) and what an expression with them can expand to.
var operators = map[byte]string{
	0:   `[^/?#]*`,
	'+': `.*`,
	'#': `(?:#.*)?`,
	'.': `(?:\.[^/?#]*)?`,
	'/': `(?:/[^?#]*)?`,
	';': `(?:;[^/?#]*)?`,
	'?': `(?:\?[^#]*)?`,
	'&': `(?:&[^#]*)?`,
}

func parseTemplate(s string) (*uriTemplate, error) {
	var b strings.Builder
	b.WriteString(`^`)
	t := &uriTemplate{}
	rest := s
	for n := 0; ; n++ {
		literal, after, found := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return nil, errTemplate
		}
		if n == 0 {
			t.prefix = literal
		}
		b.WriteString(regexp.QuoteMeta(literal))
		if !found {
			break
		}
		expression, after, closed := strings.Cut(after, "}")
		if !closed || expression == "" || strings.Contains(expression, "{") || n == maxExpressions {
			return nil, errTemplate
		}
		operator := byte(0)
		if strings.IndexByte("+#./;?&", expression[0]) >= 0 {
			operator, expression = expression[0], expression[1:]
		}
		// RFC 6570 2.2: = , ! @ | are reserved for extensions.
		if expression == "" || strings.ContainsAny(expression[:1], "=,!@|") {
			return nil, errTemplate
		}
		b.WriteString(operators[operator])
		rest = after
	}
	b.WriteString(`$`)
	t.pattern = b.String()
	t.compile = sync.OnceValue(func() *regexp.Regexp {
		re, err := regexp.Compile(`(?s)` + t.pattern)
		if err != nil {
			return nil // over the engine's size limit: matches nothing
		}
		return re
	})
	return t, nil
}

// matches says whether uri can be an expansion of the template.
func (t *uriTemplate) matches(uri string) bool {
	if len(uri) > maxURI || !strings.HasPrefix(uri, t.prefix) {
		return false
	}
	re := t.compile()
	return re != nil && re.MatchString(uri)
}
