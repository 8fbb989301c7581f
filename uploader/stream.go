package uploader

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A stream is a source that can be read only once, from beginning to end. Its jobs are
// pieces. The planner starts a piece when the one before it has been read: so one job
// reads at a time, while those before it are still being stored.
type stream struct {
	name string
	r    *bufio.Reader
	sha  hash.Hash // of everything that was read
}

func newStream(r io.Reader, name string) *stream {
	return &stream{name: name, r: bufio.NewReaderSize(r, 1<<20), sha: sha256.New()}
}

// takeStream makes the stream the only file of the new version.
func (p *planner) takeStream() error {
	then, err := p.before(p.stream.name)
	if err != nil {
		return err
	}
	e := &tree.Entry{Path: p.stream.name, Mode: 0o644, ModTime: time.Now()}
	it := &item{entry: e, then: then, gap: p.gap, settled: true}
	p.gap = false
	p.Files.Add(1)
	for more := true; more; {
		j := &job{items: []*item{it}, off: e.Size, piece: true, done: make(chan struct{}), read: make(chan struct{})}
		if err := p.start(j); err != nil {
			return err
		}
		select {
		case <-j.read:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		more = j.more
		e.Size += j.n
		if j.n > 0 || j.off == 0 {
			it.jobs = append(it.jobs, j)
		}
	}
	if e.Size == 0 && !p.AllowEmpty {
		return fmt.Errorf("%w: the stream was empty, as it is when its producer fails. No version was created; if it should be empty, use --allow-empty", ErrEmptied)
	}
	if p.Checksum {
		e.Sum = p.stream.sha.Sum(nil)
	}
	p.window = append(p.window, it)
	if err := p.passRest(); err != nil {
		return err
	}
	if n := p.Removed.Load(); n > 0 {
		p.Warn(fmt.Errorf("the stream replaces all files of version %d: %d of them are not in the new version", p.prev.Number, n))
	}
	return p.send()
}

// sendStream stores the next piece of the stream in the vault. Its errors are never
// limited to the file: without the stream there is nothing to upload.
func (u *upload) sendStream(ctx context.Context, j *job) error {
	if _, err := u.stream.r.Peek(1); err != nil && err != io.EOF {
		return fmt.Errorf("reading the stream: %w", err)
	} else if err == io.EOF && j.off > 0 {
		close(j.read) // the piece before it was the last
		return nil
	}
	sum, err := envelope.NewContentHash(u.key)
	if err != nil {
		return err
	}
	src := &countedFile{n: counted{&u.Bytes, &u.SentBytes}, sum: io.Writer(sum)}
	src.r = io.LimitReader(ctxio.Reader(ctx, u.stream.r), u.PackSize)
	if u.Checksum {
		src.sum = io.MultiWriter(sum, u.stream.sha)
	}
	fill := func(w io.Writer) (err error) {
		if j.n, err = io.Copy(w, src); err != nil {
			return err
		}
		j.more = j.n == u.PackSize
		close(j.read)
		return nil
	}
	pack, err := u.writeStream(ctx, j, fill)
	switch {
	case src.err != nil:
		return fmt.Errorf("reading the stream: %w", src.err)
	case err != nil:
		return fmt.Errorf("writing a pack: %w", err)
	}
	j.pack = &pack
	j.extent = tree.Extent{Pack: j.pack, Length: j.n, At: j.off, Sum: sum.Sum()}
	u.Packs.Add(1)
	u.SealedBytes.Add(pack.Pin.Size)
	return nil // and no record of it: nobody could continue from there
}

func (u *upload) writeStream(ctx context.Context, j *job, fill func(io.Writer) error) (tree.Object, error) {
	if !u.DryRun {
		return objects.Of(u.dataset).WritePack(ctx, u.key, fill, envelope.Workers(u.segments))
	}
	if err := fill(io.Discard); err != nil {
		return tree.Object{}, err
	}
	return objects.Of(u.dataset).PlanPack(ctx, u.key, j.n)
}

// counted adds to several counters at once.
type counted []*atomic.Int64

func (c counted) Add(n int64) (sum int64) {
	for _, counter := range c {
		sum = counter.Add(n)
	}
	return sum
}
