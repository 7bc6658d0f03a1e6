package runner

// Expected says which ids should have a container and a network, which a root,
// and which a record. It is for tests that look at the world from outside.
func (r *Runner) Expected() (live, rooted, known []string) {
	for _, sb := range r.all() {
		rec := sb.record()
		known = append(known, sb.id)
		if rec.Phase == phaseRunning {
			live = append(live, sb.id)
		}
		if rec.Phase != phaseFailed {
			rooted = append(rooted, sb.id)
		}
	}
	return live, rooted, known
}
