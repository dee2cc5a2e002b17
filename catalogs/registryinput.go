package catalogs

import (
	"regexp"
	"strings"
)

// input is something that a publisher fixed or left to the user.
type input struct {
	at        map[string]value
	fixed     *string
	fallback  *string
	required  bool
	variables map[string]input
}

// readInput reads one. whole says that it may have variables of its own; those
// have none.
func readInput(v value, whole bool) input {
	known := []string{"name", "type", "description", "isRequired", "isSecret", "format", "default", "value", "choices",
		"placeholder", "isRepeated", "valueHint"}
	if whole {
		known = append(known, "variables")
	}
	in := input{at: v.members(known...)}
	for key, to := range map[string]**string{"value": &in.fixed, "default": &in.fallback} {
		if val, ok := in.at[key]; ok {
			if s, ok := val.literal(); ok {
				*to = &s
			}
		}
	}
	if val, ok := in.at["isRequired"]; ok {
		in.required, _ = val.boolean()
	}
	in.variables = inputsOf(in.at["variables"])
	return in
}

func inputsOf(v value) map[string]input {
	if v.node == nil {
		return nil
	}
	all := map[string]input{}
	v.mapping(func(key string, _, val value) { all[key] = readInput(val, false) })
	return all
}

// standing is what stands for an input, in our words; false when it is
// optional and has nothing. name is the variable that the user sets.
func (e *entry) standing(in input, name string) (raw string, ok bool) {
	e.explain(name, in)
	switch {
	case in.fixed != nil:
		return e.fill(in.at["value"], in.variables)
	case in.fallback != nil:
		return named(name, *in.fallback), true
	case in.required:
		return named(name, ""), true
	}
	return "", false
}

// explain keeps what the publisher says of a variable, for who imports it.
func (e *entry) explain(name string, in input) {
	if e.words == nil {
		e.words = map[string]string{}
	}
	e.words[name] = word(in.at, "description")
}

// braces are the places of a server.json's templates that name a variable.
var braces = regexp.MustCompile(`\{[^{}]+\}`)

// fill writes a template in our words: {name} is a variable of the user's where
// the publisher declares it, and stays as it is where not.
func (e *entry) fill(v value, variables map[string]input) (raw string, ok bool) {
	s, ok := v.literal()
	if !ok {
		return "", false
	}
	var b strings.Builder
	end := 0
	for _, at := range braces.FindAllStringIndex(s, -1) {
		in, declared := variables[s[at[0]+1:at[1]-1]]
		if !declared {
			continue
		}
		if at[0] > 0 && s[at[0]-1] == '$' {
			v.problem("has a $ before a variable, which can't be written here", "declare the server in a .yaml file")
			return "", false
		}
		b.WriteString(literal(s[end:at[0]], b.Len() == 0))
		end = at[1]
		name := variable(e.Name + "_" + s[at[0]+1:at[1]-1])
		e.explain(name, in)
		switch {
		case in.fixed != nil:
			b.WriteString(literal(*in.fixed, b.Len() == 0))
		case in.fallback != nil:
			b.WriteString(named(name, *in.fallback))
		case in.required:
			b.WriteString(named(name, ""))
		default:
			b.WriteString("${" + name + ":-}")
		}
	}
	b.WriteString(literal(s[end:], b.Len() == 0))
	return b.String(), true
}

// variable is the name of an environment variable after any words. It is never
// one of the gateway's own.
func variable(words string) string {
	name := strings.Join(strings.FieldsFunc(strings.ToUpper(words), func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z')
	}), "_")
	if name == "" || name[0] <= '9' || forbiddenName(name) {
		name = "VALUE_" + name
	}
	return name
}

// named is a reference to a variable, with what stands in for it if that can
// be written.
func named(name, fallback string) string {
	if fallback == "" || strings.ContainsAny(fallback, "}") || strings.Contains(fallback, "${") {
		return "${" + name + "}"
	}
	return "${" + name + ":-" + fallback + "}"
}

// literal is a text that refers to nothing. first says that it begins a value.
func literal(s string, first bool) string {
	s = strings.ReplaceAll(s, "${", "$${")
	if first && (strings.HasPrefix(s, "file:") || strings.HasPrefix(s, "$file:")) {
		s = "$" + s
	}
	return s
}
