package uploader

import (
	"context"
	"crypto/rand"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/tarpack"
	"github.com/vaultpack/vaultpack/vault"
)

// planTar does in a dry run what sendTar does, without reading: the size of the pack
// follows from the sizes of its files. It opens the files, to find those that cannot be
// read.
func (u *upload) planTar(ctx context.Context, j *job, items []*item) error {
	var good []*item
	for _, it := range items {
		if u.bucket != nil {
			u.willRead(it.entry.Size)
			good = append(good, it)
			continue
		}
		f, err := openSource(it.file)
		if err != nil {
			it.failed = err
			continue
		}
		f.Close()
		good = append(good, it)
	}
	if items = good; len(items) == 0 {
		return nil
	}
	entries := make([]*tree.Entry, len(items))
	for i, it := range items {
		entries[i] = it.entry
	}
	at, size, err := tarpack.Plan(entries)
	if err != nil {
		return err
	}
	pack, err := objects.Of(u.dataset).PlanPack(ctx, u.key, size)
	if err != nil {
		return err
	}
	j.pack = &pack
	for i, it := range items {
		it.entry.Extents = []tree.Extent{{Pack: j.pack, Offset: at[i], Length: it.entry.Size, Sum: plannedSum()}}
		it.sent = true
		u.SentBytes.Add(it.entry.Size)
	}
	u.packDone(j, items)
	return nil
}

// plannedSum takes as much room in an index as a real sum.
func plannedSum() (s envelope.ContentSum) {
	rand.Read(s[:])
	return s
}

// planPiece does in a dry run what sendPiece does.
func (u *upload) planPiece(ctx context.Context, j *job) error {
	pack, err := objects.Of(u.dataset).PlanPack(ctx, u.key, j.n)
	if err != nil {
		return err
	}
	j.pack = &pack
	j.extent = tree.Extent{Pack: j.pack, Length: j.n, At: j.off, Sum: plannedSum()}
	u.SentBytes.Add(j.n)
	if u.bucket != nil {
		u.willRead(j.n)
	}
	u.packDone(j, j.items)
	return nil
}

// willRead counts the requests that read n bytes of an object.
func (u *upload) willRead(n int64) {
	u.reads.Add(rangesOf(n))
	u.readBytes.Add(n)
}

// sourceUsage returns the requests that were made to the bucket or, after a dry run, would be.
func (u *upload) sourceUsage() vault.Requests {
	if u.bucket == nil {
		return vault.Requests{}
	}
	r, b := u.bucket.Usage(), u.usedBefore
	r.Lists -= b.Lists
	r.Puts -= b.Puts
	r.Deletes -= b.Deletes
	r.Retries -= b.Retries
	r.BytesSent -= b.BytesSent
	r.Gets += u.reads.Load() - b.Gets
	r.BytesReceived += u.readBytes.Load() - b.BytesReceived
	return r
}
