package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"daytona/internal/fault"
)

// Log writes what making an image printed, from its first byte. With follow it
// goes on until the image is made or has failed, and tells while the image
// waits for its turn. runner is asked first if it is not "". An image that
// nothing was recorded of, or that is unknown, has an empty log.
func (s *Service) Log(ctx context.Context, name, runner string, follow bool, w io.Writer) error {
	waiting := 0
	for {
		changed := s.next()
		i, err := s.c.Store.Image(ctx, name)
		if fault.Is(err, fault.NotFound) {
			i, err = Image{Name: name, State: Failed}, nil
		}
		if err != nil {
			return err
		}
		switch found, err := s.copyLog(ctx, i, runner, follow, w); {
		case err != nil:
			return err
		case found || !follow || i.State.Settled():
			return nil
		}
		if i.Waiting != waiting && i.Waiting > 0 {
			if _, err := fmt.Fprintf(w, "Waiting for its turn: %d before this one\n", i.Waiting); err != nil {
				return err
			}
		}
		waiting = i.Waiting
		select {
		case <-changed:
		case <-time.After(time.Second): // another server may do the comparing
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// copyLog copies the log of the first runner that has one.
func (s *Service) copyLog(ctx context.Context, i Image, runner string, follow bool, w io.Writer) (found bool, err error) {
	asked := ""
	for _, id := range []string{runner, i.RunnerID} {
		if id == "" || id == asked {
			continue
		}
		asked = id
		m, err := s.c.Fleet.Member(id)
		if err != nil {
			continue
		}
		r, err := m.Runner.ImageLog(ctx, i.Name, follow)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		_, err = io.Copy(w, r)
		return true, errors.Join(err, r.Close())
	}
	return false, nil
}

// next is closed after the next comparison.
func (s *Service) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Service) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}
