package pages

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Security catalogue A-058.
func TestANameIsShownAsWhatItIs(t *testing.T) {
	long := strings.Repeat("x", maxName)
	tests := []struct{ rule, raw, shown, odd string }{
		{"plain", "Claude Code (gateway)", "Claude Code (gateway)", ""},
		{"at the limit", long, long, ""},
		{"over the limit", long + "y", long + "…", ""},
		{"ten thousand characters", strings.Repeat("x", 10_000), long + "…", ""},
		{"white space is one space", "  a \n\t b ", "a b", `a b`},
		{"look-alikes are spelled out", "G\u043e\u043egle", "G\u043e\u043egle", `G\u043e\u043egle`},
		{"an accent too: better twice than never", "Caf\u00e9", "Caf\u00e9", `Caf\u00e9`},
		{"text that turns around", "safe\u202eexe.elgoog", "safeexe.elgoog", `safeexe.elgoog`},
		{"what is not seen", "Goo\u200bgle\u2060\ufeff\x00\x1b[31m", "Google[31m", `Google[31m`},
		{"invalid UTF-8", "a\xffb", "ab", "ab"},
		{"nothing that is seen", "\u200b\u202e", "a program without a name", ""},
		{"empty", "", "a program without a name", ""},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if shown, odd := Name(tt.raw); shown != tt.shown || odd != tt.odd {
				t.Errorf("got %q, %q", shown, odd)
			}
		})
	}
}

func FuzzForeignWordsDriveNothing(f *testing.F) {
	f.Add("Claude", "https://a.example/\u202e")
	f.Add("<script>alert(1)</script>", `"><img src=x>`)
	f.Fuzz(func(t *testing.T, name, id string) {
		c := Client{ID: Text(id, maxText), To: Destination{Kind: "site", Host: Text(id, maxText)}}
		c.Name, c.Odd = Name(name)
		body := string(Consent{Client: c, Resource: Text(id, maxText)}.HTML())
		plain := string(Consent{Client: Client{Name: "x", ID: "x", To: Destination{Kind: "site", Host: "x"}}, Resource: "x"}.HTML())
		tags := func(s string) int { return len(regexp.MustCompile(`<[a-zA-Z/]`).FindAllString(s, -1)) }
		if odd := strings.Count(body, "Look twice") * 8; tags(body) != tags(plain)+odd {
			t.Errorf("%q made %d tags of %d", name, tags(body), tags(plain)+odd)
		}
		if strings.ContainsFunc(body, func(r rune) bool {
			return r < ' ' && r != '\n' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		}) {
			t.Errorf("%q left a control in the page", name)
		}
	})
}

