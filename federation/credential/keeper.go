package credential

import (
	"context"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
)

// Keeper is the Source of what a catalog declares. Credentials that are at hand
// are taken without a lock.
type Keeper struct {
	Outbound Outbound         // nil: kinds that need to ask somebody are refused
	Now      func() time.Time // nil = time.Now

	ready sync.Map // upstream's name → *kept
}

// kept is the credential of one entry.
type kept struct {
	of *catalogs.Upstream
	Credential
}

// Credential returns u's own. Errors say what is wrong with the entry.
func (k *Keeper) Credential(_ context.Context, u *catalogs.Upstream, _ *identity.Principal) (Credential, error) {
	was, _ := k.ready.Load(u.Name)
	have, _ := was.(*kept)
	if have != nil && have.of == u {
		return have.Credential, nil
	}
	made := &kept{of: u}
	if have != nil && sameCredential(have.of, u) {
		made.Credential = have.Credential // with the token that it holds
	} else {
		var err error
		if made.Credential, err = k.make(u); err != nil {
			return Credential{}, err
		}
	}
	k.ready.Store(u.Name, made)
	return made.Credential, nil
}

// sameCredential: two entries want the same one, sent to the same place.
func sameCredential(a, b *catalogs.Upstream) bool {
	return a.URL == b.URL && a.Proxy == b.Proxy && a.CAFile == b.CAFile && reflect.DeepEqual(a.Auth, b.Auth) && reflect.DeepEqual(a.Env, b.Env)
}

func (k *Keeper) make(u *catalogs.Upstream) (c Credential, err error) {
	secrets := entrySecrets(u)
	switch u.Auth.Type {
	case "", catalogs.AuthNone:
	case catalogs.AuthHeader:
		c, err = fixed(u)
		secrets = append(secrets, headerSecrets(&u.Auth)...)
	case catalogs.AuthClientCredentials:
		var g *grant
		if g, err = newGrant(u, secrets, k.Outbound, k.now()); err == nil {
			c = Credential{Authorize: g.authorize, Renew: g.renew, Mask: g.mask.Load}
		}
	default:
		err = unsupported(u)
	}
	if err != nil {
		return Credential{}, fmt.Errorf("auth: %w", err)
	}
	if c.Authorize != nil {
		c.ID = u.Name + "/" + u.Auth.Type
	}
	if mask := NewMask(secrets...); c.Mask == nil && mask != nil {
		c.Mask = func() *Mask { return mask }
	}
	return c, nil
}

func (k *Keeper) now() func() time.Time {
	if k.Now != nil {
		return k.Now
	}
	return time.Now
}

// entrySecrets are those outside of auth: what looks like a secret in the
// query of the url and in the environment of a process.
func entrySecrets(u *catalogs.Upstream) (list []string) {
	if at, err := url.Parse(u.URL); err == nil {
		for name, values := range at.Query() {
			list = append(list, slices.DeleteFunc(values, func(v string) bool { return !catalogs.LooksSecret(name, v) })...)
		}
	}
	for name, v := range u.Env {
		if catalogs.LooksSecret(name, v.Reveal()) {
			list = append(list, v.Reveal())
		}
	}
	return list
}
