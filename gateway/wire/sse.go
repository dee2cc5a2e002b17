package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrEventTooLarge: one event, or one line, of a stream has more bytes than
// its reader allows.
var ErrEventTooLarge = errors.New("event too large")

// Event is one server-sent event.
type Event struct {
	ID, Name string // as the event gives them; "" when it does not
	Data     []byte // its lines joined by LF; empty in a priming event
	Retry    int    // milliseconds; 0 when absent
}

// EventReader reads server-sent events (WHATWG HTML, section 9.2.6). It is not
// safe for concurrent use.
type EventReader struct {
	r        io.Reader
	max      int
	buf      []byte
	pos, end int
	skipLF   bool // the last line ended in CR: an LF that follows belongs to it
	started  bool // the first line, which may carry a byte order mark, is read
	long     []byte
	failed   error // ErrEventTooLarge, once met: what follows is not read as an event
}

// NewEventReader reads events from r, each of at most maxEvent bytes of fields.
func NewEventReader(r io.Reader, maxEvent int) *EventReader {
	return &EventReader{r: r, max: maxEvent, buf: make([]byte, 8<<10)}
}

// Next is the next event. An event that carries only an id or a retry time, as
// the priming event of MCP 2025-11-25 does, is reported too, with empty Data;
// comments and unknown fields are skipped. Data belongs to the caller.
//
// At the end of the stream the error is io.EOF, or io.ErrUnexpectedEOF inside of
// an event, which is then discarded. ErrEventTooLarge is final: it comes again.
func (r *EventReader) Next() (Event, error) {
	var (
		e      Event
		fields bool // a known field was seen
		lines  bool // a data line was seen
		size   int
	)
	for {
		line, err := r.line()
		if err != nil {
			if errors.Is(err, io.EOF) && fields {
				err = io.ErrUnexpectedEOF
			}
			return Event{}, err
		}
		if len(line) == 0 {
			if fields {
				return e, nil
			}
			continue
		}
		if line[0] == ':' {
			continue
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "data":
			if lines {
				e.Data = append(e.Data, '\n')
			}
			e.Data = append(e.Data, value...)
			lines = true
		case "event":
			e.Name = string(value)
		case "id":
			if bytes.IndexByte(value, 0) >= 0 {
				continue
			}
			e.ID = string(value)
		case "retry":
			ms, ok := digits(value)
			if !ok {
				continue
			}
			e.Retry = ms
		default:
			continue
		}
		fields = true
		if size += len(line); size > r.max {
			return Event{}, r.tooLarge()
		}
	}
}

// digits reads a retry time: ASCII digits only.
func digits(value []byte) (int, bool) {
	if len(value) == 0 || bytes.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	ms, err := strconv.Atoi(string(value))
	return ms, err == nil
}

// line is the next line without its end (LF, CR or CRLF), valid until the next
// call. A last line without an end is not a line.
func (r *EventReader) line() ([]byte, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	r.long = r.long[:0]
	for {
		if r.pos == r.end {
			if err := r.fill(); err != nil {
				return nil, err
			}
		}
		if r.skipLF {
			r.skipLF = false
			if r.buf[r.pos] == '\n' {
				r.pos++
				continue
			}
		}
		chunk := r.buf[r.pos:r.end]
		n := lineEnd(chunk)
		if len(r.long)+max(n, 0) > r.max || n < 0 && len(r.long)+len(chunk) > r.max {
			return nil, r.tooLarge()
		}
		if n < 0 {
			r.long = append(r.long, chunk...)
			r.pos = r.end
			continue
		}
		r.pos += n + 1
		r.skipLF = chunk[n] == '\r'
		line := chunk[:n]
		if len(r.long) > 0 {
			r.long = append(r.long, line...)
			line = r.long
		}
		if !r.started {
			r.started = true
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		return line, nil
	}
}

func (r *EventReader) tooLarge() error {
	r.failed = fmt.Errorf("%w: over %d bytes", ErrEventTooLarge, r.max)
	return r.failed
}

// lineEnd is the index of the first LF or CR, or -1.
func lineEnd(chunk []byte) int {
	n := bytes.IndexByte(chunk, '\n')
	if n >= 0 {
		chunk = chunk[:n]
	}
	if cr := bytes.IndexByte(chunk, '\r'); cr >= 0 {
		return cr
	}
	return n
}

func (r *EventReader) fill() error {
	for range 100 {
		n, err := r.r.Read(r.buf)
		r.pos, r.end = 0, n
		if n > 0 {
			return nil // an error comes again with the next Read
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// AppendEvent appends one event that carries a message. An empty id gives no id
// line, and so does one that holds a line end or NUL. Where data has line ends,
// which in JSON stand only between tokens, each line is sent as such.
func AppendEvent(dst []byte, id string, data []byte) []byte {
	dst = appendEventID(dst, id)
	for {
		n := lineEnd(data)
		dst = append(dst, "data: "...)
		if n < 0 {
			dst = append(dst, data...)
			return append(dst, "\n\n"...)
		}
		dst = append(append(dst, data[:n]...), '\n')
		if data[n] == '\r' && n+1 < len(data) && data[n+1] == '\n' {
			n++
		}
		data = data[n+1:]
	}
}

// AppendPriming appends the event that opens a resumable stream (MCP 2025-11-25,
// Transports: an event ID and an empty data field), with the reconnection time
// in milliseconds where it is over 0.
func AppendPriming(dst []byte, id string, retry int) []byte {
	dst = appendEventID(dst, id)
	if retry > 0 {
		dst = append(strconv.AppendInt(append(dst, "retry: "...), int64(retry), 10), '\n')
	}
	return append(dst, "data: \n\n"...)
}

// AppendComment appends a comment, which keeps a quiet stream open. Line ends
// in text become spaces.
func AppendComment(dst []byte, text string) []byte {
	dst = append(dst, ": "...)
	for i := 0; i < len(text); i++ {
		if b := text[i]; b == '\r' || b == '\n' {
			dst = append(dst, ' ')
		} else {
			dst = append(dst, b)
		}
	}
	return append(dst, "\n\n"...)
}

func appendEventID(dst []byte, id string) []byte {
	if id == "" || strings.ContainsAny(id, "\r\n\x00") {
		return dst
	}
	return append(append(append(dst, "id: "...), id...), '\n')
}
