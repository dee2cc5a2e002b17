package conformance

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// authorizationSet are the suite's checks of an authorization server. They
// belong to no revision, so that they count by our word alone.
var authorizationSet = revision{name: "authorization", extra: []string{
	"authorization-server-metadata-endpoint", "authorization-code-grant",
}}

// signInTimeout bounds one sign-in, from the browser to the token.
const signInTimeout = 2 * time.Minute

// suiteClient is the client that the suite plays. Its redirect URI fits any port
// (RFC 8252 7.3).
const suiteClient = "suite"

// browser is a person's: it follows redirects, signs in and approves.
//
//go:embed signin/browser.mjs
var browser []byte

// person signs in at gateways that we start, as people do: at the page, with a
// password, and approves there what a client asks for.
type person struct {
	tools  *tools
	folder string // of browser.mjs and person.json
}

// newPerson writes what the browser needs into dir.
func newPerson(t *tools, dir string) (*person, error) {
	p := &person{tools: t, folder: filepath.Join(dir, "person")}
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		return nil, err
	}
	who, err := json.Marshal(map[string]string{"username": suiteClient, "password": rand.Text()})
	if err != nil {
		return nil, err
	}
	return p, errors.Join(
		os.WriteFile(filepath.Join(p.folder, "browser.mjs"), browser, 0o600),
		os.WriteFile(filepath.Join(p.folder, "person.json"), who, 0o600))
}

// known makes the person's account, and the client, in a data directory.
func (p *person) known(ctx context.Context, program, data string) error {
	raw, err := os.ReadFile(filepath.Join(p.folder, "person.json"))
	if err != nil {
		return err
	}
	var who struct{ Username, Password string }
	if err := json.Unmarshal(raw, &who); err != nil {
		return err
	}
	user := exec.CommandContext(ctx, program, "user", "add", who.Username, "--password-stdin", "--data", data)
	user.Stdin = strings.NewReader(who.Password + "\n")
	if _, err := output(user); err != nil {
		return fmt.Errorf("add the user: %w", err)
	}
	_, err = output(exec.CommandContext(ctx, program, "client", "add", suiteClient, "--redirect-uri", "http://127.0.0.1/callback", "--data", data))
	if err != nil {
		return fmt.Errorf("add the client: %w", err)
	}
	return nil
}

// browse sends the person's browser to an address and waits until it is done.
func (p *person) browse(ctx context.Context, address string) error {
	_, err := output(exec.CommandContext(ctx, p.tools.node, filepath.Join(p.folder, "browser.mjs"), filepath.Join(p.folder, "person.json"), address))
	return err
}

// bearer is a token for base's merged endpoint, which covers all its upstreams,
// got by the flow that the suite's own check goes through.
func (p *person) bearer(ctx context.Context, base string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	answers := make(chan url.Values, 1)
	callback := &http.Server{ReadHeaderTimeout: startTimeout, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case answers <- r.URL.Query():
		default: // the browser asks for more than the answer
		}
	})}
	go func() { _ = callback.Serve(l) }() // until Close
	defer callback.Close()

	verifier, state := rand.Text()+rand.Text(), rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	redirect := "http://" + l.Addr().String() + "/callback"
	if err := p.browse(ctx, base+"/oauth/authorize?"+url.Values{
		"response_type": {"code"}, "client_id": {suiteClient}, "redirect_uri": {redirect}, "state": {state},
		"resource": {base + "/mcp"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}.Encode()); err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	var answer url.Values
	select {
	case answer = <-answers:
	case <-ctx.Done():
		return "", fmt.Errorf("sign in: no answer for the client: %w", ctx.Err())
	}
	if answer.Get("state") != state || answer.Get("code") == "" {
		return "", fmt.Errorf("sign in: the client is answered %s %s", answer.Get("error"), answer.Get("error_description"))
	}
	return redeem(ctx, base+"/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Get("code")}, "redirect_uri": {redirect},
		"client_id": {suiteClient}, "code_verifier": {verifier}, "resource": {base + "/mcp"},
	})
}

// redeem asks a token endpoint for an access token.
func redeem(ctx context.Context, endpoint string, form url.Values) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
		Error       string `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&token)
	if err != nil || resp.StatusCode != http.StatusOK || token.AccessToken == "" {
		return "", fmt.Errorf("the token endpoint answers %s %s", resp.Status, token.Error)
	}
	return token.AccessToken, nil
}

// runAuthorization runs the suite's checks of the authorization server at base,
// with the person following the address that the suite prints.
func (p *person) runAuthorization(ctx context.Context, base, dir string) (map[string]Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(addr, ":")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, p.tools.node, p.tools.suite, "authorization", "--url", base, "--resource", base+"/mcp",
		"--client-id", suiteClient, "--port", port, "-o", dir)
	said, writer := io.Pipe()
	browsed := make(chan error, 1)
	go func() {
		err := errors.New("the suite named no address to sign in at")
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if address := strings.TrimSpace(lines.Text()); strings.HasPrefix(address, base+"/") && strings.Contains(address, "response_type=code") {
				err = p.browse(ctx, address)
				break
			}
		}
		browsed <- err
		_, _ = io.Copy(io.Discard, said) // so that the suite can go on
	}()
	outcomes, err := runNode(cmd, base, dir, writer)
	_ = writer.Close()
	if err := errors.Join(err, <-browsed); err != nil {
		return nil, fmt.Errorf("authorization: %w", err)
	}
	return outcomes, nil
}
