package runner_test

const victimDir = "RUNNER_TEST_VICTIM"

func victim(string) int { return 1 }
