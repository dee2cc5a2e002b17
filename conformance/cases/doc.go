// Package cases is one body of black-box cases for a gateway: what is sent,
// byte for byte, what must come back, and what must have happened behind. The
// same files run in process (Run) and over the wire (Check against any URL).
//
// A case is one text file in the txtar form: a comment that says the rule and
// its source, then sections.
//
//	-- session 2025-11-25 --
//	Opens a legacy session first; $SESSION is its id. No text.
//
//	-- request NAME --
//	POST /mcp/recorder
//	@modern tools/call echo
//	X-Anything: sent as it stands, in this order, also twice
//
//	{"jsonrpc":"2.0","id":1,…,$META}
//
//	-- raw NAME --
//	The bytes of a connection: lines end in CRLF, nothing is added but what
//	the macros say. $HOST is the target's host.
//
//	-- expect --
//	status 400 413          one of these
//	code -32600 -32700      of the JSON-RPC error, one of these
//	id 1                    the answer's id, as JSON text ("id absent")
//	json PATH TEXT          the value at a dotted path, as compact JSON text
//	header NAME: VALUE      exactly; "header NAME absent"
//	contains TEXT           anywhere in status line, headers or body
//	lacks TEXT
//	closed                  the connection, after the answer
//	answers 1               how many answers the connection got
//	hits 0                  requests that acted on the upstream
//	sent TEXT               some of them had this in the body
//	unsent TEXT
//	record {"reason":"…"}   some audit record has these members
//	or                      what follows is another way to be right
//
// $HOST, $PORT and $SESSION stand in expectations, too. Every step also asks whether the target is alive afterwards.
//
// A request has Host, Content-Length and Connection: close added where it does
// not name them; in a raw section nothing is. Shorthands of a request:
//
//	@modern METHOD NAME     Content-Type, Accept, MCP-Protocol-Version,
//	                        Mcp-Method and, where NAME stands, Mcp-Name
//	@legacy VERSION         Content-Type, Accept, MCP-Protocol-Version
//	@gzip                   the body is compressed; the header is not added
//	$META                   the two required members of a modern _meta
//	%{x FF 00}              these bytes
//	%{repeat 65 [}          this text so many times
//	%{list 9 "k%":1}        so many of these, with commas; % is the index;
//	                        a macro whose text holds braces ends in }%
//
// The target serves an upstream called recorder, the Recorder of this package,
// and allows the origin https://allowed.example.com.
package cases
