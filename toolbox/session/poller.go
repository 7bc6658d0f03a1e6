package session

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller waits for all pipes at once. It takes them in the order in which they
// had something to read, so that the two streams of a command keep their order
// even if it has written to both before anybody looked.
type poller struct {
	mu    sync.Mutex // guards what follows
	file  *os.File   // the kernel's queue; nil until the first pipe comes
	fd    int
	last  uint64
	pumps map[uint64]*pump

	busy   sync.Mutex // guards what follows
	events [64]unix.EpollEvent
	ready  []*pump // that had more than one piece
	round  []*pump // of the present turn
}

// add begins to wait for a pipe.
func (q *poller) add(p *pump) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.file == nil {
		if err := q.openLocked(); err != nil {
			return err
		}
	}
	q.last++
	p.id = q.last
	q.pumps[p.id] = p
	// At edges, since the queue is in order of readiness for those alone that
	// are not in it already.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(p.id), Pad: int32(p.id >> 32)}
	if err := unix.EpollCtl(q.fd, unix.EPOLL_CTL_ADD, p.fd, &event); err != nil {
		delete(q.pumps, p.id)
		return fmt.Errorf("wait for pipe: %w", err)
	}
	return nil
}

func (q *poller) openLocked() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("wait for pipes: %w", err)
	}
	// The runtime waits for the queue as for any other file, so that no
	// thread does.
	if err := unix.SetNonblock(fd, true); err != nil {
		return errors.Join(fmt.Errorf("wait for pipes: %w", err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "pipes")
	conn, err := file.SyscallConn()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	q.file, q.fd, q.pumps = file, fd, map[uint64]*pump{}
	go q.loop(conn)
	return nil
}

// remove forgets a pipe, which its pump closes.
func (q *poller) remove(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.pumps, id)
}

func (q *poller) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.file != nil {
		_ = q.file.Close() // ends the loop
		q.file = nil
	}
}

// loop takes turns for ever.
func (q *poller) loop(conn syscall.RawConn) {
	for {
		// It fails once the queue is closed.
		if err := conn.Read(func(fd uintptr) bool { return q.turn() }); err != nil {
			return
		}
	}
}

// turn moves what there is, a piece of each pipe that has something, in the
// order in which they had. It reports whether there was any.
func (q *poller) turn() bool {
	q.busy.Lock()
	defer q.busy.Unlock()
	round := q.gather()
	q.ready = q.ready[:0]
	for _, p := range round {
		// Who has more comes after those that are new.
		if n, more := p.move(); n > 0 && more {
			q.ready = append(q.ready, p)
		}
	}
	clear(round)
	return len(round) > 0
}

// gather returns the pumps whose pipes have got something, and behind them those
// that are ready since before, which have had a turn.
func (q *poller) gather() []*pump {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for q.file != nil {
		var err error
		if n, err = unix.EpollWait(q.fd, q.events[:], 0); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	round := q.round[:0]
	for _, e := range q.events[:max(n, 0)] {
		if p := q.pumps[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32]; p != nil {
			round = append(round, p)
		}
	}
	q.round = append(round, q.ready...)
	return q.round
}
