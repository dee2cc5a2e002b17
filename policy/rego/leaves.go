package rego

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ostiary/ostiary/policy"
)

// leaf is one field of the input document. The table of leaves is the only
// place that knows how a policy.Request becomes a document for rules, and how
// its values become the key of a remembered answer: were these two apart, an
// answer could be remembered under less than it depends on.
type leaf struct {
	path   string    // "user.groups"
	group  string    // "user"; "" at the top
	above  *ast.Term // group as a key
	key    *ast.Term
	target bool // differs from target to target of one list

	term   func(*policy.Request) (*ast.Term, error) // nil = absent
	append func([]byte, *policy.Request) []byte     // the exact value; no value is a prefix of another
}

// leaves is the input document in the order of its schema.
func leaves() []leaf {
	type r = *policy.Request
	return []leaf{
		number("version", func(q r) int64 { return int64(q.Version) }),
		flag("listing", func(q r) bool { return q.Listing }),
		str("request.method", func(q r) string { return q.Request.Method }),
		str("request.kind", func(q r) string { return q.Request.Kind }),
		str("request.era", func(q r) string { return q.Request.Era }),
		str("request.endpoint", func(q r) string { return q.Request.Endpoint }),
		str("upstream", func(q r) string { return q.Upstream }),
		str("target.kind", func(q r) string { return q.Target.Kind }),
		str("target.name", func(q r) string { return q.Target.Name }),
		words("target.labels", func(q r) []string { return q.Target.Labels }),
		raw("target.annotations", func(q r) json.RawMessage { return q.Target.Annotations }),
		flag("target.trusted", func(q r) bool { return q.Target.Trusted }),
		optional(words("target.visibility", func(q r) []string { return q.Target.Visibility }),
			func(q r) bool { return len(q.Target.Visibility) > 0 }),
		str("target.digest", func(q r) string { return q.Target.Digest }),
		raw("arguments", func(q r) json.RawMessage { return q.Arguments }),
		raw("responses", func(q r) json.RawMessage { return q.Responses }),
		str("user.id", func(q r) string { return q.User.ID }),
		str("user.name", func(q r) string { return q.User.Name }),
		words("user.groups", func(q r) []string { return q.User.Groups }),
		number("user.auth_time", func(q r) int64 { return q.User.AuthTime }),
		words("user.amr", func(q r) []string { return q.User.AMR }),
		str("client.id", func(q r) string { return q.Client.ID }),
		str("client.kind", func(q r) string { return q.Client.Kind }),
		str("client.verified_name", func(q r) string { return q.Client.VerifiedName }),
		str("client.redirect_host", func(q r) string { return q.Client.RedirectHost }),
		words("grant.scopes", func(q r) []string { return q.Grant.Scopes }),
		str("grant.resource", func(q r) string { return q.Grant.Resource }),
		number("grant.consented_at", func(q r) int64 { return q.Grant.ConsentedAt }),
		str("agent.name", func(q r) string { return q.Agent.Name }),
		str("agent.version", func(q r) string { return q.Agent.Version }),
		str("source.ip", func(q r) string { return q.Source.IP }),
		flag("source.proxied", func(q r) bool { return q.Source.Proxied }),
		flag("source.tls", func(q r) bool { return q.Source.TLS }),
		number("time.unix", func(q r) int64 { return q.Time.Unix }),
		str("time.rfc3339", func(q r) string { return q.Time.RFC3339 }),
		number("time.hour", func(q r) int64 { return int64(q.Time.Hour) }),
		str("time.weekday", func(q r) string { return q.Time.Weekday }),
		str("time.zone", func(q r) string { return q.Time.Zone }),
		counters(),
	}
}

func newLeaf(path string) leaf {
	group, name, nested := strings.Cut(path, ".")
	if !nested {
		group, name = "", path
	}
	return leaf{path: path, group: group, above: ast.StringTerm(group), key: ast.StringTerm(name), target: group == "target" || path == "upstream"}
}

func str(path string, get func(*policy.Request) string) leaf {
	l := newLeaf(path)
	l.term = func(r *policy.Request) (*ast.Term, error) { return ast.StringTerm(get(r)), nil }
	l.append = func(b []byte, r *policy.Request) []byte { return appendText(b, get(r)) }
	return l
}

func number(path string, get func(*policy.Request) int64) leaf {
	l := newLeaf(path)
	l.term = func(r *policy.Request) (*ast.Term, error) { return ast.NumberTerm(jsonInt(get(r))), nil }
	l.append = func(b []byte, r *policy.Request) []byte { return binary.AppendVarint(b, get(r)) }
	return l
}

func flag(path string, get func(*policy.Request) bool) leaf {
	l := newLeaf(path)
	l.term = func(r *policy.Request) (*ast.Term, error) { return ast.InternedTerm(get(r)), nil }
	l.append = func(b []byte, r *policy.Request) []byte {
		if get(r) {
			return append(b, 1)
		}
		return append(b, 0)
	}
	return l
}

// words is a list of them; none is an empty one.
func words(path string, get func(*policy.Request) []string) leaf {
	l := newLeaf(path)
	l.term = func(r *policy.Request) (*ast.Term, error) {
		all := get(r)
		terms := make([]*ast.Term, len(all))
		for i, w := range all {
			terms[i] = ast.StringTerm(w)
		}
		return ast.ArrayTerm(terms...), nil
	}
	l.append = func(b []byte, r *policy.Request) []byte {
		all := get(r)
		b = binary.AppendUvarint(b, uint64(len(all)))
		for _, w := range all {
			b = appendText(b, w)
		}
		return b
	}
	return l
}

// optional leaves l out of the document where there says so. An absent value
// and an empty one share a key only because l itself never stands empty.
func optional(l leaf, there func(*policy.Request) bool) leaf {
	term := l.term
	l.term = func(r *policy.Request) (*ast.Term, error) {
		if !there(r) {
			return nil, nil
		}
		return term(r)
	}
	return l
}

// raw is JSON that came from elsewhere; none is absent.
func raw(path string, get func(*policy.Request) json.RawMessage) leaf {
	l := newLeaf(path)
	l.term = func(r *policy.Request) (*ast.Term, error) {
		text := get(r)
		if len(text) == 0 {
			return nil, nil
		}
		v, err := parseJSON(text)
		if err != nil {
			return nil, &policy.Failure{Code: policy.FailedInput, Err: inputError{path, err}}
		}
		return ast.NewTerm(v), nil
	}
	l.append = func(b []byte, r *policy.Request) []byte {
		text := get(r)
		b = binary.AppendUvarint(b, uint64(len(text)))
		return append(b, text...)
	}
	return l
}

func counters() leaf {
	l := newLeaf("counters")
	l.term = func(r *policy.Request) (*ast.Term, error) {
		if len(r.Counters) == 0 {
			return nil, nil
		}
		o := ast.NewObject()
		for name, n := range r.Counters {
			o.Insert(ast.StringTerm(name), ast.NumberTerm(jsonInt(n)))
		}
		return ast.NewTerm(o), nil
	}
	l.append = func(b []byte, r *policy.Request) []byte {
		b = binary.AppendUvarint(b, uint64(len(r.Counters)))
		for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
			b = binary.AppendVarint(appendText(b, name), r.Counters[name])
		}
		return b
	}
	return l
}

// appendText writes the length first: "a","bc" and "ab","c" must differ.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
