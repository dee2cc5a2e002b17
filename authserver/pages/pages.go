package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
)

//go:embed files
var files embed.FS

var (
	styles = load("ostiary.css")
	icon   = load("ostiary.svg")
	script = load("passkey.js")
	mark   = template.HTML(icon.content) // ours, embedded
	views  = template.Must(template.New("").Funcs(template.FuncMap{
		"style":  func() string { return styles.Path },
		"icon":   func() string { return icon.Path },
		"script": func() string { return script.Path },
		"qr":     qrCode,
		"mark":   func() template.HTML { return mark },
		"ago":    ago,
		"day":    day,
		"stamp":  stamp,
	}).ParseFS(files, "files/*.html"))
)

// Asset is a file that pages refer to. Its path names its content, so that a
// browser may keep it for ever.
type Asset struct {
	Path, Type string
	content    []byte
}

// Assets are all there are.
func Assets() []Asset { return []Asset{styles, icon, script} }

// ServeHTTP sends the asset.
func (a Asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.Type)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	http.ServeContent(w, r, "", zero, bytes.NewReader(a.content))
}

var types = map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}

func load(name string) Asset {
	content, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(err) // embedded: can't happen in a program that was built
	}
	sum := sha256.Sum256(content)
	ext := path.Ext(name)
	a := Asset{Type: types[ext], content: content}
	a.Path = fmt.Sprintf("/assets/%s-%s%s", strings.TrimSuffix(name, ext), hex.EncodeToString(sum[:6]), ext)
	return a
}

// Guard sets the headers of a page. With onward set the page's form may be
// answered by a redirect that leaves the gateway: browsers hold every step of
// it against form-action, and where a client's own server sends people next is
// not known here, so that directive is left out. With scripted set the page may
// run our one script file, and that may talk to us; every other page runs none.
func Guard(h http.Header, onward, scripted bool) {
	csp := "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
	if scripted {
		csp += "; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"
	}
	if !onward {
		csp += "; form-action 'self'"
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", csp)
	h.Set("X-Frame-Options", "DENY") // for browsers before frame-ancestors
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // HTTP/1.0 caches, RFC 6749 5.1
}

// render runs a template that is known to fit its view.
func render(name string, view any) []byte {
	var b bytes.Buffer
	if err := views.ExecuteTemplate(&b, name, view); err != nil {
		// A mistake of ours that a test finds; a page cut short must not show
		// as one that is whole.
		return []byte("<!doctype html><title>Ostiary</title><p>This page could not be shown.")
	}
	return b.Bytes()
}
