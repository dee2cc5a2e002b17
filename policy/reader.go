package policy

// Reader is what a Decider may know of its rules. One that is none is taken to
// read no arguments and to need counters. Implementations are safe for
// concurrent use; an answer holds for the rules of now.
type Reader interface {
	// DependsOn tells whether a decision may depend on the input document's
	// path, such as "arguments" or "counters", or on something below it.
	DependsOn(path string) bool

	// Obliges tells whether a decision may carry obligations.
	Obliges() bool
}
