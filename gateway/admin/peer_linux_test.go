package admin

import "testing"

func TestWhoseProcessMayAsk(t *testing.T) {
	for _, c := range []struct {
		name string
		peer uint32
		own  int
		may  bool
	}{
		{"the same user", 1000, 1000, true},
		{"root", 0, 1000, true},
		{"another user", 1001, 1000, false},
		{"another user, of a server of root's", 1000, 0, false},
		{"nobody", 65534, 1000, false},
	} {
		if mayAsk(c.peer, c.own) != c.may {
			t.Errorf("%s: %v", c.name, !c.may)
		}
	}
}
