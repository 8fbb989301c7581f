package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/vault"
)

// stagers is how many objects are fetched at once.
const stagers = 4

// Stage copies the sealed objects of a version to where SageMaker would put them
// for a job: the packs to the channel's folder below base, the rest to the folder
// of the channel vaultpack. It returns the channel as the job's arguments name it.
func Stage(ctx context.Context, v *dataset.Version, d *dataset.Dataset, base, channel string) (container.Channel, error) {
	return stage(ctx, v, d, base, channel, share{})
}

// A share is the part of a channel's packs that a host gets. The zero share is all of them.
type share struct{ part, of int }

// stage is Stage of a share.
func stage(ctx context.Context, v *dataset.Version, d *dataset.Dataset, base, channel string, s share) (container.Channel, error) {
	if err := given.Check(ctx, v != nil && d != nil && d.Vault() != nil, errors.New("local: no version, or no dataset")); err != nil {
		return container.Channel{}, err
	}
	ch := container.Channel{Name: channel, Dataset: d.Name, Version: v.Number, Digest: v.Digest(), Sharded: s.of > 0}
	c, err := v.Contents(ctx)
	if err != nil {
		return ch, err
	}
	type object struct {
		name, file string
		get        func(ctx context.Context, store vault.Store, name, file string) error
	}
	var objects []object
	meta := filepath.Join(base, "input", "data", container.MetaChannel)
	for _, name := range c.Metadata {
		objects = append(objects, object{name, filepath.Join(meta, name), fetch})
	}
	packs := filepath.Join(base, "input", "data", channel)
	names := make([]string, 0, len(c.Packs))
	for _, p := range c.Packs {
		names = append(names, d.PackName(p.ID))
	}
	slices.Sort(names)
	for i, name := range names {
		if s.of > 0 && i%s.of != s.part {
			continue
		}
		objects = append(objects, object{name, filepath.Join(packs, path.Base(name)), linkOrFetch})
	}
	if err := os.MkdirAll(packs, 0o755); err != nil {
		return ch, err
	}
	return ch, workers.Run(ctx, stagers, func(ctx context.Context, g *workers.Group) error {
		for _, o := range objects {
			g.Go(func() error {
				if err := o.get(ctx, d.Vault().Store, o.name, o.file); err != nil {
					return fmt.Errorf("fetching %s: %w", o.name, err)
				}
				return nil
			})
		}
		return nil
	})
}

// linkOrFetch only gives an object another name where the vault is a directory on the
// same file system. That suits packs, which nothing writes into and which are gone
// before the training begins.
func linkOrFetch(ctx context.Context, store vault.Store, name, file string) error {
	if err := makeRoom(ctx, file); err != nil {
		return err
	}
	if s, ok := vault.As[vault.Linker](store); ok && s.Link(name, file) == nil {
		return nil
	}
	return fetch(ctx, store, name, file)
}

// makeRoom makes the folder of a file, and removes what has its name: that may be a link
// to the vault's own.
func makeRoom(ctx context.Context, file string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fetch copies an object to a file.
func fetch(ctx context.Context, store vault.Store, name, file string) error {
	if err := makeRoom(ctx, file); err != nil {
		return err
	}
	r, err := store.Get(ctx, name, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
