package store

import (
	"bytes"
	"context"
	"time"
)

const (
	sweepEvery = time.Minute
	sweepBatch = 1000 // expired keys removed in one verb
)

// sweeper removes what has expired, replaces worn keys and advances the epoch,
// until Close. Its errors show in Err; the next round tries again.
func (s *Store) sweeper() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
			for _, sweep := range [...]func(context.Context) (int, error){s.sweepOnce, s.sweepTables} {
				for n := sweepBatch; n == sweepBatch; {
					n, _ = sweep(context.Background())
				}
			}
			_ = s.rotateWorn(context.Background())
			_ = s.advance(context.Background())
		}
	}
}

// sweepOnce removes up to sweepBatch expired keys and says how many it met. The
// index only proposes: the sealed record says when it really expires, so that
// a changed index can't make the store forget.
func (s *Store) sweepOnce(ctx context.Context) (met int, err error) {
	err = s.do(ctx, func(t *txn) error {
		due := t.due(bucketExpiry)
		met = len(due)
		for _, k := range due {
			name := k[min(endSize, len(k)):]
			end, err := t.get(bucketOnce, name)
			if err != nil {
				return err
			}
			if end != nil && !alive(end, t.now) {
				if err := t.delete(bucketOnce, name); err != nil {
					return err
				}
			}
			if err := t.delete(bucketExpiry, k); err != nil {
				return err
			}
		}
		return nil
	})
	return met, err
}

// due collects up to sweepBatch keys of an index by end whose end has come.
// Collected first: deleting under a cursor skips.
func (t *txn) due(index string) (keys [][]byte) {
	cursor := t.tx.Bucket([]byte(index)).Cursor()
	for k, _ := cursor.First(); k != nil && len(keys) < sweepBatch; k, _ = cursor.Next() {
		if alive(k[:min(endSize, len(k))], t.now) { // a key that is too short is due
			break
		}
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

// swept are the tables by their tag in bucketDue.
var swept = map[byte]interface {
	sweep(t *txn, name []byte) error
}{
	users.tag: &users, clients.tag: &clients, consents.tag: &consents, sessions.tag: &sessions,
	grants.tag: &grants, codes.tag: &codes, tokens.tag: &tokens, keeps.tag: &keeps,
	passkeys.tag: &passkeys,
}

// sweepTables removes up to sweepBatch records whose end has come: sessions,
// unused registrations, kept values, codes, and the tombstones of grants with
// all their tokens. It says how many entries of the index it met.
func (s *Store) sweepTables(ctx context.Context) (met int, err error) {
	err = s.do(ctx, func(t *txn) error {
		due := t.due(bucketDue)
		met = len(due)
		for _, k := range due {
			if len(k) > endSize {
				if table, ok := swept[k[endSize]]; ok {
					if err := table.sweep(t, k[endSize+1:]); err != nil {
						return err
					}
				}
			}
			if err := t.delete(bucketDue, k); err != nil {
				return err
			}
		}
		return nil
	})
	return met, err
}

// sweep removes the record under name if its end has come.
func (tb *table[T]) sweep(t *txn, name []byte) error {
	was, err := t.get(tb.bucket, name)
	if err != nil || was == nil {
		return err
	}
	if v, err := tb.decode(t, was); err != nil || v != nil {
		return err
	}
	_, err = tb.remove(t, name)
	return err
}
