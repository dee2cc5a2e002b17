package rego

import "testing"

// Rules of three sizes, as they are measured.
const (
	groupRules = `
allow if {
	"engineering" in input.user.groups
	input.upstream == "github"
}

deny contains "no writes at night" if {
	"write" in input.target.labels
	input.time.hour >= 20
}
`
	argumentRules = `
allow if {
	"engineering" in input.user.groups
	input.upstream == "github"
}

deny contains "outside of the folder" if not startswith(input.arguments.path, "/srv/data/")

deny contains "too much" if input.arguments.amount > 1000
`
	// realisticRules do what a company's rules do: a table of grants by group,
	// networks, working hours, scopes, patterns over arguments, obligations.
	realisticRules = `
grants := {
	"engineering": {"github": ["create_issue", "list_*"], "ci": ["*"]},
	"staff": {"wiki": ["read_*"], "calendar": ["*"]},
	"finance": {"ledger": ["*"]},
}

networks := ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]

allow if {
	granted
	inside
	"mcp" in input.grant.scopes
}

granted if {
	some group in input.user.groups
	some pattern in grants[group][input.upstream]
	glob.match(pattern, [], input.target.name)
}

inside if {
	some network in networks
	net.cidr_contains(network, input.source.ip)
}

deny contains "writes only in working hours" if {
	"write" in input.target.labels
	not working
}

working if {
	input.time.weekday in {"monday", "tuesday", "wednesday", "thursday", "friday"}
	input.time.hour >= 8
	input.time.hour < 18
}

deny contains "no secrets in titles" if regex.match("(?i)(password|token)[ :=]", input.arguments.title)

deny contains "paths stay below /srv" if {
	some key in ["path", "target"]
	not regex.match("^/srv/[a-z0-9/._-]+$", input.arguments[key])
	input.arguments[key]
}

reasons contains "ask engineering for access" if not granted

obligations contains {"type": "mask", "paths": ["/arguments/ssn"]} if input.arguments.ssn
`
)

func benchmarkDecide(b *testing.B, rules string) {
	e := engine(b, rules, patient())
	r := request()
	if d, err := e.Decide(b.Context(), r); err != nil || !d.Allow {
		b.Fatal(d, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Decide(b.Context(), r); err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}

// Budget: 0.5 µs.
func BenchmarkDecideRemembered(b *testing.B) { benchmarkDecide(b, groupRules) }

// Budget: 40 µs.
func BenchmarkDecideSmallArguments(b *testing.B) { benchmarkDecide(b, argumentRules) }

// Budget: 150 µs.
func BenchmarkDecideRealistic(b *testing.B) { benchmarkDecide(b, realisticRules) }

// benchmarkList lists 1,000 tools. Rules that read names make every one of
// them a case of its own.
func benchmarkList(b *testing.B, rules string, cold bool) {
	e := engine(b, rules+"\nallow if input.target.name == \"tool_number_7\"\n", patient())
	r := request()
	upstreams, targets := catalog(1000)
	list := func() {
		if _, err := e.Visible(b.Context(), r, upstreams, targets); err != nil {
			b.Fatal(err)
		}
	}
	list()
	for b.Loop() {
		if cold {
			e.listings = newMemory[bool](DefaultRemember)
		}
		list()
	}
}

// Budget: 25 ms.
func BenchmarkListColdPlain(b *testing.B) { benchmarkList(b, groupRules, true) }

// Budget: 250 ms.
func BenchmarkListColdArguments(b *testing.B) { benchmarkList(b, realisticRules, true) }

// Budget: 0.1 ms.
func BenchmarkListRemembered(b *testing.B) { benchmarkList(b, groupRules, false) }

// BenchmarkLoad is what a reload costs.
func BenchmarkLoad(b *testing.B) {
	dir := directory(b, "policy.rego", "package ostiary\n\ndefault allow := false\n"+realisticRules)
	for b.Loop() {
		if _, err := Load(dir, patient()); err != nil {
			b.Fatal(err)
		}
	}
}
