package interrupt_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/internal/interrupt"
)

// A signal that came before End is told by it, whenever it came; and one that comes
// after it ends the process.
func TestEnd(t *testing.T) {
	if os.Getenv("INTERRUPT_ENDS") != "" {
		ctx, _ := interrupt.Context(t.Context())
		if err := interrupt.End(ctx); err != nil {
			t.Fatal(err)
		}
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		select {}
	}
	for range 200 {
		ctx, stop := interrupt.Context(t.Context())
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		var e *interrupt.Error
		if err := interrupt.End(ctx); !errors.As(err, &e) || e.Signal != syscall.SIGTERM || context.Cause(ctx) != err {
			t.Fatalf("End tells %v", err)
		}
		if again := interrupt.End(ctx); again != error(e) {
			t.Fatalf("End tells %v the second time", again)
		}
		stop()
	}
	ctx, stop := interrupt.Context(t.Context())
	if err := interrupt.End(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("without a signal: %v, %v", err, ctx.Err())
	}
	if stop(); interrupt.End(ctx) != nil || ctx.Err() == nil {
		t.Errorf("after stop: %v", ctx.Err())
	}

	self := exec.Command(os.Args[0], "-test.run=TestEnd$")
	self.Env = append(os.Environ(), "INTERRUPT_ENDS=1")
	self.Run()
	if status := self.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("after End the process ends with %v", self.ProcessState)
	}
}
