package catalogs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestExpansion(t *testing.T) {
	dir := folder(t, "plain", "one", "unix", "two\n", "dos", "three\r\n", "lines", "a\n\n", "loop", "${A}", "link", "file:plain")
	getenv := vars("A", "a", "EMPTY", "", "LOOP", "${A}", "FILE", "file:plain", "DIR", dir)
	for raw, want := range map[string]string{
		"":                         "",
		"text":                     "text",
		"$A $ $$ {A} $1":           "$A $ $$ {A} $1",
		"${A}":                     "a",
		"x${A}y${A}z":              "xayaz",
		"${EMPTY}":                 "",
		"${EMPTY:-d}":              "d",
		"${NONE:-d}":               "d",
		"${NONE:-}":                "",
		"${NONE:-a:-b}":            "a:-b",
		"${A:-d}":                  "a",
		"$${A}":                    "${A}",
		"$${A} ${A}":               "${A} a",
		"$$${A}":                   "$${A}",
		"${LOOP}":                  "${A}",
		"${FILE}":                  "file:plain",
		"$file:plain":              "file:plain",
		"x file:plain":             "x file:plain",
		"${NONE:-file:x}":          "file:x",
		"file:plain":               "one",
		"file:unix":                "two",
		"file:dos":                 "three",
		"file:lines":               "a\n",
		"file:loop":                "${A}",
		"file:link":                "file:plain",
		"file:${DIR}/plain":        "one",
		"file:" + dir + "/plain":   "one",
		"file://" + dir + "/plain": "one",
	} {
		s, err := newSources(dir, Options{Getenv: getenv})
		if err != nil {
			t.Fatal(err)
		}
		tpl, f := parseTemplate(raw, false)
		if f != nil {
			t.Errorf("%q: %v", raw, f)
			continue
		}
		if got, f := s.expand(tpl, dir); f != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", raw, got, f, want)
		}
	}
}

func TestRelativePathsStartAtTheCatalog(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: {x: {url: 'https://a.example', caFile: pki/ca.pem}, y: {command: [x], dir: sub}, z: {command: [x], dir: /abs}}",
		"pki/ca.pem", certificate(t))
	t.Chdir(t.TempDir())
	c, err := Load(dir, Options{Getenv: none})
	if err != nil {
		t.Fatal(err)
	}
	if c.Upstreams[0].CAFile != filepath.Join(dir, "pki/ca.pem") || c.Upstreams[1].Dir != filepath.Join(dir, "sub") || c.Upstreams[2].Dir != "/abs" {
		t.Errorf("%+v", c.Upstreams)
	}
}

func TestReadsNamesAllThatAnEntryReads(t *testing.T) {
	keys := `command: [x, "${B}", "${A:-d}", "$${C}"], env: {K: "file:${D}/k"}, dir: "${E:-x}"`
	for _, enabled := range []string{"true", "false"} {
		dir := folder(t, "a.yaml", "upstreams: {x: {enabled: "+enabled+", "+keys+"}}", "s/k", "v")
		c, err := Load(dir, Options{Getenv: vars("B", "b", "D", "s")})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"A", "B", "D", "E", "file:" + filepath.Join(dir, "${D}/k")}
		if !slices.Equal(c.Upstreams[0].Reads, want) {
			t.Errorf("enabled %s: %q, want %q", enabled, c.Upstreams[0].Reads, want)
		}
	}
}

