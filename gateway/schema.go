package gateway

import (
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Schemas of tools are written by upstreams, who may be hostile: nothing that
// they name is fetched, and neither compiling nor validating can take long. This
// file is the door of the JSON Schema library, which reads every draft that an
// upstream may write in; a home-made validator of one draft would refuse, or
// worse let through, what it does not know.
const (
	schemaBytes  = 256 << 10 // of one schema; what is larger does not compile
	schemasKept  = 1024      // compiled ones
	schemaFaults = 3         // told to the agent

	// A validation may cost this much, and schemaCostPerByte more for each byte
	// of the value: some tenths of a second at most. Schemas whose alternatives
	// multiply, and patterns of thousands of states, end here.
	schemaCost        = 1 << 24
	schemaCostPerByte = 1 << 8
	schemaNodeCost    = 64 // of one schema at one value; a pattern costs its states for each byte
)

var (
	errNoSchema    = errors.New("the schema can't be compiled")
	errSchemaCost  = errors.New("validation takes too long")
	errNothingFits = errors.New("no neutral value fits the schema")
)

// schema is a compiled JSON Schema. Safe for concurrent use; validations of one
// schema wait for each other, so that what each costs can be counted.
type schema struct {
	root *jsonschema.Schema // nil = there is none, which everything fits

	mu    sync.Mutex
	spent int
	most  int
}

// schemas remembers compiled ones by definition, the least used goes first.
// Safe for concurrent use.
type schemas struct {
	mu    sync.Mutex
	m     map[string]*list.Element
	order list.List // of *schemaEntry, the latest used first
}

type schemaEntry struct {
	key  string
	once sync.Once
	s    *schema
	err  error
}

// of is the compiled schema that the definition of i has as its member key; an
// error is errNoSchema.
func (c *schemas) of(i *federation.Item, key string) (*schema, error) {
	name := i.Digest + key
	c.mu.Lock()
	at, ok := c.m[name]
	if ok {
		c.order.MoveToFront(at)
	} else {
		if c.m == nil {
			c.m = make(map[string]*list.Element)
		}
		for len(c.m) >= schemasKept {
			last := c.order.Back()
			delete(c.m, last.Value.(*schemaEntry).key)
			c.order.Remove(last)
		}
		at = c.order.PushFront(&schemaEntry{key: name})
		c.m[name] = at
	}
	c.mu.Unlock()
	e := at.Value.(*schemaEntry)
	e.once.Do(func() {
		o, err := wire.Fields(i.Own)
		raw, ok := o.Get(key)
		if err != nil || !ok {
			e.s = &schema{}
			return
		}
		e.s, e.err = compileSchema(raw)
	})
	return e.s, e.err
}

// compileSchema compiles one schema. Without $schema it is of draft 2020-12
// (MCP, SEP-1613).
func compileSchema(raw []byte) (s *schema, err error) {
	if len(raw) > schemaBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", errNoSchema, schemaBytes)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.Join(errNoSchema, err)
	}
	s = &schema{}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	c.UseRegexpEngine(s.pattern)
	c.RegisterVocabulary(&jsonschema.Vocabulary{URL: meterURL, Compile: s.meter})
	c.AssertVocabs()
	// A defect of the library must not be a way to end the process.
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("%w: compiling panicked with a %T", errNoSchema, p)
		}
	}()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, errors.Join(errNoSchema, err)
	}
	if s.root, err = c.Compile(schemaURL); err != nil {
		return nil, errors.Join(errNoSchema, err)
	}
	takeEnums(s.root, make(map[*jsonschema.Schema]bool))
	return s, nil
}

const (
	schemaURL = "urn:ostiary:schema"
	meterURL  = "urn:ostiary:meter"
)

// noLoader fetches nothing: a $ref may point into the schema itself, or to a
// draft's own metaschema.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a schema may not refer to another place")
}

// meter is the vocabulary that sees every schema which is evaluated.
func (s *schema) meter(_ *jsonschema.CompilerContext, obj map[string]any) (jsonschema.SchemaExt, error) {
	m := &metered{s: s, cost: schemaNodeCost}
	m.format, _ = obj["format"].(string)
	for _, v := range obj { // allOf, required: gone through one by one
		if all, ok := v.([]any); ok {
			m.cost += len(all)
		}
	}
	return m, nil
}

// metered is what else is known of one schema: what it costs, the format that
// it names, which validation need not assert, and its enum, which the library
// would compare without anybody counting.
type metered struct {
	s      *schema
	cost   int
	format string
	enum   *jsonschema.Enum
}

