package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	// askRounds bounds how often an upstream may ask for input in one request
	// of a legacy agent, who has no say in whether it goes on.
	askRounds = 10

	// inputsAtOnce bounds the questions of one round.
	inputsAtOnce = 16
)

// answerFor makes the request of a legacy agent at a modern upstream. Where
// the upstream answers input_required, the agent is asked on the stream of its
// request, and the request is made again with the answers: with a new id and
// the exact requestState (MCP 2026-07-28, MRTR).
func (x *exchange) answerFor(ctx context.Context, t *target, p *wire.Patch, bound []byte) ([]byte, *refusal) {
	x.progress = new(rising) // over all rounds: the agent knows one request
	for round := 0; ; round++ {
		a, f := x.send(ctx, t, p.Bytes())
		if f != nil {
			return nil, f
		}
		in, f := x.input(t, a)
		switch {
		case f == nil && in == nil:
			result, f := x.translate(ctx, t, a, bound)
			return x.explained(result, f)
		case f == nil && round == askRounds:
			f = x.askFailed(t, "asked for input too often", "ask_rounds")
		}
		if f != nil {
			return x.explained(nil, f)
		}
		responses, f := x.answers(ctx, t, in)
		if f != nil {
			return x.explained(nil, f)
		}
		p.Remove("inputResponses").Remove("requestState")
		if responses != nil {
			p.Set("inputResponses", responses)
		}
		if in.state != nil {
			p.Set("requestState", in.state)
		}
	}
}

// input is what an input_required result asks for.
type input struct {
	requests []inputRequest
	state    []byte // raw requestState; nil = none
}

type inputRequest struct {
	key    string
	method string
	params []byte
}

// input reads an input_required result that is meant for a legacy agent; nil
// when a is another answer.
func (x *exchange) input(t *target, a *federation.Answer) (*input, *refusal) {
	o, err := wire.Fields(a.Result)
	if err != nil {
		return nil, nil
	}
	if kind, _ := o.String("resultType"); a.Era != wire.Modern || kind != "input_required" {
		return nil, nil
	}
	in, f := readInput(t.upstream.Name, o)
	if f != nil {
		return nil, f
	}
	if len(in.requests) > inputsAtOnce {
		return nil, badAnswer(t.upstream.Name, "too many input requests at once")
	}
	for i := range in.requests {
		q := &in.requests[i]
		fitted, missing := fitQuestion(x.version, x.caps, q.method, q.params)
		if missing != "" {
			return nil, x.askFailed(t, "needs a capability that this client does not have: "+missing, "capability")
		}
		if q.params = fitted; !safeAsk(q.method, q.params) {
			return nil, badAnswer(t.upstream.Name, "input request with an unsafe URL")
		}
	}
	return in, nil
}

// readInput reads the members of an input_required result.
func readInput(upstream string, o wire.Object) (*input, *refusal) {
	in := new(input)
	raw, asks := o.Get("inputRequests")
	if asks {
		all, err := wire.Fields(raw)
		if err != nil {
			return nil, badAnswer(upstream, "inputRequests is not an object")
		}
		for _, m := range all.Members {
			ask, err := wire.Fields(all.Raw[m.Start:m.End])
			if err != nil {
				return nil, badAnswer(upstream, "an input request is not an object")
			}
			q := inputRequest{key: m.Key}
			q.method, _ = ask.String("method")
			q.params, _ = ask.Get("params")
			in.requests = append(in.requests, q)
		}
	}
	state, ok := o.Get("requestState")
	if ok {
		if _, text := wire.Unquote(state); !text {
			return nil, badAnswer(upstream, "requestState is not a string")
		}
		in.state = state
	} else if !asks {
		return nil, badAnswer(upstream, "input_required without inputRequests and requestState")
	}
	return in, nil
}

// answers asks the agent everything at once and returns inputResponses; nil
// when nothing was asked. What the agent declined or cancelled is its answer.
func (x *exchange) answers(ctx context.Context, t *target, in *input) ([]byte, *refusal) {
	if len(in.requests) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx) // one that fails takes the others back
	defer cancel()
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
		failed *refusal
		given  = make([][]byte, len(in.requests))
	)
	for i, q := range in.requests {
		asking.Go(func() {
			r, f, err := x.put(ctx, t, q.method, q.params, func(ctx context.Context) (response, error) {
				result, rpcErr, err := x.session.ask(ctx, x.reply, q.method, q.params)
				return response{result, rpcErr}, err
			})
			if f == nil {
				f = x.unanswered(ctx, t, r, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if given[i] = r.result; f != nil && failed == nil {
				failed = f
				cancel()
			}
		})
	}
	asking.Wait()
	if failed != nil {
		return nil, failed
	}
	b := []byte{'{'}
	for i, q := range in.requests {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(wire.AppendString(b, q.key), ':'), given[i]...)
	}
	return append(b, '}'), nil
}

// unanswered is why a question has no answer; nil when it has one.
func (x *exchange) unanswered(ctx context.Context, t *target, r response, err error) *refusal {
	switch {
	case ctx.Err() != nil && err != nil:
		return fromFailure(context.Canceled)
	case errors.Is(err, errNoAnswer):
		return x.askFailed(t, "asked for input and got no answer in time (limits.parked)", "not_answered")
	case err != nil:
		return x.askFailed(t, "asked for input, and this client could not be asked: "+err.Error(), "not_answered")
	case r.err != nil:
		return x.askFailed(t, "asked for input, and this client answered with an error", "agent_error")
	}
	return nil
}

// askFailed is the refusal of a request that needs input which can't be had.
func (x *exchange) askFailed(t *target, what, reason string) *refusal {
	return &refusal{
		status: http.StatusOK, code: CodeAskFailed, outcome: "error", reason: reason,
		text: "upstream " + t.upstream.Name + " " + what + "; the request was not completed",
	}
}

// explained turns a request that failed for want of input into a result which
// a model reads, where the method has one (SEP-1303).
func (x *exchange) explained(result []byte, f *refusal) ([]byte, *refusal) {
	if f == nil || f.code != CodeAskFailed || x.m.Method != "tools/call" {
		return result, f
	}
	return toolError(f.text), nil
}

// toolError is a CallToolResult that says what went wrong.
func toolError(text string) []byte {
	b := wire.AppendString([]byte(`{"content":[{"type":"text","text":`), text)
	return append(b, `}],"isError":true}`...)
}

// missingCapabilities names what data.requiredCapabilities of a -32021 asks
// for, as far as it is one of our words.
func missingCapabilities(data []byte) string {
	o, err := wire.Fields(data)
	if err != nil {
		return ""
	}
	raw, _ := o.Get("requiredCapabilities")
	required, err := wire.Fields(raw)
	if err != nil {
		return ""
	}
	var names []string
	for _, name := range relayedCapabilities {
		value, ok := required.Get(name)
		if !ok {
			continue
		}
		inner, err := wire.Fields(value)
		if err != nil || len(inner.Members) == 0 {
			names = append(names, name)
			continue
		}
		for _, mode := range []string{"form", "url", "tools", "context"} {
			if _, ok := inner.Get(mode); ok {
				names = append(names, name+"."+mode)
			}
		}
	}
	return strings.Join(names, ", ")
}
