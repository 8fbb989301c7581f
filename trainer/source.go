package trainer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
)

// scriptParameters is how many hyperparameters script mode uses.
const scriptParameters = 5

// skipped lists folders that no script needs and that change on their own.
var skipped = map[string]bool{".git": true, "__pycache__": true, ".ipynb_checkpoints": true, ".venv": true}

// maxSource limits the size of a source directory, whose archive is held in memory.
const maxSource = 512 << 20

// CheckSource returns an error if a source folder cannot be used by a job, for example
// because the script entry is missing, or because it contains a key of vaultpack or a link
// that leads out of it.
func CheckSource(dir, entry string) error {
	_, err := packSource(dir, entry)
	return err
}

// packSource makes sourcedir.tar.gz from a directory, with its files at the root. The
// same files always make the same bytes: sorted, without times and owners.
func packSource(dir, entry string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if info, err := root.Stat(entry); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("there is no script %s in %s", entry, dir)
	}
	var packed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	tw := tar.NewWriter(zw)
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case e.IsDir() && skipped[e.Name()]:
			return fs.SkipDir
		case packed.Len() > maxSource:
			return fmt.Errorf("%s has more than %d bytes packed; put data into a dataset, not into the source", dir, maxSource)
		}
		return addSource(tw, root, dir, name, e)
	})
	if err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

func addSource(tw *tar.Writer, root *os.Root, dir, name string, e fs.DirEntry) error {
	h := &tar.Header{Name: name, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	info, err := e.Info()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o100 != 0 {
		h.Mode = 0o755
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, name+"/", 0o755
		return tw.WriteHeader(h)
	case mode&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = root.Readlink(name); err != nil {
			return err
		}
		to := path.Join(path.Dir(name), h.Linkname)
		if path.IsAbs(h.Linkname) || to == ".." || strings.HasPrefix(to, "../") {
			return fmt.Errorf("%s is a link that leads out of the source folder, to %s", filepath.Join(dir, name), h.Linkname)
		}
		for elem := range strings.SplitSeq(to, "/") {
			if skipped[elem] {
				return fmt.Errorf("%s is a link into %s, which is not packed with the source", filepath.Join(dir, name), elem)
			}
		}
		return tw.WriteHeader(h)
	case !mode.IsRegular():
		return fmt.Errorf("%s is not a file, folder or link, so it cannot be packed", filepath.Join(dir, name))
	}
	b, err := root.ReadFile(name)
	if err != nil {
		return err
	}
	if isSecret(b) {
		return fmt.Errorf("%s is a secret key of vaultpack, which must not leave this machine; move it out of the source folder", filepath.Join(dir, name))
	}
	h.Typeflag, h.Size = tar.TypeReg, int64(len(b))
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, bytes.NewReader(b))
	return err
}

// isSecret recognizes local keys and identities.
func isSecret(b []byte) bool {
	if len(b) > 64<<10 {
		return false
	}
	if k, err := envelope.ParseLocalKey(b); err == nil {
		k.Wipe()
		return true
	}
	id, err := envelope.ParseIdentity(b)
	if err == nil {
		id.Wipe()
	}
	return err == nil
}

// scriptMode adds what the toolkit in script-mode images reads, each value in
// JSON as the SageMaker Python SDK writes it. The source comes in a channel, as the
// SDK does for jobs without network, since nobody could check what the toolkit
// fetches itself.
func scriptMode(params map[string]string, entry, job, region string) {
	for name, value := range map[string]string{
		"sagemaker_program":             jsonString(entry),
		"sagemaker_submit_directory":    jsonString("/opt/ml/input/data/" + codeChannel + "/" + sourceName),
		"sagemaker_container_log_level": "20",
		"sagemaker_job_name":            jsonString(job),
		"sagemaker_region":              jsonString(region),
	} {
		params[name] = value
	}
}

const sourceName = "sourcedir.tar.gz"
