package main

import (
	"fmt"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// A meter reads the counters of running work. total is 0 while it is unknown.
type meter func() (done, total, files, errors int64)

// track shows a meter until the function that it returns is called: as a bar on a
// terminal, as events with --json, and otherwise as occasional lines.
func (c *console) track(what string, read meter) (stop func()) {
	began := time.Now()
	quit, ended := make(chan struct{}), make(chan struct{})
	every := 10 * time.Second
	show := func() {
		done, total, files, errors := read()
		of := ""
		if total > 0 {
			of = " of " + size(total)
		}
		c.notef("%s: %s%s, %s, %s/s, %s", what, size(done), of, count(files, "file"), size(rate(done, began)), count(errors, "error"))
	}
	finish := func() {}
	switch {
	case c.json:
		every = time.Second
		show = func() {
			done, total, files, errors := read()
			c.emit("progress", event{"bytes": done, "total_bytes": total, "files": files, "errors": errors, "bytes_per_second": rate(done, began)})
		}
	case c.quiet:
		return func() {}
	case c.terminal:
		every = 100 * time.Millisecond
		show, finish = c.bar(what, read)
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
		finish()
	}
}

func rate(n int64, since time.Time) int64 {
	return int64(float64(n) / max(time.Since(since).Seconds(), 1e-3))
}

// bar draws a bar below other output to standard error.
func (c *console) bar(what string, read meter) (show, finish func()) {
	p := mpb.New(mpb.WithOutput(c.err), mpb.WithWidth(100))
	narrow := false
	if w, _, err := term.GetSize(int(c.stderr.Fd())); err == nil && w < 80 {
		narrow = true // no room for the rate, the time and the bar
	}
	tail := decor.Any(func(decor.Statistics) string {
		_, _, files, errors := read()
		s := "  " + count(files, "file")
		if errors > 0 {
			s += ", " + count(errors, "error")
		}
		return s
	})
	style := mpb.BarStyle().Rbound("]").Lbound("[")
	before, after := []decor.Decorator{decor.Name(what + " "), decor.CountersKibiByte("% .1f / % .1f")},
		[]decor.Decorator{decor.Percentage(), decor.AverageSpeed(decor.SizeB1024(0), "  % .1f"), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace), tail}
	builder := mpb.BarFillerBuilder(style)
	if narrow {
		builder, before, after = mpb.NopStyle(), before[:1], []decor.Decorator{decor.CurrentKibiByte("% .1f "), decor.Percentage(), tail}
	}
	bar := p.New(0, builder, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(before...), mpb.AppendDecorators(after...))
	c.mu.Lock()
	plain := c.err
	c.err = p
	c.mu.Unlock()
	show = func() {
		done, total, _, _ := read()
		bar.SetTotal(max(total, done)+1, false) // one more: a full bar would mean finished, which is reported elsewhere
		bar.SetCurrent(done)
	}
	return show, func() {
		c.mu.Lock()
		c.err = plain
		c.mu.Unlock()
		bar.Abort(true)
		p.Wait()
	}
}

// took formats a duration for people.
func took(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
