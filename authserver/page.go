package authserver

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/authserver/pages"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// assets adds what the pages refer to.
func (s *Server) assets(mux *http.ServeMux) {
	for _, a := range pages.Assets() {
		mux.Handle("GET "+a.Path, a)
	}
}

// frame is what stands around a page.
func (s *Server) frame(r *http.Request, u *store.User) pages.Frame {
	f := pages.Frame{Host: s.issuer.Host}
	if s.Loopback {
		f.Host = pages.Text(r.Host, 80)
	}
	if u != nil {
		f.User = u.Name
		if f.User == "" {
			f.User = u.Subject
		}
	}
	return f
}

// page sends a page whose forms stay here.
func page(w http.ResponseWriter, status int, html []byte) { send(w, status, html, false, false) }

// pageOnward sends a page whose form may be answered by going to the client.
func pageOnward(w http.ResponseWriter, status int, html []byte) { send(w, status, html, true, false) }

func send(w http.ResponseWriter, status int, html []byte, onward, scripted bool) {
	pages.Guard(w.Header(), onward, scripted)
	w.WriteHeader(status)
	_, _ = w.Write(html) // the browser went away: nobody is left to tell
}

// showError is the page of an authorization request that can't be answered to
// its client. status 0 is 400.
func (s *Server) showError(w http.ResponseWriter, r *http.Request, status int, why string) {
	if status == 0 {
		status = http.StatusBadRequest
	}
	v := pages.Problem{
		Frame: s.frame(r, nil), Title: "This sign-in can't go on",
		What: "The program that sent you here asked for something this gateway can't accept.",
		Why:  sentence(why), Next: "Go back to the program and start again. If it happens every time, remove its saved sign-in there, or show this page to whoever runs it.",
	}
	if status >= http.StatusInternalServerError {
		v.Title, v.What = "Not at this moment", "This gateway can't go on with the sign-in right now."
		v.Next = "Try again in a minute. If it stays like this, tell the operator of this gateway."
	}
	page(w, status, v.HTML())
}

// sentence makes one of an error text.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return string(append([]byte{upper(text[0])}, text[1:]...)) + "."
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// fail is the page of an error that is not the person's doing. The log has the
// error; the page a number to find it by.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	id := rand.Text()[:10]
	s.Logger.LogAttrs(r.Context(), slog.LevelError, "a page could not be served",
		slog.String("id", id), slog.String("path", r.URL.Path), slog.Any("err", err))
	v := pages.Problem{Frame: s.frame(r, nil), ID: id, Title: "Something went wrong here",
		What: "It is not your doing: this gateway could not finish what you asked.",
		Next: "Try again in a minute. If it stays like this, tell the operator of this gateway."}
	status := http.StatusInternalServerError
	for _, down := range []error{store.ErrFull, store.ErrBroken, store.ErrClosed, audit.ErrUnavailable} {
		if errors.Is(err, down) {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "5")
		}
	}
	page(w, status, v.HTML())
}

// stale is the page of a sealed request or ticket that is too old.
func (s *Server) stale(w http.ResponseWriter, r *http.Request) {
	page(w, http.StatusBadRequest, pages.Problem{Frame: s.frame(r, nil), Title: "This page is too old",
		What: "The request behind it has expired, or the program that made it has changed since.",
		Next: "Go back to the program that sent you here and start again."}.HTML())
}

// foreign is the page of a form that was not made for this browser.
func (s *Server) foreign(w http.ResponseWriter, r *http.Request) {
	page(w, http.StatusForbidden, pages.Problem{Frame: s.frame(r, nil), Title: "That was not asked here",
		What: "The form that was sent does not belong to this browser's sign-in, so nothing was done.",
		Why:  "It may come from another site, from another browser, or from before you signed in again.",
		Next: "Open the page anew and decide there.", Link: "/account", Label: "Your account"}.HTML())
}

const maxPageForm = 64 << 10 // bytes of a form that a page posts

// browserForm reads what one of our pages posted: from this origin, once each
// field. When it is not ok, the answer is written.
func (s *Server) browserForm(w http.ResponseWriter, r *http.Request) (form url.Values, ok bool) {
	if err := s.cross.Check(r); err != nil {
		s.foreign(w, r)
		return nil, false
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && media == "application/x-www-form-urlencoded" {
		r.Body = http.MaxBytesReader(w, r.Body, maxPageForm)
		if err = r.ParseForm(); err == nil {
			for _, values := range r.PostForm {
				if len(values) > 1 {
					err = errMalformed
				}
			}
		}
	} else {
		err = errMalformed
	}
	if err != nil {
		status := http.StatusBadRequest
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		page(w, status, pages.Problem{Frame: s.frame(r, nil), Title: "That form can't be read",
			What: "What was sent is not what the form on our page sends.", Next: "Open the page anew and try again."}.HTML())
		return nil, false
	}
	return r.PostForm, true
}

// methods refuses what is neither GET, HEAD nor POST.
func methods(w http.ResponseWriter, r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
		return true
	}
	w.Header().Set("Allow", "GET, HEAD, POST")
	w.WriteHeader(http.StatusMethodNotAllowed)
	return false
}

func retryAfter(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
}

// see sends the browser to another of our pages.
func see(w http.ResponseWriter, path string, query url.Values) {
	noStore(w.Header())
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}
