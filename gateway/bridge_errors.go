package gateway

import (
	"net/http"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// translateError passes an upstream's JSON-RPC error on, with the codes of
// the agent's era. Between peers of one era it is the same bytes.
//
//	upstream          agent     answer
//	-32002            modern    -32602 with data.uri
//	-32602, resource  legacy    -32002
//	-32020, -32022    both      -32603: the gateway made the request
//	-32021            modern    passed on with HTTP 400
//	-32021            legacy    CodeAskFailed, or a tool's error, that names what is missing
//	-32042            modern    input requests, see visit
//	-32099..-32020 of a legacy upstream
//	                  modern    -32603: there they are the specification's words
func (x *exchange) translateError(t *target, a *federation.Answer) *refusal {
	e := t.masks.maskError(a.Error)
	f := &refusal{status: http.StatusOK, code: e.Code, outcome: "error", reason: "upstream_error", raw: e}
	if x.m.Method == "resources/read" && (e.Code == codeResourceMissing || a.Era == wire.Modern && e.Code == codeInvalidParams) {
		// Missing there and hidden here must read the same (hidden = unknown).
		return x.unknownTarget("resource", t.exposed)
	}
	if e.Code == codeMissingCap && a.Era == wire.Modern {
		x.lacksTasks(e)
	}
	switch {
	case a.Era == wire.Legacy && e.Code <= codeHeaderMismatch && e.Code >= codeReservedLast:
		if x.era == wire.Modern && e.Code != codeURLElicitation {
			f.recode(codeInternal)
		}
	case e.Code == codeHeaderMismatch, e.Code == codeUnsupportedVers: // we built the request: not the agent's fault
		f.code, f.raw = codeInternal, nil
		f.text, f.detail = "internal error", "upstream refused our headers or version: "+e.Message
		return f
	case e.Code == codeMissingCap && x.era == wire.Modern:
		f.status = http.StatusBadRequest
	case e.Code == codeMissingCap:
		what := "needs a capability that this client did not declare"
		if names := missingCapabilities(e.Data); names != "" {
			what += ": " + names
		}
		return x.askFailed(t, what, "capability")
	}
	switch {
	case e.Code == codeURLElicitation && x.era == wire.Modern: // of a modern upstream, which must not send it
		return x.askFailed(t, "asks for a visit to a page in a way that your protocol revision does not know", "url_elicitation")
	case e.Code == codeURLElicitation:
		asks, f := urlElicitations(t.upstream.Name, e)
		if f != nil {
			return f // nothing of it is shown
		}
		for _, params := range asks {
			x.sends(t, params)
		}
	case e.Code == codeResourceMissing && x.era == wire.Modern:
		f.recode(codeInvalidParams)
	case e.Code == codeMethodNotFound && x.era == wire.Modern:
		f.status = http.StatusNotFound
	}
	if x.endpoint == federation.Merged && f.raw.Data != nil {
		data := wire.RewriteURIs(wire.OfErrorData, f.raw.Data, func(uri string, _ bool) string { return federation.ExposeURI(t.upstream, uri) })
		f.raw = &wire.Error{Code: f.raw.Code, Message: f.raw.Message, Data: data}
	}
	return f
}

// recode gives a passed-on error another code.
func (r *refusal) recode(code int64) {
	r.code, r.raw = code, &wire.Error{Code: code, Message: r.raw.Message, Data: r.raw.Data}
}
