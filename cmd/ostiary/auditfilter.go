package main

import (
	"flag"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

// filterFlags declares the conditions that audit records are chosen by. check,
// called after the flags are parsed, is about what package flag can't know.
func filterFlags(fs *flag.FlagSet) (f *audit.Filter, check func(verb string) error) {
	f = new(audit.Filter)
	fs.StringVar(&f.User, "user", "", "only of the user with this id or `NAME`")
	fs.StringVar(&f.Client, "client", "", "only through the client with this `ID`")
	fs.StringVar(&f.Tool, "tool", "", "only about the target with this `NAME`, the upstream's own")
	fs.StringVar(&f.Upstream, "upstream", "", "only about the upstream with this `NAME`")
	fs.StringVar(&f.Decision, "decision", "", "only decided `allow|deny`")
	fs.StringVar(&f.Text, "text", "", "only records that contain this `TEXT`, in any case")
	fs.Func("since", "only at or after this `TIME`", func(s string) (err error) { f.Since, err = moment(s, time.Now()); return })
	fs.Func("until", "only before this `TIME`", func(s string) (err error) { f.Until, err = moment(s, time.Now()); return })
	return f, func(verb string) error {
		if f.Decision != "" && f.Decision != "allow" && f.Decision != "deny" {
			return usagef("%s: --decision is allow or deny, not %q", verb, f.Decision)
		}
		return nil
	}
}
