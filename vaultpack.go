// Package vaultpack keeps data encrypted in a vault, from Go: it does what the command does for a folder, in a
// few lines of code.
//
//	v, err := vaultpack.Open(ctx, vaultpack.Settings{Vault: "/mnt/vault", LocalKey: "vault.key"})
//	defer v.Close()
//
//	res, err := v.Upload(ctx, "scans", "./scans", uploader.Options{}) // seal a folder, or what has changed in it
//	w, err := v.Writer(ctx, "events", ingest.Options{})               // or write files one by one
//
//	version, err := v.Version(ctx, "scans")                      // the newest; "scans@3" is the third
//	for entry, err := range version.Entries(ctx) { … }           // list it
//	f, err := version.OpenFile(ctx, "train/0001.json")           // read any range of a file
//	_, err = restore.Run(ctx, version, "out", restore.Options{}) // restore it
//	_, err = verify.Run(ctx, version, verify.Options{})          // check every bit
//	changes := dataset.Diff(ctx, old, version)                   // see what has changed
//
// This package opens the vault, its keys and its datasets, and closes them together. The packages that work on
// them are [uploader], [ingest], [dataset], dataset/restore and dataset/verify. A program can also use those
// without this package, for example on its own [vault.Store]. Package trainer/launcher launches training jobs,
// so that a program that only reads and writes does not have to link the SageMaker SDK.
package vaultpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// Settings say which vault and which keys to use. Files are read when the vault is opened.
type Settings struct {
	// Vault is a directory, or s3://bucket/prefix.
	Vault string
	// LocalKey is the file of the key that wraps data keys; Create makes the key if there
	// is none. KMSKeys are ARNs, aliases or IDs of AWS KMS keys to use instead; the first
	// one makes data keys.
	LocalKey string
	KMSKeys  []string
	// Identity and Passphrase are files with further keys that open data keys.
	// Recipients are files with public keys whose owners can also open new data
	// keys.
	Identity, Passphrase string
	Recipients           []string
	// Context is bound to every data key. It is not secret.
	Context map[string]string
	// SigningKey is the file of the key that signs versions. By default the key derived
	// from the local key signs them.
	SigningKey string
	// Signers are pinned public keys, as text or files: a version is believed if one of
	// them has signed it, or the set of its signers. Pins are DATASET@NUMBER#DIGEST.
	Signers, Pins []string
	// S3 specifies how to use the bucket.
	S3 s3store.Settings
}

// source is where settings come from, for errors.
const source = "vaultpack.Settings"

// Config returns the settings in the form that package config opens, for anything that this
// package has no function for.
func (s Settings) Config() *config.Config {
	set := func(value string) config.Setting {
		if value == "" {
			return config.Setting{}
		}
		return config.Setting{Value: value, Source: source}
	}
	all := func(values []string) (out []config.Setting) {
		for _, value := range values {
			out = append(out, set(value))
		}
		return out
	}
	return &config.Config{Vault: set(s.Vault), Signing: set(s.SigningKey), LocalKey: set(s.LocalKey), DefaultKey: s.LocalKey == "", KMSKeys: all(s.KMSKeys), Identity: set(s.Identity),
		Passphrase: set(s.Passphrase), Recipients: all(s.Recipients), Context: s.Context, ContextSource: source, S3: s.S3, S3Source: source}
}

// check rejects incomplete settings: if no key is named, the keys that the command would
// find must not be used.
func (s Settings) check() error {
	if s.Vault == "" {
		return errors.New("vaultpack: the settings have no vault")
	}
	if s.LocalKey == "" && len(s.KMSKeys) == 0 && s.Identity == "" && s.Passphrase == "" {
		return errors.New("vaultpack: the settings have no key")
	}
	return nil
}

// A Vault is an open vault, with the datasets that have been used. It is safe for
// concurrent use. The caller must call Close, which wipes the data keys.
type Vault struct {
	vault *vault.Vault

	mu       sync.Mutex
	closed   bool
	datasets map[string]*dataset.Dataset
}

// Open opens a vault. If there is none in a directory, the error wraps vault.ErrNoVault.
// A bucket is first contacted by the first operation.
func Open(ctx context.Context, s Settings) (*Vault, error) {
	if err := given.Context(ctx); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	c := s.Config()
	if err := c.Pinned(s.Signers, s.Pins); err != nil {
		return nil, fmt.Errorf("vaultpack: %w", err)
	}
	return opened(config.Open(ctx, c))
}

