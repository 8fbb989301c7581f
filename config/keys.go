package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// ReadableKeys returns those of the configured keys that can be read, for opening
// data keys only. The error says why other keys cannot be read, and may be returned
// together with keys. It is for callers that read only what needs no key.
func ReadableKeys(ctx context.Context, c *Config) (*vault.Keys, error) {
	k := &vault.Keys{}
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return k, err
	}
	var errs []error
	add := func(w envelope.KeyWrapper, name string) {
		k.Open, k.Names = append(k.Open, w), append(k.Names, name)
	}
	if err := addKMS(ctx, c, k, add); err != nil {
		errs = append(errs, err)
	}
	if local, err := ReadLocalKey(c); err == nil {
		add(local, c.LocalKey.Value)
	} else if !c.DefaultKey || len(c.KMSKeys) == 0 {
		errs = append(errs, err)
	}
	if c.Identity.Value != "" {
		if id, err := readIdentity(c.Identity); err == nil {
			add(id, c.Identity.Value)
		} else {
			errs = append(errs, err)
		}
	}
	if c.Passphrase.Value != "" {
		if p, err := ReadPassphrase(c.Passphrase); err == nil {
			add(p, c.Passphrase.Value)
		} else {
			errs = append(errs, err)
		}
	}
	return k, errors.Join(errs...)
}

// ReadKeys reads the configured keys. If another key is configured, the embedded
// default of the local key is not used and may be missing: a file on a laptop should
// not open a dataset whose keys are in KMS unless the configuration says so. If an
// identity or a passphrase is configured, a local key that a configuration file names
// may be missing too, since it may be lost. New data keys get a slot for each KMS
// key.
func ReadKeys(ctx context.Context, c *Config) (*vault.Keys, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	k := &vault.Keys{}
	add := func(w envelope.KeyWrapper, name string) {
		k.Open, k.Names = append(k.Open, w), append(k.Names, name)
	}
	if err := addKMS(ctx, c, k, add); err != nil {
		return nil, err
	}
	k.Wrap, k.WrapNames = slices.Clone(k.Open), slices.Clone(k.Names)
	local, localErr := ReadLocalKey(c)
	switch {
	case c.DefaultKey && len(c.KMSKeys) > 0:
		localErr = fs.ErrNotExist
	case localErr == nil:
		add(local, c.LocalKey.Value)
	}
	if c.Identity.Value != "" {
		id, err := readIdentity(c.Identity)
		if err != nil {
			return nil, err
		}
		add(id, c.Identity.Value)
	}
	if c.Passphrase.Value != "" {
		p, err := ReadPassphrase(c.Passphrase)
		if err != nil {
			return nil, err
		}
		add(p, c.Passphrase.Value)
	}
	if errors.Is(localErr, fs.ErrNotExist) && c.DefaultKey && len(k.Open) == 0 && s3store.IsURL(c.Vault.Value) {
		return nil, fmt.Errorf("no key is configured for %s: set a KMS key with --kms-key, or kms_keys in %s; "+
			"or use a local key, created by: vaultpack init", c.Vault.Value, FileName)
	}
	if missing := (*MissingKeyError)(nil); errors.As(localErr, &missing) && missing.Setting.fromFile() && c.Identity.Value+c.Passphrase.Value != "" {
		// A user who has lost the key opens with another one. No data keys are made without it.
		if len(k.Wrap) == 0 {
			k.Wrap = []envelope.KeyWrapper{missingKey{missing}}
		}
		localErr = nil
	}
	if localErr != nil && (!errors.Is(localErr, fs.ErrNotExist) || !c.DefaultKey || len(k.Open) == 0) {
		return nil, localErr
	}
	if len(k.Wrap) == 0 {
		k.Wrap, k.WrapNames = []envelope.KeyWrapper{k.Open[0]}, []string{k.Names[0]}
	}
	for _, s := range c.Recipients {
		r, err := ReadRecipient(s)
		if err != nil {
			return nil, err
		}
		k.Wrap, k.WrapNames = append(k.Wrap, r), append(k.WrapNames, s.Value)
	}
	return k, nil
}

// readSecret reads a file that only its owner may read, and that belongs to this
// user or to root. what names its contents in errors, which never contain any of
// them.
func readSecret(what string, s Setting) ([]byte, error) {
	file := s.Value
	if s.fromFile() {
		// The author of the configuration has not checked the path to the file.
		if _, err := realTrusted(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the %s %s (from %s): %w", what, file, s.Source, err)
		}
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe would block
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingKeyError{What: what, Setting: s}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", what, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", what, err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		if mode.IsRegular() && !keepsModes(filepath.Dir(file)) {
			return nil, fmt.Errorf("others can read the %s %s (mode %v), and its file system keeps no modes (as exFAT and SMB); "+
				"move it to a local disk, and set --%s", what, file, mode, strings.ReplaceAll(what, " ", "-"))
		}
		return nil, fmt.Errorf("others can read the %s %s (mode %v); run: chmod 600 %s", what, file, mode, file)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && !trustedOwner(st.Uid) {
		return nil, fmt.Errorf("the %s %s belongs to another user (uid %d), who knows it and can change it; use one of your own", what, file, st.Uid)
	}
	if info.Size() > 1<<20 {
		return nil, fmt.Errorf("the %s %s has %d bytes, which is not the size of a key", what, file, info.Size())
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", what, err)
	}
	return b, nil
}

func readIdentity(s Setting) (*envelope.Identity, error) {
	b, err := readSecret("identity", s)
	if isRecipient(s.Value) {
		return nil, fmt.Errorf("%s is a recipient (a public key) and opens nothing. Use its identity, usually the file without .pub", s.Value)
	}
	if err != nil {
		return nil, err
	}
	defer clear(b)
	id, err := envelope.ParseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("%s is not a vaultpack identity: %w", s.Value, err)
	}
	return id, nil
}

