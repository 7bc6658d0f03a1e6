package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// zeros is an endless reader of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Rounds says how often each figure is taken.
type Rounds struct {
	Create, Exec, Run, Transfer, Burst, Idle, Pairs, Abuse int
}

// Result holds the samples of one subject by figure.
type Result map[string]*Sample

// The figures, in the order of the report.
const (
	figWarmAnswer = "create, warm: answered"
	figWarmNode   = "create, warm: to first node -v"
	figColdAnswer = "create, cold: answered"
	figColdNode   = "create, cold: to first node -v"
	figExec       = "exec true"
	figRun        = "code_run print(1)"
	figPandas     = "code_run import pandas"
	figUpload     = "upload 64 MiB"
	figDownload   = "download 64 MiB"
	figBurst      = "50 creates at once: each"
	figBurstAll   = "50 creates at once: all"
	figPair       = "create + delete, one after another"
	figMemory     = "own memory of an idle sandbox"
	figProgram    = "toolbox: size of the program"
	figResident   = "toolbox: resident memory, idle"
	figIdle       = "idle sandboxes: all started"
	figIdleNext   = "with all of them there: create the next"
	figIdleExec   = "with all of them there: exec true"
)

var figures = []string{
	figWarmAnswer, figWarmNode, figColdAnswer, figColdNode, figExec, figRun, figPandas, figUpload, figDownload,
	figBurst, figBurstAll, figPair, figMemory, figProgram, figResident, figIdle, figIdleNext, figIdleExec,
	figBeside("nothing"), figBeside("a fork bomb"), figBeside("a memory hog"), figBeside("a disk filler"), figBeside("an inode bomb"),
	figBeside("open files without end"), figBeside("connections without end"), figBeside("a log flood"),
}

const transferSize = 64 << 20

// measure takes every figure of one subject.
func measure(ctx context.Context, s Subject, rounds Rounds, say func(string, ...any)) (Result, error) {
	res := Result{}
	sample := func(name string) *Sample {
		if res[name] == nil {
			res[name] = &Sample{Unit: "ms"}
		}
		return res[name]
	}
	timed := func(name string, f func() error) error {
		start := time.Now()
		if err := f(); err != nil {
			sample(name).Failed++
			return fmt.Errorf("%s: %s: %w", s.Name(), name, err)
		}
		sample(name).add(time.Since(start))
		return nil
	}

	for _, warm := range []bool{true, false} {
		answer, node := figWarmAnswer, figWarmNode
		if !warm {
			answer, node = figColdAnswer, figColdNode
		}
		say("%s: %s", s.Name(), node)
		for range rounds.Create {
			if warm {
				if err := s.Settle(ctx); err != nil {
					return res, err
				}
			}
			var id string
			err := timed(node, func() error {
				if err := timed(answer, func() (err error) { id, err = s.Create(ctx, warm); return err }); err != nil {
					return err
				}
				return s.Exec(ctx, id, "node -v")
			})
			if err != nil {
				return res, err
			}
			if err := s.Delete(ctx, id); err != nil {
				return res, err
			}
		}
	}

	// One that waited in the pool, where there is one.
	id, err := s.Create(ctx, true)
	if err != nil {
		return res, err
	}
	if err := s.Settle(ctx); err != nil {
		return res, err
	}
	for _, step := range []struct {
		name   string
		rounds int
		do     func() error
	}{
		{figExec, rounds.Exec, func() error { return s.Exec(ctx, id, "true") }},
		{figRun, rounds.Run, func() error { return s.Run(ctx, id, "print(1)") }},
		{figPandas, rounds.Run, func() error { return s.Run(ctx, id, "import pandas") }},
		{figUpload, rounds.Transfer, func() error {
			return s.Upload(ctx, id, transferSize, io.LimitReader(zeros{}, transferSize), "/tmp/bench.bin")
		}},
		{figDownload, rounds.Transfer, func() error {
			n, err := s.Download(ctx, id, "/tmp/bench.bin")
			if err == nil && n < transferSize {
				err = fmt.Errorf("got %d bytes of %d", n, transferSize)
			}
			return err
		}},
	} {
		say("%s: %s", s.Name(), step.name)
		if err := step.do(); err != nil { // once, not counted
			return res, fmt.Errorf("%s: %s: %w", s.Name(), step.name, err)
		}
		for range step.rounds {
			if err := timed(step.name, step.do); err != nil {
				return res, err
			}
		}
	}
	if err := s.Delete(ctx, id); err != nil {
		return res, err
	}

	say("%s: %s", s.Name(), figPair)
	for range rounds.Pairs {
		err := timed(figPair, func() error {
			id, err := s.Create(ctx, true)
			if err != nil {
				return err
			}
			return s.Delete(ctx, id)
		})
		if err != nil {
			return res, err
		}
	}

	if err := s.Settle(ctx); err != nil {
		return res, err
	}
	say("%s: %s", s.Name(), figBurst)
	ids, err := createMany(ctx, s, rounds.Burst, rounds.Burst, sample(figBurst), sample(figBurstAll))
	if err != nil {
		say("%s: %v", s.Name(), err)
	}
	if err := deleteMany(ctx, s, ids); err != nil {
		return res, err
	}

	say("%s: %s", s.Name(), figIdle)
	ids, err = createMany(ctx, s, rounds.Idle, 4, &Sample{}, sample(figIdle))
	if err != nil {
		say("%s: %v", s.Name(), err)
	}
	memory := sample(figMemory)
	memory.Unit = "MiB"
	for i, id := range ids {
		if i%10 != 0 {
			continue
		}
		n, err := s.Memory(ctx, id)
		if err != nil {
			return res, err
		}
		memory.Values = append(memory.Values, float64(n)/(1<<20))
	}
	if t, ok := s.(toolboxed); ok {
		if err := measureToolbox(ctx, t, ids, res); err != nil {
			return res, err
		}
	}
	say("%s: %s", s.Name(), figIdleNext)
	if len(ids) > 0 {
		if err := measureCrowd(ctx, s, ids[0], rounds, timed); err != nil {
			return res, err
		}
	}
	if err := deleteMany(ctx, s, ids); err != nil {
		return res, err
	}
	if s.Name() == peer { // it bounds neither processes nor disk unless told to
		return res, nil
	}
	say("%s: exec beside sandboxes that take all they can get", s.Name())
	return res, measureAbuse(ctx, s, rounds.Abuse, sample)
}