func (m *metered) Validate(ctx *jsonschema.ValidatorContext, v any) {
	m.s.spend(m.cost)
	if m.enum == nil {
		return
	}
	for _, value := range m.enum.Values {
		if equal, err := ctx.Equals(v, value); err == nil && equal {
			return
		}
	}
	ctx.AddError(&kind.Enum{})
}

// takeEnums moves the enum of every schema that at leads to into its metered.
func takeEnums(at *jsonschema.Schema, seen map[*jsonschema.Schema]bool) {
	// Metaschemas are everybody's.
	if at == nil || seen[at] || !strings.HasPrefix(at.Location, schemaURL) {
		return
	}
	seen[at] = true
	for _, e := range at.Extensions {
		if m, ok := e.(*metered); ok {
			m.enum, at.Enum = at.Enum, nil
		}
	}
	for _, next := range inner(at) {
		takeEnums(next, seen)
	}
}

// inner are the schemas in at and those that it refers to; some are nil.
func inner(at *jsonschema.Schema) []*jsonschema.Schema {
	all := []*jsonschema.Schema{
		at.Ref, at.RecursiveRef, at.Not, at.If, at.Then, at.Else, at.PropertyNames, at.UnevaluatedProperties,
		at.Contains, at.Items2020, at.UnevaluatedItems, at.ContentSchema,
	}
	if at.DynamicRef != nil {
		all = append(all, at.DynamicRef.Ref)
	}
	all = slices.Concat(all, at.AllOf, at.AnyOf, at.OneOf, at.PrefixItems)
	all = slices.AppendSeq(all, maps.Values(at.Properties))
	all = slices.AppendSeq(all, maps.Values(at.PatternProperties))
	all = slices.AppendSeq(all, maps.Values(at.DependentSchemas))
	for _, v := range append(slices.Collect(maps.Values(at.Dependencies)), at.AdditionalProperties, at.Items, at.AdditionalItems) {
		switch v := v.(type) {
		case *jsonschema.Schema:
			all = append(all, v)
		case []*jsonschema.Schema:
			all = append(all, v...)
		}
	}
	return all
}

// spend counts, and ends a validation that costs too much. It needs mu.
func (s *schema) spend(cost int) {
	if s.spent += cost; s.spent > s.most {
		panic(errSchemaCost)
	}
}

// pattern compiles a regular expression: RE2, whose time is linear in the text
// and in its states.
func (s *schema) pattern(text string) (jsonschema.Regexp, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	return &meteredPattern{re, s, len(program.Inst)}, nil
}

type meteredPattern struct {
	*regexp.Regexp
	s      *schema
	states int
}

func (p *meteredPattern) MatchString(text string) bool {
	p.s.spend(p.states * (len(text) + 1))
	return p.Regexp.MatchString(text)
}

// check validates a JSON text. An error is an *unfit, or says that it could not
// be found out.
func (s *schema) check(raw []byte) error {
	if s == nil || s.root == nil {
		return nil
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return errors.New("not JSON")
	}
	return s.checkAt(s.root, v, schemaCost+schemaCostPerByte*len(raw))
}

// checkAt validates a value against a part of s, which may cost most.
func (s *schema) checkAt(at *jsonschema.Schema, v any, most int) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent, s.most = 0, most
	defer func() {
		switch p := recover(); p {
		case nil:
		case errSchemaCost:
			err = errSchemaCost
		default:
			err = fmt.Errorf("validation panicked with a %T", p)
		}
	}()
	err = at.Validate(v)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		return &unfit{faults(nil, invalid)}
	}
	return err
}

// unfit is a value that does not fit its schema: where, and which keywords say
// so. It holds no value.
type unfit struct{ faults []string }

func (u *unfit) Error() string { return strings.Join(u.faults, "; ") }

// faults are the innermost errors below e, each once, a few of them.
func faults(all []string, e *jsonschema.ValidationError) []string {
	for _, c := range e.Causes {
		if all = faults(all, c); len(all) == schemaFaults {
			return all
		}
	}
	if len(e.Causes) > 0 {
		return all
	}
	where := "/" + strings.Join(e.InstanceLocation, "/")
	if text := clip(where, 200) + ": " + faultWords(e.ErrorKind); !slices.Contains(all, text) {
		all = append(all, text)
	}
	return all
}

// faultWords says what a keyword wants. The library's own words quote values.
func faultWords(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "want " + strings.Join(k.Want, " or ") + ", got " + k.Got
	case *kind.Required:
		return "missing " + clip(strings.Join(k.Missing, ", "), 200)
	case *kind.AdditionalProperties, *kind.FalseSchema:
		return "more properties than the schema has"
	}
	path := k.KeywordPath()
	if len(path) == 0 {
		return "does not fit"
	}
	return "does not fit " + path[0]
}