func TestDisabledEntriesReadNothing(t *testing.T) {
	dir := folder(t, "a.yaml", `upstreams: {x: {enabled: false, url: "https://${A}/", auth: {type: header, value: "${OSTIARY_KEY}"}, caFile: "${C}.pem", proxy: "${P}"}}`)
	c, err := Load(dir, Options{Getenv: func(name string) (string, bool) {
		t.Errorf("%s was read", name)
		return "", false
	}})
	if err != nil || c.Upstreams[0].URL != "https://${A}/" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestTheGatewaysOwnVariablesNeverExpand(t *testing.T) {
	getenv := vars("OSTIARY_MASTER_KEY", "canary-master", "Ostiary_X", "canary-x", "MY_OSTIARY_", "fine")
	for _, keys := range []string{
		`command: [x, "${OSTIARY_MASTER_KEY}"]`,
		`command: [x], env: {K: "a${OSTIARY_MASTER_KEY}b"}`,
		`command: [x], env: {K: "${Ostiary_X}"}`,
		`command: [x], env: {K: "${OSTIARY_UNSET:-default}"}`,
		`command: [x], env: {K: "file:${OSTIARY_MASTER_KEY}"}`,
		`command: [x], dir: "${OSTIARY_MASTER_KEY}"`,
		`command: [x], user: "${OSTIARY_MASTER_KEY}"`,
		`url: "https://${OSTIARY_MASTER_KEY}.example/"`,
		`url: "https://a.example/", proxy: "http://${OSTIARY_MASTER_KEY}:1"`,
		`url: "https://a.example/", caFile: "${OSTIARY_MASTER_KEY}"`,
		`url: "https://a.example/", auth: {type: header, value: "${OSTIARY_MASTER_KEY}"}`,
		`url: "https://a.example/", auth: {type: header, value: v, prefix: "${OSTIARY_MASTER_KEY}"}`,
		`url: "https://a.example/", auth: {type: mtls, key: ["${OSTIARY_MASTER_KEY}"]}`,
		`command: [x], env: {K: "file:/proc/self/environ"}`,
		`command: [x], env: {K: "file:/proc/self/../self/./environ"}`,
		`url: "https://a.example/", caFile: /proc/self/environ`,
	} {
		_, err := only(t, keys, Options{Getenv: getenv})
		if err == nil {
			t.Errorf("%s: accepted", keys)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the value is shown: %v", keys, err)
		}
	}
	if _, err := only(t, `command: [x, "${MY_OSTIARY_}"]`, Options{Getenv: getenv}); err != nil {
		t.Errorf("another name with the word inside: %v", err)
	}
}

func TestNoValueLeadsIntoTheDataDirectory(t *testing.T) {
	base := t.TempDir()
	data := filepath.Join(base, "data")
	put(t, filepath.Join(data, "key"), "canary-key")
	put(t, filepath.Join(base, "database", "x"), "fine")
	link := filepath.Join(base, "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(data, "key"), filepath.Join(base, "innocent")); err != nil {
		t.Fatal(err)
	}
	getenv := vars("DATA", data, "BASE", base)
	// The data directory may itself be named through a link.
	for _, dataDir := range []string{data, link} {
		o := Options{Getenv: getenv, DataDir: dataDir}
		for _, keys := range []string{
			`command: [x], env: {K: "file:` + data + `/key"}`,
			`command: [x], env: {K: "file:${DATA}/key"}`,
			`command: [x], env: {K: "file:${BASE}/innocent"}`,
			`command: [x], env: {K: "file:${BASE}/link/key"}`,
			`command: [x], env: {K: "file:${BASE}/data/../data/key"}`,
			`command: [x], env: {K: "${DATA}"}`,
			`command: [x, "${DATA}/not/there/yet"]`,
			`command: [x, "--db=${DATA}/key"]`,
			`command: [x, "/a:${BASE}/link"]`,
			`command: [x, "` + data + `"]`,
			`command: ["${DATA}/key"]`,
			`command: [x], dir: "${BASE}/link"`,
			`url: "https://a.example/", caFile: "${BASE}/innocent"`,
			`url: "https://a.example/", auth: {type: mtls, key: "${DATA}/key"}`,
		} {
			u, err := only(t, keys, o)
			if err == nil {
				t.Errorf("%s: accepted: %+v", keys, u)
			} else if strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "data directory") {
				t.Errorf("%s: %v", keys, err)
			}
		}
		for _, keys := range []string{
			`command: [x], env: {K: "file:${BASE}/database/x"}`,
			`command: [x, data, "${BASE}/database"]`,
			`command: [x], dir: "${BASE}"`,
		} {
			if _, err := only(t, keys, o); err != nil {
				t.Errorf("%s: %v", keys, err)
			}
		}
	}
}

func TestARelativePathIntoTheDataDirectoryIsRefusedFromEitherStart(t *testing.T) {
	base := t.TempDir()
	t.Chdir(base)
	put(t, "data/key", "k")
	put(t, "catalogs/a.yaml", "upstreams: {x: {command: [x, ./data/key]}}")
	put(t, "other/a.yaml", "upstreams: {x: {command: [x, ../data/key]}}")
	for _, dir := range []string{"catalogs", "other"} {
		if _, err := Load(dir, Options{Getenv: none, DataDir: "data"}); err == nil {
			t.Errorf("%s: accepted", dir)
		}
	}
}

func TestNamedPipesAndFoldersAreNotWaitedFor(t *testing.T) {
	dir := folder(t)
	pipe(t, filepath.Join(dir, "pipe"))
	put(t, filepath.Join(dir, "a.yaml"), "upstreams: {x: {command: [x, 'file:pipe']}}")
	if _, err := Load(dir, Options{Getenv: none}); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Error(err)
	}
}

