// Package dataset keeps named, versioned trees of files in a vault: the layout
// of the objects, the index that says where each file lies, the version roots
// that make a set of objects a snapshot, and all that reads them: listing,
// restoring, verifying. Package uploader writes them.
//
// Everything that is read is authenticated before it is believed. A version
// root pins the parts of its index, those pin the packs, and each is bound to
// the dataset by its data key, so no object can stand in for another.
package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// Errors that callers branch on. ErrMissing means that an object which the
// dataset names is gone: removed or shredded, if not by its owner then by
// somebody else.
var (
	ErrUnknownDataset = errors.New("there is no such dataset")
	ErrUnknownVersion = errors.New("there is no such version")
	ErrMissing        = errors.New("an object of the dataset is missing")
	ErrClosed         = errors.New("the dataset has been closed")
)

// A Dataset is a dataset in a vault. It is safe for concurrent use.
type Dataset struct {
	Name  string
	vault *vault.Vault

	*openKeys // shared with other views of the dataset
}

// openKeys are the data keys that have been opened.
type openKeys struct {
	mu     sync.Mutex
	closed bool
	jobs   map[*context.CancelCauseFunc]struct{} // that use the keys now
	keys   map[envelope.KeyID]*envelope.DataKey
	// hashes keep a ContentHash of each data key for the next file.
	hashes sync.Map // from envelope.KeyID to *sync.Pool
}

// over is the same dataset with its objects in another store, and the same keys.
func (d *Dataset) over(s vault.Store) *Dataset {
	v := *d.vault
	v.Store = s
	return &Dataset{Name: d.Name, vault: &v, openKeys: d.openKeys}
}

// Open names a dataset in the vault, whether or not it exists yet.
func Open(v *vault.Vault, name string) (*Dataset, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	d := &Dataset{Name: name, vault: v, openKeys: newOpenKeys()}
	if !d.usable() {
		return nil, errNoVault
	}
	return d, nil
}

func newOpenKeys() *openKeys {
	return &openKeys{keys: map[envelope.KeyID]*envelope.DataKey{}, jobs: map[*context.CancelCauseFunc]struct{}{}}
}

// during is ctx for a job that uses the keys: it ends when they are wiped, and not
// after that. It returns the job's error, or ErrClosed where that is why it ended.
func (k *openKeys) during(ctx context.Context, job func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k.enter(&cancel)
	defer k.leave(&cancel) // also where the job panics
	err := job(ctx)
	if context.Cause(ctx) == ErrClosed {
		return ErrClosed // also where the job thinks that it has done all
	}
	return err
}

// enter has cancel called, with ErrClosed, when the keys are wiped.
func (k *openKeys) enter(cancel *context.CancelCauseFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		(*cancel)(ErrClosed)
	}
	k.jobs[cancel] = struct{}{}
}

func (k *openKeys) leave(cancel *context.CancelCauseFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.jobs, cancel)
}

// Vault is the vault that the dataset is in.
func (d *Dataset) Vault() *vault.Vault { return d.vault }

// List gives the names of the datasets in the vault.
func List(ctx context.Context, v *vault.Vault) ([]string, error) {
	if err := given.Check(ctx, v != nil && v.Store != nil, errNoVault); err != nil {
		return nil, err
	}
	folders, err := v.Folders(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("listing the vault: %w", err)
	}
	var names []string
	for _, f := range folders {
		if CheckName(f) == nil {
			names = append(names, f)
		}
	}
	return names, nil
}

// CheckName says whether a dataset may have the name: 1 to 100 letters, digits,
// dots, hyphens and underscores, the first a letter or digit. Names are parts
// of object names and stand in the audit log of the key service.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 100
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = ok && (alnum || i > 0 && (c == '-' || c == '_' || c == '.'))
	}
	if !ok {
		return fmt.Errorf("%q cannot name a dataset: use 1 to 100 letters, digits, dots, hyphens and underscores, beginning with a letter or digit", name)
	}
	return nil
}

// The layout of a dataset's objects.
func (d *Dataset) keyName(id envelope.KeyID) string { return d.Name + "/keys/" + id.String() + ".json" }

// PackName is the name of a pack in the store.
func (d *Dataset) PackName(id envelope.ObjectID) string {
	return d.Name + "/packs/" + id.String() + ".vpk"
}

func (d *Dataset) indexName(id envelope.ObjectID) string {
	return d.Name + "/index/" + id.String() + ".vpk"
}

func (d *Dataset) versionName(n int64) string {
	return fmt.Sprintf("%s/versions/%010d.vpk", d.Name, n)
}

// context is the encryption context of the dataset's keyrings. It is computed,
// never read from the vault.
func (d *Dataset) context() envelope.EncryptionContext {
	ec := envelope.EncryptionContext{}
	maps.Copy(ec, d.vault.Context)
	ec[envelope.ContextDataset] = d.Name // whatever the user's part says
	return ec
}