// maxPublic is more than the text of a public key takes.
const maxPublic = 64 << 10

// isRecipient reports whether a file is a public key.
func isRecipient(file string) bool {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	defer clear(b)
	if err != nil {
		return false
	}
	_, err = envelope.ParseRecipient(b)
	return err == nil
}

// isSecret reports whether a text is a secret key.
func isSecret(b []byte) bool {
	return bytes.Contains(b, []byte("vaultpack-identity-")) || bytes.Contains(b, []byte("vaultpack-local-key-"))
}

// ReadPassphrase reads the passphrase from a file that consists of that one line.
func ReadPassphrase(s Setting) (*envelope.Passphrase, error) {
	b, err := readSecret("passphrase file", s)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	p, err := envelope.NewPassphrase(bytes.TrimRight(b, "\r\n"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Value, err)
	}
	return p, nil
}

// ReadRecipient reads the public key of a recipient. If a configuration file
// names the file, nobody else may be able to write to it: anyone who can could
// then read what is uploaded later.
func ReadRecipient(s Setting) (*envelope.Recipient, error) {
	if s.fromFile() {
		if _, err := realTrusted(s.Value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the recipient %s (from %s): %w", s.Value, s.Source, err)
		}
	}
	b, err := fsys.ReadSmall(s.Value, maxPublic)
	if err != nil {
		return nil, fmt.Errorf("reading the recipient (from %s): %w", s.Source, err)
	}
	r, err := envelope.ParseRecipient(b)
	if err != nil && isSecret(b) {
		clear(b)
		return nil, fmt.Errorf("%s is a secret key; do not give it to anyone. Use its recipient, usually the file with .pub at the end", s.Value)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a vaultpack recipient: %w", s.Value, err)
	}
	return r, nil
}

// ReadLocalKey reads the configured local key. Errors name the file, say what to
// do, and never contain any of its contents.
func ReadLocalKey(c *Config) (*envelope.LocalKey, error) {
	file := c.LocalKey.Value
	b, err := readSecret("local key", c.LocalKey)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	key, err := envelope.ParseLocalKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s is not a vaultpack local key: %w; restore it from its backup", file, err)
	}
	return key, nil
}

// ensureLocalKey makes the local key if it is missing, but not for a vault that
// already holds data: that was sealed with another key.
func ensureLocalKey(ctx context.Context, c *Config, store vault.Store) (made bool, err error) {
	if _, err := ReadLocalKey(c); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for o, err := range store.List(ctx, "") {
		if err != nil {
			return false, fmt.Errorf("listing the vault: %w", err)
		}
		if strings.Contains(o.Name, "/keys/") {
			_, err := ReadLocalKey(c)
			var missing *MissingKeyError
			if errors.As(err, &missing) {
				missing.findOthers(ctx, store)
			}
			return false, fmt.Errorf("the vault %s already holds data, so no new key is created: %w", c.Vault.Value, err)
		}
	}
	return CreateLocalKey(c)
}

const keyComment = `# A local key of vaultpack. Whoever has this file can read the data that was
# sealed with it; without it, nobody can. Keep a copy in a safe place.
`

// CreateLocalKey creates the configured local key if it does not exist.
func CreateLocalKey(c *Config) (made bool, err error) {
	text := append([]byte(keyComment), envelope.GenerateLocalKey().EncodeSecret()...)
	defer clear(text)
	err = WriteSecret(c.LocalKey.Value, text)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("making the local key: %w", err)
	}
	return true, nil
}

// WriteSecret creates a file that only its owner may read. If the file exists,
// the error wraps fs.ErrExist.
func WriteSecret(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	err := atomicfile.Create(file, 0o600, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("others could read %s (mode %v): its file system keeps no modes (as exFAT and SMB); choose a place on a local disk",
			file, info.Mode())
	}
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// keepsModes reports whether the folder's file system keeps the modes of files.
func keepsModes(dir string) bool {
	f, err := os.CreateTemp(dir, ".vaultpack-") // of mode 0600
	if err != nil {
		return true
	}
	defer os.Remove(f.Name())
	defer f.Close()
	info, err := f.Stat()
	return err != nil || info.Mode().Perm()&0o077 == 0
}
