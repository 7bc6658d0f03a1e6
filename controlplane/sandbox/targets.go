package sandbox

import (
	"sync"
	"time"
)

const (
	targetTTL  = 2 * time.Second // how long another server's change may go unseen
	targetSize = 10_000
)

// targets remembers look-ups for ToolboxTarget.
type targets struct {
	mu    sync.Mutex
	byKey map[targetKey]target
	keys  map[string][]targetKey // by sandbox id
	epoch uint64                 // counts drops: a look-up begun before one is not kept
}

type targetKey struct{ orgID, idOrName string }

type target struct {
	sb    Sandbox
	until time.Time
}

func newTargets() *targets {
	return &targets{byKey: map[targetKey]target{}, keys: map[string][]targetKey{}}
}

func (t *targets) get(orgID, idOrName string, now time.Time) (Sandbox, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.byKey[targetKey{orgID, idOrName}]
	return e.sb, ok && now.Before(e.until)
}

func (t *targets) begin() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch
}

func (t *targets) put(orgID, idOrName string, sb Sandbox, now time.Time, epoch uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch != epoch {
		return
	}
	if len(t.byKey) >= targetSize {
		clear(t.byKey)
		clear(t.keys)
	}
	k := targetKey{orgID, idOrName}
	if _, ok := t.byKey[k]; !ok {
		t.keys[sb.ID] = append(t.keys[sb.ID], k)
	}
	t.byKey[k] = target{sb: sb, until: now.Add(targetTTL)}
}

func (t *targets) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch++
	for _, k := range t.keys[id] {
		delete(t.byKey, k)
	}
	delete(t.keys, id)
}
