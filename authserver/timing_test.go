package authserver

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

// timingPairs says how many pairs of requests are compared by their time, on a
// machine that is quiet. Without it, a few are compared by their answers alone.
const timingPairs = "OSTIARY_TEST_TIMING_PAIRS"

// TestTimeTellsNothing: whether a client or a person exists shows
// neither in the answer nor in how long it takes. What an attacker can do with
// the times is measured as the area under the curve of the best threshold: 0.5
// is tossing a coin.
func TestTimeTellsNothing(t *testing.T) {
	pairs, warm, judged := 3, 1, false
	if n, err := strconv.Atoi(os.Getenv(timingPairs)); err == nil {
		pairs, warm, judged = n, 20, true
	}
	h := newHouse(t, func(_ *house, c *Config) {
		must(0, c.Store.CreateClient(t.Context(), store.Client{ID: "known", Kind: client.Dynamic, RedirectURIs: []string{webURI}, AuthMethod: "client_secret_basic",
			SecretHash: client.SecretHash("the secret of this client"), GrantTypes: []string{"authorization_code"}}, 0))
	})
	for name, ask := range map[string]struct {
		path   string
		form   func(there bool) url.Values
		header func(there bool) []string
	}{
		"client": {"/oauth/token", func(bool) url.Values {
			return url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
		}, func(there bool) []string {
			id := "known"
			if !there {
				id = "knowm"
			}
			r := must(http.NewRequest("POST", h.url, nil))
			r.SetBasicAuth(id, "not the secret of this one")
			return []string{"Authorization", r.Header.Get("Authorization")}
		}},
		"person": {"/login", func(there bool) url.Values {
			v := url.Values{"username": {"alice"}, "password": {"wrong horse battery"}}
			if !there {
				v.Set("username", "alicf")
			}
			return v
		}, func(bool) []string { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			var took [2][]time.Duration
			var first []byte
			one := func(there bool) time.Duration {
				h.forward(2 * time.Hour) // past every wait
				r := must(http.NewRequest("POST", h.url+ask.path, bytes.NewReader([]byte(ask.form(there).Encode()))))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				for i, more := 0, ask.header(there); i < len(more); i += 2 {
					r.Header.Set(more[i], more[i+1])
				}
				start := time.Now()
				res := must(http.DefaultClient.Do(r))
				var body bytes.Buffer
				must(body.ReadFrom(res.Body))
				d := time.Since(start)
				res.Body.Close()
				said := bytes.ReplaceAll(body.Bytes(), []byte("alicf"), []byte("alice"))
				said = append(said, res.Status...)
				if first == nil {
					first = said
				}
				if !bytes.Equal(said, first) {
					t.Fatalf("the answers differ: %s\n%s", said, first)
				}
				return d
			}
			for i := range pairs + warm { // the first ones warm up
				for _, k := range []int{i % 2, 1 - i%2} { // who comes first changes
					if d := one(k == 1); i >= warm {
						took[k] = append(took[k], d)
					}
				}
			}
			auc := area(took[0], took[1])
			t.Logf("%d pairs: unknown %v, known %v (medians), AUC %.3f", pairs, median(took[0]), median(took[1]), auc)
			if judged && (auc < 0.45 || auc > 0.55) {
				t.Errorf("the time tells which exists: AUC %.3f", auc)
			}
		})
	}
}

// area is the probability that one of b takes longer than one of a.
func area(a, b []time.Duration) float64 {
	slices.Sort(a)
	sum := 0.0
	for _, d := range b {
		below, _ := slices.BinarySearch(a, d)
		upto, _ := slices.BinarySearch(a, d+1)
		sum += float64(below) + float64(upto-below)/2
	}
	return sum / float64(len(a)*len(b))
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
