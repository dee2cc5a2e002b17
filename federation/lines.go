package federation

import (
	"bufio"
	"errors"
	"io"
)

// lineReader reads the newline-delimited messages of stdio.
type lineReader struct {
	in    *bufio.Reader
	limit int
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// next is the next line without its end; it belongs to the caller.
// ErrTooLarge ends the stream: whose answer was cut can't be told any more.
func (l *lineReader) next() ([]byte, error) {
	var line []byte
	for {
		chunk, err := l.in.ReadSlice('\n')
		if len(line)+len(chunk) > l.limit+1 {
			return nil, ErrTooLarge
		}
		line = append(line, chunk...)
		switch {
		case err == nil:
			line = line[:len(line)-1]
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err // a last line without an end was cut
		}
	}
}

// oneLine makes a message fit for one line: outside of strings, where JSON
// has no raw line ends, they are mere whitespace.
func oneLine(msg []byte) []byte {
	for n, b := range msg {
		if b == '\n' || b == '\r' {
			msg[n] = ' '
		}
	}
	return append(msg, '\n')
}
