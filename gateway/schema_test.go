package gateway

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/policy"
)

func TestFaultsNameThePlaceAndNoValue(t *testing.T) {
	s := schemaOf(t, `{"type":"object","required":["path"],"additionalProperties":false,"properties":{
		"path":{"type":"string","pattern":"^/srv/","maxLength":20},"mode":{"enum":["r","w"]},"n":{"type":"integer","minimum":3},"all":{"items":{"type":"string"}}}}`)
	for doc, want := range map[string]string{
		`{"path":["canary"]}`:                  "/path: want string, got array",
		`{"path":{"canary":1}}`:                "/path: want string, got object",
		`{"path":7}`:                           "/path: want string, got number",
		`{"path":"canary"}`:                    "/path: does not fit pattern",
		`{"path":"/srv/canary-canary-canary"}`: "/path: does not fit maxLength",
		`{}`:                                   "/: missing path",
		`{"path":"/srv/","mode":"canary"}`:     "/mode: does not fit enum",
		`{"path":"/srv/","n":2.5}`:             "/n: want integer, got number",
		`{"path":"/srv/","n":2}`:               "/n: does not fit minimum",
		`{"path":"/srv/","all":["a",7]}`:       "/all/1: want string, got number",
		`{"path":"/srv/","x":"canary"}`:        "/: more properties than the schema has",
		`[]`:                                   "/: want object, got array",
	} {
		err := s.check([]byte(doc))
		var u *unfit
		if !errors.As(err, &u) || err.Error() != want {
			t.Errorf("%s: %v, want %s", doc, err, want)
		}
	}
	if err := s.check([]byte(`{"path":"/srv/a","mode":"r","n":3,"all":[]}`)); err != nil {
		t.Error(err)
	}
}

// fan is a schema that leads to s a million times.
func fan(s string) string {
	all := `{"$defs":{"d0":` + s
	for i := range 6 {
		ten := strings.Repeat(fmt.Sprintf(`{"$ref":"#/$defs/d%d"},`, i), 10)
		all += fmt.Sprintf(`,"d%d":{"allOf":[%s]}`, i+1, strings.TrimSuffix(ten, ","))
	}
	return all + `},"$ref":"#/$defs/d6"}`
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":1,`, i)
	}
	return b.String()
}

