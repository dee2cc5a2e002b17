package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// ErrNoServer: no server runs on this data directory.
var ErrNoServer = errors.New("no server runs on this data directory")

// maxAnswer bounds what is read of an answer that is no stream, in bytes.
const maxAnswer = 64 << 20

// Call asks the server that runs on the data directory dir for an operation.
// in is sent as JSON; out takes the answer, and may be nil. The error wraps
// ErrNoServer when there is none, and is a *Refusal when the operation said no.
func Call(ctx context.Context, dir, operation string, in, out any) error {
	return exchange(ctx, dir, operation, in, func(response *http.Response) error {
		var e envelope
		if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&e); err != nil {
			return fmt.Errorf("admin socket: HTTP %d, and the answer can't be read: %w", response.StatusCode, err)
		}
		if e.Error != nil {
			return e.Error
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(e.Out, out)
	})
}

// Fetch is Call for an operation whose answer is a Stream, which it writes to
// w. When it fails, w may have some of the answer.
func Fetch(ctx context.Context, dir, operation string, in any, w io.Writer) error {
	return exchange(ctx, dir, operation, in, func(response *http.Response) error {
		if response.Header.Get("Content-Type") == streamType {
			_, err := io.Copy(w, response.Body)
			return err
		}
		var e envelope
		if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&e); err != nil || e.Error == nil {
			return errors.New("admin socket: the answer is not what was asked for")
		}
		return e.Error
	})
}

// exchange makes one request and hands its response to read.
func exchange(ctx context.Context, dir, operation string, in any, read func(*http.Response) error) error {
	conn, err := dial(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNoServer
	} else if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	defer conn.Close()
	key, err := readKey(dir)
	if err != nil {
		return fmt.Errorf("admin key: %w", err)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin"+pathStart+operation, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set(keyHeader, key)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	defer response.Body.Close()
	return read(response)
}
