// Package reaper starts processes and learns how they ended, in a program that
// may be the first process of its PID namespace.
//
// The first process inherits every orphan and has to wait for it. A loop that
// waits for any child would take exit statuses away from code that waits for
// its own child, and such code would take over a number that the kernel may
// meanwhile have given to another process. So there is one owner: Table starts
// every process and collects every status.
//
// Its loop looks before it takes: waitid with WNOWAIT says who has ended and
// leaves it a zombie, whose number is not given to anyone. Then, under the
// table's lock, it takes the status and marks the child as ended. Signals are
// sent under the same lock and only to children that have not been marked, so
// no signal ever reaches a stranger, and no status is lost between a start and
// its registration, which happen under the lock too.
//
// A program that shares its children with others (a test, a server that runs a
// toolbox inside itself) uses a table that waits for its own children alone.
package reaper
