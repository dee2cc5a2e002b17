package policy

import "context"

// AllowAll allows everything. It is the decider of `serve --no-auth`, where
// there is one principal and nobody to tell apart.
type AllowAll struct{}

// Decide allows.
func (AllowAll) Decide(context.Context, *Request) (Decision, error) {
	return Decision{Allow: true, Revision: AllowAll{}.Revision()}, nil
}

// Visible lists everything.
func (AllowAll) Visible(_ context.Context, _ *Request, _ []string, targets []Target) ([]bool, error) {
	all := make([]bool, len(targets))
	for i := range all {
		all[i] = true
	}
	return all, nil
}

// Revision is constant: the answer never changes.
func (AllowAll) Revision() string { return "allow-all" }
