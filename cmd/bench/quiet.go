package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// quiet blocks until the host's processors have been nine tenths idle for a
// quarter of a second, or patience is over: what a subject does for later, such
// as interpreters that get ready, is not to be counted against what is measured
// now.
func quiet(ctx context.Context, patience time.Duration) error {
	const window = 250 * time.Millisecond
	busy, all, err := processorTime()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(window):
		}
		b, a, err := processorTime()
		if err != nil {
			return err
		}
		if (b-busy)*10 <= a-all {
			return nil
		}
		busy, all = b, a
	}
	return nil // a busy host: the report's tails will show it
}

// processorTime returns the busy and the whole time of all processors, in ticks.
func processorTime() (busy, all int64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0, 0, fmt.Errorf("/proc/stat: %w", err)
	}
	busy = user + nice + system + irq + softirq + steal
	return busy, busy + idle + iowait, nil
}
