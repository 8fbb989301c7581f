package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/container/unpack"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

// Open opens the channels. When it returns a nil error, each channel's folder holds exactly
// the files of its dataset, and no key of the data is left in memory or on disk. After an
// error, or after the process was killed, the same call continues. Sealed checkpoints of
// an earlier attempt are in their folder too. The tasks are nil unless the configuration names
// a certificate, or a key for the model or the checkpoints.
//
// Each data key takes only one call to KMS, no matter how many channels are sealed under it.
func Open(ctx context.Context, c *Config) (after *Tasks, err error) {
	if err := given.Check(ctx, c != nil, errors.New("container: a nil Config")); err != nil {
		return nil, err
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	store, err := openStore(c)
	if err != nil {
		return nil, err
	}
	defer store.close()
	keys, wipe, err := c.keys(ctx, store)
	if err != nil {
		return nil, err
	}
	defer wipe()
	v := &vault.Vault{Store: store, Location: c.channelDir(MetaChannel), Keys: keys, Context: c.Context}
	sets := map[string]*dataset.Dataset{}
	defer func() {
		for _, d := range sets {
			d.Close()
		}
	}()
	// Every version is found and compared before the first file is written.
	versions := make([]*dataset.Version, len(c.Channels))
	for i, ch := range c.Channels {
		d := sets[ch.Dataset]
		if d == nil {
			if d, err = dataset.Open(v, ch.Dataset); err != nil {
				return nil, err
			}
			sets[ch.Dataset] = d
		}
		if versions[i], err = c.version(ctx, d, ch); err != nil {
			return nil, fmt.Errorf("channel %s: %w", ch.Name, err)
		}
	}
	if after, err = c.tasks(ctx, versions); err != nil {
		return nil, err
	}
	if err = c.unpack(ctx, versions); err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && c.CheckpointsKey != "" {
		err = after.openCheckpoints(ctx, c)
	}
	if err == nil {
		err = c.makeOutputs()
	}
	if err == nil {
		err = c.emptyKeyChannel()
	}
	if err != nil {
		after.Wipe()
		return nil, err
	}
	return after, nil
}

// certificate reads the job's certificate, which is sealed under the data key of its first
// input.
func (c *Config) certificate(ctx context.Context, versions []*dataset.Version) (*provenance.Certificate, error) {
	if c.Signing == "" {
		return nil, nil
	}
	var inputs []provenance.Input
	for _, ch := range c.Channels {
		inputs = append(inputs, provenance.Input{Channel: ch.Name, Dataset: ch.Dataset, Version: ch.Version, Digest: ch.Digest})
	}
	v, err := c.versionOf(versions, c.Signing)
	if err != nil {
		return nil, err
	}
	return provenance.Open(ctx, v, c.Signing, inputs)
}

// versionOf returns the version of the channel under whose dataset the job's object is stored.
func (c *Config) versionOf(versions []*dataset.Version, object string) (*dataset.Version, error) {
	for i, ch := range c.Channels {
		if strings.HasPrefix(object, objects.JobsFolder+ch.Dataset+"/") {
			return versions[i], nil
		}
	}
	return nil, fmt.Errorf("the job's key %s belongs to none of its channels' datasets", object)
}

// version reads the version of a channel, and compares it with the job's.
func (c *Config) version(ctx context.Context, d *dataset.Dataset, ch Channel) (*dataset.Version, error) {
	ver, err := d.Version(ctx, ch.Version)
	if err != nil {
		return nil, err
	}
	if ver.Digest() != ch.Digest {
		return nil, fmt.Errorf("version %d of dataset %q has the digest %s, and the job was started for %s: %w",
			ch.Version, ch.Dataset, ver.Digest(), ch.Digest, envelope.ErrAuthentication)
	}
	return ver, nil
}

// unpack opens the channels one after another, each on all cores. Before it writes
// the first file, it checks that no channel lacks a pack, and that there is room
// for all.
func (c *Config) unpack(ctx context.Context, versions []*dataset.Version) error {
	unpacks := make([]*unpack.Job, len(c.Channels))
	for i, ch := range c.Channels {
		if ch.Sharded { // with fewer packs than hosts, a host may not have a folder
			if err := os.MkdirAll(c.channelDir(ch.Name), 0o755); err != nil {
				return err
			}
		}
		removed := 0
		opts := unpack.Options{Name: ch.Name, Partial: ch.Sharded, Tars: c.Tars, Removed: func(path string) {
			if removed++; removed <= toldOfRemoved {
				c.logf("channel %s: %q is not part of the dataset and was removed", ch.Name, path)
			}
		}}
		u, err := unpack.Prepare(ctx, versions[i], c.channelDir(ch.Name), opts)
		if err != nil {
			return fmt.Errorf("channel %s: %w", ch.Name, err)
		}
		defer u.Close()
		if removed > toldOfRemoved {
			c.logf("channel %s: and %d more", ch.Name, removed-toldOfRemoved)
		}
		unpacks[i] = u
	}
	if err := c.checkRoom(unpacks); err != nil {
		return err
	}
	for i, ch := range c.Channels {
		began := time.Now()
		res, err := unpacks[i].Run(ctx)
		if err != nil {
			return fmt.Errorf("channel %s: %w", ch.Name, err)
		}
		c.tell(ch, res, time.Since(began))
	}
	return nil
}

// toldOfRemoved is how many files that did not belong in a channel are reported by name.
const toldOfRemoved = 5

// checkRoom adds up what the channels need on each file system.
func (c *Config) checkRoom(unpacks []*unpack.Job) error {
	sums := map[uint64]unpack.Room{}
	for i, u := range unpacks {
		r := u.Room()
		sum := sums[r.Device]
		r.Grow, r.Flight, r.Inodes = r.Grow+sum.Grow, max(r.Flight, sum.Flight), r.Inodes+sum.Inodes
		r.FreeInodes = max(r.FreeInodes, sum.FreeInodes)
		sums[r.Device] = r
		dir := c.channelDir(c.Channels[i].Name)
		if extra := r.Grow + r.Flight; r.Free < uint64(extra) {
			return fmt.Errorf("not enough space to open the dataset in %s: it needs %d bytes besides the packs, and %d are free; "+
				"give the job a larger volume: %w", dir, extra, r.Free, syscall.ENOSPC)
		}
		if r.Inodes > r.FreeInodes {
			return fmt.Errorf("not enough space to open the dataset in %s: it needs %d files and folders, and the file system has room for %d more: %w",
				dir, r.Inodes, r.FreeInodes, syscall.ENOSPC)
		}
	}
	return nil
}

// tell reports what was done.
func (c *Config) tell(ch Channel, res unpack.Result, took time.Duration) {
	opened, before := res.Packs, res.Done
	line := fmt.Sprintf("channel %s: %s@%d, opened packs: %d, files: %d, bytes: %d, in %.1f s", ch.Name, ch.Dataset, ch.Version,
		opened, res.Files, res.Bytes, took.Seconds())
	if before > 0 {
		line += fmt.Sprintf("; open already: %d", before)
	}
	if ch.Sharded {
		line += fmt.Sprintf("; this host has %d of %d packs", opened+before, opened+before+res.Absent)
	}
	c.logf("%s", line)
}