// newKey makes a data key for the dataset and stores its keyring.
func (d *Dataset) newKey(ctx context.Context) (*envelope.DataKey, error) {
	ring, key, err := envelope.NewKeyring(ctx, d.context(), d.vault.Keys.Wrap...)
	if err != nil {
		return nil, err
	}
	if err := d.vault.Create(ctx, d.keyName(key.ID()), ring.Bytes()); err != nil {
		return nil, fmt.Errorf("storing the keyring: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		key.Wipe()
		return nil, ErrClosed
	}
	d.keys[key.ID()] = key
	return key, nil
}

// Key opens one of the dataset's data keys, once however often it is asked for.
func (d *Dataset) Key(ctx context.Context, id envelope.KeyID) (*envelope.DataKey, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	if key := d.keys[id]; key != nil {
		return key, nil
	}
	ring, err := d.keyring(ctx, id)
	if err != nil {
		return nil, &keyringError{err}
	}
	key, err := ring.Unwrap(ctx, d.context(), d.vault.Keys.Open...)
	if err != nil {
		return nil, &keyringError{fmt.Errorf("%s: %w", d.keyName(id), tampered(err))}
	}
	d.keys[id] = key
	return key, nil
}

func (k *openKeys) isClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// Close wipes the data keys. What is under way with them, in other goroutines too,
// ends with an error, and every later use is [ErrClosed].
func (d *Dataset) Close() {
	if d == nil || d.openKeys == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for cancel := range d.jobs {
		(*cancel)(ErrClosed) // before there is anything that fails for another reason
	}
	for _, key := range d.keys {
		key.Wipe()
	}
	clear(d.keys)
	d.hashes.Clear()
}

// tampered turns the complaint that an object is malformed into the one that it
// does not authenticate. In a vault both mean that somebody changed it.
func tampered(err error) error {
	if errors.Is(err, envelope.ErrFormat) || errors.Is(err, envelope.ErrNoKeyring) {
		return envelope.ErrAuthentication
	}
	return err
}

// get reads a small object whole.
func (d *Dataset) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	r, err := d.open(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", name, limit, envelope.ErrAuthentication)
	}
	return b, nil
}

// open reads an object that the dataset names.
func (d *Dataset) open(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := d.vault.Get(ctx, name, off, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, nil
}

// WritePack seals what fill writes as a new pack. If fill fails, nothing is
// stored. Every call makes a new object ID, so whatever is read again from its
// source is sealed again as another object.
func (d *Dataset) WritePack(ctx context.Context, key *envelope.DataKey, fill func(io.Writer) error, opts ...envelope.Option) (tree.Object, error) {
	if err := d.begin(ctx); err != nil {
		return tree.Object{}, err
	}
	return d.seal(ctx, envelope.KindPack, key, d.PackName, fill, opts...)
}

func (d *Dataset) seal(ctx context.Context, kind envelope.Kind, key *envelope.DataKey, name func(envelope.ObjectID) string, fill func(io.Writer) error, opts ...envelope.Option) (tree.Object, error) {
	// The name holds the object ID, so the header comes before the object.
	var dst lateWriter
	w, err := envelope.NewWriter(&dst, kind, key, opts...)
	if err != nil {
		return tree.Object{}, err
	}
	defer w.Abort()
	id := w.Header().ObjectID
	err = d.vault.Put(ctx, name(id), func(to io.Writer) error {
		if err := dst.begin(to); err != nil {
			return err
		}
		if err := fill(w); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		return tree.Object{}, err
	}
	return tree.Object{ID: id, KeyID: key.ID(), Pin: w.Pin()}, nil
}

// A lateWriter keeps what is written to it until it knows where to.
type lateWriter struct {
	held []byte
	to   io.Writer
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if w.to != nil {
		return w.to.Write(p)
	}
	w.held = append(w.held, p...)
	return len(p), nil
}

func (w *lateWriter) begin(to io.Writer) error {
	w.to = to
	_, err := to.Write(w.held)
	return err
}

// readIndex reads and checks a part of an index.
func (d *Dataset) readIndex(ctx context.Context, o tree.Object) ([]*tree.Entry, error) {
	b, err := d.readPinned(ctx, envelope.KindIndex, d.indexName(o.ID), o)
	if err != nil {
		return nil, err
	}
	_, entries, err := codec.DecodeList(codec.IndexFormat, d.Name, b)
	if err != nil {
		return nil, d.malformed(o, err)
	}
	for _, e := range entries {
		if err := codec.CheckExtents(e); err != nil {
			return nil, d.malformed(o, err)
		}
	}
	return entries, nil
}

// malformed is the error of a part that no honest writer has made. Its bytes are
// authentic, so it was made by somebody who holds the key.
func (d *Dataset) malformed(o tree.Object, err error) error {
	if errors.Is(err, envelope.ErrAuthentication) {
		return fmt.Errorf("%s: %w", d.indexName(o.ID), err)
	}
	return fmt.Errorf("%s: %w: %w", d.indexName(o.ID), err, envelope.ErrAuthentication)
}

// readPinned reads a whole pinned object into memory.
func (d *Dataset) readPinned(ctx context.Context, kind envelope.Kind, name string, o tree.Object) ([]byte, error) {
	size, err := o.PlaintextSize()
	if err != nil || size > codec.MaxList {
		return nil, fmt.Errorf("%s has a size of %d bytes, and the bound is %d: %w", name, o.Pin.Size, codec.MaxList, envelope.ErrAuthentication)
	}
	key, err := d.Key(ctx, o.KeyID)
	if err != nil {
		return nil, err
	}
	src, err := d.open(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	r, err := headerOf(o, kind).OpenExact(src, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(r, size+1)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(b.Len()) != size || r.Pin() != o.Pin {
		return nil, fmt.Errorf("%s: %w", name, envelope.ErrAuthentication)
	}
	return b.Bytes(), nil
}
