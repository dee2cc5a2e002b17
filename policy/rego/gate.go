package rego

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The gate is a module of ours between the engine and the operator's rules.
const (
	gateFile    = "ostiary:gate"
	gatePackage = "data.ostiarygate"

	answerQuery = gatePackage + ".answer"
	listedQuery = gatePackage + ".listed"

	// Three questions instead of one: a single query that asks for allow and
	// no deny answers "maybe" where a deny that is certain stands beside one
	// that reads arguments, and would list what can never be called.
	allowQuery  = "data.ostiary.allow == true"
	stepUpQuery = gatePackage + ".step_up == true"
	deniedQuery = gatePackage + ".denied == true"
)

// agreed are the rules of package ostiary that mean something to the engine.
var agreed = []string{"allow", "deny", "reasons", "obligations"}

// gate is the module for a policy that has these rules. allow is wrapped, so
// that an undefined one is seen as such; the others are sets, which are always
// defined once they have a rule.
func gate(has map[string]bool) (*ast.Module, error) {
	var b strings.Builder
	b.WriteString("package ostiarygate\nanswer := {\"allow\": [x | x := data.ostiary.allow]")
	for _, name := range agreed[1:] {
		if has[name] {
			b.WriteString(", \"" + name + "\": data.ostiary." + name)
		}
	}
	b.WriteString("}\nlisted if { data.ostiary.allow == true; not denied }\nlisted if { step_up; not denied }\n")
	if has["deny"] {
		b.WriteString("denied if { data.ostiary.deny[_] }\n")
	} else {
		b.WriteString("denied if { false }\n")
	}
	if has["obligations"] {
		b.WriteString("step_up if { some o in data.ostiary.obligations; o.type == \"step_up\" }\n")
	} else {
		b.WriteString("step_up if { false }\n")
	}
	return ast.ParseModule(gateFile, b.String())
}

// shape checks that the agreed rules are what the engine takes them for, and
// tells which there are.
func shape(modules map[string]*ast.Module) (has map[string]bool, ps Problems) {
	has = map[string]bool{}
	for _, m := range modules {
		switch p := m.Package.Path.String(); {
		case p == gatePackage || strings.HasPrefix(p, gatePackage+"."):
			ps = append(ps, problemAt(m.Package.Location, "package ostiarygate is the gateway's own", "choose another name"))
		case strings.HasPrefix(p, "data.ostiary."):
			if word, _, _ := strings.Cut(strings.TrimPrefix(p, "data.ostiary."), "."); word == "allow" || needsSet(word) {
				ps = append(ps, problemAt(m.Package.Location, "a package can't be named as the rule "+word, "choose another name"))
			}
		case p == "data.ostiary":
			for _, rule := range m.Rules {
				name := string(rule.Head.Ref()[0].Value.(ast.Var))
				if p, ok := misshapen(name, rule); ok {
					ps = append(ps, p)
				}
				has[name] = true
			}
		}
	}
	if !has["allow"] && len(ps) == 0 {
		ps = append(ps, Problem{Text: "no file has a rule allow in package ostiary, so nothing could be allowed", Fix: "write package ostiary, default allow := false and allow if { … }, or copy policy/rego/library/everyone beside what only denies"})
	}
	return has, ps
}

func needsSet(name string) bool { return name == "deny" || name == "reasons" || name == "obligations" }

// misshapen says what is wrong with one of the agreed rules.
func misshapen(name string, rule *ast.Rule) (Problem, bool) {
	head := rule.Head
	single := len(head.Args) == 0 && len(head.Ref()) == 1
	switch {
	case name == "allow" && (!single || head.RuleKind() != ast.SingleValue):
		return problemAt(rule.Location, "allow must be true or false", "write default allow := false and allow if { … }"), true
	case needsSet(name) && (!single || head.RuleKind() != ast.MultiValue):
		fix := `write deny contains "reason" if { … }`
		switch name {
		case "reasons":
			fix = `write reasons contains "text" if { … }`
		case "obligations":
			fix = `write obligations contains {"type": …} if { … }`
		}
		return problemAt(rule.Location, name+" must be a set", fix), true
	}
	return Problem{}, false
}
