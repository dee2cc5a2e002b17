package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return write(t, "cert.pem", string(certPEM)),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))), pool
}

func TestServeSpeaksTLSWhenConfigured(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	s := newSite(t)
	g := s.serve(t, "--config", write(t, "ostiary.yaml", fmt.Sprintf("tls: {certFile: %q, keyFile: %q}\n", certFile, keyFile)))
	if !strings.HasPrefix(g.url, "https://127.0.0.1:") {
		t.Errorf("served at %s", g.url)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	response, err := client.Get(g.base + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(readAll(t, response)); got != `{"status":"ok"}` {
		t.Error(got)
	}
}

func TestABadCertificateIsRefusedAtStart(t *testing.T) {
	config := write(t, "ostiary.yaml", fmt.Sprintf("tls: {certFile: %q, keyFile: %q}\n", write(t, "c", "x"), write(t, "k", "x")))
	code, _, errs := ostiary(t, newSite(t).with("serve", "--no-auth", "--listen", "127.0.0.1:0", "--config", config)...)
	if code != exitFailed || !strings.Contains(errs, "check tls.certFile and tls.keyFile") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// slowPost sends a request's head and half its body, then waits pause before
// the rest. It returns the status line, or why there was none.
func slowPost(t *testing.T, h http.Handler, pause time.Duration) string {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
	time.Sleep(pause)
	fmt.Fprint(conn, "cd")
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(status)
}

// Security catalogue A-114.
func TestABodyThatDoesNotArriveInTimeEndsTheRequest(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
			return
		}
		// The answer may take longer than the body was allowed to.
		select {
		case <-r.Context().Done():
			t.Error("the answer was cut off by the time limit of the body")
		case <-time.After(150 * time.Millisecond):
		}
	})
	if got := slowPost(t, withBodyTimeout(h, 100*time.Millisecond), 10*time.Millisecond); got != "HTTP/1.1 200 OK" {
		t.Errorf("in time: %s", got)
	}
	if got := slowPost(t, withBodyTimeout(h, 100*time.Millisecond), 200*time.Millisecond); got != "HTTP/1.1 408 Request Timeout" {
		t.Errorf("too late: %s", got)
	}
}

// Security catalogue A-114.
func TestAHeadOverItsLimitIsRefused(t *testing.T) {
	g := newSite(t).serve(t)
	for _, c := range []struct{ size, want int }{{maxHeaderBytes - 1024, 200}, {maxHeaderBytes + 8192, 431}} {
		request, err := http.NewRequest(http.MethodGet, g.base+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Long", strings.Repeat("x", c.size))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, response)
		if response.StatusCode != c.want {
			t.Errorf("%d bytes: HTTP %d, want %d", c.size, response.StatusCode, c.want)
		}
	}
}
