package uploader

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"io"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// planTar does for a dry run what sendTar does, without reading: the pack's size
// follows from the sizes of its files. It opens them, so that those are known that
// cannot be read.
func (u *upload) planTar(ctx context.Context, j *job, items []*item) error {
	var good []*item
	for _, it := range items {
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
	extents, size, err := planTar(items)
	if err != nil {
		return err
	}
	pack, err := u.dataset.PlanPack(ctx, u.key, size)
	if err != nil {
		return err
	}
	j.pack = &pack
	for i, it := range items {
		extents[i].Pack, extents[i].Sum = j.pack, plannedSum()
		it.entry.Extents = extents[i : i+1 : i+1]
		it.sent = true
		u.SentBytes.Add(it.entry.Size)
	}
	u.packDone(j, items)
	return nil
}

// plannedSum takes as much room in an index as a real one.
func plannedSum() (s envelope.ContentSum) {
	rand.Read(s[:])
	return s
}

// planPiece does for a dry run what sendPiece does.
func (u *upload) planPiece(ctx context.Context, j *job) error {
	pack, err := u.dataset.PlanPack(ctx, u.key, j.n)
	if err != nil {
		return err
	}
	j.pack = &pack
	j.extent = dataset.Extent{Pack: j.pack, Length: j.n, At: j.off, Sum: plannedSum()}
	u.SentBytes.Add(j.n)
	u.packDone(j, j.items)
	return nil
}

// planTar tells where the files lie in the tar that sendTar makes of them, and
// its size.
func planTar(items []*item) (extents []dataset.Extent, size int64, err error) {
	const block = 512
	out := &offsetWriter{w: io.Discard}
	for _, it := range items {
		// A writer takes no second header before the contents of the first.
		if err := tar.NewWriter(out).WriteHeader(dataset.TarHeader(it.entry)); err != nil {
			return nil, 0, err
		}
		extents = append(extents, dataset.Extent{Offset: out.n, Length: it.entry.Size})
		out.n += (it.entry.Size + block - 1) / block * block
	}
	return extents, out.n + tarEnd, nil
}
