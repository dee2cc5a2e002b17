package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/policy"
)

// box is a vault whose days can end. It seals by a prefix: what it is for.
type box struct {
	day  string
	gone bool
	fail error
}

func (b *box) SealDay(plain, bound []byte) (string, []byte, error) {
	return b.day, slices.Concat([]byte(b.day), bound, plain), b.fail
}

func (b *box) OpenDay(day string, sealed, bound []byte) ([]byte, bool, error) {
	if b.gone || day != b.day {
		return nil, false, nil
	}
	plain, ok := bytes.CutPrefix(sealed, slices.Concat([]byte(day), bound))
	if !ok {
		return nil, false, errors.New("changed")
	}
	return plain, true, nil
}

func judged(id string) *Record {
	r := decision(id)
	r.Decision = &policy.Decision{Allow: true, Revision: "r1"}
	return r
}

// written is r as the log with these options holds it, and its line.
func written(t *testing.T, o Options, r *Record) (*Record, string) {
	t.Helper()
	dir := t.TempDir()
	l := open(t, dir, o)
	if err := l.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := intact(t, dir)[0]
	file, err := os.ReadFile(filepath.Join(dir, folder, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	return got, string(file)
}

func all(string) bool { return true }

// Attack A-108: no secret of any field stands in the log.
func TestNoFieldOfALineShowsASecret(t *testing.T) {
	const secret = "ghp_" + "0123456789012345678901234567890"
	text := "a " + secret + " b"
	r := judged("d1")
	r.Request.Method, r.Request.Endpoint, r.Agent.Name, r.Agent.Version, r.Client.VerifiedName = text, text, text, text, text
	r.Target.Name, r.Target.Visibility, r.Detail = "postgres://u:hunter2@db/x", []string{text}, text
	r.Target.Annotations = json.RawMessage(`{"title":"` + text + `"}`)
	r.Decision.Reasons = []string{"no " + text}
	r.Decision.Obligations = []json.RawMessage{json.RawMessage(`{"type":"x","why":"` + text + `"}`)}
	arguments := []byte(`{"n": 1.00, "password": "hunter2", "t":"` + text + `"}`)
	r.Arguments, r.Responses = NewPayload(arguments, arguments, 1000), NewPayload([]byte(`{"a":"`+secret+`"}`), nil, 1000)
	before := *r
	beforeDecision := *r.Decision
	got, file := written(t, Options{Redact: redactor(t, Redaction{})}, r)
	if strings.Contains(file, secret) || strings.Contains(file, "hunter2") {
		t.Errorf("the log has a secret: %s", file)
	}
	if want := `{"n":1.00,"password":"` + mark("hunter2", "key") + `","t":"` + mark(text, "access_token") + `"}`; string(got.Arguments.Value) != want || got.Arguments.Redacted != 2 {
		t.Errorf("got %s, want %s", got.Arguments.Value, want)
	}
	if want := "a " + mark(secret, "access_token") + " b"; got.Detail != want || got.Agent.Name != want {
		t.Errorf("%q and %q, want %q", got.Detail, got.Agent.Name, want)
	}
	if r.Detail != before.Detail || r.Target.Name != before.Target.Name || &r.Decision.Reasons[0] != &beforeDecision.Reasons[0] || r.Decision.Reasons[0] != "no "+text {
		t.Error("the caller's record was changed")
	}
	if want := []string{"agent.name", "agent.version", "arguments", "client.verified_name", "request.endpoint", "request.method", "responses", "target.annotations", "target.name", "target.visibility"}; !slices.Equal(got.Withheld, want) || got.Sealed != nil {
		t.Errorf("withheld %v, sealed %v", got.Withheld, got.Sealed)
	}
}

// Attack A-109: the digest is that of the bytes as sent; keyed where a plain
// one would tell a short secret to whoever tries all.
func TestADigestTellsNoShortSecret(t *testing.T) {
	redact := redactor(t, Redaction{Keys: []string{"pin"}})
	plain, pin := []byte(`{"a": 1}`), []byte(`{"pin": "123456"}`)
	sum := sha256.Sum256(plain)
	r := judged("d1")
	r.Arguments, r.Responses = NewPayload(plain, plain, 100), NewPayload(pin, pin, 100)
	got, file := written(t, Options{Redact: redact}, r)
	if got.Arguments.Digest != hex.EncodeToString(sum[:]) || got.Arguments.Keyed != "" || got.Arguments.Size != len(plain) {
		t.Errorf("%+v", got.Arguments)
	}
	sum = sha256.Sum256(pin)
	if got.Responses.Digest != "" || got.Responses.Keyed != redact.Keyed(hex.EncodeToString(sum[:])) || strings.Contains(file, hex.EncodeToString(sum[:])) {
		t.Errorf("%+v", got.Responses)
	}
	// A digest that a task's handle brings stands for bytes that are not here.
	r = judged("d2")
	r.Arguments = &Payload{Digest: hex.EncodeToString(sum[:]), Size: len(pin)}
	if got, _ = written(t, Options{Redact: redact}, r); got.Arguments.Digest != "" || got.Arguments.Keyed != redact.Keyed(hex.EncodeToString(sum[:])) {
		t.Errorf("%+v", got.Arguments)
	}
}

func TestWhatCantBeRedactedIsADigestAlone(t *testing.T) {
	r := judged("d1")
	r.Arguments = NewPayload([]byte(`{"password":"hunter2"`), nil, 100)
	got, file := written(t, Options{Redact: redactor(t, Redaction{})}, r)
	if p := got.Arguments; p.Value != nil || p.Preview != "" || p.Digest != "" || p.Keyed == "" || p.Size == 0 || strings.Contains(file, "hunter2") {
		t.Errorf("%+v", p)
	}
	if _, unknown, err := Clear(got, nil); !slices.Equal(unknown, []string{"arguments"}) || err != nil {
		t.Errorf("unknown %v, %v", unknown, err)
	}
}

func TestAPreviewIsRedacted(t *testing.T) {
	for _, pad := range []int{0, previewBytes - 40, previewBytes - 10, 3000} {
		in := []byte(`["` + strings.Repeat("x", pad) + `","postgres://u:hunter2@db"]`)
		r := judged("d1")
		r.Arguments = NewPayload(in, in, 10)
		got, file := written(t, Options{Redact: redactor(t, Redaction{})}, r)
		p := got.Arguments
		if strings.Contains(file, "hunter") || p.Value != nil || len(p.Preview) > previewBytes || p.Keyed == "" || p.Redacted != 1 || p.Size != len(in) {
			t.Errorf("%d: %+v", pad, p)
		}
	}
}

func TestWhatPolicySawIsKeptSealedOnlyWhereRulesReadWhatIsNotShown(t *testing.T) {
	saw, masked := []byte(`{"ssn": "1-2", "a": 1.0}`), []byte(`{"ssn":"***","a":1.0}`)
	secret := []byte(`{"password":"hunter2"}`)
	long := []byte(`["` + strings.Repeat("x", 200) + `"]`)
	none := func(string) bool { return false }
	for name, tt := range map[string]struct {
		sent, saw []byte
		reads     func(string) bool
		sealed    bool
		unknown   bool
	}{
		"shown as it was":             {saw, saw, all, false, false},
		"masked":                      {masked, saw, all, true, false},
		"masked, and read by nobody":  {masked, saw, none, false, true},
		"redacted":                    {secret, secret, all, true, false},
		"redacted and read by nobody": {secret, secret, none, false, true},
		"shortened":                   {long, long, all, true, false},
		"shortened, read by nobody":   {long, long, none, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			vault := &box{day: "2026-11-24"}
			r := judged("d1")
			r.Arguments = NewPayload(tt.sent, tt.saw, 100)
			got, _ := written(t, Options{Redact: redactor(t, Redaction{}), Vault: vault, Reads: tt.reads}, r)
			if (got.Sealed != nil) != tt.sealed {
				t.Fatalf("sealed: %+v", got.Sealed)
			}
			doc, unknown, err := Clear(got, vault)
			if err != nil || (len(unknown) > 0) != tt.unknown || !tt.unknown && !sameJSON(doc.Arguments, tt.saw) {
				t.Errorf("%s, unknown %v, %v", doc.Arguments, unknown, err)
			}
			if !tt.sealed {
				return
			}
			if !bytes.Equal(doc.Arguments, tt.saw) {
				t.Errorf("%s is not byte for byte what policy saw", doc.Arguments)
			}
			for _, o := range []Opener{nil, &box{day: "2026-11-24", gone: true}, &box{day: "2026-11-25"}} {
				if _, unknown, err := Clear(got, o); !slices.Equal(unknown, []string{"arguments"}) || err != nil {
					t.Errorf("without the key: unknown %v, %v", unknown, err)
				}
			}
			got.DecisionID = "d2" // moved to another record
			if _, unknown, err := Clear(got, vault); len(unknown) != 1 || err == nil {
				t.Errorf("moved: unknown %v, %v", unknown, err)
			}
		})
	}
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && x.String() == y.String()
}

func TestEveryLeafThatALineLacksComesBack(t *testing.T) {
	const secret = "ghp_0123456789012345678901234567890"
	saw := policy.Target{Kind: "resource", Name: "postgres://u:hunter2@db/x", Annotations: json.RawMessage(`{"title": "long"}`), Visibility: []string{"app", secret}}
	r := judged("d1")
	r.Saw, r.Target = &saw, saw
	r.Target.Annotations, r.Target.Visibility = nil, saw.Visibility[:1]
	r.Request.Method, r.Request.Endpoint, r.Agent.Name, r.Agent.Version, r.Client.VerifiedName = secret+"1", secret+"2", secret+"3", secret+"4", secret+"5"
	r.Arguments, r.Responses = NewPayload([]byte(`{"token":"a"}`), nil, 100), NewPayload([]byte(`{"token":"b"}`), nil, 100)
	vault := &box{day: "2026-11-24"}
	got, _ := written(t, Options{Redact: redactor(t, Redaction{}), Vault: vault, Reads: all}, r)
	doc, unknown, err := Clear(got, vault)
	if len(unknown) > 0 || err != nil {
		t.Fatal(unknown, err)
	}
	want := policy.Request{Version: policy.Version, Request: r.Request, Target: saw, Client: r.Client, Agent: r.Agent,
		Arguments: json.RawMessage(`{"token":"a"}`), Responses: json.RawMessage(`{"token":"b"}`)}
	doc.Time, doc.User, doc.Grant, doc.Source, doc.Upstream = policy.Time{}, policy.User{}, policy.Grant{}, policy.Source{}, ""
	want.Grant, want.User = policy.Grant{}, policy.User{}
	if g, w := asJSON(t, doc), asJSON(t, want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A record that can hold it all is not refused; one that can't loses what is
// sealed, not its decision.
func TestTheLargestSealedPartFitsIntoARecord(t *testing.T) {
	worst := func(n int) []byte { return []byte(`["` + strings.Repeat("\u0080", (n-4)/2) + `"]`) }
	vault := &box{day: "2026-11-24"}
	for name, tt := range map[string]struct {
		size, limit int
		sealed      bool
		shown       bool
	}{
		"both in clear":              {128 << 10, 128 << 10, false, true},
		"both as large as is judged": {256 << 10, 128 << 10, true, false},
		"just as large as is kept":   {maxKept/2 - 30, 128 << 10, true, false},
		"larger":                     {maxKept/2 + 30, 128 << 10, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := judged("d1")
			r.Arguments, r.Responses = NewPayload(worst(tt.size), nil, tt.limit), NewPayload(worst(tt.size), nil, tt.limit)
			got, _ := written(t, Options{Redact: redactor(t, Redaction{}), Vault: vault, Reads: all}, r)
			if (got.Sealed != nil) != tt.sealed || (got.Arguments.Value != nil) != tt.shown || (got.Responses.Value != nil) != tt.shown {
				t.Errorf("sealed %t, arguments shown %t", got.Sealed != nil, got.Arguments.Value != nil)
			}
			_, unknown, err := Clear(got, vault)
			if (len(unknown) == 0) != (tt.sealed || tt.shown) || err != nil {
				t.Errorf("unknown %v, %v", unknown, err)
			}
		})
	}
	t.Run("one in clear, one sealed", func(t *testing.T) { // together they would not fit
		r := judged("d1")
		r.Arguments, r.Responses = NewPayload(worst(128<<10), nil, 128<<10), NewPayload(worst(400<<10), nil, 128<<10)
		got, _ := written(t, Options{Redact: redactor(t, Redaction{}), Vault: vault, Reads: all}, r)
		doc, unknown, err := Clear(got, vault)
		if got.Arguments.Value != nil || len(unknown) > 0 || err != nil || len(doc.Arguments) == 0 {
			t.Errorf("unknown %v, %v", unknown, err)
		}
	})
}

func TestAVaultThatFailsCostsNoRecord(t *testing.T) {
	r := judged("d1")
	r.Arguments = NewPayload([]byte(`{"token":"hunter2"}`), nil, 100)
	got, file := written(t, Options{Redact: redactor(t, Redaction{}), Vault: &box{fail: errors.New("full")}, Reads: all}, r)
	if got.Sealed != nil || !slices.Equal(got.Withheld, []string{"arguments"}) || strings.Contains(file, "hunter2") {
		t.Errorf("%+v", got)
	}
}

// A record that was judged by nobody, or by rules that read nothing, costs no
// sealed part.
func TestARefusedMessageSealsNothing(t *testing.T) {
	r := judged("d1")
	r.Decision.Revision = ""
	r.Agent.Name = "postgres://u:hunter2@db"
	if got, _ := written(t, Options{Redact: redactor(t, Redaction{}), Vault: &box{day: "d"}, Reads: all}, r); got.Sealed != nil || len(got.Withheld) != 1 {
		t.Errorf("%+v", got)
	}
}

// A name that was cut may be cut in the middle of a secret: what is left of it
// is one, too.
func TestASecretIsFoundAlsoWhereANameWasCut(t *testing.T) {
	r := judged("d1")
	saw := policy.Target{Name: "see postgres://u:hunter2@db/x", Labels: []string{}}
	r.Target, r.Saw = saw, &saw
	r.Target.Name = saw.Name[:len("see postgres://u:hunter")]
	got, file := written(t, Options{Redact: redactor(t, Redaction{})}, r)
	if strings.Contains(file, "hunter") || len(got.Target.Name) > len(r.Target.Name) || !strings.HasPrefix(got.Target.Name, "see [redacted:") {
		t.Errorf("%q", got.Target.Name)
	}
	r.Target.Name = saw.Name[:5] // before it
	if got, _ = written(t, Options{}, r); got.Target.Name != "see p" || !slices.Contains(got.Withheld, "target.name") {
		t.Errorf("%q, withheld %v", got.Target.Name, got.Withheld)
	}
}
