package federation

import (
	"errors"
	"slices"

	"github.com/ostiary/ostiary/gateway/wire"
)

// errLegacy is the finding of a probe: not of the modern era, try initialize.
var errLegacy = errors.New("upstream does not speak the modern era")

// errNotLegacy marks the failure of an initialize that was answered.
var errNotLegacy = errors.New("upstream does not speak the legacy era")

// assumed are the capabilities of a modern upstream that does not answer
// server/discover, which it must: it may have anything, and says -32601 to
// what it has not.
var assumed = []byte(`{"tools":{},"prompts":{},"resources":{},"completions":{}}`)

// discovered reads the answer to server/discover: the
// peer of the modern era, errLegacy, or a *Failure. status is that of HTTP, 0
// over stdio.
func discovered(upstream string, m *wire.Message, status int) (*peer, error) {
	if m.Error != nil {
		return erred(upstream, m.Error, status)
	}
	o, err := wire.Fields(m.Result)
	if err != nil {
		return nil, errLegacy
	}
	versions := words(o, "supportedVersions")
	switch {
	case len(versions) == 0:
		return nil, errLegacy
	case !slices.Contains(versions, wire.LatestModern):
		return nil, otherVersions(upstream, versions)
	}
	p := &peer{Era: wire.Modern, Version: wire.LatestModern, Capabilities: []byte("{}")}
	p.describe(o)
	if meta, ok := o.Get("_meta"); ok {
		if mo, err := wire.Fields(meta); err == nil {
			p.ServerInfo, _ = mo.Get(wire.MetaServerInfo)
		}
	}
	return p, nil
}

// erred reads an error answer to server/discover.
func erred(upstream string, e *wire.Error, status int) (*peer, error) {
	switch e.Code {
	case wire.CodeUnsupportedVersion:
		data, _ := wire.Fields(e.Data)
		if versions := words(data, "supported"); !slices.Contains(versions, wire.LatestModern) {
			return nil, otherVersions(upstream, versions)
		}
		return nil, fail(upstream, ErrUnavailable, "server/discover: it refuses the revision %s that it says it supports", wire.LatestModern)
	case wire.CodeHeaderMismatch, wire.CodeMissingCapability:
		return nil, fail(upstream, ErrUnavailable, "server/discover: error %d", e.Code)
	case wire.CodeMethodNotFound:
		if status == 404 {
			return &peer{Era: wire.Modern, Version: wire.LatestModern, Capabilities: assumed}, nil
		}
	}
	return nil, errLegacy
}

// otherVersions is the finding about an upstream that knows versions, but not
// our modern one.
func otherVersions(upstream string, versions []string) error {
	for _, v := range versions {
		if era, known := wire.KnownVersion(v); known && era == wire.Legacy {
			return errLegacy
		}
	}
	return fail(upstream, ErrUnavailable, "no protocol revision in common: it speaks %.200q", versions)
}

// initialized reads the answer to initialize.
func initialized(upstream string, m *wire.Message) (*peer, *Failure) {
	if m.Error != nil {
		return nil, fail(upstream, ErrUnavailable, "initialize: error %d", m.Error.Code)
	}
	o, err := wire.Fields(m.Result)
	if err != nil {
		return nil, fail(upstream, ErrBadAnswer, "initialize: the result is not an object")
	}
	version, _ := o.String("protocolVersion")
	if era, known := wire.KnownVersion(version); !known || era != wire.Legacy {
		return nil, fail(upstream, ErrUnavailable, "initialize: no protocol revision in common: it speaks %.40q", version)
	}
	p := &peer{Era: wire.Legacy, Version: version, Capabilities: []byte("{}")}
	p.describe(o)
	p.ServerInfo, _ = o.Get("serverInfo")
	return p, nil
}

// describe fills in what both eras say alike.
func (p *peer) describe(o wire.Object) {
	if c, ok := o.Get("capabilities"); ok {
		if _, err := wire.Fields(c); err == nil {
			p.Capabilities = c
		}
	}
	p.Instructions, _ = o.String("instructions")
}

// has says whether the peer declared a capability, and in it, where sub is
// not empty, a flag.
func (p *peer) has(capability, sub string) bool {
	o, err := wire.Fields(p.Capabilities)
	if err != nil {
		return false
	}
	raw, ok := o.Get(capability)
	if !ok || sub == "" {
		return ok
	}
	inner, err := wire.Fields(raw)
	if err != nil {
		return false
	}
	flag, _ := inner.Get(sub)
	return string(flag) == "true"
}

// words are the strings of an array member.
func words(o wire.Object, key string) []string {
	raw, _ := o.Get(key)
	list, err := wire.Elements(raw)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range list {
		if s, ok := wire.Unquote(e); ok {
			out = append(out, s)
		}
	}
	return out
}

// initializeParams are the params of initialize.
func (w *metaWriter) initializeParams(capabilities []byte) []byte {
	if capabilities == nil {
		capabilities = []byte("{}")
	}
	dst := append([]byte(nil), `{"protocolVersion":"`+wire.LatestLegacy+`","capabilities":`...)
	dst = append(dst, capabilities...)
	dst = append(dst, `,"clientInfo":`...)
	return append(append(dst, w.client...), '}')
}