// Create opens a vault, after making it and its local key if they do not exist. It does
// not make buckets or KMS keys. Keep a copy of the file of a local key: without it
// nobody can read the vault.
func Create(ctx context.Context, s Settings) (*Vault, error) {
	if err := given.Context(ctx); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.LocalKey == "" && len(s.KMSKeys) == 0 {
		return nil, errors.New("vaultpack: a new vault needs either a local key or KMS keys")
	}
	c := s.Config()
	if err := c.Pinned(s.Signers, s.Pins); err != nil {
		return nil, fmt.Errorf("vaultpack: %w", err)
	}
	v, _, err := config.Init(ctx, c)
	return opened(v, err)
}

// OpenConfigured opens the vault that the command would use: it reads vaultpack.yaml
// in the working folder or above it, and the environment.
func OpenConfigured(ctx context.Context) (*Vault, error) {
	if err := given.Context(ctx); err != nil {
		return nil, err
	}
	c, err := config.Load(func(string) string { return "" })
	if err != nil {
		return nil, err
	}
	return opened(config.Open(ctx, c))
}

// New returns a Vault for one that was opened in another way: on another store, or with other
// keys.
func New(v *vault.Vault) (*Vault, error) {
	if v == nil || v.Store == nil || v.Keys == nil {
		return nil, errors.New("vaultpack: a vault without a store or without keys")
	}
	return opened(v, nil)
}

func opened(v *vault.Vault, err error) (*Vault, error) {
	if err != nil {
		return nil, err
	}
	return &Vault{vault: v, datasets: map[string]*dataset.Dataset{}}, nil
}

// Vault returns the underlying vault.
func (v *Vault) Vault() *vault.Vault {
	if v == nil {
		return nil
	}
	return v.vault
}

var errNoVault = errors.New("vaultpack: a Vault that was not opened")

// Dataset returns a dataset of the vault, which need not exist yet. It is closed with
// the vault.
func (v *Vault) Dataset(name string) (*dataset.Dataset, error) {
	if v == nil || v.vault == nil {
		return nil, errNoVault
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, dataset.ErrClosed
	}
	if d := v.datasets[name]; d != nil {
		return d, nil
	}
	d, err := dataset.Open(v.vault, name)
	if err != nil {
		return nil, err
	}
	v.datasets[name] = d
	return d, nil
}

// Datasets returns the names of the datasets in the vault.
func (v *Vault) Datasets(ctx context.Context) ([]string, error) {
	if v == nil || v.vault == nil {
		return nil, errNoVault
	}
	return dataset.List(ctx, v.vault)
}

// Version reads a version, by NAME, NAME@NUMBER, NAME@TAG or NAME@latest, each
// optionally followed by #DIGEST.
func (v *Vault) Version(ctx context.Context, ref string) (*dataset.Version, error) {
	r, err := dataset.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("vaultpack: %w", err)
	}
	d, err := v.Dataset(r.Dataset)
	if err != nil {
		return nil, err
	}
	return d.Choose(ctx, r.Choice())
}

// Upload uploads a folder, or a file, to a dataset: see [uploader.Upload]. With
// Options.DryRun it only determines what it would do.
func (v *Vault) Upload(ctx context.Context, name, path string, opts uploader.Options) (*uploader.Result, error) {
	d, err := v.Dataset(name)
	if err != nil {
		return nil, err
	}
	return uploader.Upload(ctx, d, path, opts)
}

// UploadBucket uploads the objects of a bucket to a dataset: see [uploader.UploadBucket]. A bucket
// of S3 is opened by [s3store.OpenSource].
func (v *Vault) UploadBucket(ctx context.Context, name string, b uploader.Bucket, opts uploader.Options) (*uploader.Result, error) {
	d, err := v.Dataset(name)
	if err != nil {
		return nil, err
	}
	return uploader.UploadBucket(ctx, d, b, opts)
}

// UploadStream uploads the contents of r as the only file of a dataset: see
// [uploader.UploadStream].
func (v *Vault) UploadStream(ctx context.Context, name string, r io.Reader, file string, opts uploader.Options) (*uploader.Result, error) {
	d, err := v.Dataset(name)
	if err != nil {
		return nil, err
	}
	return uploader.UploadStream(ctx, d, r, file, opts)
}

// Writer begins a version of a dataset that is written file by file.
func (v *Vault) Writer(ctx context.Context, name string, opts ingest.Options) (*ingest.Writer, error) {
	d, err := v.Dataset(name)
	if err != nil {
		return nil, err
	}
	return ingest.New(ctx, d, opts)
}

// Close wipes the data keys. Operations in progress, including those in other
// goroutines, fail with dataset.ErrClosed.
func (v *Vault) Close() error {
	if v == nil || v.vault == nil {
		return errNoVault
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	for _, d := range v.datasets {
		d.Close()
	}
	return nil
}
