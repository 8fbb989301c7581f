// Package interrupt turns the first interrupt or termination of a process into the
// end of a context.
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

// An Error is the cause of a context that a signal has ended.
type Error struct{ Signal syscall.Signal }

func (e *Error) Error() string { return fmt.Sprintf("stopped by the signal %v", e.Signal) }

// Is has what ends because of a signal tell, by its cause too, that it was canceled.
func (e *Error) Is(target error) bool { return target == context.Canceled }

// Notify is [signal.Notify], but leaves alone the signals that whoever started the process
// has it ignore, as nohup does with SIGHUP, and a shell with SIGINT in the background:
// signal.Notify would take that back.
func Notify(c chan<- os.Signal, signals ...os.Signal) {
	signals = slices.DeleteFunc(slices.Clone(signals), signal.Ignored)
	if len(signals) > 0 { // none would be all
		signal.Notify(c, signals...)
	}
}

type watchKey struct{}

// A watch waits for the first signal.
type watch struct {
	signals chan os.Signal
	done    chan struct{} // closed once no signal is waited for
	end     func()
}

// Context returns a child of the context that the first SIGINT or SIGTERM ends, with
// an [*Error] as its cause. A second signal ends the process at once, as does a first
// one after stop, which is to be called to release what Context holds.
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

// End stops waiting for signals: from here on one ends the process. It returns the
// [*Error] of the signal that came before, if one did, also where it has come this
// moment; else nil. It panics if the context is none of [Context].
func End(ctx context.Context) error {
	w := ctx.Value(watchKey{}).(*watch)
	w.end()
	<-w.done
	if e := (*Error)(nil); errors.As(context.Cause(ctx), &e) {
		return e
	}
	return nil
}
