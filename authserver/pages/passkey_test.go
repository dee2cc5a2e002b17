package pages

import (
	"encoding/xml"
	"html/template"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"rsc.io/qr"
)

// maxScript is how many bytes of script our pages may have: so much can be read
// through.
const maxScript = 4 << 10

func TestTheScriptIsSmallAndDoesNotWriteMarkup(t *testing.T) {
	text := string(script.content)
	if len(text) > maxScript {
		t.Errorf("%d bytes", len(text))
	}
	for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "import(", "http:", "https:", "localStorage", "cookie"} {
		if strings.Contains(text, way) {
			t.Errorf("it has %s", way)
		}
	}
}

// TestWithoutScriptPasskeysAreNotOffered: what needs script is hidden in the
// page as it is served, and a form that could use a passkey can be sent without.
func TestWithoutScriptPasskeysAreNotOffered(t *testing.T) {
	keyed := Account{Local: true, Passkeys: true, TOTP: true, Keys: []Passkey{{Name: "A"}}}
	for name, html := range map[string][]byte{"sign-in": SignIn{Local: true, Passkeys: true}.HTML(), "second": Code{Passkey: true, Passkeys: true, TOTP: true}.HTML(), "account": Account{Local: true, Passkeys: true}.HTML(), "keyed": keyed.HTML()} {
		page := string(html)
		tags := regexp.MustCompile(`<[a-z]+ [^>]*data-with-passkey[^>]*>`).FindAllString(page, -1)
		if len(tags) == 0 {
			t.Errorf("%s offers no passkey at all", name)
		}
		for _, tag := range tags {
			if !strings.Contains(tag, " hidden") {
				t.Errorf("%s: %s", name, tag)
			}
		}
		if regexp.MustCompile(` on[a-z]+="|javascript:|<script>`).MatchString(page) {
			t.Errorf("%s has script in the page itself", name)
		}
		for _, form := range regexp.MustCompile(`(?s)<form [^>]*data-passkey.*?</form>`).FindAllString(page, -1) {
			if strings.Count(form, `name="challenge"`) != 1 || strings.Count(form, `name="passkey"`) != 1 || strings.Count(form, `role="alert"`) != 1 {
				t.Errorf("%s: the script finds no place for the answer in %.120s", name, form)
			}
		}
	}
}

// TestTheQRCodeIsTheLink redraws the SVG into modules and holds each against
// the code of the link.
func TestTheQRCodeIsTheLink(t *testing.T) {
	const link = "otpauth://totp/gateway.example:8443:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=gateway.example%3A8443"
	var svg struct {
		ViewBox string `xml:"viewBox,attr"`
		Role    string `xml:"role,attr"`
		Label   string `xml:"aria-label,attr"`
		Path    struct {
			D string `xml:"d,attr"`
		} `xml:"path"`
	}
	drawn := qrCode(template.URL(link))
	if err := xml.Unmarshal([]byte(drawn), &svg); err != nil {
		t.Fatal(err)
	}
	want, err := qr.Encode(link, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	side := strconv.Itoa(want.Size + 8)
	if svg.ViewBox != "0 0 "+side+" "+side || svg.Role != "img" || svg.Label == "" {
		t.Errorf("%+v", svg)
	}
	dark := map[[2]int]bool{}
	for _, m := range regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1H(\d+)z`).FindAllStringSubmatch(svg.Path.D, -1) {
		x, _ := strconv.Atoi(m[1])
		y, _ := strconv.Atoi(m[2])
		wide, _ := strconv.Atoi(m[3])
		if m[4] != m[1] {
			t.Fatalf("a run that does not close: %v", m)
		}
		for i := range wide {
			dark[[2]int{x + i - 4, y - 4}] = true
		}
	}
	for y := -4; y < want.Size+4; y++ {
		for x := -4; x < want.Size+4; x++ {
			if dark[[2]int{x, y}] != want.Black(x, y) {
				t.Fatalf("module %d, %d", x, y)
			}
		}
	}
	if strings.ContainsAny(string(drawn), "&") || strings.Contains(string(drawn), "style=") || strings.Contains(string(drawn), "JBSW") {
		t.Error("the drawing holds more than modules")
	}
	if qrCode(template.URL(strings.Repeat("x", 3000))) != "" {
		t.Error("what does not fit was drawn")
	}
}

func TestTheScriptIsAllowedWhereItIsAskedFor(t *testing.T) {
	for scripted, page := range map[bool][]byte{true: SignIn{Local: true, Passkeys: true}.HTML(), false: SignIn{Local: true}.HTML()} {
		if got := strings.Contains(string(page), `<script src="`+script.Path+`" defer></script>`); got != scripted {
			t.Errorf("scripted %v: %v", scripted, got)
		}
	}
}