func TestValuesCannotHoldWhatNoProcessOrHeaderCarries(t *testing.T) {
	for _, keys := range []string{`command: [x, "${V}"]`, `url: "https://a.example/", auth: {type: header, value: "${V}"}`} {
		if _, err := only(t, keys, Options{Getenv: vars("V", "canary\x00")}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", keys, err)
		}
	}
	for _, v := range []string{"canary\nX: y", "canary\r", "canary\x7f"} {
		_, err := only(t, `url: "https://a.example/", auth: {type: header, value: "${V}"}`, Options{Getenv: vars("V", v)})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", v, err)
		}
	}
}

// Whatever is wrong with an expanded value, its text stays out of what is said.
func TestProblemsNeverRepeatAValue(t *testing.T) {
	getenv := vars("V", "canary://s3cret value\n", "EMPTY", "")
	for _, keys := range []string{
		`url: "${V}"`, `url: "http://a.example/%${V}"`, `url: "http://${V}@x"`, `url: "https://a.example/#${V}"`,
		`url: "https://a.example/", proxy: "${V}"`, `url: "https://a.example/", caFile: "${V}"`,
		`command: [x], user: "${V}"`, `command: [x], env: {K: "file:${V}"}`,
		`url: "https://a.example/", auth: {type: header, value: "${V}"}`,
		`url: "https://a.example/", auth: {type: header, value: x, prefix: "${V}"}`,
		// Written where another type is wanted.
		`command: [x], limits: {timeout: canary}`, `command: [x], limits: {concurrency: canary}`, `command: [x], limits: {response: canary}`,
		`command: [x], enabled: canary`, `command: [x], sharing: canary`, `command: [x], apps: canary`, `command: [x], transport: canary`, `command: [x], labels: canary`,
		`command: [x], labels: ["canary canary"]`, `command: [x], prefix: "canary_canary"`, `command: canary`, `command: [x], env: {canary-x: y}`, `command: [x], env: canary`,
		`url: "https://a.example/", auth: canary`, `url: "https://a.example/", auth: {type: canary}`, `command: [x, *canary]`, `command: [x, &canary a]`, `command: [x, !canary a]`,
		`url: "https://a.example/", auth: {type: header, header: "canary canary", value: x}`,
		`command: [x, "${canary-x}"]`, `command: [x, "${V:-${canary}}"]`, `command: [x, "${canary"]`,
	} {
		_, err := only(t, keys, Options{Getenv: getenv})
		if err == nil {
			t.Errorf("%s: accepted", keys)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

func TestSecretsAreHiddenHoweverTheyArePrinted(t *testing.T) {
	u, err := only(t, `url: "https://a.example/", auth: {type: header, value: "${V}"}`, Options{Getenv: vars("V", "canary")})
	if err != nil {
		t.Fatal(err)
	}
	p, err := only(t, `command: [x], env: {K: "${V}"}, auth: {type: oauth, s: [{a: "${V}"}]}`, Options{Getenv: vars("V", "canary")})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "auth", u.Auth, "value", u.Auth.Value, "env", p.Env, "extra", p.Auth.Extra)
	encoded, err := json.Marshal([]any{u, p, u.Auth.Value, p.Auth.Extra})
	if err != nil {
		t.Fatal(err)
	}
	out := log.String() + string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%c"} {
		out += fmt.Sprintf(verb, u.Auth.Value) + fmt.Sprintf(verb, *u) + fmt.Sprintf(verb, p.Env) + fmt.Sprintf(verb, p.Auth)
	}
	if strings.Contains(out, "canary") || strings.Contains(out, fmt.Sprintf("%x", "canary")) {
		t.Error(out)
	}
	if u.Auth.Value.Reveal() != "canary" || p.Env["K"].Reveal() != "canary" {
		t.Error("the value is lost")
	}
}

func TestAProgramThatIsNotInstalledIsNotTheCatalogsProblem(t *testing.T) {
	u, err := only(t, "command: [surely-not-installed-here]", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Program(); err == nil || !strings.Contains(err.Error(), "install it") {
		t.Error(err)
	}
	dir := folder(t, "bin/tool", "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(dir, "bin/tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	u = &Upstream{Name: "x", Command: []string{"bin/tool"}, Dir: dir}
	if path, err := u.Program(); err != nil || path != filepath.Join(dir, "bin/tool") {
		t.Errorf("%s, %v", path, err)
	}
	if _, err := (&Upstream{}).Program(); !errors.Is(err, ErrNoProgram) {
		t.Error(err)
	}
}
