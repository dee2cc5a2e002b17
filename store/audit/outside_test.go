package audit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func (p outsidePlace) String() string { return "a place" }

// outsidePlace is one that a test can break.
type outsidePlace struct {
	put func(context.Context, *Checkpoint) error
}

func (p outsidePlace) Put(ctx context.Context, c *Checkpoint) error { return p.put(ctx, c) }

func TestAFailingPlaceIsRecordedOnceRetriedAndHoldsUpNothing(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	var tries, last atomic.Uint64
	broken.Store(true)
	l := open(t, dir, signed(t, dir, Options{Outside: []Outside{outsidePlace{func(_ context.Context, c *Checkpoint) error {
		tries.Add(1)
		if broken.Load() {
			return errors.New("down")
		}
		last.Store(c.Seq)
		return nil
	}}}}))
	for range 20 {
		if err := l.Append(t.Context(), decision("a")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 20*time.Second, "it is tried again", func() bool { return tries.Load() >= 3 })
	if err := l.CheckpointErr(); err == nil || !strings.Contains(err.Error(), "a place: down") {
		t.Errorf("got %v", err)
	}
	if err := l.Err(); err != nil {
		t.Errorf("the log is unwell: %v", err)
	}
	broken.Store(false)
	eventually(t, 20*time.Second, "it works again", func() bool { return l.CheckpointErr() == nil && last.Load() >= 20 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, r := range intact(t, dir) {
		count[r.Event]++
	}
	if count["audit.checkpoint_failed"] != 1 || count["audit.checkpoint_recovered"] != 1 {
		t.Errorf("%v", count)
	}
	if rep, err := Verify(dir); err != nil || last.Load() != rep.Last {
		t.Errorf("the last checkpoint outside covers %d of %d, %v", last.Load(), rep.Last, err)
	}
}

func TestAHangingPlaceHoldsUpNeitherRecordsNorTheEnd(t *testing.T) {
	dir := t.TempDir()
	release := make(chan struct{})
	defer close(release)
	l := open(t, dir, signed(t, dir, Options{Outside: []Outside{outsidePlace{func(context.Context, *Checkpoint) error {
		<-release // not even when ctx ends: a disk of another machine
		return nil
	}}}}))
	for range 10 {
		if err := l.Append(t.Context(), decision("a")); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 10*closeCopies {
		t.Errorf("closing took %v", d)
	}
}

func TestAFilePlaceNeedsItsDirectory(t *testing.T) {
	c := someCheckpoint(t, signer(t, t.TempDir()), Beginning{})
	dir := t.TempDir()
	if err := (FilePlace{filepath.Join(dir, "none", "c")}).Put(t.Context(), &c); err == nil {
		t.Error("an unmounted disk was taken for a place")
	}
	p := FilePlace{filepath.Join(dir, "c")}
	if err := errors.Join(p.Put(t.Context(), &c), p.Put(t.Context(), &c)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := ParseCheckpoints(b); err != nil || len(all) != 2 {
		t.Errorf("%d, %v", len(all), err)
	}
	if info, err := os.Stat(p.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSyslogGetsACheckpointInOneDatagram(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := signer(t, t.TempDir())
	c := someCheckpoint(t, s, Beginning{Segment: 2, First: 7})
	if err := (SyslogPlace{"udp", l.LocalAddr().String()}).Put(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	if err := l.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := l.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParseCheckpoints(b[:n])
	if err != nil || len(all) != 1 || !all[0].signedBy([]Key{s.Key}) || n > 1024 {
		t.Errorf("%d bytes %q: %d, %v", n, b[:n], len(all), err)
	}
}

func TestAWebhookIsPostedToWithItsHeaderAndFollowsNoRedirect(t *testing.T) {
	c := someCheckpoint(t, signer(t, t.TempDir()), Beginning{})
	var got atomic.Pointer[string]
	mux := http.NewServeMux()
	mux.HandleFunc("POST /in/secret-path", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text := r.Header.Get("X-Key") + " " + string(body)
		got.Store(&text)
	})
	mux.HandleFunc("POST /away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/in/secret-path", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("POST /broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	server := httptest.NewServer(mux)
	to := func(path string) WebhookPlace {
		u, err := url.Parse(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		return WebhookPlace{URL: u, Header: "X-Key", Secret: "hush"}
	}
	if err := to("/in/secret-path").Put(t.Context(), &c); err != nil || got.Load() == nil || *got.Load() != "hush "+string(c.Text) {
		t.Errorf("%v", err)
	}
	got.Store(nil)
	for _, path := range []string{"/away", "/broken"} {
		if err := to(path).Put(t.Context(), &c); err == nil || got.Load() != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	server.Close()
	p := to("/in/secret-path")
	if err := p.Put(t.Context(), &c); err == nil || strings.Contains(err.Error()+p.String(), "secret-path") || strings.Contains(err.Error(), "hush") {
		t.Errorf("the error tells the path: %v", err)
	}
}
