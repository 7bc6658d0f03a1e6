package oci

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProc(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	start, err := startTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openProc(cmd.Process.Pid, start+1); !errors.Is(err, errDead) {
		t.Errorf("a process that started at another time was taken for it: %v", err)
	}
	p, err := openProc(cmd.Process.Pid, start)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if !p.alive() {
		t.Error("it is not alive")
	}
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error)
	go func() { waited <- p.wait(ctx) }()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("wait = %v", err)
	}
	// It can be waited for again, and by many.
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() { waited <- p.wait(ctx) }()
	if err := p.signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if p.alive() {
		t.Error("it is alive after its end")
	}
	// Not collected yet: /proc tells.
	if ws, ok := p.status(); !ok || !ws.Signaled() || ws.Signal() != unix.SIGTERM {
		t.Errorf("status %v, %v", ws, ok)
	}
	_ = cmd.Wait()
	if err := p.signal(unix.SIGTERM); err != nil {
		t.Errorf("signalling an ended process: %v", err)
	}
	if _, err := openProc(cmd.Process.Pid, start); !errors.Is(err, errDead) {
		t.Errorf("openProc of an ended process = %v", err)
	}
	if _, err := openProc(0, 0); !errors.Is(err, errDead) {
		t.Errorf("openProc(0) = %v", err)
	}
}
