// Package interrupt cancels a context at the first SIGINT or SIGTERM.
package interrupt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
)

// An Error is the cause of a context that was canceled by a signal.
type Error struct{ Signal syscall.Signal }

func (e *Error) Error() string { return fmt.Sprintf("stopped by the signal %v", e.Signal) }

// Is makes an Error match context.Canceled, so that the cause of a context also says
// that it was canceled.
func (e *Error) Is(target error) bool { return target == context.Canceled }

// Notify is [signal.Notify], but keeps ignoring signals that are ignored when the process
// starts: nohup does that with SIGHUP, and a shell with SIGINT in the background.
// signal.Notify would undo it.
func Notify(c chan<- os.Signal, signals ...os.Signal) {
	signals = slices.DeleteFunc(slices.Clone(signals), signal.Ignored)
	if len(signals) > 0 { // signal.Notify without signals means all
		signal.Notify(c, signals...)
	}
}

type watchKey struct{}

// A watch waits for the first signal.
type watch struct {
	signals chan os.Signal
	done    chan struct{} // closed once the watch has stopped
	end     func()
}

// Context returns a child of ctx that the first SIGINT or SIGTERM cancels, with an
// [*Error] as its cause. A second signal ends the process at once, as does the first
// one after stop. The caller must call stop to release what Context holds.
func Context(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watch{signals: make(chan os.Signal, 1), done: make(chan struct{})}
	Notify(w.signals, os.Interrupt, syscall.SIGTERM)
	w.end = sync.OnceFunc(func() {
		// Stop has returned before the channel is closed, so that nothing that was
		// delivered to it is lost.
		signal.Stop(w.signals)
		close(w.signals)
	})
	go func() {
		defer close(w.done)
		if sig, ok := <-w.signals; ok {
			cancel(&Error{sig.(syscall.Signal)})
			w.end()
		}
	}()
	return context.WithValue(ctx, watchKey{}, w), func() {
		w.end()
		<-w.done
		cancel(nil)
	}
}

// End stops waiting for signals: from then on a signal ends the process. It returns the
// [*Error] of a signal that came before, even at the last moment, and otherwise nil. It
// panics if ctx does not come from [Context].
func End(ctx context.Context) error {
	w := ctx.Value(watchKey{}).(*watch)
	w.end()
	<-w.done
	if e := (*Error)(nil); errors.As(context.Cause(ctx), &e) {
		return e
	}
	return nil
}
