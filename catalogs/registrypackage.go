package catalogs

import (
	"slices"
	"strings"
)

// runnable are the kinds of packages that there is a runner for.
var runnable = []string{"npm", "pypi", "oci", "nuget"}

// runners are the programs that run a package of each kind, the usual one
// first. A runtimeHint that names none of them is not followed.
var runners = map[string][]string{
	"npm":   {"npx", "bunx"},
	"pypi":  {"uvx"},
	"oci":   {"docker", "podman"},
	"nuget": {"dnx"},
}

// takePackage makes the entry one of the first package that fits: the runner,
// what the publisher tells the runner, the package in its version, and what the
// publisher tells the package.
func (e *entry) takePackage(packages []value) bool {
	for _, v := range packages {
		at := v.members("registryType", "registryBaseUrl", "identifier", "version", "fileSha256", "runtimeHint",
			"runtimeArguments", "packageArguments", "environmentVariables", "transport", "postInstallInstructions")
		kind, id := word(at, "registryType"), word(at, "identifier")
		if !slices.Contains(runnable, kind) || id == "" || !overStdio(at) {
			continue
		}
		e.Transport, e.at["command"] = Stdio, at["identifier"]
		e.Env = map[string]Secret{}
		passed := e.takeEnvironment(at)

		run := e.runner(kind, at)
		e.argue(v, run)
		given := offers(at["runtimeArguments"], at["runtimeArguments"].node != nil)
		switch kind {
		case "npm":
			if run == "npx" && !slices.ContainsFunc(given, isYes) {
				e.argue(v, "-y")
			}
		case "oci":
			for _, flag := range append([]string{"run", "-i", "--rm"}, passed...) {
				e.argue(v, flag)
			}
		}
		e.arguments(given)
		e.argue(at["identifier"], pinned(kind, id, word(at, "version")))
		if kind == "nuget" {
			e.argue(v, "--yes")
			e.argue(v, "--")
		}
		e.arguments(offers(at["packageArguments"], at["packageArguments"].node != nil))
		return true
	}
	return false
}

func overStdio(at map[string]value) bool {
	v, ok := at["transport"]
	if !ok {
		return true // before 2025-09-16 there was nothing else
	}
	kind := "stdio"
	v.mapping(func(key string, _, val value) {
		if key == "type" {
			kind, _ = val.text()
		}
	})
	return kind == "stdio"
}

func (e *entry) runner(kind string, at map[string]value) string {
	usual := runners[kind][0]
	hint := word(at, "runtimeHint")
	switch {
	case hint == "" || hint == usual:
	case slices.Contains(runners[kind], hint):
		return hint
	default:
		at["runtimeHint"].warn("is not a program that runs such a package: "+usual+" is used", "declare the server in a .yaml file to use another")
	}
	return usual
}

// pinned is the package in its version.
func pinned(kind, id, version string) string {
	switch {
	case version == "":
	case kind != "oci":
		return id + "@" + version
	case !strings.Contains(id[strings.LastIndexByte(id, '/')+1:], ":") && !strings.Contains(id, "@"):
		return id + ":" + version
	}
	return id
}

// isYes: the publisher says -y itself.
func isYes(v value) bool {
	found := false
	if v.kind() == "a mapping" {
		v.mapping(func(_ string, _, val value) {
			found = found || slices.Contains([]string{"-y", "--yes"}, val.node.Value)
		})
	}
	return found
}

// argue adds an argument that refers to nothing.
func (e *entry) argue(v value, s string) { e.argument(v, literal(s, true)) }

// argument adds one in our words.
func (e *entry) argument(v value, raw string) {
	i := len(e.Command)
	e.Command = append(e.Command, "")
	e.written(v, raw, func(s string) { e.Command[i] = s })
}

// written keeps a value that is in our words already.
func (e *entry) written(v value, raw string, set func(string)) {
	e.values = append(e.values, reference{v, raw, false, set})
}

// arguments adds a list of arguments. `--name` and its value are one word, `-n`
// and its value are two.
func (e *entry) arguments(list []value) {
	for _, v := range list {
		in := readInput(v, true)
		flag := word(in.at, "name")
		hint := word(in.at, "valueHint")
		if hint == "" {
			hint = flag
		}
		raw, ok := e.standing(in, variable(e.Name+"_"+hint))
		switch isNamed := word(in.at, "type") == "named"; {
		case !ok:
			v.warn("is optional and has no default: it is left out", "declare the server in a .yaml file to give it")
		case !isNamed:
			e.argument(v, raw)
		case strings.HasPrefix(flag, "--") && raw != "":
			e.argument(v, literal(flag, true)+"="+raw)
		default:
			e.argue(v, flag)
			if raw != "" {
				e.argument(v, raw)
			}
		}
	}
}

// takeEnvironment reads the environment variables. It returns the flags that
// pass them into a container.
func (e *entry) takeEnvironment(at map[string]value) (flags []string) {
	for _, v := range offers(at["environmentVariables"], at["environmentVariables"].node != nil) {
		in := readInput(v, true)
		name := word(in.at, "name")
		if !envName.MatchString(name) {
			v.problem("has a name that no variable can have", "use letters, digits and _, and no digit first")
			continue
		}
		raw, ok := e.standing(in, name)
		if !ok {
			v.warn("is optional and has no default: it is left out", "declare the server in a .yaml file to set it")
			continue
		}
		flags = append(flags, "-e", name)
		e.written(v, raw, func(s string) { e.Env[name] = Secret(s) })
		e.at["env"] = at["environmentVariables"]
	}
	return flags
}
