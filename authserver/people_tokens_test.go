package authserver

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"time"
)

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// token asks the token endpoint.
func (h *house) token(form url.Values) (int, map[string]any) {
	h.t.Helper()
	res := must(http.PostForm(h.url+"/oauth/token", form))
	defer res.Body.Close()
	var v map[string]any
	if err := json.Unmarshal(must(io.ReadAll(res.Body)), &v); err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, v
}

// redeem exchanges the code that a brought.
func (h *house) redeem(a answer, id, redirect string) map[string]any {
	h.t.Helper()
	code := a.query().Get("code")
	if code == "" {
		h.t.Fatalf("no code: %d %s\n%s", a.StatusCode, a.Header.Get("Location"), a.body)
	}
	status, v := h.token(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "client_id": {id}, "redirect_uri": {redirect}, "code_verifier": {verifier}})
	if status != 200 {
		h.t.Fatalf("the code is refused: %d %v", status, v)
	}
	return v
}

func (h *house) refresh(tokens map[string]any, id string) (int, map[string]any) {
	h.t.Helper()
	refresh, _ := tokens["refresh_token"].(string)
	return h.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {id}})
}

// works says whether the access token opens /mcp.
func (h *house) works(tokens map[string]any) bool {
	h.t.Helper()
	r := must(http.NewRequestWithContext(h.t.Context(), "POST", h.url+"/mcp", nil))
	r.Header.Set("Authorization", "Bearer "+tokens["access_token"].(string))
	p, err := h.Verify(h.t.Context(), r)
	return err == nil && p != nil
}

// codeOf is what an authenticator app shows (RFC 6238).
func codeOf(secret string, at time.Time) string {
	key := must(base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret))
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[19]&0xf:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000)
}
