package audit

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// appendBody appends what a line holds after format, seq and prev: the members
// of r, without the closing brace. It writes what encoding/json would, except
// that raw JSON is compacted and that characters which could drive a terminal
// or hide text are escaped (escape.go). No reflection: this runs on every call.
func appendBody(b []byte, r *Record) []byte {
	b = append(b, `"kind":`...)
	b = appendString(b, r.Kind)
	b = appendMember(b, `,"decision_id":`, r.DecisionID)
	b = appendMember(b, `,"req_id":`, r.RequestID)
	b = appendMember(b, `,"trace_id":`, r.TraceID)
	b = appendMember(b, `,"span_id":`, r.SpanID)
	b = append(b, `,"timestamp":`...)
	b = appendTime(b, r.Time)
	b = appendMember(b, `,"event":`, r.Event)
	b = appendMember(b, `,"requested_by":`, r.RequestedBy)
	b = appendWho(b, r)
	b = appendWhat(b, r)
	b = appendMember(b, `,"outcome":`, r.Outcome)
	if r.Code != 0 {
		b = append(b, `,"code":`...)
		b = strconv.AppendInt(b, r.Code, 10)
	}
	b = appendMember(b, `,"reason":`, r.Reason)
	b = appendPayload(b, `,"result":`, r.Result)
	b = appendMember(b, `,"credential":`, r.Credential)
	if m := r.Metrics; m != nil {
		b = append(b, `,"metrics":{"total_us":`...)
		b = strconv.AppendInt(b, m.Total, 10)
		b = append(b, `,"decide_us":`...)
		b = strconv.AppendInt(b, m.Decide, 10)
		b = append(b, `,"record_us":`...)
		b = strconv.AppendInt(b, m.Record, 10)
		b = append(b, `,"upstream_us":`...)
		b = strconv.AppendInt(b, m.Upstream, 10)
		b = append(b, '}')
	}
	b = appendMember(b, `,"detail":`, r.Detail)
	return appendFailures(b, r.Failures)
}

// appendWho appends user, client, grant, agent and source.
func appendWho(b []byte, r *Record) []byte {
	if u := &r.User; u.ID != "" || u.Name != "" || u.Groups != nil || u.AuthTime != 0 || u.AMR != nil {
		b = append(b, `,"user":{"id":`...)
		b = appendString(b, u.ID)
		b = append(b, `,"name":`...)
		b = appendString(b, u.Name)
		b = append(b, `,"groups":`...)
		b = appendStrings(b, u.Groups)
		b = append(b, `,"auth_time":`...)
		b = strconv.AppendInt(b, u.AuthTime, 10)
		b = append(b, `,"amr":`...)
		b = appendStrings(b, u.AMR)
		b = append(b, '}')
	}
	if c := &r.Client; *c != (policy.Client{}) {
		b = append(b, `,"client":{"id":`...)
		b = appendString(b, c.ID)
		b = append(b, `,"kind":`...)
		b = appendString(b, c.Kind)
		b = append(b, `,"verified_name":`...)
		b = appendString(b, c.VerifiedName)
		b = append(b, `,"redirect_host":`...)
		b = appendString(b, c.RedirectHost)
		b = append(b, '}')
	}
	if g := &r.Grant; g.Scopes != nil || g.Resource != "" || g.ConsentedAt != 0 {
		b = append(b, `,"grant":{"scopes":`...)
		b = appendStrings(b, g.Scopes)
		b = append(b, `,"resource":`...)
		b = appendString(b, g.Resource)
		b = append(b, `,"consented_at":`...)
		b = strconv.AppendInt(b, g.ConsentedAt, 10)
		b = append(b, '}')
	}
	if a := &r.Agent; *a != (policy.Agent{}) {
		b = append(b, `,"agent":{"name":`...)
		b = appendString(b, a.Name)
		b = append(b, `,"version":`...)
		b = appendString(b, a.Version)
		b = append(b, '}')
	}
	if s := &r.Source; *s != (policy.Source{}) {
		b = append(b, `,"source":{"ip":`...)
		b = appendString(b, s.IP)
		b = append(b, `,"proxied":`...)
		b = strconv.AppendBool(b, s.Proxied)
		b = append(b, `,"tls":`...)
		b = strconv.AppendBool(b, s.TLS)
		b = append(b, '}')
	}
	return b
}

