//go:build !linux || (!amd64 && !arm64)

package reaper

// filterSignals is not written for this architecture.
func filterSignals() bool { return false }

func askedFromOutside() bool { return true }
