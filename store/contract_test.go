package store_test

import (
	"testing"

	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *storetest.Place {
		dir, c := t.TempDir(), storetest.NewClock()
		return &storetest.Place{Clock: c, Open: func(t *testing.T) storetest.Backend {
			t.Helper()
			s, err := store.Open(dir, store.Options{Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		}}
	})
}
