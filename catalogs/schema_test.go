package catalogs

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"go.yaml.in/yaml/v4"
)

type schema map[string]any

func readSchema(t *testing.T) schema {
	t.Helper()
	content, err := os.ReadFile("catalog.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(content, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s schema) sub(keys ...string) schema {
	for _, k := range keys {
		s, _ = s[k].(map[string]any)
	}
	return s
}

func TestTheSchemaForEditorsHasExactlyTheKeysThatAreRead(t *testing.T) {
	root := readSchema(t)
	entry := root.sub("properties", "upstreams", "additionalProperties")
	for name, c := range map[string]struct {
		schema schema
		keys   []string
	}{
		"file":   {root, keysOf(fileFields)},
		"entry":  {entry, keysOf(entryFields)},
		"limits": {entry.sub("properties", "limits"), keysOf(limitFields)},
		"tool":   {entry.sub("properties", "tools", "additionalProperties"), keysOf(toolFields)},
		"auth":   {entry.sub("properties", "auth"), keysOf(authFields)},
	} {
		got := slices.Sorted(maps.Keys(c.schema.sub("properties")))
		if want := slices.Sorted(slices.Values(c.keys)); !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %q, the loader reads %q", name, got, want)
		}
		if name != "auth" && c.schema["additionalProperties"] != false {
			t.Errorf("%s: the schema lets unknown keys pass", name)
		}
	}
	words := func(got any, want []string) {
		t.Helper()
		var list []string
		for _, w := range got.([]any) {
			list = append(list, w.(string))
		}
		if slices.Sort(list); !slices.Equal(list, slices.Sorted(slices.Values(want))) {
			t.Errorf("the schema has the words %q, the loader reads %q", list, want)
		}
	}
	words(entry.sub("properties", "transport")["enum"], slices.Collect(maps.Keys(transports)))
	words(entry.sub("properties", "auth", "properties", "type")["enum"], slices.Collect(maps.Keys(authKeys)))
	words(root.sub("properties", "upstreams", "propertyNames", "not")["enum"], reserved)
}

func TestTheSchemaForEditorsHasTheLimitsThatHold(t *testing.T) {
	entry := readSchema(t).sub("properties", "upstreams", "additionalProperties", "properties")
	limits := entry.sub("limits", "properties")
	for what, c := range map[string][2]any{
		"title":               {entry.sub("title")["maxLength"], MaxTitle},
		"prefix":              {entry.sub("prefix")["maxLength"], MaxPrefix},
		"label":               {entry.sub("labels", "items")["maxLength"], MaxLabel},
		"meta":                {entry.sub("meta", "items")["maxLength"], MaxMetaKey},
		"tool":                {entry.sub("tools", "propertyNames")["maxLength"], MaxToolName},
		"name":                {readSchema(t).sub("properties", "upstreams", "propertyNames")["maxLength"], MaxName},
		"concurrency":         {limits.sub("concurrency")["maximum"], MaxConcurrency},
		"response above":      {limits.sub("response")["maximum"], MaxResponse},
		"response below":      {limits.sub("response")["minimum"], MinResponse},
		"default timeout":     {limits.sub("timeout")["default"], "60s"},
		"default concurrency": {limits.sub("concurrency")["default"], DefaultConcurrency},
		"default response":    {limits.sub("response")["default"], "16MiB"},
	} {
		if fmt.Sprint(c[0]) != fmt.Sprint(c[1]) && fmt.Sprintf("%.0f", c[0]) != fmt.Sprint(c[1]) {
			t.Errorf("%s: the schema says %v, the loader %v", what, c[0], c[1])
		}
	}
}

// valid is as much of JSON Schema as the schema uses for shapes.
func (s schema) valid(path string, v any) (wrong []string) {
	is := func(kind string) bool {
		switch v.(type) {
		case map[string]any:
			return kind == "object"
		case []any:
			return kind == "array"
		case string:
			return kind == "string"
		case bool:
			return kind == "boolean"
		case int:
			return kind == "integer" || kind == "number"
		case nil:
			return kind == "null"
		}
		return false
	}
	switch kinds := s["type"].(type) {
	case string:
		if !is(kinds) {
			return []string{path + ": not of type " + kinds}
		}
	case []any:
		if !slices.ContainsFunc(kinds, func(k any) bool { return is(k.(string)) }) {
			return []string{fmt.Sprint(path, ": not of type ", kinds)}
		}
	}
	if words, ok := s["enum"].([]any); ok && !slices.Contains(words, v) {
		wrong = append(wrong, fmt.Sprint(path, ": not one of ", words))
	}
	if text, ok := v.(string); ok && s["pattern"] != nil && !regexp.MustCompile(s["pattern"].(string)).MatchString(text) {
		wrong = append(wrong, fmt.Sprint(path, ": does not match ", s["pattern"]))
	}
	for i, item := range asList(v) {
		wrong = append(wrong, s.sub("items").valid(fmt.Sprintf("%s[%d]", path, i), item)...)
	}
	for key, item := range asMap(v) {
		at := path + "." + key
		wrong = append(wrong, s.sub("propertyNames").valid(at, key)...)
		if p := s.sub("properties", key); p != nil {
			wrong = append(wrong, p.valid(at, item)...)
		} else if s["additionalProperties"] == false {
			wrong = append(wrong, at+": unknown key")
		} else {
			wrong = append(wrong, s.sub("additionalProperties").valid(at, item)...)
		}
	}
	return wrong
}

func asList(v any) []any         { l, _ := v.([]any); return l }
func asMap(v any) map[string]any { m, _ := v.(map[string]any); return m }

func TestTheShippedFilesFitTheSchemaForEditors(t *testing.T) {
	names, err := list(".")
	if err != nil {
		t.Fatal(err)
	}
	s := readSchema(t)
	check := func(content []byte) []string {
		var v any
		if err := yaml.Load(content, &v); err != nil {
			t.Fatal(err)
		}
		return s.valid("", v)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := check(content); len(wrong) > 0 {
			t.Errorf("%s: %q", name, wrong)
		}
	}
	if wrong := check([]byte("upstreams: {X: {url: 1, titel: x, limits: {timeout: 30, a: b}, sharing: all}}")); len(wrong) != 6 {
		t.Errorf("mistakes that the schema finds: %q", wrong)
	}
}
