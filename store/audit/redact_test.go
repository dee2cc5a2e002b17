package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

func testHash(b []byte) []byte {
	mac := hmac.New(sha256.New, []byte("a test's own key"))
	mac.Write(b)
	return mac.Sum(nil)
}

func redactor(t testing.TB, o Redaction) *Redactor {
	t.Helper()
	r, err := NewRedactor(o, testHash)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mark is what stands for a value that was redacted.
func mark(value, why string) string {
	return "[redacted:hmac:" + hex.EncodeToString(testHash([]byte(value))[:8]) + ":" + why + "]"
}

const (
	testJWT  = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	testCard = "4111111111111111"
)

func TestSecretsAreReplacedAndAllElseStaysAsItWas(t *testing.T) {
	o := Redaction{
		Pointers: []Pointer{{Path: "/arguments/ssn"}, {Upstream: "hr", Tool: "find", Path: "/arguments/people/*/born"}, {Upstream: "hr", Path: "/arguments/a~1b"}},
		Keys:     []string{"Customer-No"},
	}
	pem := `-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----`
	q := func(value, why string) string { return `"` + mark(value, why) + `"` }
	tests := map[string]struct{ in, want string }{
		"nothing":              {`{"a": [1.00e+2, "x", null ,true]}`, `{"a": [1.00e+2, "x", null ,true]}`},
		"a pointer":            {`{"ssn" : "1-2", "x":{"ssn":"1-2"}}`, `{"ssn" : ` + q("1-2", "pointer") + `, "x":{"ssn":"1-2"}}`},
		"any value at one":     {`{"ssn":[1, {"a":"}"}] }`, `{"ssn":` + q(`[1, {"a":"}"}]`, "pointer") + ` }`},
		"even null":            {`{"ssn":null}`, `{"ssn":` + q("null", "pointer") + `}`},
		"a name with /":        {`{"a/b":1}`, `{"a/b":` + q("1", "pointer") + `}`},
		"any element":          {`{"people":[{"born":1},{"name":"x"}]}`, `{"people":[{"born":` + q("1", "pointer") + `},{"name":"x"}]}`},
		"any member":           {`{"people":{"k":{"born":1}}}`, `{"people":{"k":{"born":` + q("1", "pointer") + `}}}`},
		"a key":                {`{"password":"p"}`, `{"password":` + q("p", "key") + `}`},
		"its own case":         {`{"X-API_Key":"p","accessToken":"t"}`, `{"X-API_Key":` + q("p", "key") + `,"accessToken":` + q("t", "key") + `}`},
		"its own escapes":      {`{"pass\u0077ord":"\u0070"}`, `{"pass\u0077ord":` + q("p", "key") + `}`},
		"an added key":         {`{"customer_no":17}`, `{"customer_no":` + q("17", "key") + `}`},
		"a nested key":         {`[{"db":{"secret":{"a":1}}}]`, `[{"db":{"secret":` + q(`{"a":1}`, "key") + `}}]`},
		"no secret":            {`{"password":"","token":null,"secret":true,"max_tokens":5,"tokenize":"x"}`, `{"password":"","token":null,"secret":true,"max_tokens":5,"tokenize":"x"}`},
		"a JWT":                {`{"a":"Bearer ` + testJWT + `"}`, `{"a":` + q("Bearer "+testJWT, "access_token") + `}`},
		"a JWT as a name":      {`{"` + testJWT + `":1}`, `{` + q(testJWT, "jwt") + `:1}`},
		"a JWE":                {`["eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc"]`, `[` + q("eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc", "jwt") + `]`},
		"PEM":                  {`["` + pem + `"]`, `[` + q(strings.ReplaceAll(pem, `\n`, "\n"), "pem") + `]`},
		"PEM cut off":          {`["-----BEGIN RSA PRIVATE KEY-----"]`, `[` + q("-----BEGIN RSA PRIVATE KEY-----", "pem") + `]`},
		"a card":               {`["my ` + testCard + `."]`, `[` + q("my "+testCard+".", "card") + `]`},
		"a card in groups":     {`["4111 1111-1111 1111"]`, `[` + q("4111 1111-1111 1111", "card") + `]`},
		"behind a date":        {`["2026-11-24 4111 1111 1111 1111"]`, `[` + q("2026-11-24 4111 1111 1111 1111", "card") + `]`},
		"a card as number":     {`[` + testCard + `]`, `[` + q(testCard, "card") + `]`},
		"no card":              {`["4111111111111112", 4111111111111112, 1764014400000, "41111111111111110000"]`, `["4111111111111112", 4111111111111112, 1764014400000, "41111111111111110000"]`},
		"a connection":         {`["postgres://u:p%40@db/x"]`, `[` + q("postgres://u:p%40@db/x", "connection") + `]`},
		"escaped slashes":      {`["amqp:\/\/u:p@db"]`, `[` + q("amqp://u:p@db", "connection") + `]`},
		"no connection":        {`["https://u@db/a:b@c", "https://db:80/", "a://b", "http://u:@h"]`, `["https://u@db/a:b@c", "https://db:80/", "a://b", "http://u:@h"]`},
		"a token":              {`["x ghp_012345678901234567890123456789"]`, `[` + q("x ghp_012345678901234567890123456789", "access_token") + `]`},
		"one of ours":          {`["ost_at_0123456789012345"]`, `[` + q("ost_at_0123456789012345", "access_token") + `]`},
		"no token":             {`["host_name_that_is_long", "task-0123456789012345678901234", "ghp_short"]`, `["host_name_that_is_long", "task-0123456789012345678901234", "ghp_short"]`},
		"a mark of theirs":     {`["[redacted:hmac:0123456789abcdef:key]"]`, `[` + q("[redacted:hmac:0123456789abcdef:key]", "marker") + `]`},
		"a numbered key":       {`{"password2":"p","api_key_1":"k","key1":"x"}`, `{"password2":` + q("p", "key") + `,"api_key_1":` + q("k", "key") + `,"key1":"x"}`},
		"JSON in a string":     {`{"body":"{\"user\":\"u\",\"password\":\"p\"}"}`, `{"body":` + q(`{"user":"u","password":"p"}`, "key") + `}`},
		"JSON cut off":         {`["[{\"token\":\"t1\"}, {\"a"]`, `[` + q(`[{"token":"t1"}, {"a`, "key") + `]`},
		"JSON twice":           {`["{\"b\":\"{\\\"secret\\\":1}\"}"]`, `[` + q(`{"b":"{\"secret\":1}"}`, "key") + `]`},
		"JSON without":         {`["{\"a\":[1,\"x\"]}", "[not json] password", "{}"]`, `["{\"a\":[1,\"x\"]}", "[not json] password", "{}"]`},
		"a query":              {`["https://h/p?token=t%201&q=1"]`, `["https://h/p?token=` + mark("t%201", "parameter") + `&q=1"]`},
		"two of a query":       {`["https://h/p?api_key=a&sig=1&secret=b"]`, `["https://h/p?api_key=` + mark("a", "parameter") + `&sig=1&secret=` + mark("b", "parameter") + `"]`},
		"a form":               {`["user=u&password=hunter2"]`, `["user=u&password=` + mark("hunter2", "parameter") + `"]`},
		"a form, escaped":      {`["user=u&password=\u0068unter2"]`, `[` + q("user=u&password=hunter2", "parameter") + `]`},
		"ADO.NET":              {`["Server=db;User Id=sa;Password=p w;Encrypt=true"]`, `["Server=db;User Id=sa;Password=` + mark("p", "parameter") + ` w;Encrypt=true"]`},
		"libpq":                {`["host=db password='p w' user=u"]`, `["host=db password='` + mark("p w", "parameter") + `' user=u"]`},
		"a header":             {`["curl -H 'Authorization: Basic dTpw' h", "X-Api-Key: k 1"]`, `["curl -H 'Authorization: ` + mark("Basic dTpw", "parameter") + `' h", "X-Api-Key: ` + mark("k 1", "parameter") + `"]`},
		"a bearer":             {`["Bearer 0123456789abcdef"]`, `[` + q("Bearer 0123456789abcdef", "access_token") + `]`},
		"no parameter":         {`["password= x", "the password: secret", "a == b", "token=", "?id=1&page=2", "max_tokens=5", "bearer of bad news"]`, `["password= x", "the password: secret", "a == b", "token=", "?id=1&page=2", "max_tokens=5", "bearer of bad news"]`},
		"a parameter and more": {`["token=t ` + testCard + `"]`, `[` + q("token=t "+testCard, "card") + `]`},
		"a mark in one":        {`["token=[redacted:hmac:0123456789abcdef:parameter]"]`, `["token=` + mark("[redacted:hmac:0123456789abcdef:parameter]", "parameter") + `"]`},
		"a value of scalar":    {`"` + testJWT + `"`, q(testJWT, "jwt")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, whole, n, err := redactor(t, o).JSON("hr", "find", "arguments", []byte(tt.in), MaxRecord)
			if err != nil || !whole || string(got) != tt.want || (n > 0) != (tt.in != tt.want) {
				t.Errorf("got %s, %t, %d, %v\nwant %s", got, whole, n, err, tt.want)
			}
		})
	}
}

