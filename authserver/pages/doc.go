// Package pages is what people see of the gateway in a browser: pure functions
// from view structs to HTML. It knows no request, no store and no secret but
// those that a form has to carry; package authserver fills the structs in and
// sends what comes out with the headers that Guard sets.
//
// The pages need no script: one file of it adds passkeys to the pages that can
// use them. They load nothing from anywhere else, and put every
// foreign word through html/template and, where it names something, through
// Name.
package pages
