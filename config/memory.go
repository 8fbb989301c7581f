package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// memory returns what this user remembers about the datasets of a vault, with the
// pins of the configuration.
func (c *Config) memory(location string) *trust.Pinned {
	path, err := KnownDir()
	if err != nil {
		// As with a folder that cannot be made: nothing is remembered, and the user is warned.
		path = filepath.Join(os.DevNull, "known")
	}
	dir := &trust.Dir{Path: path, Vault: c.vaultName(location), Cannot: c.CannotRemember, Told: c.FirstContact}
	return &trust.Pinned{Memory: dir, Signers: c.Signers, Versions: c.Pins}
}

// Remembered returns what is remembered about the configured vault, without opening
// the vault.
func (c *Config) Remembered() (*trust.Dir, error) {
	if c == nil || c.Vault.Value == "" {
		return nil, errNoConfig
	}
	path, err := KnownDir()
	if err != nil {
		return nil, err
	}
	location := c.Vault.Value
	if !s3store.IsURL(location) {
		if location, err = filepath.Abs(location); err != nil {
			return nil, err
		}
	}
	return &trust.Dir{Path: path, Vault: c.vaultName(location)}, nil
}

// KnownDir returns the folder that remembers what was seen of datasets: known in
// StateDir.
func KnownDir() (string, error) {
	dir, err := StateDir()
	return filepath.Join(dir, "known"), err
}

// StateDir returns the folder for what vaultpack remembers: VAULTPACK_HOME, or vaultpack
// below the XDG state directory.
func StateDir() (string, error) {
	if dir := os.Getenv("VAULTPACK_HOME"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "vaultpack"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "state", "vaultpack"), nil
}

// vaultName returns the same name for a vault no matter how its directory is reached.
// The name of a bucket on a server other than AWS includes the server.
func (c *Config) vaultName(location string) string {
	if s3store.IsURL(location) {
		name := strings.TrimSuffix(location, "/")
		for _, endpoint := range []string{c.S3.Endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL")} {
			if endpoint != "" {
				return name + " at " + strings.TrimSuffix(endpoint, "/")
			}
		}
		return name
	}
	if real, err := filepath.EvalSymlinks(location); err == nil {
		return real
	}
	return location
}

// Pinned pins signers, as text or in files, and versions, as DATASET@NUMBER#DIGEST.
func (c *Config) Pinned(signers, pins []string) error {
	if c == nil {
		return errNoConfig
	}
	return c.pins("the settings", signers, pins, func(s string) string { return s })
}

// pins reads the pins of a configuration file.
func (c *Config) pins(file string, signers, pins []string, inFile func(string) string) error {
	if c.Signers == nil {
		for _, s := range signers {
			key, err := ReadSigner(s, inFile(s))
			if err != nil {
				return fmt.Errorf("%s: signers: %w", file, err)
			}
			c.Signers = append(c.Signers, key)
		}
	}
	if c.Pins == nil {
		for _, p := range pins {
			if err := c.pin(p); err != nil {
				return fmt.Errorf("%s: pins: %w", file, err)
			}
		}
	}
	return nil
}

// pin pins a version: DATASET@NUMBER#DIGEST.
func (c *Config) pin(ref string) error {
	r, err := dataset.ParseReference(ref)
	if err != nil {
		return err
	}
	if r.Number == 0 || r.Digest == "" {
		return fmt.Errorf("%q pins no version: write DATASET@NUMBER#DIGEST, as vaultpack versions prints it", ref)
	}
	if c.Pins == nil {
		c.Pins = map[string]map[int64]string{}
	}
	if c.Pins[r.Dataset] == nil {
		c.Pins[r.Dataset] = map[int64]string{}
	}
	if was := c.Pins[r.Dataset][r.Number]; was != "" && was != r.Digest {
		return fmt.Errorf("%s@%d is pinned to two digests, %s and %s", r.Dataset, r.Number, was, r.Digest)
	}
	c.Pins[r.Dataset][r.Number] = r.Digest
	return nil
}

// ReadSigner reads a public signing key from the text itself or from a file.
func ReadSigner(text, file string) (signing.PublicKey, error) {
	key, err := signing.ParsePublicKey([]byte(text))
	if err == nil {
		return key, nil
	}
	b, ferr := fsys.ReadSmall(file, maxPublic)
	if ferr != nil {
		return key, fmt.Errorf("%.100q is neither a public signing key nor a file with one: %w", text, ferr)
	}
	if key, err = signing.ParsePublicKey(b); err != nil {
		if bytes.Contains(b, []byte("PRIVATE KEY")) || bytes.Contains(b, []byte("vaultpack-signing-key-")) {
			return key, fmt.Errorf("%s is a private key; do not give it to anyone. Use its public key, usually the file with .pub at the end", file)
		}
		return key, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}
