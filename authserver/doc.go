// Package authserver is the OAuth 2.1 authorization server, the token check of
// the outer door, and the pages on which people sign in, allow and take back.
// It hands the gateway a Verifier and the mux its routes; everything it keeps
// goes through the verbs of store.
//
// A strict shell reads each request once and decides what it may be; fosite
// runs the code and refresh flows and PKCE behind it; the store makes each code
// and refresh token work once; an index in memory answers the token check.
//
// # What the RFCs demand, and the test that shows it
//
//	RFC 6749 2.3      one way of client authentication    TestClientsThatActForThemselves
//	RFC 6749 2.3.1    credentials never in the URL        TestWhatTheShellRefuses
//	RFC 6749 3.1      no parameter twice                  TestAuthorizeRefusals
//	RFC 6749 3.1.2.4  no redirect to an unknown address   TestAuthorizeRefusals
//	RFC 6749 3.2      token endpoint: POST                TestWhatTheShellRefuses
//	RFC 6749 4.1.2    a code works once, for its client   TestASpentCodeEndsItsGrant
//	RFC 6749 4.1.3    same redirect_uri, same client      TestACodeIsRefused
//	RFC 6749 4.4      client credentials: confidential    TestClientsThatActForThemselves
//	RFC 6749 5.1      no-store                            TestTheWholeWay
//	RFC 6749 5.2      error form, 401 names the scheme    TestClientsThatActForThemselves
//	RFC 6749 6        refresh within what was granted     TestRefreshKeepsToWhatWasGranted
//	RFC 6749 10.12    browser forms against forgery       TestConsentIsGivenOnceByThePersonWhoWasAsked
//	RFC 6750 2        a token in one header, not the URL  TestChallenges
//	RFC 6750 3        challenges                          TestChallenges
//	RFC 7009 2.1      only the client's own tokens        TestAnotherClientsTokenIsNotRevoked
//	RFC 7009 2.1      a refresh token ends its grant      TestTheWholeWay
//	RFC 7009 2.2      an unknown token: 200               TestAnotherClientsTokenIsNotRevoked
//	RFC 7521 4.2      client assertions                   TestClientAssertions
//	RFC 7523 3        issuer, subject, audience, once     TestClientAssertions
//	RFC 7591 2        what may be registered              TestMetadataThatCantBeTrustedIsRefused
//	RFC 7591 3.1      registration: JSON by POST          TestRegistrationTakesJSONByPost
//	RFC 7591 3.2      everything stored is answered       TestTheClientsOfTheFieldRegister
//	RFC 7591 5        redirect URIs are restricted        TestWhatMayBeRegisteredAsARedirectURI
//	RFC 7636 4.2      S256, well-formed                   TestAuthorizeRefusals
//	RFC 7636 4.4.1    PKCE is required, plain refused     TestAuthorizeRefusals
//	RFC 7636 4.6      the verifier must fit               TestACodeIsRefused
//	RFC 8252 7.3      loopback: any port                  TestOnLoopbackOnlyThePortMayDiffer
//	RFC 8252 8.6      native clients are asked each time  TestAskingIsSkippedOnlyForTheSameAgain
//	RFC 8414 2        the document                        TestMetadata
//	RFC 8414 3.3      issuer equals the one asked         TestMetadata
//	RFC 8707 2        resource: absolute, no fragment     TestResourceNames
//	RFC 8707 2.1      unknown resource: invalid_target    TestAuthorizeRefusals
//	RFC 8707 2.2      at the token endpoint: as granted   TestACodeIsRefused
//	RFC 9126 2.1      pushed like asked, not nested       TestPushedRequests
//	RFC 9126 2.2      the reference: short, unguessable   TestPushedRequests
//	RFC 9126 4        bound to its client, used once      TestPushedRequests
//	RFC 9207 2        iss, errors included                TestAuthorizeRefusals
//	RFC 9207 3        advertised                          TestMetadata
//	RFC 9700 2.1      exact redirect match                TestARedirectURIMatchesAsAString
//	RFC 9700 2.1.2    no implicit grant                   TestAuthorizeRefusals
//	RFC 9700 2.4      no password grant                   TestACodeIsRefused
//	RFC 9700 4.11.2   errors are no open redirector       TestErrorsLeadNobodyToAStrangersSite
//	RFC 9700 4.14.2   rotation; reuse ends the family     TestARotatedTokenThatComesBack
//	RFC 9728 3        metadata of each resource           TestMetadata
//	RFC 9728 5.1      challenges name it                  TestChallenges
//
// And of Web Authentication Level 3, for passkeys:
//
//	5.1.3, 13.4.9     one RP ID and origin                TestPasskeysAreForOneAddress
//	7.1, 7.2          challenge, origin, RP ID, UP, UV    TestWhatIsNotThePasskeyOpensNothing
//	7.1 step 27       a credential id is one account's    TestAPasskeyIsOnePersonsAndAnAccountHasSoMany
//	7.2 step 22       the counter goes on                 TestWhatIsNotThePasskeyOpensNothing
//	13.4.3            a challenge is random, used once    TestOfManyAnswersToOneChallengeOneCounts
//	14.6.1, 14.6.3    no account or credential is named   TestAPasskeyIsAddedAndSignsInByItself
//	RFC 8176 2        hwk or swk, user, mfa               TestAPasskeyIsAddedAndSignsInByItself
//
// And of OpenID Connect Core, for max_age and prompt:
//
//	3.1.2.1           an older sign-in is not enough      TestAnOlderSignInIsNotEnoughWhereANewOneIsAsked
//	3.1.2.1           prompt=none shows no page           TestPromptNoneShowsNoPage
//	3.1.3.7 12        the provider's auth_time counts     TestTheProvidersOwnSignInIsWhatCounts
//
// # Where we differ
//
//   - RFC 7009 2.1 lets the revocation of an access token end its refresh token
//     too; here it ends itself alone.
//   - RFC 6749 3.3: the scope mcp is always granted, for without it a token opens
//     nothing; the answer says so. An unknown scope is refused.
//   - RFC 6749 4.1.2 wants a code that comes twice to end its tokens. It does when
//     it comes with its verifier and when the first redemption is over. Requests
//     that meet are one client's stumbling: one of them wins and keeps its tokens.
//   - A rotated refresh token that its client repeats within ten seconds, while
//     the successor is unused, is refused without ending the family: the answer
//     may have been lost.
//   - Web Authentication 7.1: no attestation is asked for or judged, so that a
//     passkey is in hardware (hwk) is its own word.
//   - RFC 6749 4.1.2.1 lets errors go to the client by redirect. Of a client that
//     nobody vouches for, and whose answers go to a site, an error from before the
//     person was asked is shown on a page that leads there (RFC 9700 4.11.2). With
//     prompt=none, too, until somebody here has let that client in: a silent
//     request is one of the attacks that 4.11.2 lists.
//   - Tokens are 256 random bits that only the store and the index know. No key
//     signs them, so none can leak and none has to rotate.
//
// # What loopback can't keep apart
//
// Cookies know no ports (RFC 6265 8.5). Over plain http on loopback, a program of
// this computer that gets the person's browser to open its own port, at the path
// of one of our pages, is sent the session's cookie and can use it. Paths narrow
// that, and redirect URIs at those paths are refused, but it can't be closed from
// here: whatever else the browser sends (Sec-Fetch headers, a cookie named after
// the port, Secure on localhost) it sends to that port as well, or the program
// can make it up. A second value in addresses and forms would be safe from it,
// and would end the session with the tab: every program that asks for access
// would ask for the password again, and prompt=none never succeed. HTTP
// authentication does know ports, but has no sign-out and no second factor. What
// such a program still does not get is the password or a passkey, which the
// account page asks for before it changes how somebody signs in. Who shares a
// computer with programs they don't trust serves with TLS under a name of its
// own, where the cookie is bound to the host and the browser to the certificate.
package authserver
