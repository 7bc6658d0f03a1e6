//go:build root

package local_test

const victimDir = "RUNNER_RTEST_VICTIM"

func victim(string) int { return 1 }
