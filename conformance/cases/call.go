package cases

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// call is a call section: a request whose form the era of its upstream gives.
type call struct {
	method    string
	tool      string
	arguments string
	progress  bool          // asks for progress, under the token "agent-token"
	unread    time.Duration // the answer waits so long to be read
	listen    time.Duration // the answer is read for so long, then hung up
	within    time.Duration // repeated until the expectations hold
	times     int           // sent so many times, one after another; the last answer counts
}

// parseCall reads a call section.
func parseCall(text string) (call, error) {
	c := call{method: "tools/call", tool: "echo", arguments: "{}", times: 1}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		var err error
		switch word {
		case "":
		case "@tool":
			c.tool = rest
		case "@list":
			c.method = "tools/list"
		case "@progress":
			c.progress = true
		case "@unread":
			c.unread, err = time.ParseDuration(rest)
		case "@listen":
			c.method = "subscriptions/listen"
			c.listen, err = time.ParseDuration(rest)
		case "@within":
			c.within, err = time.ParseDuration(rest)
		case "@times":
			_, err = fmt.Sscanf(rest, "%d", &c.times)
		default:
			c.arguments = line
		}
		if err != nil {
			return c, fmt.Errorf("%s: %w", line, err)
		}
	}
	return c, nil
}

// compose makes the bytes of the request to an upstream's endpoint.
func (c call) compose(at *url.URL, upstream, session string) ([]byte, error) {
	var meta []string
	if c.progress {
		meta = append(meta, `"progressToken":"agent-token"`)
	}
	era := eraOf(upstream)
	if era == modern {
		meta = append(meta, `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`, `"io.modelcontextprotocol/clientCapabilities":{}`)
	}
	var params []string
	name := ""
	switch c.method {
	case "tools/call":
		name = c.tool
		arguments, err := expand(c.arguments, nil)
		if err != nil {
			return nil, err
		}
		params = append(params, fmt.Sprintf(`"name":%q,"arguments":%s`, c.tool, fill(string(arguments))))
	case "subscriptions/listen":
		params = append(params, `"notifications":{"toolsListChanged":true}`)
	}
	if len(meta) > 0 {
		params = append(params, `"_meta":{`+strings.Join(meta, ",")+`}`)
	}
	head := "POST /mcp/" + upstream + "\n"
	if era == modern {
		head += strings.TrimSuffix("@modern "+c.method+" "+name, " ") + "\n"
	} else {
		head += "@legacy " + legacyVersion + "\nMcp-Session-Id: " + session + "\n"
	}
	return compose(at, fmt.Appendf(nil, "%s\n{\"jsonrpc\":\"2.0\",\"id\":\"agent\",\"method\":%q,\"params\":{%s}}", head, c.method, strings.Join(params, ",")))
}

// legacyVersion is what calls of the legacy era speak.
const legacyVersion = "2025-11-25"
