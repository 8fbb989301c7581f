package container

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/vault"
)

// A channelStore presents the metadata channel as the store of a vault: keyrings,
// version roots and indexes are read from it, and what has been opened is recorded
// in it. Links are not followed out of it, and nothing in it is trusted because of
// its name.
type channelStore struct {
	meta *os.Root
	keys *os.Root // of the key channel, whose keyrings come first; may be nil
	// byBase finds files if SageMaker did not keep the folders of a manifest.
	byBase map[string][]string
}

func openStore(c *Config) (*channelStore, error) {
	s := &channelStore{byBase: map[string][]string{}}
	var err error
	if s.meta, err = openChannel(c, MetaChannel); err != nil {
		return nil, err
	}
	if c.KeyChannel != "" {
		if s.keys, err = openChannel(c, c.KeyChannel); err != nil {
			s.close()
			return nil, err
		}
	}
	err = fs.WalkDir(s.meta.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			s.byBase[path.Base(name)] = append(s.byBase[path.Base(name)], name)
		}
		return err
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("looking through channel %s: %w", MetaChannel, err)
	}
	return s, nil
}

func openChannel(c *Config, name string) (*os.Root, error) {
	root, err := os.OpenRoot(c.channelDir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("channel %s is missing: there is no %s", name, c.channelDir(name))
	}
	if err != nil {
		return nil, fmt.Errorf("opening channel %s: %w", name, err)
	}
	return root, nil
}

func (s *channelStore) close() {
	s.meta.Close()
	if s.keys != nil {
		s.keys.Close()
	}
}

// localKey reads the key of a key channel.
func (s *channelStore) localKey() (*envelope.LocalKey, error) {
	f, err := openRegular(s.keys, LocalKeyName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("it holds no %s: either the job was made without one, or it was used up by an earlier run; start a new job", LocalKeyName)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return envelope.ParseLocalKey(b)
}

func openRegular(root *os.Root, name string) (*os.File, error) {
	return fsys.OpenRegular(root, name, syscall.O_NOFOLLOW)
}

// find opens the file with a name: the exact one, or otherwise the one with that
// base name whose path has the most of the name in it.
func (s *channelStore) find(name string) (*os.File, error) {
	if s.keys != nil && strings.Contains(name, "/keys/") {
		if f, err := openRegular(s.keys, name); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	f, err := openRegular(s.meta, name)
	if !errors.Is(err, fs.ErrNotExist) || isRecord(name) {
		return f, err
	}
	best, most := "", -1
	for _, candidate := range s.byBase[path.Base(name)] {
		if n := commonEnd(candidate, name); n > most {
			best, most = candidate, n
		}
	}
	if best == "" {
		return nil, err
	}
	return openRegular(s.meta, best)
}

func commonEnd(a, b string) (n int) {
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// isRecord reports whether the name is that of a record of what has been opened.
// Records are either in their place or missing.
func isRecord(name string) bool { return strings.Contains(name, "/opened/") }

// Get reads a file of the channel.
func (s *channelStore) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = 1<<63 - 1 - off
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

// Stat returns a file's size and modification time.
func (s *channelStore) Stat(_ context.Context, name string) (vault.Object, error) {
	f, err := s.find(name)
	if err != nil {
		return vault.Object{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return vault.Object{}, err
	}
	return vault.Object{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List yields the files below a folder.
func (s *channelStore) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	return func(yield func(vault.Object, error) bool) {
		err := fs.WalkDir(s.meta.FS(), path.Clean("./"+prefix), func(name string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			o, err := s.Stat(ctx, name)
			if err == nil && !yield(o, nil) {
				return fs.SkipAll
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(vault.Object{}, err)
		}
	}
}

// Put writes a record. It is not synced, since what it describes is not synced either.
func (s *channelStore) Put(_ context.Context, name string, write func(io.Writer) error) error {
	if err := s.meta.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(name), ".tmp-"+rand.Text())
	f, err := s.meta.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = s.meta.Rename(tmp, name)
	}
	if err != nil {
		s.meta.Remove(tmp)
	}
	return err
}

// Delete removes a record.
func (s *channelStore) Delete(_ context.Context, name string) error {
	err := s.meta.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// The remaining methods of a store are for writers of datasets.

func (s *channelStore) Create(context.Context, string, []byte) error { return errReadOnly }

func (s *channelStore) Replace(context.Context, string, []byte, []byte) error { return errReadOnly }

func (s *channelStore) Folders(context.Context, string) ([]string, error) { return nil, errReadOnly }

var errReadOnly = fmt.Errorf("a channel is read, not written: %w", errors.ErrUnsupported)
