package authserver

import "net/http"

// counted counts the requests that an endpoint without a person refuses, as one
// record per source and minute (audit.Flood): nobody can fill the log from
// outside.
func (s *Server) counted(kind string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := statusWriter{w, http.StatusOK}
		next(&status, r)
		if status.code >= 400 && status.code < 500 {
			s.Flood.Add(s.source(r), kind)
		}
	}
}

type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
