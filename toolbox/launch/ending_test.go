package launch

import "testing"

func TestEnding(t *testing.T) {
	space := &Space{}
	w := space.Watch()
	for code, want := range map[int]Ending{
		0:   {0, CauseExit, ""},
		3:   {3, CauseExit, ""},
		-1:  {-1, CauseExit, ""},
		128: {128, CauseExit, ""},
		137: {137, CauseSignal, "SIGKILL"},
		143: {143, CauseSignal, "SIGTERM"},
		164: {164, CauseSignal, "SIGRTMIN+2"},
		255: {255, CauseExit, ""},
	} {
		if got := w.Ending(code); got != want {
			t.Errorf("%d: %+v, want %+v", code, got, want)
		}
	}
	w.kills = -1 // as if the kernel had ended one since
	if got := w.Ending(137); got.Cause != CauseMemory {
		t.Errorf("out of memory: %+v", got)
	}
	if got := w.Ending(143); got.Cause != CauseSignal {
		t.Errorf("terminated: %+v", got)
	}
	space.Stop()
	if got := w.Ending(143); got.Cause != CauseStopped {
		t.Errorf("stopping: %+v", got)
	}
	if got := w.Ending(3); got.Cause != CauseExit {
		t.Errorf("exit while stopping: %+v", got)
	}
}

func TestCounter(t *testing.T) {
	content := []byte("low 0\noom 3\noom_kill 2\nbad x\n")
	if n, ok := counter(content, "oom_kill"); n != 2 || !ok {
		t.Errorf("%d %v", n, ok)
	}
	for _, name := range []string{"none", "bad", ""} {
		if _, ok := counter(content, name); ok {
			t.Errorf("%q was found", name)
		}
	}
}
