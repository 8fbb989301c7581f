package local

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// collect brings what a job has made to a folder as SageMaker does: model.tar.gz has
// the contents of model at its root, output.tar.gz those of output/data, and
// checkpoints are files.
func collect(base, out string) error {
	if err := os.Mkdir(out, 0o700); err != nil {
		return err
	}
	if err := pack(filepath.Join(base, "model"), filepath.Join(out, "model.tar.gz")); err != nil {
		return err
	}
	data := filepath.Join(base, "output", "data")
	if !isEmpty(data) {
		if err := pack(data, filepath.Join(out, "output.tar.gz")); err != nil {
			return err
		}
	}
	checkpoints := filepath.Join(base, "checkpoints")
	if !isEmpty(checkpoints) {
		return os.Rename(checkpoints, filepath.Join(out, "checkpoints"))
	}
	return nil
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err != nil || len(entries) == 0
}

// pack writes the files below dir as a compressed tar. Links are kept as links, and
// what is no file is left out.
func pack(dir, file string) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	zw := gzip.NewWriter(f)
	tw := tar.NewWriter(zw)
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || rel == "." {
			return err
		}
		return add(tw, name, filepath.ToSlash(rel))
	})
	if err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return zw.Close()
}

func add(tw *tar.Writer, name, rel string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	target := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if target, err = os.Readlink(name); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname, h.Uid, h.Gid = rel, "", "", 0, 0
	if info.IsDir() {
		h.Name += "/"
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(tw, f, h.Size)
	return err
}
