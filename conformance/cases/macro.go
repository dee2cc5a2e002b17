package cases

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

var macro = regexp.MustCompile(`%\{(x|repeat|list) (.*?)\}%|%\{(x|repeat|list) ([^{}]*)\}`)

// expand replaces variables and macros. A macro whose text holds braces ends
// in }%.
func expand(text string, vars map[string]string) ([]byte, error) {
	pairs := []string{"$META", meta}
	for name, value := range vars {
		pairs = append(pairs, "$"+name, value)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	var bad error
	out := macro.ReplaceAllFunc([]byte(text), func(found []byte) []byte {
		m := macro.FindSubmatch(found)
		kind, arg := string(m[1])+string(m[3]), string(m[2])+string(m[4])
		if kind == "x" {
			b, err := hex.DecodeString(strings.ReplaceAll(arg, " ", ""))
			if err != nil {
				bad = fmt.Errorf("%s: %w", found, err)
			}
			return b
		}
		count, what, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			bad = fmt.Errorf("%s: %w", found, err)
			return nil
		}
		if kind == "repeat" {
			return bytes.Repeat([]byte(what), n)
		}
		var b bytes.Buffer
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.ReplaceAll(what, "%", strconv.Itoa(i)))
		}
		return b.Bytes()
	})
	return out, bad
}

var filling = regexp.MustCompile(`%\{fill (\d+)\}`)

// fill makes a text exactly as long as its %{fill N} says, with letters in the
// macro's place.
func fill(text string) string {
	m := filling.FindStringSubmatchIndex(text)
	if m == nil {
		return text
	}
	n, err := strconv.Atoi(text[m[2]:m[3]])
	if err != nil {
		return text
	}
	return text[:m[0]] + strings.Repeat("x", max(0, n-(len(text)-(m[1]-m[0])))) + text[m[1]:]
}
