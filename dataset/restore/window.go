package restore

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// Limits on what is staged before it is synced and moved into place. Variables for
// the tests only.
var (
	windowFiles = 64 << 10
	windowBytes = int64(1 << 30)
)

// files makes the folders, files and links, window after window.
func (r *job) files(ctx context.Context) error {
	var window []*tree.Entry
	bytes, weight := int64(0), 0
	if err := r.above(ctx); err != nil {
		return err
	}
	for e, err := range r.Shard.All(ctx, r.version) {
		if err != nil {
			return err
		}
		if err := r.order.Check(e.Path); err != nil {
			r.fail(e, err)
			continue
		}
		r.folders.follow(e)
		if r.Select != nil && !r.Select(e) {
			continue
		}
		if !r.wanted(ctx, e) {
			continue
		}
		window = append(window, e)
		bytes += e.Size
		weight += codec.Weight(e)
		if len(window) >= windowFiles || bytes >= windowBytes || weight >= codec.MaxWeight {
			if err := r.window(ctx, window); err != nil {
				return err
			}
			window, bytes, weight = nil, 0, 0
		}
	}
	return r.window(ctx, window)
}

// window reads the entries' contents into the staging folder, waits until they
// are on disk, and moves them into place.
func (r *job) window(ctx context.Context, window []*tree.Entry) error {
	if len(window) == 0 {
		return nil
	}
	var files, links []*tree.Entry
	for _, e := range window {
		if e.IsLink() {
			links = append(links, e)
		} else {
			files = append(files, e)
		}
	}
	r.to.Prepare(files)
	stopped := packs.ReadExtents(ctx, objects.Of(r.version), files, r.to.Stage, r.to.Fail)
	for _, e := range files {
		r.to.Settle(e, stopped)
		if err := r.to.Failure(e); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return fmt.Errorf("restoring %q: %w: free some space and run the same command again; restored files are kept", e.Path, err)
		}
	}
	if err := syncFS(r.to.Root); err != nil {
		return errors.Join(stopped, fmt.Errorf("writing to disk: %w", err))
	}
	// What has been read before an interruption is kept: ctx is not checked again.
	placing := context.WithoutCancel(ctx)
	for _, e := range files {
		name, err := r.to.Name(e), r.to.Failure(e)
		if err == nil {
			err = r.put(placing, name, e)
		}
		if err == nil {
			r.Files.Add(1)
			continue
		}
		if name != "" {
			r.to.Unstage(name)
		}
		if stopped == nil || !errors.Is(err, stopped) {
			r.fail(e, err)
		}
	}
	if stopped != nil {
		return stopped
	}
	for _, e := range links {
		if err := r.link(placing, e); err != nil {
			r.fail(e, err)
			continue
		}
		r.Links.Add(1)
	}
	return nil
}

// checkLink rejects a link that leads out of the destination, unless that is allowed.
func (r *job) checkLink(e *tree.Entry) error {
	if r.UnsafeLinks {
		return nil
	}
	return r.to.CheckLink(e)
}

// link makes a symbolic link, under another name first.
func (r *job) link(ctx context.Context, e *tree.Entry) error {
	if err := r.checkLink(e); err != nil {
		return err
	}
	var there bool
	err := r.inShared(e, func() (err error) {
		there, err = r.to.IsLink(e)
		return err
	})
	switch {
	case err != nil:
		return err
	case there && r.Overwrite >= OverwriteIfNewer:
		return nil
	case there:
		return r.to.SetLinkTime(e)
	}
	name, err := r.to.StageLink(e)
	if err != nil {
		return err
	}
	if err := r.put(ctx, name, e); err != nil {
		r.to.Unstage(name)
		return err
	}
	return nil
}
