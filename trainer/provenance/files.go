package provenance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
)

// Folder is the folder in a model with the statements about it, one for each host that
// made a part of it: Folder/HOST.json.
const Folder = ".vaultpack/provenance"

// maxStatement limits the size of a file with a statement: two envelopes.
const maxStatement = 2*signing.MaxEnvelope + 2

// maxHosts limits how many of them are read.
const maxHosts = 4096

// A File is a file of a model, with its slash-separated path.
type File struct {
	Path string
	Sum  [sha256.Size]byte
}

// Files holds the files of a model, and the statements about it.
type Files struct {
	List       []File // by path
	Statements map[string][]byte
}

// Tree returns a hash of the contents and paths of all files: the Merkle Tree Hash of
// [tree.Merkle]. A link counts as the file that it leads to, and folders do not count, so
// that all archives of the model have the same hash, whichever tool made them.
func (f *Files) Tree() string {
	var m tree.Merkle
	for _, file := range f.List {
		m.Add(&tree.Entry{Path: file.Path, Sum: file.Sum[:]})
	}
	sum, _ := m.Sum()
	return hex.EncodeToString(sum[:])
}

func (f *Files) statement(name string, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxStatement+1))
	switch {
	case err != nil:
		return err
	case len(b) > maxStatement || len(f.Statements) == maxHosts:
		return malformed(fmt.Sprintf("%s is too large, or there are too many of them", name))
	case f.Statements == nil:
		f.Statements = map[string][]byte{}
	}
	f.Statements[path.Base(name)] = b
	return nil
}

// isStatement reports whether a file of a model is a statement about it.
func isStatement(name string) bool {
	return path.Dir(name) == Folder && strings.HasSuffix(name, ".json")
}

// ErrSealed is returned for a model that was sealed by the job and must be opened
// first.
var ErrSealed = errors.New("the model is sealed")

// ReadFolder reads a model from a folder. Links within it are followed.
func ReadFolder(ctx context.Context, dir string) (*Files, error) {
	if err := given.Check(ctx, dir != "", errors.New("provenance: no folder")); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f := &Files{}
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if name == sealedmodel.MarkName {
			return ErrSealed
		}
		if isStatement(name) {
			r, err := fsys.OpenRegular(root, name, 0)
			if err != nil {
				return err
			}
			defer r.Close()
			return f.statement(name, r)
		}
		f.List = append(f.List, File{Path: name})
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = workers.Run(ctx, runtime.GOMAXPROCS(0), func(ctx context.Context, g *workers.Group) error {
		for i := range f.List {
			if !g.Go(func() (err error) {
				f.List[i].Sum, err = sumOf(ctx, root, f.List[i].Path)
				return err
			}) {
				break
			}
		}
		return nil
	})
	f.sort()
	return f, err
}

func (f *Files) sort() {
	slices.SortFunc(f.List, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
}

func sumOf(ctx context.Context, root *os.Root, name string) (sum [sha256.Size]byte, err error) {
	file, err := fsys.OpenRegular(root, name, 0)
	if err != nil {
		return sum, fmt.Errorf("%q is not a file, nor a link to a file of the model: %w", name, err)
	}
	defer file.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for err == nil {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		var n int
		n, err = file.Read(buf)
		h.Write(buf[:n])
	}
	if err != io.EOF {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// ReadArchive reads a model from a tar, compressed with gzip or not.
func ReadArchive(ctx context.Context, r io.Reader) (*Files, error) {
	if err := given.Check(ctx, r != nil, errors.New("provenance: no archive")); err != nil {
		return nil, err
	}
	var magic [2]byte
	n, err := io.ReadFull(r, magic[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return nil, err
	}
	rest := r
	r = io.MultiReader(bytes.NewReader(magic[:n]), reader(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return rest.Read(p)
	}))
	if magic == [2]byte{0x1f, 0x8b} {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, fmt.Errorf("it is not an archive of a model, or a damaged one: %w", err)
		}
	}
	a := archive{sums: map[string][sha256.Size]byte{}, links: map[string]string{}}
	if err := a.read(r); errors.Is(err, ErrSealed) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("it is not an archive of a model, or a damaged one: %w", err)
	}
	return a.files, a.resolve()
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// An archive is a tar that is read from beginning to end.
type archive struct {
	files *Files
	sums  map[string][sha256.Size]byte
	links map[string]string // link to target path
}

func (a *archive) read(r io.Reader) error {
	a.files = &Files{}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return zeros(r) // to the end, which may be cut or damaged
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)[1:]
		_, twice := a.sums[name]
		_, linked := a.links[name]
		switch {
		case name == sealedmodel.MarkName:
			return ErrSealed
		case h.Typeflag == tar.TypeDir || name == "":
		case twice || linked:
			return malformed(fmt.Sprintf("%q is in it twice", name))
		case h.Typeflag == tar.TypeReg && isStatement(name):
			if err := a.files.statement(name, t); err != nil {
				return err
			}
		case h.Typeflag == tar.TypeReg:
			sum := sha256.New()
			if _, err := io.Copy(sum, t); err != nil {
				return err
			}
			a.sums[name] = [sha256.Size]byte(sum.Sum(nil))
		case h.Typeflag == tar.TypeSymlink:
			to := h.Linkname
			if !path.IsAbs(to) {
				to = path.Join("/", path.Dir(name), to)
			}
			a.links[name] = path.Clean("/" + to)[1:]
		case h.Typeflag == tar.TypeLink:
			a.links[name] = path.Clean("/" + h.Linkname)[1:]
		default:
			return malformed(fmt.Sprintf("%q is neither a file, a folder nor a link", name))
		}
	}
}

// zeros returns an error unless only zeros are left: other readers might see more.
func zeros(r io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return malformed("there is data after its end")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// resolve turns links into files.
func (a *archive) resolve() error {
	for name, to := range a.links {
		for range 16 {
			next, link := a.links[to]
			if !link {
				break
			}
			to = next
		}
		sum, ok := a.sums[to]
		if !ok {
			return malformed(fmt.Sprintf("%q is a link that does not lead to a file of the model", name))
		}
		a.files.List = append(a.files.List, File{name, sum})
	}
	for _, name := range slices.Collect(maps.Keys(a.sums)) {
		a.files.List = append(a.files.List, File{name, a.sums[name]})
	}
	a.files.sort()
	return nil
}
