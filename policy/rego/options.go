package rego

import (
	"runtime"
	"time"
)

// Defaults of Options.
const (
	DefaultTimeout   = 250 * time.Millisecond // of the clock: containers stand still for up to 100 ms at a time
	DefaultArguments = 256 << 10              // bytes
	DefaultRemember  = 1 << 17                // answers: some 40 MB where rules read names and digests

	// slotsPerCPU bounds how many evaluations run at once: more would only
	// make each of them miss its time.
	slotsPerCPU = 4
)

// Bounds that no operator needs to change.
const (
	listTime   = 5 * time.Second  // for one whole list
	canaryTime = time.Second      // for the request that a new engine is tried with
	testsTime  = 10 * time.Second // for all test_ rules of a policy
	testTime   = 5 * time.Second  // for one of them

	explainTime = 10 * time.Second // for a decision that is explained

	maxTexts       = 64   // reasons, and obligations, of one decision
	maxReasonBytes = 1024 // of one reason; what is longer is cut
)

// Options of an Engine. The zero value is ready to use.
type Options struct {
	Timeout     time.Duration    // for one evaluation; policy.timeout
	Concurrency int              // evaluations at once
	Arguments   int              // bytes of arguments, and of responses, that rules may have to read; limits.arguments
	Classes     []string         // of rates, which obligations may name; nil = not known
	Remember    int              // remembered answers: as many decisions, and as many targets listed or not
	Denials     bool             // remember denials as well, where no caller could learn from the time that one takes
	Now         func() time.Time // in the zone of policy.timeZone, as the gateway fills input.time
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Concurrency <= 0 {
		o.Concurrency = slotsPerCPU * runtime.GOMAXPROCS(0)
	}
	if o.Arguments <= 0 {
		o.Arguments = DefaultArguments
	}
	if o.Remember <= 0 {
		o.Remember = DefaultRemember
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
