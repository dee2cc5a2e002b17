package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fetchTime is for all of one fetch, waiting at the gate included.
const fetchTime = 5 * time.Second

// fetcher gets small JSON documents from URLs that others name.
type fetcher struct {
	http  *http.Client
	trust trust
	gate  *gate
}

// stayKey is where a fetch's context holds its stay, for its dials.
type stayKey struct{}

// dial is net.Dialer.ControlContext: it checks an address, and waits until it may
// be dialled.
func (t trust) dial(ctx context.Context, network, address string, c syscall.RawConn) error {
	if err := t.control(network, address, c); err != nil {
		return err
	}
	s, ok := ctx.Value(stayKey{}).(*stay)
	if !ok {
		return nil
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return s.address(ctx, ap.Addr())
}

func newFetcher(t trust) fetcher {
	dialer := &net.Dialer{Timeout: fetchTime, ControlContext: t.dial}
	return fetcher{
		trust: t,
		gate:  newGate(),
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                  nil, // a proxy would resolve the name behind our back
				DialContext:            dialer.DialContext,
				DisableKeepAlives:      true,
				DisableCompression:     true, // the limit counts what is read
				MaxResponseHeaderBytes: 16 << 10,
				TLSHandshakeTimeout:    fetchTime,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// checkURL says whether uri may be fetched at all: https, and http on a loopback
// address for those who may reach one.
func (f *fetcher) checkURL(uri string) error {
	u, err := webURL(uri)
	if err != nil {
		return err
	}
	if u.Scheme != "https" && (f.trust == stranger || !Loopback(uri)) {
		return errors.New("only https is fetched")
	}
	return nil
}

// errRefused: the other side answered, but not with what was asked for.
var errRefused = errors.New("refused")

// get fetches uri: at most limit bytes of JSON. The error wraps errRefused where
// another attempt would bring the same, and never holds a word of the answer.
// fresh is how long its sender lets it be kept. known says that it is not for a
// stranger.
func (f *fetcher) get(ctx context.Context, uri string, limit int64, known bool) (body []byte, fresh time.Duration, err error) {
	if err := f.checkURL(uri); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: no valid URL", errRefused)
	}
	s, err := f.gate.enter(ctx, req.URL, known || f.trust == operator)
	if err != nil {
		return nil, 0, err
	}
	defer s.leave()
	req = req.WithContext(context.WithValue(ctx, stayKey{}, s))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "ostiary")
	res, err := f.http.Do(req)
	if err != nil {
		switch {
		case errors.Is(err, errAddress):
			return nil, 0, fmt.Errorf("%w: %w", errRefused, errAddress)
		case errors.Is(err, errBusy):
			return nil, 0, errBusy
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return nil, 0, fmt.Errorf("fetch: %w", err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return nil, 0, fmt.Errorf("fetch: status %d", res.StatusCode)
	case res.StatusCode != http.StatusOK: // redirects too: their target was not named by anyone
		return nil, 0, fmt.Errorf("%w: status %d", errRefused, res.StatusCode)
	case !isJSON(res.Header.Get("Content-Type")):
		return nil, 0, fmt.Errorf("%w: its content type is not application/json", errRefused)
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("fetch: %w", err)
	case int64(len(body)) > limit:
		return nil, 0, fmt.Errorf("%w: longer than %d bytes", errRefused, limit)
	}
	return body, maxAge(res.Header.Values("Cache-Control")), nil
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}

// maxAge reads Cache-Control (RFC 9111 5.2.2): 0 where it says nothing, or
// doesn't want the document to be kept.
func maxAge(values []string) time.Duration {
	age := time.Duration(0)
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(values, ",")), ",") {
		directive = strings.TrimSpace(directive)
		if directive == "no-store" || directive == "no-cache" {
			return 0
		}
		if n, ok := strings.CutPrefix(directive, "max-age="); ok {
			if seconds, err := strconv.ParseInt(strings.Trim(n, `"`), 10, 32); err == nil && seconds > 0 {
				age = time.Duration(seconds) * time.Second
			}
		}
	}
	return age
}
