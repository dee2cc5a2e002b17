package gateway

import (
	"bytes"
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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
	schemaStates = 1 << 16   // of all patterns of one schema, each counted twice; with more it does not compile
	schemaCopies = 8         // of one schema, for validations at once

	// A validation may cost this much, and schemaCostPerByte more for each byte
	// of the value: some tenths of a second at most. Schemas whose alternatives
	// multiply, and patterns of thousands of states, end here.
	schemaCost        = 1 << 22
	schemaCostPerByte = 1 << 7
	schemaNodeCost    = 64  // of one schema at one value; a pattern costs its states for each byte
	schemaMemberCost  = 64  // of each member or element of a value, at one schema
	schemaChoiceCost  = 128 // of each schema in an allOf, anyOf or oneOf: one that ends at once counts nothing itself
)

var (
	errNoSchema    = errors.New("the schema can't be compiled")
	errSchemaCost  = errors.New("validation takes too long")
	errNothingFits = errors.New("no neutral value fits the schema")
)

// schema is a compiled JSON Schema. Safe for concurrent use; validations of one
// schema wait for each other, so that what each costs can be counted. Where they
// would, schemas has another copy.
type schema struct {
	root   *jsonschema.Schema // nil = there is none, which everything fits
	unread []string           // patterns that are not checked

	users atomic.Int32 // validations that run or wait

	mu     sync.Mutex
	spent  int
	most   int
	states int // of all patterns
}

// schemas remembers compiled ones by definition, the least used goes first.
// Safe for concurrent use.
type schemas struct {
	// unread is told of patterns that are not checked, once for each schema; nil =
	// nobody is.
	unread func(i *federation.Item, patterns []string)

	mu    sync.Mutex
	m     map[string]*list.Element
	order list.List // of *schemaEntry, the latest used first
}

// schemaEntry is one definition and its compiled copies.
type schemaEntry struct {
	key string

	mu     sync.Mutex
	raw    []byte
	copies []*schema // at least one, unless err
	err    error
}

// copy is a copy of the schema that no validation runs in now, or one that fewer
// than elsewhere wait for: a value that takes long to validate must not keep
// others waiting. first tells that it is the first one.
func (e *schemaEntry) copy() (s *schema, first bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, false, e.err
	}
	for _, c := range e.copies {
		if s == nil || c.users.Load() < s.users.Load() {
			s = c
		}
	}
	if s != nil && (s.root == nil || s.users.Load() == 0 || len(e.copies) == schemaCopies) {
		return s, false, nil
	}
	first = s == nil
	if s = new(schema); e.raw != nil {
		if s, e.err = compileSchema(e.raw); e.err != nil {
			return nil, false, e.err
		}
	}
	e.copies = append(e.copies, s)
	return s, first, nil
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
		e := &schemaEntry{key: name}
		if o, err := wire.Fields(i.Own); err == nil {
			e.raw, _ = o.Get(key)
		}
		at = c.order.PushFront(e)
		c.m[name] = at
	}
	c.mu.Unlock()
	s, first, err := at.Value.(*schemaEntry).copy()
	if first && len(s.unread) > 0 && c.unread != nil {
		c.unread(i, s.unread)
	}
	return s, err
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
	_, constant := obj["const"]
	_, unique := obj["uniqueItems"]
	m.deep = constant || unique
	for keyword, v := range obj { // gone through one by one
		all, ok := v.([]any)
		switch {
		case !ok:
		case keyword == "allOf" || keyword == "anyOf" || keyword == "oneOf":
			m.cost += len(all) * schemaChoiceCost
		default:
			m.cost += len(all)
		}
	}
	return m, nil
}

// metered is what else is known of one schema: what it costs, the format that
// it names, which validation does not assert, and its enum, which the library
// would compare without anybody counting.
type metered struct {
	s      *schema
	cost   int
	deep   bool // it looks at the whole value, and not at its own level alone
	format string
	enum   *jsonschema.Enum
}

// bytesACost is how many bytes of a text are gone through for what 1 means.
const bytesACost = 16

