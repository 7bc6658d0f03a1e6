//go:build linux

package main

import (
	"os"
	"path/filepath"

	"daytona/e2e/chaos"
)

// clock is the server's, which scripts/clock.sh has made able to jump.
type clock struct{ file string }

// clockVariable is known to cmd/chaos/clock/jump.go.
const clockVariable = "CHAOS_CLOCK"

func openClock(dir string) (*clock, error) {
	file, err := filepath.Abs(filepath.Join(dir, "clock"))
	if err != nil {
		return nil, err
	}
	c := &clock{file: file}
	return c, os.WriteFile(file, []byte{0}, 0o600)
}

// set puts the clock some hours ahead. The file is mapped, so it is not replaced.
func (c *clock) set(hours int8) error {
	f, err := os.OpenFile(c.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.Write([]byte{byte(hours)}); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// faults are jumps there and back, each of which is one of an hour.
func (c *clock) faults() []chaos.Fault {
	jump := func(hours int8) func() (func() error, error) {
		return func() (func() error, error) { return func() error { return c.set(0) }, c.set(hours) }
	}
	return []chaos.Fault{
		{Name: "clock jumps an hour ahead, and back", Begin: jump(1)},
		{Name: "clock jumps an hour back, and ahead", Begin: jump(-1)},
	}
}
