package trust

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/signing"
)

const (
	fileFormat = "vaultpack-known/1"
	suffix     = ".json"
	maxFile    = 4 << 20
)

// A Dir remembers the datasets of a vault in a folder, in one file for each dataset.
// Only this user may have access to the files. Several processes may use one folder at
// the same time.
type Dir struct {
	// Path is the folder for all vaults. It is created when it is needed.
	Path string
	// Vault is the vault's URL, or the real path of its directory.
	Vault string
	// Cannot is called once with the reason if nothing can be remembered, for example
	// because the folder is on a read-only disk. It may be nil.
	Cannot func(error)
	// Told is called with each dataset that was not known before, and with its signer.
	// It may be nil.
	Told func(dataset string, signer signing.KeyID)

	once sync.Once
}

// A StateError reports that a file of remembered facts cannot be used.
type StateError struct {
	Dataset string
	File    string
	Err     error
}

func (e *StateError) Error() string {
	return fmt.Sprintf("what is remembered of dataset %q, in %s, cannot be used: %v. If it is lost, remove it with: vaultpack trust forget %s; "+
		"the next use of the dataset is then a first contact", e.Dataset, e.File, e.Err, e.Dataset)
}

func (e *StateError) Unwrap() error { return e.Err }

// A Record holds what is remembered about one dataset, and the vault that it is in.
type Record struct {
	Format  string `json:"format"`
	Vault   string `json:"vault"`
	Dataset string `json:"dataset"`
	Known
}

func (d *Dir) folder() string {
	sum := sha256.Sum256([]byte(d.Vault))
	return filepath.Join(d.Path, hex.EncodeToString(sum[:16]))
}

func (d *Dir) file(dataset string) string { return filepath.Join(d.folder(), dataset+suffix) }

// FirstContact reports a dataset that was not known before.
func (d *Dir) FirstContact(dataset string, signer signing.KeyID) {
	if d.Told != nil {
		d.Told(dataset, signer)
	}
}

// Recall returns what is remembered. If it cannot be read, the error is a
// [*StateError].
func (d *Dir) Recall(ctx context.Context, dataset string) (Known, error) {
	r, err := d.read(dataset)
	if err != nil || r == nil {
		return Known{}, err
	}
	return r.Known, ctx.Err()
}

// Record returns what is remembered about a dataset, or nil if nothing is.
func (d *Dir) Record(dataset string) (*Record, error) { return d.read(dataset) }

// read is nil if nothing is remembered.
func (d *Dir) read(dataset string) (*Record, error) {
	r, err := readRecord(d.file(dataset))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err == nil && (r.Vault != d.Vault || r.Dataset != dataset) {
		err = fmt.Errorf("it is about dataset %q of %s", r.Dataset, r.Vault)
	}
	if err != nil {
		return nil, &StateError{dataset, d.file(dataset), err}
	}
	return r, nil
}

func readRecord(file string) (*Record, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 ||
		ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, errors.New("others may have written it")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	var r Record
	if len(b) > maxFile || json.Unmarshal(b, &r) != nil || r.Check() != nil {
		return nil, errors.New("it is damaged")
	}
	return &r, nil
}

// Check returns an error unless this package could have written the record.
func (r *Record) Check() error {
	if r == nil {
		return errors.New("an empty record")
	}
	ok := r.Format == fileFormat && r.Dataset != "" && r.Number >= 0 && (r.Begun == "" || isDigest(r.Begun))
	after := int64(0)
	for _, l := range r.Links {
		ok = ok && isDigest(l.Digest) && l.After >= after
		after = l.After
	}
	for n, digest := range r.Versions {
		ok = ok && n > 0 && isDigest(digest)
	}
	if !ok {
		return fmt.Errorf("what it says of dataset %q is no record of this format", r.Dataset)
	}
	return nil
}

// isDigest reports whether a text is a SHA-256 in hex.
func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// Remember adds to what is remembered. If the folder cannot be written to, Remember
// calls Cannot and returns nil: what was remembered before still applies.
func (d *Dir) Remember(ctx context.Context, dataset string, seen Known) error {
	err := d.Learn(ctx, dataset, seen)
	if unwritable(err) {
		d.once.Do(func() {
			if d.Cannot != nil {
				d.Cannot(err)
			}
		})
		return nil
	}
	return err
}

// Learn is like Remember, but returns an error if nothing can be written.
func (d *Dir) Learn(ctx context.Context, dataset string, seen Known) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.locked(func() error {
		r, err := d.read(dataset)
		if err != nil {
			return err
		}
		if r == nil {
			r = &Record{Format: fileFormat, Vault: d.Vault, Dataset: dataset}
		}
		changed, err := r.merge(dataset, seen)
		if err != nil || !changed {
			return err
		}
		return d.write(r)
	})
}

func (d *Dir) write(r *Record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(d.file(r.Dataset), 0o600, func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

// locked calls a function while no other process does, if the file system has locks.
// Without them one of two writers may lose what it has learned, and learn it again.
func (d *Dir) locked(do func() error) error {
	if err := os.MkdirAll(d.folder(), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.folder(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := new(fsys.Calls).Lock(f); err != nil {
		return err
	}
	return do()
}

// unwritable reports whether an error says that nothing can be written at all.
func unwritable(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.ENOTDIR} {
		if errors.Is(err, e) {
			var state *StateError
			return !errors.As(err, &state)
		}
	}
	return false
}

// Forget removes what is remembered about a dataset, even if it cannot be read.
func (d *Dir) Forget(ctx context.Context, dataset string) error {
	if _, err := os.Lstat(d.file(dataset)); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return d.locked(func() error {
		err := os.Remove(d.file(dataset))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// Set replaces what is remembered about a dataset with the record.
func (d *Dir) Set(ctx context.Context, r *Record) error {
	return d.locked(func() error {
		r.Format, r.Vault = fileFormat, d.Vault
		return d.write(r)
	})
}

// List returns everything that is remembered, of all vaults, sorted by vault and dataset.
// If files cannot be used, the error names them, and the records of the other files are
// returned with it.
func (d *Dir) List() (all []*Record, err error) {
	vaults, err := os.ReadDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var errs []error
	var files []string
	for _, vault := range vaults {
		if !vault.IsDir() {
			continue
		}
		of, err := os.ReadDir(filepath.Join(d.Path, vault.Name()))
		if err != nil {
			errs = append(errs, err)
		}
		for _, f := range of {
			if strings.HasSuffix(f.Name(), suffix) {
				files = append(files, filepath.Join(d.Path, vault.Name(), f.Name()))
			}
		}
	}
	for _, file := range files {
		r, err := readRecord(file)
		if err != nil {
			errs = append(errs, &StateError{strings.TrimSuffix(filepath.Base(file), suffix), file, err})
			continue
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Record) int { return strings.Compare(a.Vault+"\x00"+a.Dataset, b.Vault+"\x00"+b.Dataset) })
	return all, errors.Join(errs...)
}
