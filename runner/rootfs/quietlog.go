package rootfs

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// quietLog makes containerd's libraries log to l instead of standard error.
func quietLog(ctx context.Context, l *slog.Logger) context.Context {
	lr := logrus.New()
	lr.SetOutput(io.Discard)
	lr.SetLevel(logrus.WarnLevel)
	lr.AddHook(slogHook{l})
	return log.WithLogger(ctx, logrus.NewEntry(lr))
}

// quietDefault silences the logger that containerd's libraries fall back to
// where they have no context: it belongs to the process, not to a store, and
// writes to standard error.
var quietDefault = sync.OnceFunc(func() { log.L.Logger.SetOutput(io.Discard) })

type slogHook struct{ log *slog.Logger }

func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h slogHook) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	if e.Level <= logrus.ErrorLevel { // warnings are about clean-up that we do ourselves
		level = slog.LevelWarn
	}
	args := make([]any, 0, 2*len(e.Data))
	for k, v := range e.Data {
		args = append(args, k, v)
	}
	h.log.Log(e.Context, level, e.Message, args...)
	return nil
}
