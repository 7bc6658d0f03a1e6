package session

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"daytona/toolbox/launch"
)

// Bounds of commands.
const (
	maxCommand   = 32 << 20 // bytes of one command's text
	shownText    = 4 << 10  // bytes of a text that a list shows
	keptCommands = 1000     // of one session
)

// command is one command of a session.
type command struct {
	id    string
	text  string // shortened
	whole string // its text, if that is longer and not on disk
	dir   string // name of its session's directory
	store *store
	log   *slog.Logger
	held  bool // its input stays open
	echo  bool // what it is sent is shown in its log
	out   *output
	disk  bool // its log is on disk

	done chan struct{} // closed when it is over

	witness launch.Witness // set when it is started

	mu      sync.Mutex     // guards what follows
	end     *launch.Ending // nil until it is over
	outlets []*outlet      // those that processes still have open, once it is over
	inlet   *inlet
	script  string // path of its text
	temp    string // the same, if it is not on disk
	order   string // path of what the shell was told to do
	byShell bool   // it is over because its shell is
}

// ids makes the ids of commands: their order is that of the commands.
type ids struct{ last atomic.Uint64 }

// next returns a UUID of version 7, whose 12 free bits count within a millisecond.
func (i *ids) next() string {
	for {
		last := i.last.Load()
		now := max(uint64(time.Now().UnixMilli())<<12, last+1)
		if i.last.CompareAndSwap(last, now) {
			var random [8]byte
			_, _ = rand.Read(random[:]) // never fails
			return fmt.Sprintf("%08x-%04x-7%03x-%02x%02x-%x", now>>28, now>>12&0xffff, now&0xfff,
				random[0]&0x3f|0x80, random[1], random[2:])
		}
	}
}

// isID reports whether a text could be the id of a command.
func isID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
		if dash != (c == '-') || !dash && !hex {
			return false
		}
	}
	return true
}

// shorten cuts a text off for lists.
func shorten(text string) string {
	if len(text) < shownText {
		return text
	}
	return text[:shownText-1] + "…"
}

// newCommand stores a command. A full disk does not keep it from being run:
// where there is no room for files, the text is put beside the pipes.
func (s *session) newCommand(text string, held, echo bool) (*command, error) {
	c := &command{
		id: s.ids.next(), text: shorten(text), dir: s.dir, store: s.store, log: s.log, held: held, echo: echo,
		out: &output{}, done: make(chan struct{}),
	}
	script, data, index, err := s.store.create(s.dir, c.id, text+"\n")
	if err == nil {
		c.script, c.disk = script, true
		c.out.data, c.out.index = data, index
		return c, nil
	}
	if !isFull(err) {
		return nil, fmt.Errorf("store command: %w", storeFault(err))
	}
	c.out.full, c.whole = reason(err), text
	return c, nil
}

// ending returns how the command has ended, or nil.
func (c *command) ending() *launch.Ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// finish says how the command has ended, once, and lets go of its pipes.
func (c *command) finish(e launch.Ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return
	}
	var open []*outlet
	if len(c.outlets) > 0 {
		// Both pipes in their order, before what is left of each.
		c.outlets[0].pump.poller.turn()
	}
	for _, o := range c.outlets {
		if !o.release() {
			open = append(open, o)
		}
	}
	c.outlets = open
	if c.inlet != nil {
		c.inlet.release()
	}
	for _, path := range []string{c.temp, c.order} {
		if path != "" {
			_ = os.Remove(path)
		}
	}
	if c.disk {
		if err := c.store.writeEnd(c.dir, c.id, e); err != nil {
			c.log.Warn("exit code not stored", "command", c.id, "err", err)
		}
	}
	c.end = &e
	c.out.finish()
	close(c.done)
}

// finishByShell does so for a command whose shell has ended.
func (c *command) finishByShell(e launch.Ending) {
	c.mu.Lock()
	c.byShell = c.end == nil
	c.mu.Unlock()
	c.finish(e)
}

// abandon stops reading what processes print that outlive the session.
func (c *command) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.outlets {
		o.pump.stop()
	}
	c.outlets = nil
}

// read opens the log.
func (c *command) read() (*reader, error) {
	if !c.disk {
		return emptyReader(), nil
	}
	return c.store.read(c.dir, c.id)
}

// fullText returns the whole text.
func (c *command) fullText() string {
	switch {
	case c.whole != "":
		return c.whole
	case len(c.text) < shownText:
		return c.text
	}
	if text, err := c.store.text(c.dir, c.id); err == nil {
		return text
	}
	return c.text // somebody has removed the file
}
