package main

import (
	"io"
	"net/http"
	"time"
)

// bodyTimeout is how long the body of one request may take to arrive.
const bodyTimeout = 30 * time.Second

// withBodyTimeout ends connections whose request body does not arrive in time.
// http.Server.ReadTimeout would do so too, but goes on counting while the
// answer is written, and would cut every stream.
func withBodyTimeout(h http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			control := http.NewResponseController(w)
			if control.SetReadDeadline(time.Now().Add(limit)) == nil {
				r.Body = &timedBody{ReadCloser: r.Body, arrived: func() {
					// A connection that can't be given its time back is dead anyway.
					_ = control.SetReadDeadline(time.Time{})
				}}
			}
		}
		h.ServeHTTP(w, r)
	})
}

// timedBody calls arrived once the whole body was read.
type timedBody struct {
	io.ReadCloser
	arrived func()
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.arrived()
	}
	return n, err
}
