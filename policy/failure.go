package policy

// Codes say why a request could not be judged. They go into records and
// metrics, never to agents.
const (
	FailedInput     = "policy_input"     // the request has no form that rules could read
	FailedTimeout   = "policy_timeout"   // judging took longer than policy.timeout
	FailedBusy      = "policy_busy"      // too many decisions at once, for too long
	FailedUndefined = "policy_undefined" // the rules gave no answer, or not one of the agreed form
	FailedError     = "policy_error"     // a rule failed: a conflict, or an error of a built-in function
	FailedPanic     = "policy_panic"     // a defect of the engine
)

// Failure is an error while deciding, which is a denial (promise 8). Its text
// is for operators: it names rules and positions, never a value of a request.
type Failure struct {
	Code string // one of the Failed… words
	Err  error
}

func (f *Failure) Error() string { return f.Code + ": " + f.Err.Error() }

func (f *Failure) Unwrap() error { return f.Err }
