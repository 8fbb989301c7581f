package uploader

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// RunStream uploads what r has, of unknown length, as the dataset's one file,
// under the given name. A stream cannot be read again, so an interrupted upload
// of one begins anew. Its packs are written one after another.
func (u *Upload) RunStream(ctx context.Context, r io.Reader, name string) (*Result, error) {
	if err := dataset.CheckPath(name); err != nil {
		return nil, err
	}
	defer u.giveBack()
	defer u.end(ctx)
	if err := u.open(ctx); err != nil {
		return nil, err
	}
	res, err := u.stream(u.lease.Context(), r, name)
	if cause := context.Cause(u.lease.Context()); errors.Is(err, context.Canceled) && cause != nil {
		err = cause
	}
	return res, err
}

func (u *Upload) stream(ctx context.Context, r io.Reader, name string) (*Result, error) {
	e := &dataset.Entry{Path: name, Mode: 0o644, ModTime: time.Now()}
	u.Files.Add(1)
	whole := sha256.New()
	if u.Checksum {
		r = io.TeeReader(r, whole)
	}
	sum, err := envelope.NewContentHash(u.key)
	if err != nil {
		return nil, err
	}
	src, workers := bufio.NewReaderSize(r, 1<<20), u.streamWorkers()
	for {
		piece := &countedFile{r: io.LimitReader(src, u.PackSize), n: &u.SentBytes, sum: sum}
		n := int64(0)
		fill := func(w io.Writer) (err error) {
			n, err = io.Copy(w, piece)
			return err
		}
		var pack dataset.Object
		var err error
		if u.DryRun {
			if err = fill(io.Discard); err == nil {
				pack, err = u.Dataset.PlanPack(ctx, u.key, n)
			}
		} else {
			pack, err = u.Dataset.WritePack(ctx, u.key, fill, envelope.Workers(workers))
		}
		if piece.err != nil {
			return nil, fmt.Errorf("reading the stream: %w", piece.err)
		}
		if err != nil {
			return nil, fmt.Errorf("writing a pack: %w", err)
		}
		e.Extents = append(e.Extents, dataset.Extent{Pack: &pack, Length: n, At: e.Size, Sum: sum.Sum()})
		e.Size += n
		u.Packs.Add(1)
		u.Bytes.Add(n)
		u.SealedBytes.Add(pack.Pin.Size)
		if _, err := src.Peek(1); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading the stream: %w", err)
		}
	}
	u.SentFiles.Add(1)
	if u.Checksum {
		e.Sum = whole.Sum(nil)
	}
	if err := u.checkStream(ctx, e); err != nil {
		return nil, err
	}
	index := u.Dataset.NewIndexWriter(u.key, u.prev)
	if err := index.Add(ctx, e, false, true); err != nil {
		return nil, err
	}
	parts, totals, _, err := index.Finish(ctx)
	if err != nil {
		return nil, err
	}
	v, err := u.lease.Commit(ctx, u.key, parts, totals, nil)
	if err != nil {
		return nil, err
	}
	if u.DryRun {
		v = nil // there is none of that number
	}
	return &Result{Version: v, Committed: true, Vault: u.Dataset.Vault()}, nil
}
