package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	keyHeader = "Ostiary-Admin-Key"
	pathStart = "/v1/"

	maxRequest     = 1 << 20          // bytes of a request's body
	maxHeader      = 8 << 10          // bytes
	maxInFlight    = 16               // requests at once; more wait
	requestTimeout = 10 * time.Second // for a request to arrive whole
)

// Operation answers one request of the operator's. in is one JSON value as it
// was sent, null when there was none; out is sent as JSON, unless it is a
// Stream. Its errors are shown to the operator as they are.
type Operation func(ctx context.Context, in json.RawMessage) (out any, err error)

// Stream is an answer in bytes: it writes all of it to w. An error ends the
// answer in a way that its reader notices.
type Stream func(w io.Writer) error

// Refusal is an error of an Operation whose Kind the caller of Call sees, too.
type Refusal struct {
	Kind string `json:"kind"` // the operation's own word, "" = none
	Text string `json:"text"`
}

func (e *Refusal) Error() string { return e.Text }

// Server serves the operator's socket of one data directory.
type Server struct {
	dir        string
	key        [sha256.Size]byte
	operations map[string]Operation
	log        *slog.Logger
	places     chan struct{}
	http       *http.Server
	served     chan struct{}
}

// Listen makes key and socket in dir, which the caller owns alone, and serves
// operations by name until Close.
func Listen(dir string, operations map[string]Operation, log *slog.Logger) (*Server, error) {
	ln, err := bind(dir)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	key, err := makeKey(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("admin key: %w", err), ln.Close(), os.Remove(filepath.Join(dir, socketFile)))
	}
	s := &Server{
		dir: dir, key: sha256.Sum256([]byte(key)), operations: operations, log: log,
		places: make(chan struct{}, maxInFlight), served: make(chan struct{}),
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, // no WriteTimeout: a backup takes what it takes
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(door{ln, log}); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin socket is gone; restart the server to use verbs that change it", "error", err)
		}
	}()
	return s, nil
}

// Close lets requests in flight finish until ctx ends, and removes the files.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	for _, name := range []string{socketFile, keyFile} {
		if e := os.Remove(filepath.Join(s.dir, name)); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// door accepts connections of those who may ask.
type door struct {
	*net.UnixListener
	log *slog.Logger
}

func (d door) Accept() (net.Conn, error) {
	for {
		conn, err := d.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(conn); err != nil {
			d.log.Warn("admin socket: refused", "peer", err)
			conn.Close()
			continue
		}
		return conn, nil
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	shown := sha256.Sum256([]byte(r.Header.Get(keyHeader)))
	if subtle.ConstantTimeCompare(shown[:], s.key[:]) != 1 {
		s.log.Warn("admin socket: a request without the key")
		answer(w, http.StatusForbidden, envelope{Error: &Refusal{Text: "the key is not the one of " + keyFile}})
		return
	}
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-r.Context().Done():
		return
	}
	name, _ := strings.CutPrefix(r.URL.Path, pathStart)
	operation, ok := s.operations[name]
	if r.Method != http.MethodPost || !ok {
		answer(w, http.StatusNotFound, envelope{Error: &Refusal{Text: "this server has no such operation; is it of another version than this program?"}})
		return
	}
	in, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil || len(in) > 0 && !json.Valid(in) {
		answer(w, http.StatusBadRequest, envelope{Error: &Refusal{Text: fmt.Sprintf("the request is not JSON of at most %d bytes", maxRequest)}})
		return
	}
	out, err := operation(r.Context(), in)
	if stream, ok := out.(Stream); ok && err == nil {
		s.stream(w, stream)
		return
	}
	if err != nil {
		e, ok := errors.AsType[*Refusal](err)
		if !ok {
			e = &Refusal{Text: err.Error()}
		}
		answer(w, http.StatusUnprocessableEntity, envelope{Error: e})
		return
	}
	raw, err := json.Marshal(out)
	if err != nil {
		answer(w, http.StatusInternalServerError, envelope{Error: &Refusal{Text: err.Error()}})
		return
	}
	answer(w, http.StatusOK, envelope{Out: raw})
}

// stream sends bytes as they come. Once some were sent, an error can be told
// only by breaking off.
func (s *Server) stream(w http.ResponseWriter, write Stream) {
	w.Header().Set("Content-Type", streamType)
	if err := write(w); err != nil {
		s.log.Error("admin socket: an answer broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
}

const streamType = "application/octet-stream"

// envelope is every answer but a stream.
type envelope struct {
	Out   json.RawMessage `json:"out,omitempty"`
	Error *Refusal        `json:"error,omitempty"`
}

func answer(w http.ResponseWriter, status int, e envelope) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The peer may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(e)
}
