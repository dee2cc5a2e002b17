package federation

import (
	"context"
	"time"
)

// watch takes a connection out of the pool when it is lost.
func (p *pool) watch(m *pooled) {
	select {
	case <-m.conn.done():
	case <-m.over:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.detach(m)
}

// release ends one use.
func (p *pool) release(m *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.users--
	m.used = time.Now()
	switch {
	case m.users > 0:
	case m.gone:
		p.close(m)
	case p.draining:
		p.detach(m)
	default:
		p.restUntilUsed(m)
	}
}

// restUntilUsed makes sure that m is closed once it was idle for idleTime. The
// timer runs on while m is in use, so that a busy connection does not reset it
// with every call. The caller holds the lock.
func (p *pool) restUntilUsed(m *pooled) {
	if m.idle == nil {
		m.idle = time.AfterFunc(idleTime, func() { p.expire(m) })
	}
}

func (p *pool) expire(m *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := idleTime - time.Since(m.used)
	switch {
	case m.gone:
	case m.users > 0:
		m.idle = nil // release starts it anew
	case left > 0:
		m.idle.Reset(left)
	default:
		p.detach(m)
	}
}

// detach takes m out of the pool; it is closed when its last user leaves. The
// caller holds the lock.
func (p *pool) detach(m *pooled) {
	if p.members[m.key] == m {
		delete(p.members, m.key)
	}
	m.gone = true
	if m.idle != nil {
		m.idle.Stop()
		m.idle = nil
	}
	if m.users == 0 {
		p.close(m)
	}
}

// close ends m's connection, in the background. The caller holds the lock.
func (p *pool) close(m *pooled) {
	if m.closing || m.dialing {
		return // open sees to it
	}
	m.closing = true
	if m.conn == nil {
		p.forget(m)
		return
	}
	go func() {
		p.u.hangUp(m.conn)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forget(m)
	}()
}

// forget is the last step of a member's life. The caller holds the lock.
func (p *pool) forget(m *pooled) {
	delete(p.all, m)
	close(m.over)
	p.finish()
}

func (p *pool) finish() {
	if p.draining && len(p.all) == 0 {
		select {
		case <-p.drained:
		default:
			close(p.drained)
		}
	}
}

// drain hands out nothing more, closes what is idle, and what is in use when
// its users leave or ctx ends. It returns when all is closed.
func (p *pool) drain(ctx context.Context) {
	p.cutOff()
	p.mu.Lock()
	p.draining = true
	for m := range p.all {
		if m.users == 0 {
			p.detach(m)
		}
	}
	p.finish()
	p.mu.Unlock()

	select {
	case <-p.drained:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	for m := range p.all {
		if m.conn != nil {
			p.close(m)
		}
	}
	p.mu.Unlock()
	select {
	case <-p.drained:
	case <-time.After(closeIn):
		p.u.f.config.Logger.Error("upstream connections did not close", "upstream", p.u.name)
	}
}
