package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/gateway/wire"
)

// asker is as whom `tools` asks: the user local of --no-auth, whoever a token
// acts for, or a user for whom a token of the moment is made.
type asker struct {
	user  string
	token string
}

// askerFlags declares --as and --token; the result is called once they are
// parsed.
func askerFlags(fs *flag.FlagSet, c stdio) func() (asker, error) {
	as := fs.String("as", "", "as this `USER`, with a token made for the moment (default local, who exists under --no-auth)")
	token := fs.String("token", "", "show this `TOKEN`; better in "+tokenVariable+", since command lines can be read by others")
	return func() (asker, error) {
		a := asker{user: *as, token: *token}
		if a.user == localUser.Name {
			a.user = ""
		}
		if a.user != "" && a.token != "" {
			return a, usagef("--as and --token don't go together")
		}
		if a.user == "" && a.token == "" {
			a.token, _ = c.Getenv(tokenVariable)
			a.token = strings.TrimSpace(a.token)
		}
		return a, nil
	}
}

// local says whether it is the user of --no-auth.
func (a asker) local() bool { return a.user == "" && a.token == "" }

// momentTTL is how long a token of the moment lasts if it can't be taken back.
const momentTTL = callTime + time.Minute

// door is an open way through a gateway, as asker.
type door struct {
	*mcpClient
	house *house // the gateway of this process; nil = a running one
	end   func()
}

// openDoor connects to the gateway at url, by default the one that runs on
// c.Listen; without one it opens the data directory and is the gateway itself.
func openDoor(ctx context.Context, c *config, io stdio, url string, a asker) (*door, error) {
	if url == "" {
		if base := "http://" + c.Listen; ourServer(ctx, base) {
			url = base + "/mcp"
		}
	}
	d := &door{mcpClient: &mcpClient{URL: url, Token: a.token}, end: func() {}}
	err := d.knock(ctx, c, io, a)
	if err == nil {
		err = d.open(ctx)
	}
	if err != nil {
		d.end()
		return nil, err
	}
	later, after := context.WithoutCancel(ctx), d.end
	d.end = func() { d.close(later); after() }
	return d, nil
}

// knock gets the token for the door, and the gateway where none runs.
func (d *door) knock(ctx context.Context, c *config, io stdio, a asker) (err error) {
	later := context.WithoutCancel(ctx)
	if d.URL == "" {
		own := *c
		own.NoAuth = a.local()
		if d.house, err = openForCall(ctx, &own, io); err != nil {
			return err
		}
		d.end = func() { d.house.close(later) }
		d.URL, d.HTTP.Transport = "http://localhost/mcp", inMemory{d.house.gateway}
		if a.user == "" {
			return nil
		}
		token, grant, err := d.house.accounts.IssueToken(ctx, authserver.TokenRequest{User: userID(a.user), TTL: momentTTL})
		if err == nil {
			d.Token = token
			d.end = func() { _ = d.house.accounts.RevokeGrant(later, grant.ID); d.house.close(later) }
		}
		return err
	}
	if a.user != "" {
		var made issuedToken
		if err := ask(ctx, c, io, "token.issue", tokenWish{User: a.user, TTL: momentTTL}, &made); err != nil {
			return err
		}
		d.Token = made.Token
		d.end = func() { _ = ask(later, c, io, "token.revoke", made.ID, nil) } // it expires soon in any case
	}
	if d.Token == "" {
		return nil
	}
	return tokenMayTravel(d.URL)
}

// visible are the names of the tools that the asker sees.
func (d *door) visible(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	for cursor := ""; ; {
		params := []byte("{}")
		if cursor != "" {
			params = append(wire.AppendString([]byte(`{"cursor":`), cursor), '}')
		}
		result, err := d.call(ctx, "tools/list", params)
		if err != nil {
			return nil, fmt.Errorf("tools list: %w", err)
		}
		var page struct {
			Tools      []struct{ Name string }
			NextCursor string
		}
		if err := json.Unmarshal(result, &page); err != nil {
			return nil, errors.New("tools list: the answer is not a list of tools")
		}
		for _, t := range page.Tools {
			names[t.Name] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			return names, nil
		}
	}
}
