// Package httpapi speaks the public HTTP interface: it finds the route, checks
// who is calling, reads what was sent, asks the domain, and answers in the
// dialect of the client.
//
// routes.go is the whole interface on one page. No rule of the domain lives
// here, and nobody else knows a status code.
package httpapi
