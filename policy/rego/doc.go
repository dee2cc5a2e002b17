// Package rego decides with Open Policy Agent. It reads a directory of .rego
// and data files into an immutable Engine, judges requests and lists with it,
// and swaps it when the files change (Live). Rules live in package ostiary and
// read the input document of package policy; nothing else here is visible to
// operators. It hands policy.Decider to the gateway, and checks, tests and
// their results to the verbs `ostiary policy …`.
package rego
