package image

import (
	"context"
	"errors"
	"slices"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Excess names the images that go so that what a runner holds takes at most
// budget bytes: of spare ones, in their order, as many as are needed. A layer
// counts once. An image of which others that stay have every layer would free
// nothing, and stays.
func Excess(held []runnerapi.Snapshot, spare []string, budget int64) []string {
	images := map[string][]runnerapi.Layer{}
	users := map[string]int{}   // of a layer
	pinned := map[string]bool{} // layers of images that stay
	var total int64
	for _, h := range held {
		images[h.Name] = h.Layers
		for _, l := range h.Layers {
			if users[l.ID]++; users[l.ID] == 1 {
				total += l.SizeBytes
			}
			if !slices.Contains(spare, h.Name) {
				pinned[l.ID] = true
			}
		}
	}
	var out []string
	for _, name := range spare {
		layers := images[name]
		if total <= budget || !slices.ContainsFunc(layers, func(l runnerapi.Layer) bool { return !pinned[l.ID] && l.SizeBytes > 0 }) {
			continue
		}
		for _, l := range layers {
			if users[l.ID]--; users[l.ID] == 0 {
				total -= l.SizeBytes
			}
		}
		out = append(out, name)
	}
	return out
}

// fit removes the rows of images that nobody needs where a runner holds more
// than the budget, also from known; sweep then removes the images.
func (s *Service) fit(ctx context.Context, v View, known map[string]bool) error {
	if s.c.Budget <= 0 {
		return nil
	}
	var over []string // runners
	for id, list := range v.held {
		if size(list) > s.c.Budget {
			over = append(over, id)
		}
	}
	if len(over) == 0 {
		return nil
	}
	now := s.now()
	spare, err := s.c.Store.SpareImages(ctx, now)
	errs := []error{err}
	byName := map[string]Image{}
	var names []string
	for _, i := range spare {
		if i.State == Ready {
			byName[i.Name] = i
			names = append(names, i.Name)
		}
	}
	for _, id := range over {
		var held []runnerapi.Snapshot
		for name, sn := range v.held[id] {
			if known[name] || !Ours(name) {
				held = append(held, sn)
			}
		}
		for _, name := range Excess(held, names, s.c.Budget) {
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
			err := s.c.Store.DeleteImage(ctx, byName[name], now)
			if err == nil {
				delete(known, name)
				s.c.Log.Info("image goes: the images on a runner take more than their budget", "image", name, "org_id", byName[name].OrgID, "runner_id", id)
			} else if !fault.Is(err, fault.Conflict) { // else it is needed again
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// size is what images take together.
func size(list map[string]runnerapi.Snapshot) (bytes int64) {
	seen := map[string]bool{}
	for _, sn := range list {
		for _, l := range sn.Layers {
			if !seen[l.ID] {
				seen[l.ID] = true
				bytes += l.SizeBytes
			}
		}
	}
	return bytes
}
