package launch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MemoryFile returns a file in memory with the given content, to be read from
// its start. A process that gets it cannot tell who else has it, nor find it by
// a path.
func MemoryFile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("memory for %s: %w", name, err), f.Close())
	}
	return f, nil
}

// InputFile returns what a process finds on its standard input. A file rather
// than a pipe: a shell reads a pipe byte by byte, so as to leave the rest to the
// programs it runs, and a file in blocks.
func InputFile(content []byte) (*os.File, error) {
	if len(content) == 0 {
		return os.Open(os.DevNull)
	}
	return MemoryFile("stdin", content)
}
