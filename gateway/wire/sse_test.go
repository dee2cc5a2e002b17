package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// events reads a stream to its end.
func events(r io.Reader, limit int) (all []Event, err error) {
	reader := NewEventReader(r, limit)
	for {
		e, err := reader.Next()
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
}

func TestEventReaderFollowsTheStandard(t *testing.T) {
	tests := []struct {
		rule, stream string
		want         []Event
		err          error
	}{
		{"fields", "id: 7\nevent: message\nretry: 1500\ndata: {}\n\n", []Event{{ID: "7", Name: "message", Retry: 1500, Data: []byte("{}")}}, io.EOF},
		{"CRLF", "data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", []Event{{Data: []byte("a\nb")}, {Data: []byte("c")}}, io.EOF},
		{"CR", "data: a\rdata: b\r\rdata: c\r\r", []Event{{Data: []byte("a\nb")}, {Data: []byte("c")}}, io.EOF},
		{"mixed line ends", "data: a\r\n\rdata: b\n\r\n", []Event{{Data: []byte("a")}, {Data: []byte("b")}}, io.EOF},
		{"one space is dropped, not two", "data:a\n\ndata:  b\n\n", []Event{{Data: []byte("a")}, {Data: []byte(" b")}}, io.EOF},
		{"comments and unknown fields", ": hi\n\n:\nfoo: bar\n\ndata: a\n: in between\nfoo\n\n", []Event{{Data: []byte("a")}}, io.EOF},
		{"priming event", "id: 1\ndata:\n\n", []Event{{ID: "1"}}, io.EOF},
		{"retry alone", "retry: 10\n\n", []Event{{Retry: 10}}, io.EOF},
		{"retry that is no number", "retry: -1\nretry: 1s\nretry:\ndata: a\n\n", []Event{{Data: []byte("a")}}, io.EOF},
		{"id with NUL is ignored", "id: a\x00b\ndata: a\n\n", []Event{{Data: []byte("a")}}, io.EOF},
		{"empty data lines", "data\ndata\n\n", []Event{{Data: []byte("\n")}}, io.EOF},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", []Event{{Data: []byte("a")}}, io.EOF},
		{"byte order mark elsewhere", "data: a\n\xef\xbb\xbfdata: b\n\n", []Event{{Data: []byte("a")}}, io.EOF},
		{"field names are case-sensitive", "Data: a\n\n", nil, io.EOF},
		{"cut off", "data: a\n\ndata: b\n", []Event{{Data: []byte("a")}}, io.ErrUnexpectedEOF},
		{"cut off in a line", "data: a\n\nda", []Event{{Data: []byte("a")}}, io.EOF},
		{"empty", "", nil, io.EOF},
	}
	for _, test := range tests {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole":                func(r io.Reader) io.Reader { return r },
			"byte a read":          iotest.OneByteReader,
			"data and EOF at once": iotest.DataErrReader,
		} {
			t.Run(test.rule+", "+name, func(t *testing.T) {
				got, err := events(wrap(strings.NewReader(test.stream)), 100)
				if !errors.Is(err, test.err) || len(got) != len(test.want) {
					t.Fatalf("%+v, %v", got, err)
				}
				for i, e := range got {
					w := test.want[i]
					if e.ID != w.ID || e.Name != w.Name || e.Retry != w.Retry || string(e.Data) != string(w.Data) {
						t.Errorf("%+v, want %+v", e, w)
					}
				}
			})
		}
	}
}

func TestEventLimitHoldsJustBelowAndJustAbove(t *testing.T) {
	const limit = 20_000
	line := func(n int) string { return "data: " + strings.Repeat("x", n-6) + "\n" }
	for rule, test := range map[string]struct{ below, above string }{
		"one line":    {line(limit) + "\n", line(limit+1) + "\n"},
		"many lines":  {strings.Repeat(line(10_000), 2) + "\n", line(10_000) + line(10_001) + "\n"},
		"a comment":   {":" + strings.Repeat("x", limit-1) + "\n", ":" + strings.Repeat("x", limit) + "\n"},
		"no line end": {strings.Repeat("x", limit), strings.Repeat("x", limit+1)},
	} {
		t.Run(rule, func(t *testing.T) {
			if _, err := events(strings.NewReader(test.below), limit); !errors.Is(err, io.EOF) {
				t.Errorf("below: %v", err)
			}
			if _, err := events(strings.NewReader(test.above), limit); !errors.Is(err, ErrEventTooLarge) {
				t.Errorf("above: %v", err)
			}
		})
	}
	t.Run("too large is final", func(t *testing.T) {
		r := NewEventReader(strings.NewReader("data: 1234567890\n\ndata: a\n\n"), 10)
		for range 3 {
			if _, err := r.Next(); !errors.Is(err, ErrEventTooLarge) {
				t.Error(err)
			}
		}
	})
	t.Run("comments and events add up to no limit", func(t *testing.T) {
		got, err := events(strings.NewReader(strings.Repeat(": keep-alive\n\ndata: a\n\n", 1000)), 20)
		if !errors.Is(err, io.EOF) || len(got) != 1000 {
			t.Errorf("%d, %v", len(got), err)
		}
	})
}

func TestEventReaderPassesReadErrors(t *testing.T) {
	broken := errors.New("broken")
	if _, err := events(io.MultiReader(strings.NewReader("data: a\n"), iotest.ErrReader(broken)), 100); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestAppendedEventsAreReadBack(t *testing.T) {
	var stream []byte
	stream = AppendPriming(stream, "s-0", 3000)
	stream = AppendComment(stream, "quiet\r\nid: forged")
	stream = AppendEvent(stream, "s-1", []byte(`{"a":"b"}`))
	stream = AppendEvent(stream, "", []byte("{\n\r\n\"a\":\r1}\n"))
	stream = AppendEvent(stream, "x\ndata: forged", []byte(`{}`))
	want := ": quiet  id: forged\n\n"
	if !strings.Contains(string(stream), want) {
		t.Errorf("%q", stream)
	}
	got, err := events(strings.NewReader(string(stream)), 100)
	if !errors.Is(err, io.EOF) || len(got) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	if e := got[0]; e.ID != "s-0" || e.Retry != 3000 || len(e.Data) != 0 {
		t.Errorf("%+v", e)
	}
	for i, data := range []string{`{"a":"b"}`, "{\n\n\"a\":\n1}\n", `{}`} {
		if string(got[i+1].Data) != data {
			t.Errorf("%q", got[i+1].Data)
		}
	}
	if got[1].ID != "s-1" || got[3].ID != "" {
		t.Errorf("%+v", got)
	}
}
