package main

import (
	"context"
	"io"
)

// Subject is what is measured: our server with one isolation, or Docker. Boxes
// are named by an opaque id.
type Subject interface {
	Name() string
	// Create starts a box from the image and returns its id. With warm, it may
	// come from a pool of boxes started ahead, if the subject has one.
	Create(ctx context.Context, warm bool) (string, error)
	Delete(ctx context.Context, id string) error
	// Exec runs a command line and fails when it does not exit with 0.
	Exec(ctx context.Context, id, command string) error
	// Run runs Python code and fails when it does not exit with 0.
	Run(ctx context.Context, id, code string) error
	Upload(ctx context.Context, id string, size int64, r io.Reader, path string) error
	Download(ctx context.Context, id, path string) (int64, error)
	// Settle blocks until background work (a pool being filled) has ended.
	Settle(ctx context.Context) error
	// Memory is what the processes that exist for the sake of one idle box
	// hold for themselves, in bytes: anonymous and shared memory, without
	// page cache and without what comes from files.
	Memory(ctx context.Context, id string) (int64, error)
	// Close ends everything that the subject started.
	Close() error
}

// toolboxed is a Subject with a program of its own inside each box.
type toolboxed interface {
	// ToolboxSize is the size of the program in bytes.
	ToolboxSize() (int64, error)
	// ToolboxMemory is how many bytes of the program and of its data are in
	// memory in one box, after the one command that asks for it. What comes
	// from the program's file is counted, though boxes may share it.
	ToolboxMemory(ctx context.Context, id string) (int64, error)
}
