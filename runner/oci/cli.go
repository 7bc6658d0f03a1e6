package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLog bounds how much of an engine's log is read.
const maxLog = 16 << 10

// runCLI runs an engine's command to its end. Its standard streams are
// /dev/null, because the container inherits them: a container needs nothing of
// this process, and what it writes there can never fill the host's disk. What
// the engine has to say is read from its log file.
//
// The command dies with this process. What it leaves half made then is
// known by its control group.
func runCLI(ctx context.Context, binary string, args []string, env []string, log string) error {
	// The death signal is tied to the thread that started the command.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = "/"
	cmd.Env = env
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setsid: true}
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	if said := logTail(log); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// logTail returns the messages at the end of an engine's log, joined by "; ".
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > maxLog {
		_, _ = f.Seek(-maxLog, io.SeekEnd)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLog))
	if err != nil {
		return ""
	}
	return logMessages(b)
}

// logMessages extracts what a person should read from JSON log lines. Lines
// that are not JSON are taken as they are.
func logMessages(b []byte) string {
	var out []string
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		var entry struct{ Msg, Level string }
		if json.Unmarshal(line, &entry) != nil {
			out = append(out, string(line))
		} else if entry.Msg != "" && entry.Level != "debug" && entry.Level != "info" {
			out = append(out, entry.Msg)
		}
	}
	const keep = 5
	if len(out) > keep {
		out = out[len(out)-keep:]
	}
	return strings.Join(out, "; ")
}
