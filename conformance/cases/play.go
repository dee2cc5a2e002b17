package cases

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// plays are the words of a script's lines.
var plays = map[string]bool{
	"status": true, "header": true, "answer": true, "event": true, "comment": true, "write": true,
	"reply": true, "hang": true, "drop": true, "lose": true,
}

// replyTime is how long an upstream waits for the answer to a question.
const replyTime = 15 * time.Second

// play answers one request as the script says.
func (rec *Recorder) play(s *script, w http.ResponseWriter, r *http.Request, in *asked) {
	p := &player{rec: rec, w: w, r: r, in: in, flush: http.NewResponseController(w), vars: maps.Clone(s.vars)}
	p.vars["ID"], p.vars["TOKEN"], p.vars["N"], p.vars["ELSEWHERE"] = string(in.id), string(in.token), strconv.Itoa(in.n), "http://"+r.Host+"/elsewhere"
	for _, a := range s.acts {
		for again := true; again; again = a.forever {
			if a.wait > 0 && !p.rest(a.wait) {
				return
			}
			if !p.act(a) {
				return
			}
		}
	}
}

// player is one request being answered.
type player struct {
	rec    *Recorder
	w      http.ResponseWriter
	r      *http.Request
	in     *asked
	flush  *http.ResponseController
	vars   map[string]string
	status int
	begun  bool
}

// act does one line; false ends the play.
func (p *player) act(a act) bool {
	expanded, err := expand(a.text, p.vars)
	if err != nil {
		return false
	}
	text := fill(string(expanded))
	switch a.word {
	case "status":
		n, err := strconv.Atoi(text)
		p.status = n
		return err == nil
	case "header":
		name, value, _ := strings.Cut(text, ": ")
		p.w.Header().Set(name, value)
		return true
	case "answer":
		return p.write("application/json", text)
	case "event":
		return p.write("text/event-stream", "data: "+text+"\n\n")
	case "comment":
		return p.write("text/event-stream", ": "+text+"\n\n")
	case "write":
		return p.write("application/json", text)
	case "reply":
		return p.rec.awaitReply(p.in, p.rest)
	case "hang":
		if p.begun || p.status != 0 {
			p.write("application/json", "")
		}
		<-p.r.Context().Done()
		return false
	case "drop":
		if conn, _, err := p.flush.Hijack(); err == nil {
			conn.Close()
		}
		return false
	case "lose":
		p.rec.lose(p.r.Header.Get("Mcp-Session-Id"))
		p.w.WriteHeader(http.StatusNotFound)
		return false
	}
	return false
}

// write sends text now; kind is its media type where the script gave none.
func (p *player) write(kind, text string) bool {
	if !p.begun {
		p.begun = true
		if p.w.Header().Get("Content-Type") == "" {
			p.w.Header().Set("Content-Type", kind)
		}
		if p.status != 0 {
			p.w.WriteHeader(p.status)
		}
	}
	if _, err := io.WriteString(p.w, text); err != nil {
		return false
	}
	return p.flush.Flush() == nil
}

// rest waits; false means that the gateway hung up first.
func (p *player) rest(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.r.Context().Done():
		return false
	}
}

// readSlowly reads a body so many bytes a tick.
func readSlowly(r *http.Request, chunk int) ([]byte, error) {
	var all []byte
	buf := make([]byte, chunk)
	for {
		n, err := io.ReadFull(r.Body, buf)
		all = append(all, buf[:n]...)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("after %d bytes: %w", len(all), err)
		}
		time.Sleep(tick)
	}
}
