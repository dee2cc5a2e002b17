package login

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/store"
)

const right = "correct horse battery"

var rightHash = sync.OnceValue(func() string {
	hash, err := HashPassword(context.Background(), right)
	if err != nil {
		panic(err)
	}
	return hash
})

// folk are users in a real store, with a clock that a test can turn.
type folk struct {
	*store.Store
	ahead atomic.Int64
}

func (f *folk) now() time.Time          { return time.Now().Add(time.Duration(f.ahead.Load())) }
func (f *folk) forward(d time.Duration) { f.ahead.Add(int64(d)) }

func newFolk(t *testing.T) *folk {
	t.Helper()
	f := &folk{}
	s, err := store.Open(t.TempDir(), store.Options{Now: f.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f.Store = s
	return f
}

func (f *folk) add(t *testing.T, u store.User) {
	t.Helper()
	u.Issuer = LocalIssuer
	if err := f.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func local(t *testing.T) (*folk, *Local) {
	f := newFolk(t)
	f.add(t, store.User{Subject: "alice", Password: rightHash()})
	f.add(t, store.User{Subject: "gone", Password: rightHash(), Disabled: true})
	f.add(t, store.User{Subject: "nopass"})
	return f, &Local{Users: f, Now: f.now}
}

func TestOnlyTheRightPasswordOfALiveAccountFits(t *testing.T) {
	_, l := local(t)
	tests := []struct {
		rule, name, password string
		want                 error
	}{
		{"right", "alice", right, nil},
		{"the name in another case", " ALICE ", right, nil},
		{"wrong password", "alice", "wrong horse battery", ErrWrong},
		{"no password", "alice", "", ErrWrong},
		{"unknown name", "mallory", right, ErrWrong},
		{"no name", "", right, ErrWrong},
		{"a name that can't be", "al ice\x00", right, ErrWrong},
		{"disabled", "gone", right, ErrWrong},
		{"account without a password", "nopass", "", ErrWrong},
		{"what the stand-in hash would be made of", "nopass", "\x00", ErrWrong},
		{"longer than any", "alice", strings.Repeat("x", MaxPassword+1), ErrWrong},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			u, amr, err := l.Check(t.Context(), tt.name, tt.password, "", "192.0.2.1")
			if !errors.Is(err, tt.want) || err != nil && err.Error() != ErrWrong.Error() {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && (u.ID() != "local:alice" || !slices.Equal(amr, []string{"pwd"})) {
				t.Errorf("got %s %v", u.ID(), amr)
			}
			if err != nil && u != nil {
				t.Error("a person came with the refusal")
			}
		})
	}
}

// TestAnUnknownNameCostsAsMuchAsAKnownOne counts hashes, which is where the
// time goes; clocks would measure the machine.
func TestAnUnknownNameCostsAsMuchAsAKnownOne(t *testing.T) {
	_, l := local(t)
	for _, name := range []string{"alice", "mallory", "nopass", "gone", "not a name"} {
		// With every slot taken, whoever hashes has to wait, and shows it.
		for range hashSlots {
			slots <- struct{}{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, _, err := l.Check(ctx, name, "wrong horse battery", "", "192.0.2.1")
		cancel()
		for range hashSlots {
			<-slots
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: answered without hashing: %v", name, err)
		}
	}
}

func TestHashesRunFewAtOnceAndTheQueueIsBounded(t *testing.T) {
	for range hashSlots {
		slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range hashSlots + hashQueue {
		wait.Go(func() { _, _ = HashPassword(ctx, right) })
	}
	for len(queue) < cap(queue) {
		time.Sleep(time.Millisecond)
	}
	if _, err := HashPassword(t.Context(), right); !errors.Is(err, ErrBusy) {
		t.Errorf("one more than the queue holds: %v", err)
	}
	cancel()
	wait.Wait()
	for range hashSlots {
		<-slots
	}
	if _, err := HashPassword(t.Context(), right); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

// A flood of sign-ins leaves a core to token checks, and bounded memory.
func TestHashingLeavesACoreFree(t *testing.T) {
	for cores, want := range map[int]int{1: 1, 2: 1, 3: 2, 5: maxHashes, 6: maxHashes, 64: maxHashes} {
		if got := slotsFor(cores); got != want {
			t.Errorf("%d of %d cores hash, want %d", got, cores, want)
		}
	}
	if cap(slots) != slotsFor(runtime.GOMAXPROCS(0)) {
		t.Errorf("%d slots", cap(slots))
	}
}

func TestPasswordsHaveALengthAndOneSpelling(t *testing.T) {
	for _, tt := range []struct {
		password string
		ok       bool
	}{
		{strings.Repeat("x", MinPassword-1), false}, {strings.Repeat("x", MinPassword), true},
		{strings.Repeat("x", MaxPassword), true}, {strings.Repeat("x", MaxPassword+1), false},
	} {
		if err := CheckPassword(tt.password); (err == nil) != tt.ok {
			t.Errorf("%d bytes: %v", len(tt.password), err)
		}
	}
	hash, err := HashPassword(t.Context(), "pa\u00dfwort-\u00e9t\u00e9")
	if err != nil {
		t.Fatal(err)
	}
	if fits, err := passwordFits(t.Context(), hash, "pa\u00dfwort-e\u0301te\u0301"); err != nil || !fits {
		t.Errorf("composed and decomposed accents differ: %v", err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the PHC string begins %.40s", hash)
	}
}

func TestAStoredHashOfAnotherCostFitsNothing(t *testing.T) {
	for _, hash := range []string{"", "x", rightHash()[1:], strings.Replace(rightHash(), "m=19456", "m=4194304", 1), rightHash() + "A", nobody} {
		if fits, err := passwordFits(t.Context(), hash, right); err != nil || fits {
			t.Errorf("%.40q: fits %v, %v", hash, fits, err)
		}
	}
}

// guess makes one attempt under the limits, without the cost of a hash.
func (l *Local) guess(t *testing.T, name, source string, outcome error) error {
	t.Helper()
	_, _, err := l.judge(t.Context(), name, source, func() (*store.User, []string, error) { return nil, nil, outcome })
	return err
}

func TestFailuresSlowASourceDownAtAnAccountAndASuccessClearsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Local{}
		l.limits()
		l.sources.free = 1000 // not what is tested here
		try := func(outcome error) error { return l.guess(t, "alice", "192.0.2.1", outcome) }
		for i := range pairFree + 1 {
			if err := try(ErrWrong); !errors.Is(err, ErrWrong) {
				t.Fatalf("failure %d: %v", i+1, err)
			}
		}
		many := (*TooManyError)(nil)
		if err := try(nil); !errors.As(err, &many) || many.RetryAfter != firstWait {
			t.Fatalf("even the right password waits: %v", err)
		}
		waits := []time.Duration{many.RetryAfter}
		for range 10 {
			time.Sleep(many.RetryAfter)
			if err := try(ErrWrong); !errors.Is(err, ErrWrong) {
				t.Fatalf("after the wait: %v", err)
			}
			if err := try(ErrWrong); !errors.As(err, &many) {
				t.Fatalf("without a wait: %v", err)
			}
			waits = append(waits, many.RetryAfter)
		}
		if !slices.IsSorted(waits) || waits[len(waits)-1] != pairCap {
			t.Errorf("waits grow to the cap: %v", waits)
		}
		time.Sleep(pairCap)
		if err := try(ErrCodeNeeded); !errors.Is(err, ErrCodeNeeded) {
			t.Fatal(err)
		}
		_ = try(ErrWrong)
		if err := try(nil); !errors.As(err, &many) {
			t.Errorf("a right password without its code cleared the count: %v", err)
		}
		time.Sleep(pairCap)
		if err := try(nil); err != nil {
			t.Fatalf("right after the wait: %v", err)
		}
		for range pairFree {
			if err := try(ErrWrong); !errors.Is(err, ErrWrong) {
				t.Errorf("the count is not cleared: %v", err)
			}
		}
	})
}

// Strangers who guess somebody's password make themselves wait, not the owner:
// where the owner has signed in before not even all of them together, and what
// the owner does after signing in never.
func TestStrangersDontKeepAnOwnerWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const home, elsewhere = "192.0.2.1", "192.0.2.2"
		l := &Local{}
		many := (*TooManyError)(nil)
		stranger := func(i int) string { return fmt.Sprintf("198.51.%d.%d", 100+i/200, i%200) }
		if err := l.guess(t, "alice", home, nil); err != nil {
			t.Fatal(err)
		}
		for i := range 60 { // an hour's worth of a small botnet, at once
			for l.guess(t, "alice", stranger(i), ErrWrong) == ErrWrong {
			}
		}
		if err := l.guess(t, "alice", elsewhere, nil); err != nil {
			t.Errorf("sixty sources keep the owner waiting: %v", err)
		}
		failed := 60 * (pairFree + 1)
		for i := 60; failed <= accountFree; i++ {
			for failed <= accountFree && l.guess(t, "alice", stranger(i), ErrWrong) == ErrWrong {
				failed++
			}
		}
		if err := l.guess(t, "alice", "203.0.113.1", nil); !errors.As(err, &many) || many.RetryAfter > accountCap {
			t.Errorf("the bound of the account: %v", err)
		}
		for range 20 { // a wait that others caused is not counted
			if err := l.guess(t, "alice", "203.0.113.2", nil); !errors.As(err, &many) || many.RetryAfter > accountCap {
				t.Errorf("again: %v", err)
			}
		}
		for _, from := range []string{home, elsewhere} {
			if err := l.guess(t, "alice", from, nil); err != nil {
				t.Errorf("where the owner signed in before: %v", err)
			}
		}
		known := func(outcome error) error {
			_, _, err := l.judgeKnown(&l.confirms, "alice", func() (*store.User, []string, error) { return nil, nil, outcome })
			return err
		}
		for range knownFree + 1 {
			if err := known(ErrWrong); !errors.Is(err, ErrWrong) {
				t.Errorf("a confirmation is held back by strangers: %v", err)
			}
		}
		if err := known(nil); !errors.As(err, &many) {
			t.Errorf("a borrowed browser guesses on: %v", err)
		}
		time.Sleep(homeFor)
		if l.homes.has("alice\x00"+home, time.Now()) {
			t.Error("a source is exempt for ever")
		}
	})
}

func TestHomesAreBounded(t *testing.T) {
	h := homes{}
	for i := range maxHomes + 10 {
		h.add(fmt.Sprint(i), time.Now())
	}
	if len(h.last) != maxHomes || !h.has(fmt.Sprint(maxHomes+9), time.Now()) {
		t.Errorf("%d homes", len(h.last))
	}
}

// A code has few values, so guesses from everywhere count together, whichever
// form they come by.
func TestCodesAreCountedByAccountAlone(t *testing.T) {
	f, l := local(t)
	f.add(t, store.User{Subject: "dora", Password: rightHash(), TOTP: NewTOTP()})
	many := (*TooManyError)(nil)
	for i := range knownFree + 1 {
		if _, _, err := l.Code(t.Context(), "dora", "no code", fmt.Sprintf("192.0.2.%d", i)); !errors.Is(err, ErrWrong) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	for i := range 8 { // until the wait is longer than any machine takes for the rest
		f.forward(knownCap)
		_, _, _ = l.Code(t.Context(), "dora", "no code", fmt.Sprintf("203.0.113.%d", i))
	}
	if _, _, err := l.Code(t.Context(), "dora", "no code", "198.51.100.1"); !errors.As(err, &many) {
		t.Errorf("a new source: %v", err)
	}
	if _, _, err := l.Check(t.Context(), "dora", right, "no code", "198.51.100.2"); !errors.As(err, &many) {
		t.Errorf("with the password: %v", err)
	}
}

func TestOneSourceIsSlowedDownAcrossAccountsAndCantClearItself(t *testing.T) {
	_, l := local(t)
	many := (*TooManyError)(nil)
	for i := range sourceFree + 1 {
		// One household, many addresses; now and then a success of its own.
		if err := l.guess(t, fmt.Sprintf("user%d", i), fmt.Sprintf("2001:db8:1:2::%x", i), ErrWrong); !errors.Is(err, ErrWrong) {
			t.Fatalf("failure %d: %v", i, err)
		}
		if i == sourceFree/2 {
			if err := l.guess(t, "alice", "2001:db8:1:2::ffff", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.guess(t, "alice", "2001:db8:1:2:ffff::1", nil); !errors.As(err, &many) {
		t.Errorf("the household goes on: %v", err)
	}
	for _, neighbour := range []string{"2001:db8:1:3::1", "192.0.2.1", "::ffff:192.0.2.2"} {
		if err := l.guess(t, "alice", neighbour, nil); err != nil {
			t.Errorf("the neighbour %s is held back: %v", neighbour, err)
		}
	}
}

func TestAHundredGuessesAtOnceAreAHundred(t *testing.T) {
	_, l := local(t)
	var judged atomic.Int64
	hold := make(chan struct{})
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			_, _, err := l.judge(t.Context(), "alice", "192.0.2.1", func() (*store.User, []string, error) {
				judged.Add(1)
				<-hold // nobody has failed yet
				return nil, nil, ErrWrong
			})
			if many := (*TooManyError)(nil); !errors.As(err, &many) && !errors.Is(err, ErrWrong) {
				t.Error(err)
			}
		})
	}
	for judged.Load() <= pairFree {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	wait.Wait()
	if n := judged.Load(); n != pairFree+1 {
		t.Errorf("%d of 100 were judged", n)
	}
}

func TestTrackedNamesAreBoundedAndNobodyIsForgottenEarly(t *testing.T) {
	a := attempts{free: 1, cap: time.Minute}
	now := time.Now()
	a.admit("victim", now)
	a.admit("victim", now)
	for i := range 2 * maxTracked {
		a.admit(fmt.Sprint(i), now)
	}
	if len(a.byKey) > maxTracked {
		t.Errorf("%d keys", len(a.byKey))
	}
	if _, wait := a.admit("victim", now); wait == 0 {
		t.Error("a flood of names made the victim's wait go away")
	}
	now = now.Add(forgetAfter + time.Minute)
	if a.admit("later", now); len(a.byKey) != 1 {
		t.Errorf("%d keys after all were forgotten", len(a.byKey))
	}
}

// One failure each of very many addresses, or at very many names, must not make
// those wait who have not failed.
func TestAFloodOfSingleFailuresMakesNobodyElseWait(t *testing.T) {
	a := attempts{free: 2, cap: time.Minute}
	now := time.Now()
	for range 3 {
		a.admit("waits", now)
	}
	for i := range 3 * maxTracked {
		if _, wait := a.admit(fmt.Sprint(i), now); wait > 0 {
			t.Fatalf("newcomer %d waits %v", i, wait)
		}
	}
	if len(a.byKey) != maxTracked {
		t.Errorf("%d keys", len(a.byKey))
	}
	if _, wait := a.admit("waits", now); wait == 0 {
		t.Error("who has to wait was forgotten")
	}
	// Full of those who have to wait, newcomers share what is left; a success
	// takes nothing of it.
	b := attempts{free: 1, cap: time.Minute}
	for i := range maxTracked {
		b.admit(fmt.Sprint(i), now)
		b.admit(fmt.Sprint(i), now)
	}
	for range 5 {
		e, wait := b.admit("owner", now)
		if wait > 0 {
			t.Fatalf("after a success: wait %v", wait)
		}
		b.forget("owner", e)
	}
	b.admit("owner", now)
	b.admit("another", now)
	if _, wait := b.admit("a third", now); wait == 0 || len(b.byKey) != maxTracked {
		t.Errorf("newcomers to a full table wait %v, %d keys", wait, len(b.byKey))
	}
}

// TestOneTimeCodesAreThoseOfRFC6238 uses its appendix B, SHA-1.
func TestOneTimeCodesAreThoseOfRFC6238(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{1111111111: "050471", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"} {
		if _, ok := TOTPFits(secret, want, time.Unix(at, 0)); !ok {
			t.Errorf("%d: %s is refused", at, want)
		}
		for _, off := range []time.Duration{-2 * totpStep, 2 * totpStep} {
			if _, ok := TOTPFits(secret, want, time.Unix(at, 0).Add(off)); ok {
				t.Errorf("%d: accepted %s away", at, off)
			}
		}
	}
	for _, code := range []string{"", "28708", "2870820", "abcdef"} {
		if _, ok := TOTPFits(secret, code, time.Unix(59, 0)); ok {
			t.Errorf("%q fits", code)
		}
	}
	if _, ok := TOTPFits(nil, totpCode(nil, 1), time.Unix(59, 0)); ok {
		t.Error("a code of no secret fits")
	}
}

func TestACodeIsAskedForAfterThePasswordAndWorksOnce(t *testing.T) {
	f, l := local(t)
	secret := NewTOTP()
	f.add(t, store.User{Subject: "carol", Password: rightHash(), TOTP: secret})
	now := f.now()
	code := totpCode(secret, now.Unix()/30)

	if _, _, err := l.Check(t.Context(), "carol", "wrong", code, "192.0.2.1"); !errors.Is(err, ErrWrong) {
		t.Errorf("a code does not stand for the password: %v", err)
	}
	if u, amr, err := l.Check(t.Context(), "carol", right, "", "192.0.2.1"); !errors.Is(err, ErrCodeNeeded) || u == nil || amr != nil {
		t.Fatalf("no code: %v %v %v", u, amr, err)
	}
	in := make(chan []string, 20)
	var wait sync.WaitGroup
	for i := range cap(in) {
		wait.Go(func() {
			if _, amr, err := l.Code(t.Context(), "carol", code, fmt.Sprintf("192.0.2.%d", i)); err == nil {
				in <- amr
			}
		})
	}
	wait.Wait()
	if len(in) != 1 {
		t.Fatalf("one code let %d in", len(in))
	}
	if amr := <-in; !slices.Equal(amr, []string{"pwd", "otp", "mfa"}) {
		t.Errorf("amr %v", amr)
	}
	f.forward(time.Minute + pairCap)
	next := totpCode(secret, f.now().Unix()/30)
	if _, _, err := l.Check(t.Context(), "carol", right, next, "198.51.100.7"); err != nil {
		t.Errorf("the next code, on one form with the password: %v", err)
	}
}
