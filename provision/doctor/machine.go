package doctor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// directory checks a vault in a directory. The embedded default may be missing: the
// first upload creates it.
func (d *doctor) directory(ctx context.Context) Finding {
	c := d.Config
	dir := c.Vault.Value
	v, err := config.Open(ctx, c)
	switch {
	case errors.Is(err, vault.ErrNoVault) && c.Default:
		parent, perr := nearest(dir)
		if perr == nil {
			perr = syscall.Access(parent, 2) // W_OK
		}
		if perr != nil {
			return failed("set VAULTPACK_HOME to a directory of your own, or make this one writable", "there is no vault yet, and %s cannot be created: %v", dir, perr)
		}
		f := skipped("there is no vault yet at %s; the first upload creates it and its key", dir)
		f.blocks = true
		return f
	case errors.Is(err, vault.ErrNoVault):
		return failed("check the path, or create one there with: vaultpack init --vault "+dir, "there is no vault at %s (from %s)", dir, c.Vault.Source)
	case err != nil:
		if _, kerr := config.ReadKeys(ctx, c); kerr == nil {
			return broken("check the path and its permissions, or restore the vault from a backup", err)
		}
		// Keys are checked separately; this is about the place.
		if d.store, err = vault.OpenDir(dir); err != nil {
			return broken("check the path and its permissions", err)
		}
	default:
		d.store = v.Store
	}
	d.store = d.wrap(d.store)
	return ok("%s is a vault", dir)
}

// nearest returns the folder itself or the nearest parent that exists.
func nearest(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			return dir, nil
		case err == nil:
			return "", fmt.Errorf("%s is not a directory", dir)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || filepath.Dir(dir) == dir:
			return "", err
		}
		dir = filepath.Dir(dir)
	}
}

// Limits for this machine: below the first vaultpack cannot work with its defaults,
// and below the second resources are scarce. A pack holds 128 MiB, and uploads take
// 512 MiB of memory.
const (
	leastDisk, tightDisk     = 256 << 20, 1 << 30
	leastMemory, tightMemory = 128 << 20, 512 << 20
)

// disk checks the free space for the vault, or for restoring a dataset.
func (d *doctor) disk(context.Context) Finding {
	dir, use := d.Config.Vault.Value, "where the vault is"
	if s3store.IsURL(dir) {
		dir, use = ".", "where a dataset would be restored to"
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = nearest(dir)
	}
	if err != nil {
		return failed("check the path", "%v", err)
	}
	free, err := d.free(dir)
	if err != nil {
		return failed("check the file system", "cannot find out the free space in %s: %v", dir, err)
	}
	room := size(int64(min(free, math.MaxInt64)))
	switch need := max(tightDisk, d.bytes); {
	case free < leastDisk:
		return failed("free some space in "+dir, "%s are free in %s, %s", room, dir, use)
	case free < uint64(need):
		return warning("free some space in "+dir, "%s are free in %s, %s; %s are recommended", room, dir, use, size(need))
	}
	return ok("%s are free in %s, %s", room, dir, use)
}

func (d *doctor) memory(context.Context) Finding {
	available, err := memoryOf(d.root())
	if err != nil {
		return skipped("this system does not report how much memory is free")
	}
	const fix = "close other programs, or limit uploads with --memory 256MiB"
	switch room := size(available); {
	case available < leastMemory:
		return failed(fix, "%s are available", room)
	case available < tightMemory:
		return warning(fix, "%s are available, and uploads take 512 MiB by default", room)
	default:
		return ok("%s are available", room)
	}
}

// memoryOf returns the memory that Linux reports as available, or the container's limit.
func memoryOf(root fs.FS) (int64, error) {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	available := int64(-1)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if value, is := strings.CutPrefix(lines.Text(), "MemAvailable:"); is {
			if n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64); err == nil {
				available = n << 10
			}
		}
	}
	if available < 0 {
		return 0, errors.New("no MemAvailable in /proc/meminfo")
	}
	for _, file := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if text, err := fs.ReadFile(root, file); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				available = min(available, n)
			}
		}
	}
	return available, nil
}

func freeRoom(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// binary checks for the program that runs inside training images.
func (d *doctor) binary(context.Context) Finding {
	if d.Binary == nil {
		return skipped("nobody has said how to find it")
	}
	found, err := d.Binary()
	if err == nil {
		return ok("%s", found)
	}
	f := warning("make binaries, in a clone; then train --binary FILE", "training jobs cannot be launched from here: %v", err)
	if d.Role != "" { // a job is intended
		f.Result = Failed
	}
	return f
}
