// Package conformance looks at Ostiary from outside: the public suite direct
// and through a gateway (official.go), our own body of cases (package cases),
// real unmodified clients and servers (clients.sh), the rules of the house
// (imports_test.go), and which test shows which attack of the security catalogue
// (catalogue.txt, catalogue_test.go). It imports nothing of the gateway: what it tests it
// reaches over the wire or by starting the program.
package conformance
