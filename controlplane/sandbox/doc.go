// Package sandbox is the life of a sandbox in the control plane.
//
// A row says what should be (Desired) and what was last seen (State). Calls only
// change what should be; a worker then takes one step after the other until
// both agree. There is at most one worker per sandbox in a process. Deciding is
// pure (Next, Observe); every step can be repeated; the store refuses a move from
// a row that has changed since it was read, whoever changed it. So a process
// may die between any two lines: the next one reads the row, asks the runner, and
// goes on.
//
//	                   create
//	                     │
//	PullingSnapshot ◄──► Creating ───────┐
//	      │                 │            │
//	      │                 ▼            ▼
//	      └───────────►  Started ────► Error ──(start, if recoverable)──► Starting
//	                     │  ▲  ▲         ▲
//	           stop,idle │  │  └─ Starting ◄── start ─┐
//	                     ▼  │                          │
//	                  Stopping ──────► Stopped ────────┘
//
//	Stopped ──► Archiving ──► Archived ──► Restoring ──► Starting
//	    └─ fork ─► Forking (another row) ──► Starting
//
//	every state ── delete ──► Destroying ──► Destroyed (readable for a day)
//
// A sandbox that ended by itself moves from Started to Stopped, or to Error when
// nothing is left to start again, with the one cause of its end.
//
// Guarantees, each with a test: quotas and names hold however many creates come at
// once; a deletion wins over a creation under way; what was acknowledged survives
// the death of the process; an error frees the quota; nothing is left on a runner
// that has no row.
package sandbox
