//go:build linux

// Package chaos works with many sandboxes while it breaks what they stand on,
// and holds what the server said against what is found afterwards.
//
// Workers create, use, stop, start, archive, fork and delete sandboxes. Each
// sandbox belongs to one worker, which remembers what it was told: the states
// and the files whose writing was acknowledged. A call without an answer leaves
// two possibilities, of which the next look must find one. Meanwhile faults
// come one after the other, drawn from a seed. When they have ended, every
// sandbox must come to rest, be able to run, and hold its files; none may be lost
// or be there twice; and after the last was deleted the host must look as it did.
package chaos
