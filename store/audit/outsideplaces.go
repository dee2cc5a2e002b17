package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"net/http"
	"net/url"
	"strings"
)

// FilePlace appends checkpoints to a file, best on another machine's disk or
// one that only takes appends. It is made (0600) when missing; its directory
// isn't, since an unmounted disk must not look like a place.
type FilePlace struct{ Path string }

func (p FilePlace) String() string { return "file " + p.Path }

// Put appends c, durably.
func (p FilePlace) Put(_ context.Context, c *Checkpoint) error {
	return appendWhole(p.Path, c.Text)
}

// SyslogPlace sends checkpoints to syslog, on one line each (Checkpoint.Line),
// as facility auth, severity info. Over udp nobody knows whether one arrived.
type SyslogPlace struct {
	Network string // "udp", or "" for this machine's own
	Address string // host:port; "" with Network ""
}

func (p SyslogPlace) String() string {
	if p.Network == "" {
		return "syslog of this machine"
	}
	return "syslog " + p.Network + "://" + p.Address
}

// Put opens the way anew each time: a syslog that was restarted or moved is
// found again, and once a minute costs nothing.
func (p SyslogPlace) Put(_ context.Context, c *Checkpoint) error {
	w, err := syslog.Dial(p.Network, p.Address, syslog.LOG_AUTH|syslog.LOG_INFO, "ostiary")
	if err != nil {
		return fmt.Errorf("reach syslog: %w", err)
	}
	return errors.Join(w.Info(c.Line()), w.Close())
}

// WebhookPlace posts the text of checkpoints to a URL. Any 2xx answer counts.
type WebhookPlace struct {
	URL    *url.URL
	Header string // "" = none; otherwise sent with Secret
	Secret string
}

// String leaves out path and query: those of webhooks are often secrets.
func (p WebhookPlace) String() string { return "webhook " + p.URL.Scheme + "://" + p.URL.Host }

// webhookClient follows no redirect: whatever stands in Location was not
// configured, and must not get the header.
var webhookClient = &http.Client{
	Timeout:       putTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Put posts c.
func (p WebhookPlace) Put(ctx context.Context, c *Checkpoint) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL.String(), strings.NewReader(string(c.Text)))
	if err != nil {
		return errors.New("the URL can't be used")
	}
	request.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if p.Header != "" {
		request.Header.Set(p.Header, p.Secret)
	}
	response, err := webhookClient.Do(request)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return fmt.Errorf("post checkpoint: %w", err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection is kept
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("post checkpoint: it answers %d", response.StatusCode)
	}
	return nil
}
