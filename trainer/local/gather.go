package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// hostDirs are the folders of the hosts in a job's folder, by number. There are none if the
// job has one host, whose folder is the job's.
func hostDirs(dir string) (dirs []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	number := func(dir string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), hostPrefix))
		return n
	}
	for _, e := range entries {
		if e.IsDir() && number(e.Name()) > 0 && strings.HasPrefix(e.Name(), hostPrefix) {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return number(a) - number(b) })
	return dirs, nil
}

// gather brings together in the job's folder what its hosts have made, and removes theirs.
// SageMaker does so in S3: the models of all hosts are one, and so is what is in output/data.
// It asks for different names; of the same the first host's is taken here. Of checkpoints,
// which SageMaker copies to one place as they are written, the newest is. Whatever ends
// it, it can be done again.
func gather(dir string, warn func(error)) error {
	hosts, err := hostDirs(dir)
	if err != nil || len(hosts) == 0 {
		return err
	}
	base := filepath.Join(dir, "ml")
	for _, sub := range []string{"model", "output"} {
		if err := os.MkdirAll(filepath.Join(base, sub), 0o755); err != nil {
			return err
		}
	}
	reasons := hosts
	if e, ok := readExit(dir); ok && e.host != "" {
		reasons = append([]string{filepath.Join(dir, e.host)}, hosts...)
	}
	for _, h := range reasons {
		from, to := container.FailureFile(filepath.Join(h, "ml")), container.FailureFile(base)
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	for _, h := range hosts {
		g := gathering{host: filepath.Base(h), warn: warn, from: filepath.Join(h, "ml"), to: base}
		for _, sub := range []string{"model", filepath.Join("output", "data"), checkpointsName} {
			if err := g.move(sub); err != nil {
				return fmt.Errorf("gathering what %s has made: %w", g.host, err)
			}
		}
		if err := removeTree(h); err != nil {
			return err
		}
	}
	return nil
}

// A gathering moves what one host has made.
type gathering struct {
	host     string
	from, to string
	warn     func(error)
}

// move moves the files of a folder to those of other hosts.
func (g *gathering) move(sub string) error {
	from := filepath.Join(g.from, sub)
	if isEmpty(from) {
		return nil
	}
	if isEmpty(filepath.Join(g.to, sub)) {
		if err := os.Remove(filepath.Join(g.to, sub)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Rename(from, filepath.Join(g.to, sub))
	}
	return filepath.WalkDir(from, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(g.from, file)
		if err != nil {
			return err
		}
		there, err := os.Lstat(filepath.Join(g.to, rel))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case err == nil:
			return g.meet(rel, e, there)
		case !e.IsDir():
			return os.Rename(file, filepath.Join(g.to, rel))
		}
		if err := os.Rename(file, filepath.Join(g.to, rel)); err != nil {
			return err
		}
		return fs.SkipDir
	})
}

// meet decides between what the host has made and another's of the same name.
func (g *gathering) meet(rel string, e fs.DirEntry, there fs.FileInfo) error {
	if e.IsDir() && there.IsDir() {
		// Whose folder the owner may not write to is to take files nevertheless.
		return errors.Join(os.Chmod(filepath.Join(g.from, rel), 0o700|there.Mode().Perm()), os.Chmod(filepath.Join(g.to, rel), 0o700|there.Mode().Perm()))
	}
	if e.IsDir() || there.IsDir() {
		g.warn(fmt.Errorf("%q is a folder on one host, and not on %s: that of the first host is kept", rel, g.host))
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	own, err := e.Info()
	if err != nil {
		return err
	}
	checkpoint := strings.HasPrefix(rel, checkpointsName+string(filepath.Separator))
	if checkpoint {
		if own.ModTime().After(there.ModTime()) {
			return os.Rename(filepath.Join(g.from, rel), filepath.Join(g.to, rel))
		}
		return nil
	}
	same, err := sameFile(filepath.Join(g.from, rel), filepath.Join(g.to, rel), own, there)
	if err == nil && !same {
		g.warn(fmt.Errorf("%s has made another %q than a host before it, whose is kept: give the files of each host names of their own", g.host, rel))
	}
	return err
}

// sameFile reports whether two files or links are the same.
func sameFile(a, b string, ai, bi fs.FileInfo) (bool, error) {
	if ai.Mode().Type() != bi.Mode().Type() || ai.Size() != bi.Size() {
		return false, nil
	}
	if ai.Mode()&fs.ModeSymlink != 0 {
		at, aerr := os.Readlink(a)
		bt, berr := os.Readlink(b)
		return at == bt, errors.Join(aerr, berr)
	}
	if !ai.Mode().IsRegular() {
		return true, nil // neither is kept
	}
	af, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer af.Close()
	bf, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer bf.Close()
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(af, x)
		m, _ := io.ReadFull(bf, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return true, nil
		case err != nil:
			return false, err
		}
	}
}