// weight is what it costs to go through a value, with all that is in it if deep.
func weight(v any, deep bool) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) / bytesACost
	case json.Number:
		n += len(v)
	case []any:
		n += schemaMemberCost * len(v)
		for i := 0; deep && i < len(v); i++ {
			n += weight(v[i], true)
		}
	case map[string]any:
		n += schemaMemberCost * len(v)
		if deep {
			for key, member := range v {
				n += len(key)/bytesACost + weight(member, true)
			}
		}
	}
	return n
}

func (m *metered) Validate(ctx *jsonschema.ValidatorContext, v any) {
	m.s.spend(m.cost + weight(v, m.deep))
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
// Formats go: drafts before 2019-09 let a validator assert them, later ones say
// that it should not, and what one validator takes for an address is not what
// another does.
func takeEnums(at *jsonschema.Schema, seen map[*jsonschema.Schema]bool) {
	if at == nil || seen[at] {
		return
	}
	seen[at] = true
	if m := meteredOf(at); m != nil { // a metaschema has none: it is everybody's
		m.enum, at.Enum, at.Format = at.Enum, nil, nil
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
// and in its states. Schemas write those of ECMA 262, which has more: one that
// RE2 can't say, such as one that looks ahead, is not checked. It stays for the
// upstream to check, as all that a schema does not say stays for rules.
func (s *schema) pattern(text string) (jsonschema.Regexp, error) {
	ours := unicodeEscape.ReplaceAllStringFunc(text, func(escape string) string {
		if strings.HasPrefix(escape, `\\`) {
			return escape
		}
		return `\x{` + strings.Trim(escape[2:], "{}") + `}`
	})
	parsed, err := syntax.Parse(ours, syntax.Perl)
	var why *syntax.Error
	if errors.As(err, &why) && slices.Contains(moreInECMA, why.Code) {
		if !slices.Contains(s.unread, text) {
			s.unread = append(s.unread, text)
		}
		return &meteredPattern{text: text, s: s}, nil
	}
	if err != nil {
		return nil, err
	}
	states := statesOf(parsed)
	if s.states += states; s.states > 2*schemaStates { // each is compiled twice: as a pattern, and to see whether it is one
		return nil, errors.New("patterns of too many states")
	}
	re, err := regexp.Compile(ours)
	if err != nil {
		return nil, err
	}
	return &meteredPattern{text: ours, re: re, s: s, states: states}, nil
}

// unicodeEscape is what ECMA 262 writes as \uFFFF or \u{FFFF}; before it stands
// what else a backslash may escape, itself above all.
var unicodeEscape = regexp.MustCompile(`\\\\|\\u(?:[0-9A-Fa-f]{4}|\{[0-9A-Fa-f]{1,6}\})`)

// moreInECMA are errors that a valid pattern of ECMA 262 can be to RE2.
var moreInECMA = []syntax.ErrorCode{
	syntax.ErrInvalidPerlOp, syntax.ErrInvalidNamedCapture, // lookaround
	syntax.ErrInvalidEscape, syntax.ErrInvalidCharRange, // references to groups, \cX, \p{Script=Greek}
	syntax.ErrInvalidRepeatSize, syntax.ErrLarge, syntax.ErrNestingDepth,
}

// statesOf is about how many states a pattern has, counted before repetitions
// are written out; what is too many is not counted further.
func statesOf(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpConcat, syntax.OpRepeat, syntax.OpCapture:
		n = 0
	}
	for _, sub := range re.Sub {
		n = min(n+statesOf(sub), 2*schemaStates+1)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, 2*schemaStates+1)
}

// meteredPattern is a pattern that counts what it costs. Without re it matches
// everything.
type meteredPattern struct {
	text   string
	re     *regexp.Regexp
	s      *schema
	states int
}

func (p *meteredPattern) String() string { return p.text }

func (p *meteredPattern) MatchString(text string) bool {
	p.s.spend(p.states * (len(text) + 1))
	return p.matches(text)
}

// matches is MatchString outside of a validation.
func (p *meteredPattern) matches(text string) bool { return p.re == nil || p.re.MatchString(text) }

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
	s.users.Add(1)
	defer s.users.Add(-1)
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
