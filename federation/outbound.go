package federation

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/ostiary/ostiary/catalogs"
)

// answerTime bounds the wait for the head of an answer to what Outbound sends.
const answerTime = 10 * time.Second

// Outbound is a client for what an entry needs besides its upstream, such as an
// authorization server. written is the address that the operator wrote: as in
// the entry's url, a literal private or loopback one is permission for that host
// and port, and no name that resolves to one is (case A-060). Redirects are not
// followed (case A-062).
func Outbound(u *catalogs.Upstream, written string) (*http.Client, error) {
	at, err := url.Parse(written)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, errors.New("not an http or https address")
	}
	conf := new(tls.Config)
	proxy, err := network(u, conf)
	if err != nil {
		return nil, err
	}
	rt := &http.Transport{
		DialContext:            newGuard(at, proxy).dial,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  answerTime,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxAnswerHeaders,
	}
	if proxy != nil {
		rt.Proxy = http.ProxyURL(proxy)
	}
	return &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