// appendWhat appends the request, its target, arguments, decision, list and
// revisions.
func appendWhat(b []byte, r *Record) []byte {
	if a := &r.Request; *a != (policy.Act{}) {
		b = append(b, `,"request":{"method":`...)
		b = appendString(b, a.Method)
		b = append(b, `,"kind":`...)
		b = appendString(b, a.Kind)
		b = append(b, `,"era":`...)
		b = appendString(b, a.Era)
		b = append(b, `,"endpoint":`...)
		b = appendString(b, a.Endpoint)
		b = append(b, '}')
	}
	b = appendMember(b, `,"upstream":`, r.Upstream)
	if t := &r.Target; t.Kind != "" || t.Name != "" || t.Labels != nil || t.Annotations != nil ||
		t.Trusted || t.Visibility != nil || t.Digest != "" {
		b = append(b, `,"target":{"kind":`...)
		b = appendString(b, t.Kind)
		b = append(b, `,"name":`...)
		b = appendString(b, t.Name)
		b = append(b, `,"labels":`...)
		b = appendStrings(b, t.Labels)
		b = appendRawMember(b, `,"annotations":`, t.Annotations)
		b = append(b, `,"trusted":`...)
		b = strconv.AppendBool(b, t.Trusted)
		if len(t.Visibility) > 0 {
			b = append(b, `,"visibility":`...)
			b = appendStrings(b, t.Visibility)
		}
		b = append(b, `,"digest":`...)
		b = appendString(b, t.Digest)
		b = append(b, '}')
	}
	b = appendPayload(b, `,"arguments":`, r.Arguments)
	b = appendPayload(b, `,"responses":`, r.Responses)
	b = appendInput(b, r.Input)
	if d := r.Decision; d != nil {
		b = append(b, `,"decision":{"allow":`...)
		b = strconv.AppendBool(b, d.Allow)
		if d.Hidden {
			b = append(b, `,"hidden":true`...)
		}
		if d.Denied {
			b = append(b, `,"denied":true`...)
		}
		if len(d.Reasons) > 0 {
			b = append(b, `,"reasons":`...)
			b = appendStrings(b, d.Reasons)
		}
		if len(d.Obligations) > 0 {
			b = append(b, `,"obligations":[`...)
			for i, o := range d.Obligations {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendRaw(b, o)
			}
			b = append(b, ']')
		}
		b = append(b, `,"revision":`...)
		b = appendString(b, d.Revision)
		b = append(b, '}')
	}
	if s := r.Shown; s != nil {
		b = append(b, `,"shown":{"count":`...)
		b = strconv.AppendInt(b, int64(s.Count), 10)
		b = append(b, `,"of":`...)
		b = strconv.AppendInt(b, int64(s.Of), 10)
		b = append(b, `,"sha256":`...)
		b = appendString(b, s.Digest)
		b = append(b, '}')
	}
	if v := &r.Revisions; *v != (Revisions{}) {
		// One member at least follows, each with its comma; the first comma
		// becomes the brace.
		b = append(b, `,"revisions":`...)
		at := len(b)
		b = appendMember(b, `,"policy":`, v.Policy)
		b = appendMember(b, `,"data":`, v.Data)
		b = appendMember(b, `,"catalog":`, v.Catalog)
		b = appendMember(b, `,"definition":`, v.Definition)
		b[at] = '{'
		b = append(b, '}')
	}
	if len(r.Withheld) > 0 {
		b = append(b, `,"withheld":`...)
		b = appendStrings(b, r.Withheld)
	}
	if s := r.Sealed; s != nil {
		b = append(b, `,"sealed":{"day":`...)
		b = appendString(b, s.Day)
		b = append(b, `,"data":"`...)
		b = base64.StdEncoding.AppendEncode(b, s.Data)
		b = append(b, `"}`...)
	}
	return b
}

func appendFailures(b []byte, f *Failures) []byte {
	if f == nil {
		return b
	}
	b = append(b, `,"failures":{"count":`...)
	b = strconv.AppendInt(b, int64(f.Count), 10)
	b = appendTime(append(b, `,"first":`...), f.First)
	b = appendTime(append(b, `,"last":`...), f.Last)
	b = append(b, `,"kinds":[`...)
	for i, k := range f.Kinds {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"kind":`...), k.Kind)
		b = strconv.AppendInt(append(b, `,"count":`...), int64(k.Count), 10)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

func appendPayload(b []byte, name string, p *Payload) []byte {
	if p == nil {
		return b
	}
	b = append(b, name...)
	b = append(b, '{')
	if len(p.Value) > 0 {
		b = append(b, `"value":`...)
		b = appendRaw(b, p.Value)
		b = append(b, ',')
	}
	if p.Digest != "" {
		b = append(b, `"sha256":`...)
		b = append(appendString(b, p.Digest), ',')
	}
	if p.Keyed != "" {
		b = append(b, `"hmac_sha256":`...)
		b = append(appendString(b, p.Keyed), ',')
	}
	b = append(b, `"size":`...)
	b = strconv.AppendInt(b, int64(p.Size), 10)
	b = appendMember(b, `,"preview":`, p.Preview)
	if p.Redacted != 0 {
		b = append(b, `,"redacted":`...)
		b = strconv.AppendInt(b, int64(p.Redacted), 10)
	}
	return append(b, '}')
}

// appendMember appends a string member, unless it is empty.
func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, name...), value)
}

func appendRawMember(b []byte, name string, value json.RawMessage) []byte {
	if len(value) == 0 {
		return b
	}
	return appendRaw(append(b, name...), value)
}

func appendStrings(b []byte, list []string) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendTime writes UTC. A year that RFC 3339 can't write becomes the zero
// time: a line must stay readable whatever the clock says.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Time{}
	}
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}
