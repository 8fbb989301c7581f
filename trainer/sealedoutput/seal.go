// Package sealedoutput seals a folder made by a processing job, as one file for each host,
// and reads it again. A sealed output reveals neither the names of its files nor their
// sizes, only the approximate total size.
package sealedoutput

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/given"
)

// Folder is vaultpack's own folder in an output. It holds the statement of how the output
// was made, and the label.
const Folder = ".vaultpack"

const labelName = Folder + "/output.json"

// maxLabel is more than any label takes.
const maxLabel = 4096

// A Label says which output of which job this is. As a file of the output, it is covered by
// the signed statement, so that an output cannot be substituted for another one, or for
// another host's.
type Label struct {
	Job    string `json:"job"`
	Output string `json:"output"`
	Host   string `json:"host"`
}

// Object returns the name of the sealed file, below the folder of the output.
func (l Label) Object() string { return l.Host + ".vpk" }

// context returns what the sealed file is bound to.
func (l Label) context() envelope.EncryptionContext {
	return envelope.EncryptionContext{"job": l.Job, "output": l.Output, "host": l.Host}
}

var errNothing = errors.New("sealedoutput: no folder or file, no key, or no whole label")

func (l Label) whole() bool { return l.Job != "" && l.Output != "" && l.Host != "" }

// Write writes the label to the folder of an output, before that is signed. It returns an
// error if the command made a folder with that name.
func (l Label) Write(dir string) error {
	if dir == "" || !l.whole() {
		return errNothing
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(Folder, 0o755); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("it has a folder %s, which is vaultpack's own name: the script has to choose another", Folder)
	} else if err != nil {
		return err
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return root.WriteFile(labelName, b, 0o644)
}

// Seal seals all files below a folder into the new file to, and returns their number, not
// counting those in [Folder]. Links become the files that they lead to. Files are removed as
// soon as they are sealed, so that the volume needs additional space only for the largest
// one: after an error the output is incomplete in both places, and the job has failed.
func Seal(ctx context.Context, dir, to string, l Label, key *envelope.LocalKey) (files int, err error) {
	if err := given.Check(ctx, dir != "" && to != "" && key != nil && l.whole(), errNothing); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	links, plain, err := filesOf(root)
	if err != nil {
		return 0, err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(to))
		}
	}()
	r, w := io.Pipe()
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		w.CloseWithError(pack(ctx, root, links, plain, w))
	}()
	_, err = envelope.SealFrom(ctx, f, r, l.context(), key)
	r.CloseWithError(errors.Join(err, errors.New("sealing has ended")))
	<-packed
	for _, name := range append(links, plain...) {
		if !own(name) {
			files++
		}
	}
	return files, err
}

// filesOf returns the names of all links and then of all files: a link is sealed before the
// file that it leads to is removed. A name that is not allowed in a dataset is an error
// before anything is sealed.
func filesOf(root *os.Root) (links, files []string, err error) {
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || e.IsDir():
			return err
		case e.Type()&fs.ModeSymlink != 0:
			links = append(links, name)
		case e.Type().IsRegular():
			files = append(files, name)
		default:
			return fmt.Errorf("%q is not a file: the script has to remove it", name)
		}
		return tree.CheckPath(name)
	})
	return links, files, err
}

// pack writes the links and files to a tar, and removes each file.
func pack(ctx context.Context, root *os.Root, links, files []string, w io.Writer) error {
	t := tar.NewWriter(w)
	for _, name := range links {
		if err := packFile(ctx, root, name, t); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	for _, name := range files {
		err := packFile(ctx, root, name, t)
		if err == nil {
			err = root.Remove(name)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return t.Close()
}

// own reports whether a file of an output belongs to vaultpack.
func own(name string) bool { return strings.HasPrefix(name, Folder+"/") }

func packFile(ctx context.Context, root *os.Root, name string, t *tar.Writer) error {
	f, err := fsys.OpenRegular(root, name, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(t, ctxio.Reader(ctx, f))
	return err
}
