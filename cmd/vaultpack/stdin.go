package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/term"
)

// An input is a stream whose reads end as soon as the context does, even if its producer
// neither writes nor ends: a read of a pipe cannot be interrupted.
type input struct {
	ctx    context.Context
	chunks chan chunk
	free   chan []byte
	last   chunk
	used   int
}

type chunk struct {
	b   []byte
	err error
}

// newInput reads r in a separate goroutine, which may outlive the context by one read.
func newInput(ctx context.Context, r io.Reader) *input {
	in := &input{ctx: ctx, chunks: make(chan chunk), free: make(chan []byte, 2)}
	for range cap(in.free) {
		in.free <- make([]byte, 256<<10)
	}
	go func() {
		for {
			var buf []byte
			select {
			case buf = <-in.free:
			case <-ctx.Done():
				return
			}
			n, err := r.Read(buf[:cap(buf)])
			select {
			case in.chunks <- chunk{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return in
}

func (in *input) Read(p []byte) (int, error) {
	for in.used == len(in.last.b) {
		if err := in.ctx.Err(); err != nil {
			return 0, err
		}
		if in.last.err != nil {
			return 0, in.last.err
		}
		if in.last.b != nil {
			in.free <- in.last.b
		}
		in.last, in.used = chunk{}, 0
		select {
		case in.last = <-in.chunks:
		case <-in.ctx.Done():
			return 0, in.ctx.Err()
		}
	}
	n := copy(p, in.last.b[in.used:])
	in.used += n
	return n, nil
}

// A producer is a command whose standard output is uploaded. The stream is complete only
// if the command exits with 0.
type producer struct {
	cmd *exec.Cmd
	out *input
	end error
}

// startProducer starts a command. Its standard input and error are those of this program.
// When the context ends, it gets SIGTERM, and SIGKILL after 5 seconds.
func (c *console) startProducer(ctx context.Context, args []string) (*producer, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stderr, cmd.WaitDelay = c.stdin, c.stderr, 5*time.Second
	if !term.IsTerminal(int(c.stdin.Fd())) {
		// Processes that the command started end with it. On a terminal, the process
		// group must remain the foreground group, which may read from it.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	cmd.Cancel = func() error { return signalProducer(cmd, syscall.SIGTERM) }
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("--from-command: %w", err)
	}
	return &producer{cmd: cmd, out: newInput(ctx, r)}, nil
}

func signalProducer(cmd *exec.Cmd, sig syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		return cmd.Process.Signal(sig)
	}
	err := syscall.Kill(-cmd.Process.Pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func (p *producer) Read(b []byte) (int, error) {
	if p.end != nil {
		return 0, p.end
	}
	n, err := p.out.Read(b)
	if err == io.EOF {
		if werr := p.cmd.Wait(); werr != nil {
			err = fmt.Errorf("the command %q failed, so no version was created: %w", p.cmd.Args[0], werr)
		}
		p.end = err
	}
	return n, err
}

// stop ends the command if it is still running.
func (p *producer) stop() {
	if p.end != nil {
		return
	}
	p.end = context.Canceled
	signalProducer(p.cmd, syscall.SIGTERM)
	timer := time.AfterFunc(p.cmd.WaitDelay, func() { signalProducer(p.cmd, syscall.SIGKILL) })
	defer timer.Stop()
	p.cmd.Wait()
}