func TestTimesAreSaidInWords(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		-time.Second: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 59 * time.Minute: "59 minutes ago",
		time.Hour: "1 hour ago", 47 * time.Hour: "47 hours ago", 48 * time.Hour: "2 days ago", 60 * 24 * time.Hour: "on 25 September 2026",
	} {
		if got := ago(now, now.Add(-d)); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "1 second", 1500 * time.Millisecond: "2 seconds", 119 * time.Second: "119 seconds", 2 * time.Minute: "2 minutes", 121 * time.Second: "3 minutes"} {
		if got := Wait(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestABrowserIsNamedInAFewWords(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0": "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile Safari/604.1":          "Safari on iPhone",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                "Firefox on Linux",
		"Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36":                                  "Chrome on Android",
		"curl/8.5.0": "curl", "": "Unknown browser", "\x1b[31m<b>/1": "[31m<b>",
	} {
		if got := Browser(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}

// TestEveryFormCanBeUsed: each field that people fill in has a label, says what
// a password manager may put there, and every view renders whole.
func TestEveryFormCanBeUsed(t *testing.T) {
	now := time.Now()
	client := Client{Name: "A", ID: "a", To: Destination{"computer", "localhost:1"}}
	account := Account{Now: now, Local: true, Programs: []Program{{Client: client, Consents: []Consented{{At: now}}, Grants: []Grant{{Since: now}}}}, Sessions: []Session{{This: true}}}
	enrol, coded, keyed, enrolKeyed, full := account, account, account, account, account
	enrol.Enrol, coded.TOTP = &Enrolment{URI: "otpauth://totp/x"}, true
	keyed.Passkeys, keyed.TOTP, keyed.Keys, keyed.Refused = true, true, []Passkey{{Name: "A", Since: now}, {Name: "B", Synced: true, Since: now, LastUsed: now}}, "r"
	enrolKeyed.Passkeys, enrolKeyed.Keys, enrolKeyed.Enrol = true, keyed.Keys, enrol.Enrol
	full.Keys, full.Full = keyed.Keys[:1], true
	for name, html := range map[string][]byte{
		"sign-in": SignIn{Local: true, Provider: "P", For: &client, Request: "r", Problem: "p"}.HTML(), "nobody": SignIn{}.HTML(),
		"code": Code{Step: "s", Problem: "p", TOTP: true}.HTML(), "passkey": Code{Step: "s", Passkey: true, Passkeys: true}.HTML(), "elsewhere": Code{Passkey: true}.HTML(),
		"either": Code{TOTP: true, Passkey: true, Passkeys: true}.HTML(), "keyed": keyed.HTML(), "enrol keyed": enrolKeyed.HTML(), "full": full.HTML(), "sign-in keyed": SignIn{Local: true, Provider: "P", Passkeys: true}.HTML(), "setup": Setup{Problem: "p"}.HTML(), "consent": Consent{Client: client, All: true}.HTML(),
		"account": account.HTML(), "enrol": enrol.HTML(), "coded": coded.HTML(), "provider": Account{Provider: "P"}.HTML(),
		"problem": Problem{Title: "T", Why: "w", Next: "n", Link: "/l", Label: "l", ID: "i"}.HTML(), "notice": Notice{Title: "T", Link: "/l"}.HTML(),
	} {
		page := string(html)
		if !strings.HasSuffix(strings.TrimSpace(page), "</html>") || strings.Contains(page, "ZgotmplZ") || strings.Count(page, "<h1") != 1 {
			t.Errorf("%s does not render whole", name)
		}
		for _, input := range regexp.MustCompile(`<input [^>]*>`).FindAllString(page, -1) {
			if strings.Contains(input, `type="hidden"`) || strings.Contains(input, "aria-hidden") {
				continue
			}
			id := regexp.MustCompile(`id="([^"]*)"`).FindStringSubmatch(input)
			if id == nil || !strings.Contains(page, `<label for="`+id[1]+`"`) || !strings.Contains(input, "autocomplete=") || !strings.Contains(input, "maxlength=") {
				t.Errorf("%s: %s", name, input)
			}
			if id != nil && strings.Count(page, ` id="`+id[1]+`"`) != 1 {
				t.Errorf("%s: id %s stands there twice", name, id[1])
			}
		}
		for _, form := range regexp.MustCompile(`(?s)<form .*?</form>`).FindAllString(page, -1) {
			if !strings.Contains(form, `method="post"`) || !strings.Contains(form, "<button") {
				t.Errorf("%s: %.80s", name, form)
			}
		}
	}
}

// TestTextCanBeReadInLightAndDark holds the colours of the sheet against
// WCAG 2.2, 1.4.3: 4.5 to 1.
func TestTextCanBeReadInLightAndDark(t *testing.T) {
	sheet := string(styles.content)
	_, dark, _ := strings.Cut(sheet, "prefers-color-scheme: dark")
	for theme, css := range map[string]string{"light": sheet, "dark": dark} {
		colour := func(name string) float64 {
			m := regexp.MustCompile(`--` + name + `: (#[0-9a-f]+)`).FindStringSubmatch(css)
			if m == nil {
				t.Fatalf("%s: no --%s", theme, name)
			}
			return luminance(m[1])
		}
		for _, pair := range [][2]string{
			{"ink", "paper"}, {"ink", "card"}, {"soft", "paper"}, {"soft", "card"}, {"soft", "wash"}, {"ink", "wash"}, {"accent", "card"}, {"accent", "paper"},
			{"accent-over", "card"}, {"accent-ink", "accent"}, {"accent-ink", "accent-over"}, {"warn-ink", "warn"}, {"bad-ink", "bad"}, {"bad-ink", "card"}, {"good-ink", "good"},
		} {
			a, b := colour(pair[0]), colour(pair[1])
			if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < 4.5 {
				t.Errorf("%s: %s on %s is %.1f to 1", theme, pair[0], pair[1], ratio)
			}
		}
		// 1.4.11: the edge of a field is seen, 3 to 1.
		if a, b := colour("field"), colour("card"); (max(a, b)+.05)/(min(a, b)+.05) < 3 {
			t.Errorf("%s: the edge of a field is hard to see", theme)
		}
	}
}

// luminance is WCAG's relative luminance of #rgb or #rrggbb.
func luminance(hex string) float64 {
	if len(hex) == 4 {
		hex = fmt.Sprintf("#%c%c%c%c%c%c", hex[1], hex[1], hex[2], hex[2], hex[3], hex[3])
	}
	var c [3]int
	_, _ = fmt.Sscanf(hex, "#%02x%02x%02x", &c[0], &c[1], &c[2])
	sum := 0.0
	for i, weight := range []float64{.2126, .7152, .0722} {
		v := float64(c[i]) / 255
		if v <= .03928 {
			v /= 12.92
		} else {
			v = math.Pow((v+.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}

func TestOnlyAPageThatLeadsOnwardLeavesFormActionOpen(t *testing.T) {
	for onward, want := range map[bool]bool{false: true, true: false} {
		h := http.Header{}
		Guard(h, onward, false)
		if got := strings.Contains(h.Get("Content-Security-Policy"), "form-action 'self'"); got != want {
			t.Errorf("onward %v: form-action %v", onward, got)
		}
	}
}

func TestAnAssetSaysWhatItIs(t *testing.T) {
	for _, a := range Assets() {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", a.Path, nil))
		if w.Code != 200 || w.Header().Get("Content-Type") != a.Type || w.Body.Len() == 0 || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", a.Path, w.Code, w.Header())
		}
	}
}