// A schema may be hostile: what it names is not fetched, and no validation takes
// long.
// Security catalogue.
func TestASchemaThatCantBeUsedIsAnErrorInShortTime(t *testing.T) {
	deep := `{"$defs":{"d0":{"const":1}`
	for i := range 40 {
		deep += fmt.Sprintf(`,"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i+1, i, i)
	}
	deep += `},"$ref":"#/$defs/d40"}`
	for name, c := range map[string]struct{ schema, doc string }{
		"another place":        {`{"$ref":"https://canary.invalid/schema.json"}`, ``},
		"a file":               {`{"$ref":"file:///etc/passwd"}`, ``},
		"an unknown draft":     {`{"$schema":"https://canary.invalid/draft"}`, ``},
		"not a schema":         {`{"type":"strange"}`, ``},
		"no pattern":           {`{"pattern":"("}`, ``},
		"a text":               {`"x"`, ``},
		"too large":            {`{"description":"` + strings.Repeat("x", schemaBytes) + `"}`, ``},
		"alternatives":         {deep, `2`},
		"a circle":             {`{"$ref":"#"}`, `1`},
		"a costly pattern":     {`{"pattern":"(x?){900}(y?){900}$"}`, `"` + strings.Repeat("x", 200<<10) + `"`},
		"many lengths":         {fan(`{"minLength":1}`), `"` + strings.Repeat("x", 200<<10) + `"`},
		"many members":         {fan(`{"additionalProperties":true}`), `{` + members(20000) + `"z":1}`},
		"many elements":        {fan(`{"items":{"type":"string"}}`), `[` + strings.Repeat("1,", 100000) + `1]`},
		"unique elements":      {fan(`{"uniqueItems":true}`), `[` + strings.Repeat(`[1,2,3],`, 20000) + `1]`},
		"alternatives at once": {`{"items":{"anyOf":[` + strings.Repeat(`{"type":"null"},`, 10000) + `true]}}`, `[` + strings.Repeat("1,", 100000) + `1]`},
		"states":               {`{"anyOf":[` + strings.Repeat(`{"pattern":"(abcdefghij){1000}"},`, 7000) + `true]}`, ``},
		"a long list of own":   {`{"items":{"enum":[` + strings.Repeat(`"aaaa",`, 30000) + `"b"]}}`, `[` + strings.Repeat(`"c",`, 20000) + `1]`},
	} {
		began := time.Now()
		s, err := compileSchema([]byte(c.schema))
		if c.doc != "" && err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.doc != "" {
			err = s.check([]byte(c.doc))
		}
		var u *unfit
		if took := time.Since(began); err == nil || errors.As(err, &u) && name != "a circle" || took > 20*time.Second {
			t.Errorf("%s: %v after %s", name, err, took)
		}
	}
}

func TestSchemasOfEveryDraftAreRead(t *testing.T) {
	for draft, schema := range map[string]string{
		"none: 2020-12": `{"prefixItems":[{"type":"string"}]}`,
		"draft-07":      `{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}]}`,
		"draft-04":      `{"$schema":"http://json-schema.org/draft-04/schema#","items":[{"type":"string"}]}`,
		"2019-09":       `{"$schema":"https://json-schema.org/draft/2019-09/schema","items":[{"type":"string"}]}`,
		"2020-12":       `{"$schema":"https://json-schema.org/draft/2020-12/schema","prefixItems":[{"type":"string"}]}`,
	} {
		s := schemaOf(t, schema)
		if s.check([]byte(`["a",7]`)) != nil || s.check([]byte(`[7]`)) == nil {
			t.Error(draft)
		}
	}
	// A number keeps all its digits.
	s := schemaOf(t, `{"const":9007199254740993}`)
	if s.check([]byte(`9007199254740993`)) != nil || s.check([]byte(`9007199254740992`)) == nil {
		t.Error("a number is rounded")
	}
}

// TypeScript's servers write patterns that RE2 can't say (zod's for an e-mail
// address looks ahead), and formats that no two libraries agree on: such a tool
// can be called, and what else its schema says holds.
func TestWhatASchemaSaysInECMAAloneIsNotChecked(t *testing.T) {
	for pattern, unread := range map[string]bool{
		`^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@x$`: true,
		`(?<=a)b`: true, `(a)\\1`: true, `^(\\p{Extended_Pictographic}|\\p{Emoji_Component})+$`: true, `\\p{Script=Greek}`: true, `a{2000}`: true,
		`^\\p{L}+$`: false, `\\u00e9`: false, `\\u{1F600}`: false, `(?<name>a)`: false, `^\\/\\-`: false,
	} {
		s := schemaOf(t, `{"type":"object","properties":{"v":{"type":"string","pattern":"`+pattern+`"},"n":{"type":"integer"}},"additionalProperties":false}`)
		if got := len(s.unread) > 0; got != unread {
			t.Errorf("%s: not checked: %v, want %v", pattern, got, unread)
		}
		if unread && s.check([]byte(`{"v":"x@x"}`)) != nil {
			t.Errorf("%s refuses", pattern)
		}
		for _, wrong := range []string{`{"v":7}`, `{"n":"x"}`, `{"w":1}`} {
			var u *unfit
			if err := s.check([]byte(wrong)); !errors.As(err, &u) {
				t.Errorf("%s: %s: %v", pattern, wrong, err)
			}
		}
		if _, taken, err := s.mask([]byte(`{"v":"secret-1"}`), []policy.Pointer{{"v"}}); err != nil || len(taken) != 1 {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	s := schemaOf(t, `{"pattern":"^[\\u00e0-\\u00ff]\\\\u$"}`)
	if err := s.check([]byte(`"é\\u"`)); err != nil {
		t.Error(err)
	}
	if s.check([]byte(`"e"`)) == nil {
		t.Error("a translated pattern does not hold")
	}
	for _, draft := range []string{"http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"} {
		s := schemaOf(t, `{"$schema":"`+draft+`","properties":{"at":{"type":"string","format":"email"},"re":{"format":"regex"},"x":{"format":"no-such"}}}`)
		if err := s.check([]byte(`{"at":"no address","re":"(?=x)","x":1}`)); err != nil {
			t.Errorf("%s: %v", draft, err)
		}
	}
	// An $id of its own makes no schema another's.
	s = schemaOf(t, `{"$id":"https://example.com/s.json","properties":{"v":{"enum":["low","high"]},"w":{"$ref":"#/$defs/d"}},"$defs":{"d":{"type":"string"}}}`)
	if got, _, err := s.mask([]byte(`{"v":"high","w":"secret-1"}`), []policy.Pointer{{"v"}, {"w"}}); err != nil || string(got) != `{"v":"low","w":"[masked]"}` {
		t.Error(string(got), err)
	}
}

// One who validates what takes long must not keep all others waiting.
func TestAValidationThatTakesLongIsNotWaitedFor(t *testing.T) {
	var c schemas
	item := &federation.Item{Digest: "d", Own: []byte(`{"inputSchema":{"type":"object"}}`)}
	var busy []*schema
	for range schemaCopies {
		s, err := c.of(item, "inputSchema")
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range busy {
			if s == other {
				t.Fatalf("copy %d is in use", len(busy))
			}
		}
		s.users.Add(1) // as a validation does
		s.mu.Lock()
		busy = append(busy, s)
	}
	busy[3].users.Add(-1)
	if s, _ := c.of(item, "inputSchema"); s != busy[3] {
		t.Error("the free one is not taken")
	}
	busy[3].users.Add(1)
	if _, err := c.of(item, "inputSchema"); err != nil {
		t.Error(err)
	}
	if e := c.m[item.Digest+"inputSchema"].Value.(*schemaEntry); len(e.copies) != schemaCopies {
		t.Errorf("%d copies", len(e.copies))
	}
}

func TestSchemasAreCompiledOnceAndBounded(t *testing.T) {
	var c schemas
	item := func(n int) *federation.Item {
		return &federation.Item{Digest: fmt.Sprintf("%064d", n), Own: []byte(`{"inputSchema":{"type":"object"},"outputSchema":{"$ref":"x:y"}}`)}
	}
	first, err := c.of(item(0), "inputSchema")
	if err != nil || first.root == nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			if again, err := c.of(item(0), "inputSchema"); again != first || err != nil {
				t.Error("compiled again", err)
			}
		})
	}
	work.Wait()
	for range 2 {
		if _, err := c.of(item(0), "outputSchema"); !errors.Is(err, errNoSchema) {
			t.Error(err)
		}
	}
	if s, err := c.of(item(0), "other"); err != nil || s.check([]byte(`7`)) != nil {
		t.Error("no schema:", err)
	}
	for n := range schemasKept + 10 {
		if _, err := c.of(item(n), "inputSchema"); err != nil {
			t.Fatal(err)
		}
		if n%100 == 0 {
			c.of(item(0), "inputSchema") // used, so kept
		}
	}
	if len(c.m) != schemasKept || c.order.Len() != schemasKept {
		t.Errorf("%d are kept", len(c.m))
	}
	if again, _ := c.of(item(0), "inputSchema"); again != first {
		t.Error("what is used was forgotten")
	}
}

// Validations of one schema at once don't disturb each other's count.
func TestParallelValidationsAreApart(t *testing.T) {
	s := schemaOf(t, `{"items":{"type":"string"}}`)
	doc := []byte(`[` + strings.Repeat(`"x",`, 500) + `"x"]`)
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 50 {
				if err := s.check(doc); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
}
