// Package cases is one body of black-box cases for a gateway: what is sent,
// byte for byte, what an upstream does meanwhile, what must come back, and
// what must have happened behind. The same files run in process (Run), over
// the wire and from the command line (Check against any URL).
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
//	-- upstream modern legacy --
//	What these upstreams do to the next call, line by line (below); nothing =
//	they behave.
//
//	-- call NAME --
//	{"n":1}
//	A call of echo with these arguments, by an agent of the upstream's era,
//	to each of the upstreams at once; each is a step of its own. Lines before:
//	@tool NAME              another tool; hasty has a time limit of 200 ms
//	@list                   tools/list instead
//	@listen 1s              subscriptions/listen instead, for so long
//	@progress               asks for progress, under the token "agent-token"
//	@unread 300ms           the answer waits so long to be read
//	@times 2                sent so often; the last answer counts
//	@within 5s              repeated until the expectations hold
//
//	-- expect --
//	status 400 413          one of these
//	code -32600 -32700      of the JSON-RPC error, one of these
//	id 1                    the answer's id, as JSON text ("id absent")
//	json PATH TEXT          the value at a dotted path, as compact JSON text
//	count PATH 1-3          so many elements of the array there
//	events METHOD 0         so many notifications in the answer's stream
//	header NAME: VALUE      exactly; "header NAME absent"
//	contains TEXT           anywhere in status line, headers or body
//	lacks TEXT
//	closed                  the connection, after the answer
//	answers 1               how many answers the connection got
//	hits 0                  requests that acted on the upstream
//	asked METHOD 1-3        requests of this method to the upstream
//	sent TEXT               some that acted had this in the body
//	unsent TEXT
//	reply TEXT              some response posted to the upstream had this
//	replies 0               so many were posted
//	record {"reason":"…"}   some audit record of the step has these members
//	records 0               so many attempts are recorded; else one for each
//	                        request sent
//	or                      what follows is another way to be right
//
//	-- allow CANARY-001-A audit --
//	Where this canary may be found: answer, log, audit, data.
//
// $HOST, $PORT and $SESSION stand in expectations, too. Judged in every step
// besides: that the target is alive afterwards, that each decision which let a
// request run has its outcome on record, that while an upstream misbehaves
// calls to another succeed, that it is used again when it behaves again, and
// that no text CANARY-… of the case turns up in an answer, the log or a file of
// the data directory.
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
//	%{fill 65536}           letters, so that the whole text has so many bytes;
//	                        in calls' arguments and upstreams' lines
//
// What an upstream does. First, where it isn't every tools/call that it
// answers so, and at once:
//
//	on METHOD               the requests that it answers so
//	times 1                 only the first ones
//	slowly 4096             reads bodies over this so many bytes every 10 ms
//	changed 9 every 1ms     says that its tools changed, so often; once if on
//	                        tools/list (upstreams lists-modern, lists-legacy)
//
// Then its answer, in this order; "after 50ms" before a word waits first,
// "forever" repeats it until the gateway hangs up:
//
//	status 429              of HTTP; 200 otherwise
//	header NAME: VALUE
//	answer TEXT             the body, application/json if nothing else was said
//	write TEXT              more of it
//	event TEXT              an event of a stream with this data
//	comment TEXT            a comment in a stream
//	reply                   waits for the gateway to post a response
//	lose                    forgets the session: 404 now and from now on
//	drop                    closes the connection
//	hang                    nothing more until the gateway hangs up
//
// $ID, $TOKEN and $N are the request's id, its progress token and its number
// in the step; $OK is a good result; $COMPLETE and $PAGE are the members that
// results and lists begin with in the upstream's era; $ELSEWHERE is a URL that
// nobody should visit.
//
// The target serves the upstreams of Catalog, which a Recorder plays, and
// allows the origin https://allowed.example.com.
package cases