func TestAPointerIsOfItsUpstreamToolAndPart(t *testing.T) {
	r := redactor(t, Redaction{Pointers: []Pointer{{Upstream: "hr", Tool: "find", Path: "/arguments/a"}, {Path: "/responses"}}})
	for _, tt := range []struct {
		upstream, tool, leaf string
		hit                  bool
	}{{"hr", "find", "arguments", true}, {"hr", "other", "arguments", false}, {"other", "find", "arguments", false}, {"x", "y", "responses", true}} {
		_, _, n, err := r.JSON(tt.upstream, tt.tool, tt.leaf, []byte(`{"a":1}`), 1000)
		if (n == 1) != tt.hit || err != nil {
			t.Errorf("%+v: %d, %v", tt, n, err)
		}
	}
}

func TestWhatIsOffIsNotRedacted(t *testing.T) {
	in := []byte(`{"password":"p","token":"t","a":"` + testJWT + `","b":"` + testCard + `"}`)
	for off, want := range map[string]int{"": 4, "jwt": 3, "password": 3, "keys": 2, "card": 3} {
		o := Redaction{}
		if off != "" {
			o.Off = []string{off}
		}
		if _, _, n, err := redactor(t, o).JSON("", "", "arguments", in, 1000); n != want || err != nil {
			t.Errorf("without %q: %d redacted, want %d; %v", off, n, want, err)
		}
	}
	if _, _, n, _ := redactor(t, Redaction{Off: []string{"keys"}, Keys: []string{"token"}}).JSON("", "", "arguments", in, 1000); n != 3 {
		t.Errorf("an added key does not count: %d", n)
	}
	for name, o := range map[string]Redaction{
		"an unknown word": {Off: []string{"jwts"}}, "no pointer": {Pointers: []Pointer{{Path: "arguments/a"}}},
		"a foreign part": {Pointers: []Pointer{{Path: "/result/a"}}}, "a bad escape": {Pointers: []Pointer{{Path: "/arguments/~2"}}},
		"a key of nothing": {Keys: []string{"--"}}, "a long key": {Keys: []string{strings.Repeat("k", maxKey)}},
		"many pointers": {Pointers: make([]Pointer, MaxPointers+1)}, "many keys": {Keys: make([]string, MaxRedactedKeys+1)},
	} {
		if _, err := NewRedactor(o, testHash); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	redactor(t, Redaction{Keys: []string{strings.Repeat("k", maxKey-1)}})
	full := Redaction{Keys: make([]string, MaxRedactedKeys), Pointers: make([]Pointer, MaxPointers)}
	for i := range full.Keys {
		full.Keys[i] = fmt.Sprint("k", i)
	}
	for i := range full.Pointers {
		full.Pointers[i].Path = fmt.Sprint("/arguments/p", i)
	}
	r := redactor(t, full)
	last := fmt.Sprintf(`{"p%d":1,"k%d":1}`, MaxPointers-1, MaxRedactedKeys-1)
	if _, _, n, _ := r.JSON("", "", "arguments", []byte(last), 1000); n != 2 {
		t.Errorf("the last pointer or key does not count: %d", n)
	}
}

func TestWhatCantBeFollowedIsNotShown(t *testing.T) {
	r := redactor(t, Redaction{})
	deep := strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1)
	for _, in := range []string{"", "{", `{"a"}`, `{"a":}`, `[1,]`, `"a`, `"\`, `"\x"`, `[tru]`, `[1] 2`, `{"password":]}`, `{"password":,}`, `{"password":[}`, deep + "]", deep + strings.Repeat("]", 2)} {
		if got, _, _, err := r.JSON("", "", "arguments", []byte(in), 1000); err == nil || got != nil {
			t.Errorf("%q gives %q", in, got)
		}
	}
	if _, _, _, err := r.JSON("", "", "arguments", []byte(deep), 1000); err != nil {
		t.Error(err)
	}
	if _, _, _, err := r.JSON("", "", "arguments", []byte("["+deep+"]"), 1000); err == nil {
		t.Error("one level too much was followed")
	}
}

func TestNoMoreIsShownThanWasAskedFor(t *testing.T) {
	r := redactor(t, Redaction{})
	in := []byte(`{"a":"0123456789","password":"p","b":"xyz"}`)
	all, whole, n, _ := r.JSON("", "", "arguments", in, 1000)
	if !whole || n != 1 {
		t.Fatal(whole, n)
	}
	for most := range len(all) + 2 {
		got, whole, n, err := r.JSON("", "", "arguments", in, most)
		if err != nil || n != 1 || whole != (most >= len(all)) || !bytes.Equal(got, all[:min(most, len(all))]) {
			t.Errorf("%d: %s, %t, %d, %v", most, got, whole, n, err)
		}
	}
}

// Whatever an agent sends, redacting it takes time and memory that grow with
// its size and not faster.
func TestRedactionIsLinear(t *testing.T) {
	o := Redaction{}
	for i := range MaxPointers {
		o.Pointers = append(o.Pointers, Pointer{Path: fmt.Sprintf("/arguments/*/*/x%d", i)})
	}
	r := redactor(t, o)
	const size = 512 << 10
	for _, unit := range []string{
		`"a",`, `"password",`, `"eyJ",`, `{"token":1},`, `4111,`, `"4111 1111 1111 1112",`, `[[[[[[]]]]]],`,
		`{"a":{"x1":1}},`, `"://a:b",`, `"-----BEGIN ",`, `"\"",`, `"\\",`, `"\u0065yJ",`, `"[[[[[[",`, `"token=",`, `"a=b",`,
	} {
		timed(t, r, "["+strings.Repeat(unit, size/len(unit))+"1]", unit)
	}
	for _, unit := range []string{"a", "eyJ", "eyJhbGciOiJIUzI1NiJ9.", "1", "11 ", "ghp_", "sk-", "://", "a:", "a@", "-----BEGIN ", "-----BEGIN A-----", `\"`, `\\`, `\u0065`, "[redacted", "AKIA ", "=", "token=", "token=&", "token=a&", "a-token: ", "x-x-x-x="} {
		timed(t, r, `["`+strings.Repeat(unit, size/len(unit))+`"]`, unit)
	}
	deep := strings.Repeat("[", 100)
	for range 12 { // JSON in strings in JSON
		quoted, err := json.Marshal(deep + strings.Repeat("a", 1000))
		if err != nil {
			t.Fatal(err)
		}
		deep = "[" + string(quoted)
	}
	timed(t, r, deep+"]", "strings in strings")
	timed(t, r, `["`+strings.Repeat("[", size)+`"]`, "brackets in a string")
	var keys strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&keys, `"some_key_%d":%d,`, i, i)
	}
	timed(t, r, "{"+keys.String()+`"x":1}`, "100,000 keys")
}

