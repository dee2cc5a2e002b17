package gateway

// The words of records. Queries and policies of operators rest on them: a word
// keeps its meaning, and a test holds this list against the code.
//
// Outcomes, of a decision that refused or of what was let through:
//
//	ok               done
//	tool_error       the tool says so itself (isError)
//	input_required   the upstream asks for input; the agent calls again
//	error            the upstream's JSON-RPC error, or one of ours on the way
//	denied           by policy
//	not_found        what does not exist, or is not shown to this principal
//	refused          the request broke a rule before policy was asked
//	unavailable      it did not run: the upstream or a limit stood in the way
//	timeout          no answer in time; it may have run
//	unknown          no usable answer; it may have run
//	cancelled        by the agent
//	not_executed     the log could not take the decision: it did not run
//
// Reasons, why a request was refused before it was judged. Those of a message
// that could not be parsed are wire.Reason…:
//
//	syntax              not JSON, as wire.ReasonSyntax
//	http_method         neither POST, GET nor DELETE
//	media_type          Content-Type is not application/json
//	encoding            the body is compressed
//	accept              Accept names nothing that we can answer with
//	too_large           over limits.body
//	body                the body could not be read to its end
//	version             a protocol revision that is not served
//	era                 a batch where none may be
//	calls               a batch over limits.calls
//	quota               over audit.quota; in a summary, not in a record of its own
//	header_mismatch     a header says something else than the body
//	meta                a member of _meta is missing or malformed
//	log_level           an unknown log level
//	params              a parameter is missing or of the wrong type
//	cursor              a cursor that is not ours, of another list or too old
//	request_state       a requestState of another request, or too old
//	input_response      an answer to a question that was not put, or malformed
//	response            a response where none can be sent
//	ambiguous_argument  an argument differs from a schema's property in case only
//	duplicate_id        a request with this id is still in flight
//	no_session          a session is needed and none is named
//	unknown_session     no such session, or somebody else's
//	session             the session can't be opened
//	two_sessions        two sessions are named
//	unknown_endpoint    no such upstream
//	unknown_method      a method that is not served here
//	streams             over limits.streams
//	subscriptions       over the subscriptions of one session
//	parked              over limits.parkedCalls
//	undeclared          needs a capability that the agent did not declare
//	no_task             the tool can't run as a task
//	task_ended          the task is over already
//
// Why a judged request came to nothing:
//
//	denied                 policy says no
//	decision_failed        policy could not be asked
//	policy_input, policy_timeout, policy_busy, policy_undefined, policy_error, policy_panic
//	                       policy was asked and could not decide (package policy, Failure)
//	unknown_obligation     policy asks for what this version can't do
//	bad_obligation         an obligation is malformed
//	insufficient_scope     the token lacks scopes; the agent was told which
//	step_up                scopes are lacking that the agent can't get
//	rate                   over a budget, whose class is in detail
//	undeclared_rate        a class of rates, in detail, is not declared
//	approval_not_available a person would have to approve
//	mask_failed            what policy hides could not be hidden
//	schema                 rules read arguments, and these don't fit the schema
//	schema_unusable        rules read arguments, and the schema can't be compiled
//	unknown_tool, unknown_prompt, unknown_resource, unknown_task
//	                       what does not exist, or is hidden
//	unrecorded             the log can't take records
//	upstream_error         the upstream's own JSON-RPC error
//	upstream_unavailable   not reached, or it refused; it did not run
//	upstream_busy          over the entry's limits.concurrency
//	upstream_timeout       no answer in time
//	connection_lost        the connection broke after the request was sent
//	bad_answer             the answer breaks the protocol
//	answer_too_large       over the entry's limits.response
//	unsafe_url             the upstream sends the agent to an unsafe address
//	task_cancelled         the task was cancelled
//	cancelled              the agent went away
//	internal               anything else; the log has the details
