// Package runner keeps the sandboxes of one host as it is told, and finds them
// again after its process was killed.
//
// # Parts
//
// A sandbox is a root file system (Roots), a network slot (Network) and a
// container (Driver) with the toolbox as its first process. None of the three
// needs this process to live. Runner composes them, writes down what it is about
// to do before it does it, and implements runnerapi.Runner.
//
// # The record
//
// Each sandbox has one record (record.go). Its phases:
//
//	        Create                     toolbox answers
//	(none) ───────► preparing ───────────────────────────► running
//	                 │  ▲                                   │   │ container ended
//	       undone    │  │ Start                        Stop │   │ by itself
//	                 ▼  │                                   ▼   │
//	              failed│                            stopping   │
//	                    │                                   │   │
//	                 stopped ◄──────────────────────────────┴───┘
//
//	any ── Delete ──► deleting ──► gone (a tombstone remains for a while)
//
// A crash may happen between any two lines. What recovery (recover.go) does
// with each phase:
//
//	preparing  container alive: finish; else undo
//	running    container alive: watch it again, untouched; else stopped with its cause
//	stopping   finish stopping
//	deleting   finish deleting
//
// Containers, roots, slots and directories that no record names are removed.
//
// # One thing at a time
//
// Operations on one sandbox run one after another (operation.go). They are not
// bound to the request that asked for them: who goes away and asks again joins
// the operation that is under way. Delete cancels what is under way.
package runner
