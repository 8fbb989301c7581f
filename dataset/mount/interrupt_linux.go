//go:build !386 && !arm

package mount

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// dyingEvery is how often the reader of an interrupted request is looked at.
const dyingEvery = 50 * time.Millisecond

// until returns a context that ends when the reader dies whose request was interrupted. Any
// signal interrupts a request, and programs do not expect that a signal makes the read of a
// file fail: the runtime of Go sends itself some all the time. So the request goes on, but
// for a reader that is being killed: it cannot end before it has its answer.
func until(ctx context.Context, interrupted <-chan struct{}, reader uint32) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancel(ctx)
	go func() {
		select {
		case <-interrupted:
		case <-ctx.Done():
			return
		}
		for !isDying(reader) {
			select {
			case <-time.After(dyingEvery):
			case <-ctx.Done():
				return
			}
		}
		end()
	}()
	return ctx, end
}

// isDying reports whether a thread has ended or was killed. One that nothing is known of,
// such as one in another container, is taken for dying.
func isDying(thread uint32) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return true
	}
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":\t"))
		switch string(name) {
		case "State":
			if bytes.ContainsAny(value[:min(1, len(value))], "ZX") {
				return true
			}
		case "SigPnd", "ShdPnd":
			// A signal that ends a process comes to its threads as SIGKILL.
			pending, err := strconv.ParseUint(string(value), 16, 64)
			if err != nil || pending&(1<<(syscall.SIGKILL-1)) != 0 {
				return true
			}
		}
	}
	return false
}
