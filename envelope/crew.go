package envelope

import (
	"runtime"
	"sync"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// An Option changes how a stream is processed, never its contents.
type Option func(*options)

type options struct {
	workers int
	memory  int64
}

// Workers sets how many segments of one stream are sealed or opened at once.
// The default is GOMAXPROCS. With one worker, all work is done in the caller's
// goroutine, and one segment is in memory at a time. Values over 1024 mean
// 1024.
func Workers(n int) Option { return func(o *options) { o.workers = max(n, 1) } }

// Memory bounds the segment buffers of one stream, in bytes. The default is 128
// MiB. Each worker takes 4 MiB, so a machine with fewer than 32 cores does not
// reach it. The minimum is the buffers of one segment, 2 MiB. If n is too small
// for all workers, fewer run.
func Memory(n int64) Option { return func(o *options) { o.memory = max(n, 0) } }

const (
	defaultMemory = 128 << 20
	// segmentMemory is what a segment in flight takes at most: its plaintext and
	// its sealed form.
	segmentMemory = 2 << 20
	// maxWorkers keeps what is computed from their number within 32 bits.
	maxWorkers = 1024
)

func defaults() options { return options{workers: runtime.GOMAXPROCS(0), memory: defaultMemory} }

func (o *options) apply(opts []Option) error {
	for _, f := range opts {
		if f == nil {
			return errNilOption
		}
		f(o)
	}
	return nil
}

// limits are how many segments may be computed at once, and how many may be in
// flight: computed, waiting for that, or waiting to be written in their turn. As
// many again as there are workers keep those busy while the oldest is written.
// One more is being filled, or returned, by the caller.
func (o options) limits() (workers, depth int) {
	room := int(min(max(o.memory/segmentMemory-1, 1), 2*maxWorkers))
	workers = min(o.workers, room, maxWorkers)
	if workers == 1 {
		return 1, 1 // which is not in flight while the next is filled
	}
	return workers, min(2*workers, room)
}

// A job is one segment on its way: sealed into or opened from its buffers.
type job struct {
	number uint64
	plain  []byte // in a buffer of the job, or in the caller's memory
	sealed []byte // likewise
	err    error
	thrown *thrown // a panic, for the caller
	ended  bool
	done   chan struct{} // closed once a helper has ended the job; nil where none has begun it

	// Where the job reads its input by itself; see source.go.
	from source
	off  int64
	size int64                        // of the sealed segment
	head [cobblestone.HeaderSize]byte // of the sealed segment

	placed              bool // the result lies where a sink has its place
	plainBuf, sealedBuf *[]byte
}

var (
	plainPool  = sync.Pool{New: func() any { b := make([]byte, SegmentSize); return &b }}
	sealedPool = sync.Pool{New: func() any { b := make([]byte, sealedSegment); return &b }}
	jobPool    = sync.Pool{New: func() any { return new(job) }}
)

func newJob() *job {
	return jobPool.Get().(*job)
}

// ownPlain gives the job a plaintext buffer of its own.
func (j *job) ownPlain() []byte {
	j.plainBuf = plainPool.Get().(*[]byte)
	return *j.plainBuf
}

// ownSealed gives the job a buffer of its own for a sealed segment.
func (j *job) ownSealed() []byte {
	j.sealedBuf = sealedPool.Get().(*[]byte)
	return *j.sealedBuf
}

// release returns the buffers to their pools.
func (j *job) release() {
	if j.plainBuf != nil {
		plainPool.Put(j.plainBuf)
	}
	if j.sealedBuf != nil {
		sealedPool.Put(j.sealedBuf)
	}
	*j = job{}
	jobPool.Put(j)
}

// A crew computes the jobs of one stream: helpers beside the caller, and the
// caller itself where it would else wait. Helpers compute and end; they never
// block, so abandoning a Writer or a Reader leaks nothing. One goroutine per
// segment, or a caller that only waits, costs a wake-up of some 50 µs for every
// few hundred that a segment takes.
type crew struct {
	run     func(*job) error
	workers int // with the caller
	depth   int // of the flight; both are written by the caller only

	mu      sync.Mutex
	queue   []*job  // not yet begun, oldest first
	room    [2]*job // the queue's at first
	helpers int     // running now
}

// limit changes the limits of what is started from now on.
func (c *crew) limit(o options) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers, c.depth = o.limits()
}

// add hands over a job that can wait until the caller waits for one.
func (c *crew) add(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, j)
}

// start hands over a job to be begun at once.
func (c *crew) start(j *job) {
	c.mu.Lock()
	c.queue = append(c.queue, j)
	help := c.helpers < c.workers-1
	if help {
		c.helpers++
	}
	c.mu.Unlock()
	if help {
		go c.help()
	}
}

func (c *crew) help() {
	ended := false
	defer func() {
		if !ended { // by runtime.Goexit: the caller computes what is left
			c.mu.Lock()
			c.helpers--
			c.mu.Unlock()
		}
	}()
	for {
		c.mu.Lock()
		j := c.take()
		if j == nil {
			c.helpers--
			ended = true
			c.mu.Unlock()
			return
		}
		done := make(chan struct{})
		j.done = done
		c.mu.Unlock()
		func() {
			defer close(done)
			c.compute(j)
		}()
	}
}

// take is the oldest job that nobody has begun, or nil. c.mu is held.
func (c *crew) take() *job {
	if len(c.queue) == 0 {
		return nil
	}
	j := c.queue[0]
	n := copy(c.queue, c.queue[1:])
	c.queue[n] = nil
	c.queue = c.queue[:n]
	return j
}

// compute runs the job, which may call a source of the caller's. A panic in it
// waits for the caller in j.thrown.
func (c *crew) compute(j *job) {
	defer func() { j.ended = true }()
	j.thrown = catch(&j.err, func() error { return c.run(j) })
}

// closed reports whether done is, without waiting.
func closed(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// wait returns when j is done, and computes others meanwhile. A j that threw has
// an error too.
func (c *crew) wait(j *job) error {
	for {
		c.mu.Lock()
		done := j.done
		if done == nil && j.ended || closed(done) { // ended is the helper's while there is one
			c.mu.Unlock()
			return j.err
		}
		other := c.take()
		c.mu.Unlock()
		if other == nil {
			<-done
			return j.err
		}
		c.compute(other)
	}
}
