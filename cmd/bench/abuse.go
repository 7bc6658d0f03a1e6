package main

import (
	"context"
	"fmt"
	"time"
)

// attacks are what a sandbox may do to its neighbours' cost. Each ends by itself,
// at its bound, or after the seconds that attackFor gives it.
var attacks = []struct{ name, command string }{
	{"nothing", ""},
	{"a fork bomb", "python3 -c \"import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\""},
	{"a memory hog", "python3 -c \"a=[]\nwhile True: a.append(b'x'*(16<<20))\""},
	{"a disk filler", "dd if=/dev/zero of=/tmp/fill bs=1M"},
	{"an inode bomb", "python3 -c \"import os\nos.mkdir('/tmp/i')\ni=0\nwhile True: open('/tmp/i/%d'%i,'w').close(); i+=1\""},
	{"open files without end", "python3 -c \"l=[]\nwhile True: l.append(open('/etc/passwd'))\""},
	{"connections without end", "python3 -c \"import socket\nl=[]\nfor i in range(10**9):\n  s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect(('11.98.%d.%d'%(i//250%250,i%250+1),80)); s.send(b'x'); l.append(s)\n  if i%100==99: l.clear()\""},
	{"a log flood", "yes 0123456789012345678901234567890123456789"},
}

const attackFor = 10 * time.Second

// figBeside is how long exec true takes beside a sandbox that does something.
func figBeside(name string) string { return "exec true beside " + name }

// measureAbuse takes a neighbour's exec while another sandbox takes all it can
// get. The offender's own failure is what is expected.
func measureAbuse(ctx context.Context, s Subject, rounds int, sample func(string) *Sample) error {
	for _, a := range attacks {
		if err := besideOne(ctx, s, a.command, rounds, sample(figBeside(a.name))); err != nil {
			return fmt.Errorf("%s: %w", figBeside(a.name), err)
		}
	}
	return nil
}

func besideOne(ctx context.Context, s Subject, command string, rounds int, to *Sample) error {
	neighbour, err := s.Create(ctx, true)
	if err != nil {
		return err
	}
	defer func() { _ = s.Delete(context.WithoutCancel(ctx), neighbour) }() // the next would fail if it stayed
	offender, err := s.Create(ctx, true)
	if err != nil {
		return err
	}
	defer func() { _ = s.Delete(context.WithoutCancel(ctx), offender) }()
	for range 3 { // not counted
		if err := s.Exec(ctx, neighbour, "true"); err != nil {
			return err
		}
	}
	attack, stop := context.WithTimeout(ctx, attackFor)
	defer stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		if command == "" {
			<-attack.Done()
			return
		}
		_ = s.Exec(attack, offender, "timeout 15 "+command) // it fails by its bound
	}()
	for range rounds {
		select {
		case <-over:
			return nil
		default:
		}
		start := time.Now()
		if err := s.Exec(ctx, neighbour, "true"); err != nil {
			to.Failed++
			continue
		}
		to.add(time.Since(start))
	}
	stop()
	<-over
	return nil
}
