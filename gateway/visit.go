package gateway

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/ostiary/ostiary/gateway/wire"
)

// visit translates URLElicitationRequired (-32042, MCP 2025-11-25,
// Elicitation) of a legacy upstream for a modern agent: the request did not
// run, because the user has to visit pages first. An agent that can show URLs
// gets them as input requests, and its retry makes the request anew.
func (x *exchange) visit(ctx context.Context, t *target, e *wire.Error, bound []byte) ([]byte, *refusal) {
	asks, f := urlElicitations(t.upstream.Name, e)
	if f != nil {
		return nil, f
	}
	var links []string
	requests := []byte{'{'}
	for i, params := range asks {
		if !declares(x.caps, "elicitation/create", params) {
			o, _ := wire.Fields(params)
			link, _ := o.String("url")
			links = append(links, link)
			continue
		}
		asked := *t
		asked.method, asked.arguments, asked.responses, asked.check = "elicitation/create", params, nil, nil
		y, f := x.judgeApart(ctx, &asked)
		if f != nil {
			return nil, f
		}
		y.outcome("input_required", 0, "", nil)
		if i > 0 {
			requests = append(requests, ',')
		}
		requests = append(wire.AppendString(requests, "q"+strconv.Itoa(i+1)), ':')
		requests = appendInput(requests, "elicitation/create", withoutElicitationID("elicitation/create", params))
	}
	if links != nil {
		f := x.askFailed(t, "asks for a visit to "+strings.Join(links, " and to "), "url_elicitation")
		f.text += ": open it in a browser, then call again"
		return nil, f
	}
	h := handle{kind: ofVisit}
	return x.inputRequiredResult(append(requests, '}'), x.sealHandle(h, x.g.Limits.Parked, bound)), nil
}

// urlElicitations are the params of the elicitations that a -32042 carries:
// all of them, and all safe to show (security catalogue A-066).
func urlElicitations(upstream string, e *wire.Error) ([][]byte, *refusal) {
	o, err := wire.Fields(e.Data)
	if err != nil {
		return nil, badAnswer(upstream, "-32042 without data.elicitations")
	}
	raw, _ := o.Get("elicitations")
	asks, err := wire.Elements(raw)
	if err != nil || len(asks) == 0 || len(asks) > inputsAtOnce {
		return nil, badAnswer(upstream, "-32042 without data.elicitations, or with too many")
	}
	for _, params := range asks {
		if modeOf(params) != "url" || !safeAsk("elicitation/create", params) {
			return nil, badAnswer(upstream, "-32042 with something else than URLs that a client may open")
		}
	}
	return asks, nil
}

// visited reads what became of the pages that the agent was asked to show.
// Unless one was declined, the request is made anew: nothing ran before.
func (x *exchange) visited(t *target) ([]byte, *refusal) {
	raw, _ := x.m.Params.Get("inputResponses")
	given, f := readResponses(raw)
	if f != nil {
		return nil, f
	}
	for _, m := range given.Members {
		answer := given.Raw[m.Start:m.End]
		if !wellAnswered("elicitation/create", answer) {
			return nil, refuse(http.StatusOK, codeInvalidParams, "input_response", "params.inputResponses has something else than an answer to elicitation/create")
		}
		o, _ := wire.Fields(answer)
		if action, _ := o.String("action"); action != "accept" {
			return x.declined(t)
		}
	}
	return nil, nil
}

func (x *exchange) declined(t *target) ([]byte, *refusal) {
	f := x.askFailed(t, "needs a visit to a page, which was declined", "declined")
	result, f := x.explained(nil, f)
	if result == nil {
		return nil, f
	}
	o, _ := wire.Fields(result)
	return wire.NewPatch(o).Set("resultType", []byte(`"complete"`)).Bytes(), nil
}
