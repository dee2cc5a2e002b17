package pages

import (
	"html/template"
	"time"
)

// Frame is around every page.
type Frame struct {
	Host string // the gateway, as people know it
	User string // who is signed in; "" = nobody
	Sign string // ticket of the sign-out form
}

// SignIn is where people prove who they are.
type SignIn struct {
	Frame
	Request  string // the sealed authorization request; "" = to the account page
	Username string // as typed before
	Problem  string // what went wrong; "" = nothing yet
	Local    bool   // local accounts exist
	Provider string // what the identity provider is called; "" = there is none
	For      *Client
	Passkeys bool // may be used here
}

// HTML renders the page.
func (v SignIn) HTML() []byte { return render("signin.html", v) }

// Code asks for the second factor after the password: a one-time code, a
// passkey, or either.
type Code struct {
	Frame
	Request, Step string // sealed
	Problem       string
	TOTP          bool // a one-time code will do
	Passkey       bool // a passkey will do
	Passkeys      bool // may be used here
}

// HTML renders the page.
func (v Code) HTML() []byte { return render("code.html", v) }

// Setup makes the first user.
type Setup struct {
	Frame
	Token    string
	Username string
	Problem  string
}

// HTML renders the page.
func (v Setup) HTML() []byte { return render("setup.html", v) }

// Client is a program that asks, in words fit to be shown.
type Client struct {
	Name     string // of Name, never raw
	Odd      string // of Name: how an unusual name is spelled; "" = it is plain
	Verified bool   // an operator vouches for Name
	ID       string
	Site     string // host that publishes the client's document; "" = none
	To       Destination
}

// Destination is where an authorization code will go.
type Destination struct {
	Kind string // "computer" (loopback), "app" (private-use scheme), "site"
	Host string
}

// Scope is a scope with what it means.
type Scope struct{ Name, Words string }

// Consent asks a person whether a client may act for them.
type Consent struct {
	Frame
	Request, Ticket string
	Client          Client
	Resource        string
	All             bool     // Resource is the endpoint of all upstreams
	Covers          []string // titles of upstreams that Resource covers
	More            int      // how many more than Covers there are
	Scopes          []Scope
}

// HTML renders the page.
func (v Consent) HTML() []byte { return render("consent.html", v) }

// Account shows a person what acts for them, and lets them end it.
type Account struct {
	Frame
	Now      time.Time
	Name     string
	ID       string
	Groups   []string
	Programs []Program
	Sessions []Session
	Local    bool // has a password here
	TOTP     bool // has a one-time code
	Passkeys bool // may be used here
	Keys     []Passkey
	Full     bool   // as many Keys as there may be
	Refused  string // what is wrong with the wish about a passkey
	Ticket   string
	Notice   string // what was just done
	Problem  string // what just went wrong
	Password string // what is wrong with the new password
	Enrol    *Enrolment
	Provider string // who vouches for the person, if not this gateway
}

// HTML renders the page.
func (v Account) HTML() []byte { return render("account.html", v) }

// Passkey is one that the person added.
type Passkey struct {
	ID       string
	Name     string
	Synced   bool // not bound to one device
	Since    time.Time
	LastUsed time.Time // zero = never
}

// Ask is the part of a form that asks for a second factor anew. ID makes the
// ids of its fields unique on the page.
type Ask struct {
	ID         string
	TOTP, Keys bool
}

// Ask is that part for the form called id.
func (v Account) Ask(id string) Ask { return Ask{id, v.TOTP, len(v.Keys) > 0 && v.Passkeys} }

// Keyed says whether a form that asks for a second factor may take a passkey.
func (v Account) Keyed() bool { return v.Ask("").Keys }

// Lone says that one lost device would lock the person out.
func (v Account) Lone() bool { return len(v.Keys) == 1 && !v.TOTP }

// Program is a client with what it was allowed and what it holds.
type Program struct {
	Client
	Key      string // the client id as forms send it back
	Consents []Consented
	Grants   []Grant
}

// Consented is one thing a person once allowed.
type Consented struct {
	ID       string
	Resource string
	Host     string
	Scopes   []string
	At       time.Time
}

// Grant is access that is live now.
type Grant struct {
	ID       string
	Resource string
	Scopes   []string
	Since    time.Time
	LastUsed time.Time // zero = never
	Until    time.Time
	Tokens   int // live access tokens
}

// Session is a browser that is signed in.
type Session struct {
	ID       string
	This     bool
	Browser  string
	Address  string
	Since    time.Time
	LastSeen time.Time
}

// Enrolment is a one-time code about to be set up.
type Enrolment struct {
	Secret  string       // shown once
	URI     template.URL // otpauth:
	Sealed  string
	Problem string
}

// Problem says what went wrong, why, and what to do.
type Problem struct {
	Frame
	Title string
	What  string
	Why   string // "" = What says it all
	Next  string
	Link  string // where Next can be done; "" = not here
	Label string // of Link
	ID    string // an operator finds it in the log; "" = none
}

// HTML renders the page.
func (v Problem) HTML() []byte { return render("problem.html", v) }

// Notice says that something is done.
type Notice struct {
	Frame
	Title, Text string
	Link, Label string
}

// HTML renders the page.
func (v Notice) HTML() []byte { return render("notice.html", v) }
