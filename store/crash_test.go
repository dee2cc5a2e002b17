package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// childDir names the store that this binary, started again, writes to
	// until it is killed, and childKind what it does there.
	childDir  = "STORE_TEST_CHILD_DIR"
	childKind = "STORE_TEST_CHILD_KIND"
	// killRounds says how often each kind is killed, for a long run by hand.
	killRounds = "STORE_TEST_KILL_ROUNDS"

	shortRounds  = 4
	childWorkers = 4
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		workForever(dir, kinds[os.Getenv(childKind)].work)
		return
	}
	os.Exit(m.Run())
}

// kind is one thing to do until killed, and how to see afterwards that nothing
// that was acknowledged is missing and nothing happened by half.
type kind struct {
	work  func(j *journal, id string)
	check func(t *testing.T, s *Store, said map[string]bool)
}

var kinds = map[string]kind{
	"once":         {workOnce, checkOnce},
	"code":         {workCode, checkCode},
	"refresh":      {workRefresh, checkRefresh},
	"consent":      {workConsent, checkConsent},
	"registration": {workRegistration, checkRegistration},
}

func workForever(dir string, work func(*journal, string)) {
	s, err := Open(dir, Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var wg sync.WaitGroup
	for w := range childWorkers {
		wg.Go(func() {
			j := &journal{Store: s, ctx: context.Background()}
			for i := 0; !j.failed; i++ {
				work(j, fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i))
			}
		})
	}
	wg.Wait()
}

// journal tells the parent what is tried and what was acknowledged.
type journal struct {
	*Store
	ctx    context.Context
	failed bool
}

func (j *journal) do(what string, err func() error) {
	fmt.Println("try " + what) // one write
	if err := err(); err != nil {
		j.failed = true
		fmt.Println("error", what, err)
		return
	}
	fmt.Println("ack " + what)
}

// each calls fn with the ids of what was said of verb, and whether it was
// acknowledged.
func each(said map[string]bool, verb string, fn func(id string, acknowledged bool)) {
	for _, line := range slices.Sorted(maps.Keys(said)) {
		if id, ok := strings.CutPrefix(line, "try "+verb+" "); ok {
			fn(id, said["ack "+verb+" "+id])
		}
	}
}

func TestKilledServerLosesNothingAndSpendsNothingTwice(t *testing.T) {
	rounds := shortRounds
	if n, err := strconv.Atoi(os.Getenv(killRounds)); err == nil {
		rounds = n
	}
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, said := t.TempDir(), map[string]bool{}
			for range rounds {
				run(t, dir, name, said)
				if rounds > shortRounds { // verified at every start by the child; here, too
					checkAfter(t, dir, k, said)
				}
			}
			checkAfter(t, dir, k, said)
			acknowledged := 0
			for line := range said {
				if strings.HasPrefix(line, "ack ") {
					acknowledged++
				}
			}
			t.Logf("%d rounds, %d acknowledged", rounds, acknowledged)
			if acknowledged < rounds {
				t.Errorf("only %d acknowledged in %d rounds", acknowledged, rounds)
			}
		})
	}
}

func checkAfter(t *testing.T, dir string, k kind, said map[string]bool) {
	t.Helper()
	s := open(t, dir, Options{})
	k.check(t, s, said)
	if err := s.Close(); err != nil || t.Failed() {
		t.Fatal(err)
	}
}

// run starts a child and kills it somewhere in its work.
func run(t *testing.T, dir, name string, said map[string]bool) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0]) // killed when the test fails
	child.Env = append(os.Environ(), childDir+"="+dir, childKind+"="+name)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last := 10 + rand.IntN(100)
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if strings.HasPrefix(lines.Text(), "error") {
			t.Error(lines.Text())
		}
		said[lines.Text()] = true
		if n == last {
			time.Sleep(rand.N(2 * time.Millisecond)) // anywhere in a commit
			child.Process.Kill()
		}
	}
	child.Wait()
}

func workOnce(j *journal, id string) {
	j.do("insert "+id, func() error {
		ok, err := j.InsertIfAbsent(j.ctx, "c", id, time.Now().Add(time.Hour))
		if err == nil && !ok {
			err = ErrExists
		}
		return err
	})
}

func checkOnce(t *testing.T, s *Store, said map[string]bool) {
	each(said, "insert", func(id string, acknowledged bool) {
		if ok, err := s.Present(t.Context(), "c", id); err != nil || acknowledged && !ok {
			t.Errorf("acknowledged %s is lost (%v)", id, err)
		}
	})
}

func childGrant(id string) Grant {
	return Grant{ID: id, User: "local:alice", Client: "agent", Created: time.Now(), Expires: time.Now().Add(24 * time.Hour)}
}

func childToken(kind, hash, grant string) Token {
	return Token{Hash: hash, Kind: kind, Grant: grant, Issued: time.Now(), Expires: time.Now().Add(time.Hour)}
}

func pair(id, grant string) []Token {
	return []Token{childToken(accessToken, "a"+id, grant), childToken(refreshToken, "r"+id, grant)}
}

func workCode(j *journal, id string) {
	j.do("put "+id, func() error {
		return j.PutCode(j.ctx, Code{Hash: id, Grant: childGrant(id), Expires: time.Now().Add(time.Hour)})
	})
	j.do("redeem "+id, func() error {
		_, err := j.ConsumeCode(j.ctx, id, pair(id, id)...)
		return err
	})
}

