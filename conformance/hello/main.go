// Command hello is a small MCP server over stdio: two tools, no configuration,
// nothing but Go and its standard library. The shipped catalog starts it, so
// that a fresh Ostiary has an upstream to show; it speaks both eras of the
// protocol, so that either can be tried.
//
//	go run github.com/ostiary/ostiary/conformance/hello
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxLine bounds one message. Longer ones end the server: what follows on the
// stream could not be told apart any more.
const maxLine = 4 << 20

func main() {
	if err := serve(os.Stdin, os.Stdout, time.Now); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

// serve answers one message a line until in ends, which is how a stdio server
// is told to stop (MCP, Transports, stdio: Shutdown).
func serve(in io.Reader, out io.Writer, now func() time.Time) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if answer := handle(lines.Bytes(), now()); answer != nil {
			if _, err := out.Write(append(answer, '\n')); err != nil {
				return fmt.Errorf("write answer: %w", err)
			}
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("a message is over %d bytes", maxLine)
	} else if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}