// measureCrowd takes what the next box costs among many idle ones, and how soon
// one of these answers.
func measureCrowd(ctx context.Context, s Subject, one string, rounds Rounds, timed func(string, func() error) error) error {
	for range rounds.Pairs {
		var id string
		if err := timed(figIdleNext, func() (err error) { id, err = s.Create(ctx, false); return err }); err != nil {
			return err
		}
		if err := s.Delete(ctx, id); err != nil {
			return err
		}
	}
	for range rounds.Exec {
		if err := timed(figIdleExec, func() error { return s.Exec(ctx, one, "true") }); err != nil {
			return err
		}
	}
	return nil
}

// measureToolbox takes what the toolbox costs each of some idle boxes.
func measureToolbox(ctx context.Context, s toolboxed, ids []string, res Result) error {
	size, err := s.ToolboxSize()
	if err != nil {
		return err
	}
	res[figProgram] = &Sample{Unit: unitBytes, Values: []float64{float64(size)}}
	resident := &Sample{Unit: unitBytes}
	res[figResident] = resident
	for i, id := range ids {
		if i%10 != 0 {
			continue
		}
		n, err := s.ToolboxMemory(ctx, id)
		if err != nil {
			return err
		}
		resident.Values = append(resident.Values, float64(n))
	}
	return nil
}

// createMany creates n boxes, at most width at a time.
func createMany(ctx context.Context, s Subject, n, width int, each, all *Sample) ([]string, error) {
	var mu sync.Mutex
	var ids []string
	var errs []error
	var group sync.WaitGroup
	slots := make(chan struct{}, width)
	start := time.Now()
	for range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			begin := time.Now()
			id, err := s.Create(ctx, true)
			took := time.Since(begin)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				each.Failed++
				errs = append(errs, err)
				return
			}
			ids = append(ids, id)
			each.add(took)
		})
	}
	group.Wait()
	all.add(time.Since(start))
	all.Failed = len(errs)
	return ids, errors.Join(errs...)
}

func deleteMany(ctx context.Context, s Subject, ids []string) error {
	var mu sync.Mutex
	var errs []error
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, id := range ids {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := s.Delete(ctx, id); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
