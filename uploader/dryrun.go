package uploader

import (
	"archive/tar"
	"context"
	"io"

	"github.com/vaultpack/vaultpack/dataset"
)

// planPack does for a dry run what sendTar and sendPiece do, without reading:
// the pack's size follows from the sizes of its files.
func (u *Upload) planPack(ctx context.Context, j *job) error {
	size := j.n
	var extents []dataset.Extent
	if !j.piece {
		var err error
		if extents, size, err = planTar(j.items); err != nil {
			return err
		}
	}
	pack, err := u.Dataset.PlanPack(ctx, u.key, size)
	if err != nil {
		return err
	}
	j.pack = &pack
	if j.piece {
		u.SentBytes.Add(j.n)
	}
	for i := range extents {
		e := j.items[i].entry
		extents[i].Pack = j.pack
		e.Extents = extents[i : i+1 : i+1]
		u.SentFiles.Add(1)
		u.SentBytes.Add(e.Size)
	}
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
		if err := tar.NewWriter(out).WriteHeader(tarHeader(it.entry)); err != nil {
			return nil, 0, err
		}
		extents = append(extents, dataset.Extent{Offset: out.n, Length: it.entry.Size})
		out.n += (it.entry.Size + block - 1) / block * block
	}
	return extents, out.n + tarEnd, nil
}
