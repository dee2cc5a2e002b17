package main

import (
	"fmt"
	"io"
	"net/http"
	"sync"
)

// inMemory carries requests to a handler without a network: the handler sees
// what it would see of a client on this machine.
type inMemory struct{ handler http.Handler }

// RoundTrip serves r and returns as soon as the handler has written its head,
// or the request's context ends.
func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	inbound := r.Clone(r.Context())
	inbound.RequestURI = r.URL.RequestURI()
	inbound.Host = r.URL.Host
	inbound.RemoteAddr = "127.0.0.1:0"
	inbound.URL.Scheme, inbound.URL.Host = "", ""
	if inbound.Body == nil {
		inbound.Body = http.NoBody
	}
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, head: make(chan struct{})}
	go func() {
		defer func() {
			// A handler aborts an answer by panicking (http.ErrAbortHandler): the
			// reader must see it cut off, not whole.
			if why := recover(); why != nil {
				out.CloseWithError(fmt.Errorf("the answer was aborted: %v", why))
			}
			w.WriteHeader(http.StatusInternalServerError)
			out.Close()
		}()
		t.handler.ServeHTTP(w, inbound)
		w.WriteHeader(http.StatusOK)
	}()
	select {
	case <-w.head:
	case <-r.Context().Done():
		body.Close() // what the handler still says goes nowhere
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: w.code, Status: http.StatusText(w.code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: body, ContentLength: -1, Request: r,
	}, nil
}

// pipeWriter is the http.ResponseWriter of one inMemory round trip.
type pipeWriter struct {
	header http.Header
	out    *io.PipeWriter
	once   sync.Once
	head   chan struct{} // closed when code and sent are set
	code   int
	sent   http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(code int) {
	w.once.Do(func() {
		w.code, w.sent = code, w.header.Clone()
		close(w.head)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}

// Flush has nothing to do: the pipe holds nothing back.
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }
