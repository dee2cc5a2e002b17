package federation

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
)

// Limits of the HTTP transport.
const (
	defaultResponse  = 16 << 20 // bytes of one answer, where the entry says nothing
	maxAnswerHeaders = 64 << 10
	tlsTimeout       = 10 * time.Second
	idleTimeout      = 60 * time.Second
	// An idle connection that the other side closed can lose a request whose
	// fate is then unknown. Pings find dead HTTP/2 connections, TCP keep-alive
	// the others.
	pingAfter = 20 * time.Second
)

// endpoint is one upstream's URL and the way there. Everything that leaves
// for an HTTP upstream passes through roundTrip.
type endpoint struct {
	name  string
	url   *url.URL
	host  string
	agent []string // User-Agent
	auth  string   // what an operator can do about a refused credential
	cred  credential.Credential
	rt    *http.Transport
	limit int // bytes of one answer
	now   func() time.Time
	conns connSet
	bg    background // ends of answered streams being read away
}

// newEndpoint prepares the way to d's upstream without touching the network.
func newEndpoint(d *dialConfig) (*endpoint, error) {
	u, err := url.Parse(d.Upstream.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("url is not an http or https address")
	}
	u.Fragment, u.RawFragment, u.User = "", "", nil
	conf := new(tls.Config)
	if d.Credential.TLS != nil {
		conf = d.Credential.TLS.Clone()
	}
	proxy, err := network(d.Upstream, conf)
	if err != nil {
		return nil, err
	}
	g := newGuard(u, proxy)
	e := &endpoint{
		name:  d.Upstream.Name,
		url:   u,
		host:  u.Host,
		agent: []string{"ostiary/" + d.Version},
		cred:  d.Credential,
		auth:  refusedCredential(d),
		limit: d.Upstream.Limits.Response,
		now:   d.Now,
	}
	if e.limit <= 0 {
		e.limit = defaultResponse
	}
	e.rt = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := g.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return e.conns.add(c)
		},
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    tlsTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a few bytes could unfold into gigabytes
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxAnswerHeaders,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
	if proxy != nil {
		e.rt.Proxy = http.ProxyURL(proxy)
	}
	return e, nil
}

// network is the entry's proxy, nil for none. It adds to conf what the entry says
// of certificates.
func network(u *catalogs.Upstream, conf *tls.Config) (proxy *url.URL, err error) {
	if u.Proxy != "" {
		if proxy, err = url.Parse(u.Proxy); err != nil || proxy.Host == "" {
			return nil, errors.New("proxy is not a URL") // err would quote its password
		}
	}
	if u.CAFile != "" {
		if conf.RootCAs, err = withAuthorities(u.CAFile); err != nil {
			return nil, err
		}
	}
	conf.MinVersion = max(conf.MinVersion, tls.VersionTLS12)
	return proxy, nil
}

// withAuthorities adds the certificates of a PEM file to the system's own.
func withAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("caFile %s: no PEM certificate in it", file)
	}
	return pool, nil
}

// send makes one HTTP request with a header that h alone gives: an allow-list
// by construction (promise 1), to which only the credential adds. It
// takes h over. No redirect is followed, no cookie kept. A request of which
// not a byte left is sent once more: connections die while they are idle.
func (e *endpoint) send(ctx context.Context, x *exchange, method string, h http.Header, body []byte) (*http.Response, error) {
	return e.sendTo(ctx, x, method, e.url, h, body)
}

// sendTo is send to another URL of the same origin.
func (e *endpoint) sendTo(ctx context.Context, x *exchange, method string, u *url.URL, h http.Header, body []byte) (*http.Response, error) {
	h["User-Agent"] = e.agent
	x.trace.GotConn = x.gotConn
	prepare := func(req *http.Request) error {
		if e.cred.Authorize == nil {
			return nil
		}
		err := e.cred.Authorize(req)
		// A credential sets headers. Where the request goes is not its to say.
		req.URL, req.Host, req.Method = u, e.host, method
		if err != nil {
			return fmt.Errorf("credential: %w", err)
		}
		return nil
	}
	req := (&http.Request{
		Method:     method,
		URL:        u,
		Host:       e.host,
		Header:     h,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(ctx, &x.trace))
	if err := prepare(req); err != nil {
		return nil, err
	}
	renewed := false
	for try := 0; ; try++ {
		x.conn = nil
		if body != nil {
			// A body of a type that the transport knows to be in memory leaves
			// in one write with the header.
			req.Body = io.NopCloser(bytes.NewReader(body))
			req.ContentLength = int64(len(body))
		}
		resp, err := e.rt.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusUnauthorized && e.cred.Renew != nil && !renewed && e.cred.Renew(req) {
			// Refused for its credential alone, it did not run; another one is
			// at hand.
			renewed, x.conn = true, nil
			resp.Body.Close()
			if err := prepare(req); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil || try > 0 || !x.reused || x.sent(ctx) || ctx.Err() != nil {
			return resp, err
		}
	}
}

// close ends every connection, with what is still under way on it, and
// refuses new ones.
func (e *endpoint) close() {
	e.conns.close()
	e.rt.CloseIdleConnections()
	e.bg.end()
}