func timed(t *testing.T, r *Redactor, in, what string) {
	t.Helper()
	began := time.Now()
	got, _, _, err := r.JSON("up", "tool", "arguments", []byte(in), 64<<10)
	if took := time.Since(began); took > 3*time.Second || err != nil || len(got) > 64<<10 {
		t.Errorf("%s: %s, %d bytes shown, %v", what, took, len(got), err)
	}
}

// anyMark is a mark that is a string, or one inside a string.
var anyMark = regexp.MustCompile(`"\[redacted:hmac:[0-9a-f]{16}:[a-z_]+\]"|\[redacted:hmac:[0-9a-f]{16}:[a-z_]+\]`)

func FuzzRedaction(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"password":["x"]}`, `["` + testJWT + `",4111111111111111,"\u0065yJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x"]`, `{"ssn":{"a":1},"b":"x://u:p@h"}`, `"[redacted:"`} {
		f.Add([]byte(s))
	}
	r := redactor(f, Redaction{Pointers: []Pointer{{Path: "/arguments/ssn"}, {Path: "/arguments/*/x"}}})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, whole, n, err := r.JSON("", "", "arguments", in, 1<<20)
		if !json.Valid(in) || err != nil {
			if json.Valid(in) && nesting(in) <= maxNesting {
				t.Fatalf("%q is not followed: %v", in, err)
			}
			return
		}
		if !whole && len(got) < 1<<20 || whole && !json.Valid(got) {
			t.Fatalf("%q becomes %q", in, got)
		}
		if n == 0 && whole && !bytes.Equal(got, in) {
			t.Fatalf("%q becomes %q though nothing was redacted", in, got)
		}
		if !whole {
			return
		}
		// What stands between the marks stood in the input, in that order.
		rest := in
		for _, piece := range anyMark.Split(string(got), -1) {
			at := bytes.Index(rest, []byte(piece))
			if at < 0 {
				t.Fatalf("%q becomes %q: %q is not in it", in, got, piece)
			}
			rest = rest[at+len(piece):]
		}
		for _, s := range stringsOf(t, got) {
			if _, _, why := r.find([]byte(anyMark.ReplaceAllString(s, " ")), 0); why != "" {
				t.Fatalf("%q becomes %q, which still has a %s", in, got, why)
			}
		}
	})
}

func nesting(in []byte) (deepest int) {
	d := json.NewDecoder(bytes.NewReader(in))
	depth := 0
	for {
		tok, err := d.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// stringsOf are all strings in a JSON text, names too.
func stringsOf(t *testing.T, in []byte) (all []string) {
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	for {
		tok, err := d.Token()
		if err != nil {
			return all
		}
		if s, ok := tok.(string); ok {
			all = append(all, s)
		}
	}
}

func BenchmarkRedactNothing(b *testing.B) {
	r := redactor(b, Redaction{})
	var in bytes.Buffer
	in.WriteString(`{"path":"/srv/data/reports/2026/november.txt","count":17,"deep":{"list":[1,2,3,true,null]}`)
	for i := 0; in.Len() < 1000; i++ {
		fmt.Fprintf(&in, `,"field_%d":"some words of a sentence that a person wrote"`, i)
	}
	in.WriteByte('}')
	b.SetBytes(int64(in.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, n, err := r.JSON("up", "tool", "arguments", in.Bytes(), 64<<10); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkRedactOne(b *testing.B) {
	r := redactor(b, Redaction{})
	in := []byte(`{"user":"alice","password":"hunter2","path":"/srv/data/reports/2026/november.txt"}`)
	for b.Loop() {
		if _, _, n, err := r.JSON("up", "tool", "arguments", in, 64<<10); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
}