func checkCode(t *testing.T, s *Store, said map[string]bool) {
	ctx := t.Context()
	each(said, "put", func(id string, acknowledged bool) {
		if _, err := s.Code(ctx, id); err != nil && (acknowledged || !errors.Is(err, ErrNotFound)) {
			t.Errorf("code %s: %v", id, err)
		}
	})
	each(said, "redeem", func(id string, acknowledged bool) {
		c, err := s.Code(ctx, id)
		if err != nil {
			t.Errorf("code %s: %v", id, err)
			return
		}
		spent := !c.Used.IsZero()
		if acknowledged && !spent {
			t.Errorf("redeemed code %s is whole again", id)
		}
		for _, k := range pair(id, id) {
			if _, _, err := s.Token(ctx, k.Hash); spent != (err == nil) {
				t.Errorf("code %s is spent: %v; its token: %v", id, spent, err)
			}
		}
		if !spent {
			if _, err := s.ConsumeCode(ctx, id, pair(id, id)...); err != nil {
				t.Errorf("a whole code: %v", err)
			}
		}
		if _, err := s.ConsumeCode(ctx, id, pair(id+"'", id)...); !errors.Is(err, ErrSpent) {
			t.Errorf("code %s is redeemed twice: %v", id, err)
		}
	})
}

const childRotations = 4

// successor is the id of the tokens that replace those of id.
func successor(id string) string { return id + "+" }

func workRefresh(j *journal, id string) {
	grant := id
	j.do("grant "+grant, func() error { return j.PutGrant(j.ctx, childGrant(grant), pair(id, grant)...) })
	for range childRotations {
		next := successor(id)
		j.do("rotate "+id, func() error {
			_, err := j.RotateRefresh(j.ctx, "r"+id, pair(next, grant)...)
			return err
		})
		id = next
	}
	j.do("revoke "+grant, func() error { return j.RevokeGrant(j.ctx, grant, "test") })
}

func checkRefresh(t *testing.T, s *Store, said map[string]bool) {
	ctx := t.Context()
	each(said, "rotate", func(id string, acknowledged bool) {
		old, _, err := s.Token(ctx, "r"+id)
		if err != nil {
			t.Errorf("token %s: %v", id, err)
			return
		}
		next := successor(id)
		_, _, err = s.Token(ctx, "r"+next)
		spent := !old.Rotated.IsZero()
		if acknowledged && !spent || spent != (err == nil) || spent && old.Next != "r"+next {
			t.Errorf("token %s is spent: %v (acknowledged: %v); its successor: %v", id, spent, acknowledged, err)
		}
		if !spent {
			if _, err := s.RotateRefresh(ctx, "r"+id, pair(next, old.Grant)...); err != nil {
				t.Errorf("a whole token: %v", err)
			}
		}
		if _, err := s.RotateRefresh(ctx, "r"+id, pair(next+"'", old.Grant)...); !errors.Is(err, ErrSpent) {
			t.Errorf("token %s is exchanged twice: %v", id, err)
		}
	})
	each(said, "revoke", func(id string, acknowledged bool) {
		_, g, err := s.Token(ctx, "r"+id)
		if err != nil || acknowledged && g.Revoked.IsZero() {
			t.Errorf("revoked grant %s lives on (%v)", id, err)
		}
	})
}

func workConsent(j *journal, id string) {
	j.do("consent "+id, func() error { return j.PutConsent(j.ctx, Consent{ID: id, User: "local:alice", Client: "agent"}) })
	j.do("grant "+id, func() error {
		g := childGrant(id)
		g.Consent = id
		return j.PutGrant(j.ctx, g, pair(id, id)...)
	})
	if strings.HasSuffix(id, "1") || strings.HasSuffix(id, "2") {
		j.do("withdraw "+id, func() error { return j.DeleteConsent(j.ctx, id) })
	}
}

func checkConsent(t *testing.T, s *Store, said map[string]bool) {
	all, err := s.Consents(t.Context(), "local:alice")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, c := range all {
		there[c.ID] = true
	}
	each(said, "consent", func(id string, acknowledged bool) {
		if acknowledged && !there[id] && !said["try withdraw "+id] {
			t.Errorf("consent %s is lost", id)
		}
	})
	each(said, "withdraw", func(id string, acknowledged bool) {
		_, g, err := s.Token(t.Context(), "a"+id)
		if err != nil || acknowledged && there[id] || g.Revoked.IsZero() != there[id] {
			t.Errorf("consent %s: withdrawn %v, there %v (%v)", id, acknowledged, there[id], err)
		}
	})
}

func workRegistration(j *journal, id string) {
	j.do("register "+id, func() error {
		return j.CreateClient(j.ctx, Client{ID: id, Kind: "dynamic", Expires: time.Now().Add(time.Hour)}, 1<<20)
	})
	j.do("use "+id, func() error {
		_, err := j.UpdateClient(j.ctx, id, func(c *Client) error { c.Expires = time.Time{}; return nil })
		return err
	})
	if strings.HasSuffix(id, "1") || strings.HasSuffix(id, "2") {
		j.do("delete "+id, func() error { return j.DeleteClient(j.ctx, id) })
	}
}

func checkRegistration(t *testing.T, s *Store, said map[string]bool) {
	each(said, "register", func(id string, acknowledged bool) {
		c, err := s.Client(t.Context(), id)
		gone := errors.Is(err, ErrNotFound)
		if err != nil && !gone || acknowledged && gone && !said["try delete "+id] || !gone && said["ack delete "+id] {
			t.Errorf("client %s: registered %v, got %v", id, acknowledged, err)
		}
		if !gone && said["ack use "+id] && !c.Expires.IsZero() {
			t.Errorf("client %s expires at %v", id, c.Expires)
		}
	})
}
