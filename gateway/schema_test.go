package gateway

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/federation"
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

// A schema may be hostile: what it names is not fetched, and no validation takes
// long.
func TestASchemaThatCantBeUsedIsAnErrorInShortTime(t *testing.T) {
	deep := `{"$defs":{"d0":{"const":1}`
	for i := range 40 {
		deep += fmt.Sprintf(`,"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i+1, i, i)
	}
	deep += `},"$ref":"#/$defs/d40"}`
	for name, c := range map[string]struct{ schema, doc string }{
		"another place":      {`{"$ref":"https://canary.invalid/schema.json"}`, ``},
		"a file":             {`{"$ref":"file:///etc/passwd"}`, ``},
		"an unknown draft":   {`{"$schema":"https://canary.invalid/draft"}`, ``},
		"not a schema":       {`{"type":"strange"}`, ``},
		"no pattern":         {`{"pattern":"("}`, ``},
		"a text":             {`"x"`, ``},
		"too large":          {`{"description":"` + strings.Repeat("x", schemaBytes) + `"}`, ``},
		"alternatives":       {deep, `2`},
		"a circle":           {`{"$ref":"#"}`, `1`},
		"a costly pattern":   {`{"pattern":"(x?){900}(y?){900}$"}`, `"` + strings.Repeat("x", 200<<10) + `"`},
		"a long list of own": {`{"items":{"enum":[` + strings.Repeat(`"aaaa",`, 30000) + `"b"]}}`, `[` + strings.Repeat(`"c",`, 20000) + `1]`},
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
