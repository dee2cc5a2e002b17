package authserver

import (
	"slices"
	"strings"

	"github.com/ostiary/ostiary/store"
)

// userEntry is a person, or a client that acts for itself, with live grants.
type userEntry struct {
	issuer, subject, name string
	groups                []string
	disabled              bool
	grants                map[string]*grantEntry
}

// userKey is the id under which the index knows the person behind g.
func userKey(g *store.Grant) string {
	if g.User == "" {
		return clientIssuer + ":" + g.Client
	}
	return g.User
}

// userOf finds or makes the entry of the person behind g.
func (x *index) userOf(u *store.User, g *store.Grant) *userEntry {
	id := userKey(g)
	fresh := describe(u, g)
	e := x.users[id]
	if e == nil {
		e = &userEntry{grants: map[string]*grantEntry{}}
		fresh.grants = e.grants
		*e = fresh
		x.users[id] = e
		return e
	}
	x.describe(e, fresh)
	return e
}

// clientIssuer is the issuer of a client that acts for itself.
const clientIssuer = "client"

// describe says who the person of g is: as their record says, or, when no
// record names them, as the grant does.
func describe(u *store.User, g *store.Grant) userEntry {
	switch {
	case u != nil:
		groups := slices.Clone(u.Groups)
		slices.Sort(groups)
		return userEntry{issuer: u.Issuer, subject: u.Subject, name: u.Name, groups: slices.Compact(groups), disabled: u.Disabled}
	case g.User == "":
		return userEntry{issuer: clientIssuer, subject: g.Client, name: g.Client}
	default:
		// Issuer URLs hold colons, so the last one divides. Where a subject
		// holds one too, the id of the person is still the same.
		i := strings.LastIndexByte(g.User, ':')
		return userEntry{
			issuer: g.User[:max(i, 0)], subject: g.User[i+1:], name: g.Name, groups: slices.Sorted(slices.Values(g.Groups)),
			// A grant names its person itself when an enterprise vouched for
			// them. One that does not, and whose person is gone, is void.
			disabled: g.Name == "",
		}
	}
}

// describe replaces what is said of a person. If it differs, their principals
// no longer stand.
func (x *index) describe(e *userEntry, fresh userEntry) {
	fresh.grants = e.grants
	if e.issuer == fresh.issuer && e.subject == fresh.subject && e.name == fresh.name &&
		e.disabled == fresh.disabled && slices.Equal(e.groups, fresh.groups) {
		return
	}
	*e = fresh
	for _, g := range e.grants {
		g.renew()
	}
}

// changed takes over what the store says of a person now; nil = no record.
func (x *index) changed(id string, u *store.User) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.users[id]
	if e == nil {
		return
	}
	for _, g := range e.grants { // any of them says who it is when no record does
		x.describe(e, describe(u, &g.Grant))
		return
	}
}
