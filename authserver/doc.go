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
//	RFC 9700 4.14.2   rotation; reuse ends the family     TestARotatedTokenThatComesBack
//	RFC 9728 3        metadata of each resource           TestMetadata
//	RFC 9728 5.1      challenges name it                  TestChallenges
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
//   - Tokens are 256 random bits that only the store and the index know. No key
//     signs them, so none can leak and none has to rotate.
package authserver
