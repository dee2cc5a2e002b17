package admin

import (
	"bytes"
	"context"
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
	"testing"
	"time"
)

var operations = map[string]Operation{
	"echo": func(_ context.Context, in json.RawMessage) (any, error) { return in, nil },
	"fail": func(context.Context, json.RawMessage) (any, error) {
		return nil, errors.New("it can't be done; do this")
	},
	"refuse": func(context.Context, json.RawMessage) (any, error) {
		return nil, fmt.Errorf("op: %w", &Refusal{Kind: "usage", Text: "say it otherwise"})
	},
	"bytes": func(context.Context, json.RawMessage) (any, error) {
		return Stream(func(w io.Writer) error { _, err := io.WriteString(w, strings.Repeat("x", 1<<20)); return err }), nil
	},
	"torn": func(context.Context, json.RawMessage) (any, error) {
		return Stream(func(w io.Writer) error { io.WriteString(w, "half"); return errors.New("the disk is gone") }), nil
	},
	"panics": func(context.Context, json.RawMessage) (any, error) { panic("a bug") },
}

func listen(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Listen(dir, operations, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestCallAndItsErrors(t *testing.T) {
	dir := t.TempDir()
	if err := Call(t.Context(), dir, "echo", nil, nil); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
	if err := Call(t.Context(), filepath.Join(dir, "none"), "echo", nil, nil); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a directory: %v", err)
	}
	listen(t, dir)
	var out map[string]int
	if err := Call(t.Context(), dir, "echo", map[string]int{"a": 1}, &out); err != nil || out["a"] != 1 {
		t.Errorf("%v %v", out, err)
	}
	for operation, want := range map[string]string{
		"fail":    "it can't be done; do this",
		"refuse":  "say it otherwise",
		"unknown": "no such operation",
		"panics":  "EOF",
	} {
		err := Call(t.Context(), dir, operation, nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", operation, err)
		}
		if r, ok := errors.AsType[*Refusal](err); operation == "refuse" && (!ok || r.Kind != "usage") {
			t.Errorf("%s: %v", operation, err)
		}
	}
	if err := Call(t.Context(), dir, "echo", nil, nil); err != nil {
		t.Errorf("the server does not answer any more: %v", err)
	}
}

func TestAStreamIsWholeOrAnError(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir)
	var b bytes.Buffer
	if err := Fetch(t.Context(), dir, "bytes", nil, &b); err != nil || b.Len() != 1<<20 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
	if err := Fetch(t.Context(), dir, "torn", nil, io.Discard); err == nil {
		t.Error("half an answer was taken for all of it")
	}
	if err := Fetch(t.Context(), dir, "fail", nil, io.Discard); err == nil || !strings.Contains(err.Error(), "do this") {
		t.Error(err)
	}
}

// raw asks with a key and body of one's own.
func raw(t *testing.T, dir, key string, body io.Reader) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, socketFile))
	}}}
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/v1/echo", body)
	if key != "" {
		request.Header.Set(keyHeader, key)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestOnlyTheKeyOpens(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir)
	key, err := readKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key  string
		want int
	}{
		"the key": {key, 200}, "none": {"", 403}, "another": {strings.Repeat("A", len(key)), 403},
		"a part": {key[:len(key)-1], 403}, "more": {key + "A", 403},
	} {
		if got := raw(t, dir, c.key, strings.NewReader("1")); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestTheBodyIsBoundedAndJSON(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir)
	key, _ := readKey(dir)
	fits := `"` + strings.Repeat("x", maxRequest-2) + `"`
	for name, c := range map[string]struct {
		body string
		want int
	}{"at the limit": {fits, 200}, "over it": {" " + fits, 400}, "not JSON": {"{", 400}} {
		if got := raw(t, dir, key, strings.NewReader(c.body)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestTheFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	s := listen(t, dir)
	for _, name := range []string{socketFile, keyFile} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	// A key that others may read is not shown to anybody.
	path := filepath.Join(dir, keyFile)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Call(t.Context(), dir, "echo", nil, nil); err == nil || !strings.Contains(err.Error(), "mode 0640") {
		t.Errorf("mode 0640: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := Call(t.Context(), dir, "echo", nil, nil); err == nil || errors.Is(err, ErrNoServer) {
		t.Errorf("no key: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAKeyIsOfOneStart(t *testing.T) {
	dir := t.TempDir()
	var keys []string
	for range 2 {
		s := listen(t, dir)
		key, err := readKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		s.Close(t.Context())
	}
	if keys[0] == keys[1] || len(keys[0]) < 26 {
		t.Errorf("keys of %d letters, equal: %v", len(keys[0]), keys[0] == keys[1])
	}
}

func TestASocketIsReplacedWhenNobodyAnswersThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, socketFile)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if err := Call(t.Context(), dir, "echo", nil, nil); !errors.Is(err, ErrNoServer) {
		t.Errorf("a stale socket: %v", err)
	}
	listen(t, dir)
	if err := Call(t.Context(), dir, "echo", nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := Listen(dir, operations, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another server answers") {
		t.Errorf("beside a living one: %v", err)
	}
	if err := Call(t.Context(), dir, "echo", nil, nil); err != nil {
		t.Errorf("the refused start hurt the living one: %v", err)
	}

	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, socketFile), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(other, operations, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file in its place: %v", err)
	}
}

func TestAPathTooLongForASocketWorks(t *testing.T) {
	root := t.TempDir()
	for _, length := range []int{maxSocketPath, maxSocketPath + 1, 3 * maxSocketPath} {
		dir := root
		for len(filepath.Join(dir, socketFile)) < length {
			dir = filepath.Join(dir, strings.Repeat("d", max(1, min(100, length-len(filepath.Join(dir, socketFile))-1))))
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s := listen(t, dir)
		if err := Call(t.Context(), dir, "echo", nil, nil); err != nil {
			t.Errorf("%d bytes: %v", length, err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("%d bytes: %v", length, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%d bytes: left behind: %v", length, left)
		}
	}
}
