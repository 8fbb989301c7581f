// Package config determines from flags, the environment and vaultpack.yaml which
// vault and which keys to use, and opens them. It knows all kinds of vaults and
// keys.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/keyservice"
	"github.com/vaultpack/vaultpack/signing"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// FileName is the name of the configuration file. It is searched for in the
// working folder and its parents, then in the user's configuration directory.
const FileName = "vaultpack.yaml"

// A Setting is a value and the place that it was read from.
type Setting struct {
	Value  string `json:"value"`
	Source string `json:"source"`
}

// fromFile reports whether the setting was read from a configuration file.
func (s Setting) fromFile() bool { return filepath.IsAbs(s.Source) }

// A Config says which vault and which keys to use. Each setting comes from the
// first of these that has it: a flag, the environment, the nearest
// vaultpack.yaml, the one in the user's configuration directory, the embedded
// default.
type Config struct {
	Home     Setting // the folder of the embedded default vault and key
	Vault    Setting // s3://bucket/prefix, or a directory
	LocalKey Setting // the file of the local key
	// Signing is the key that signs versions: a file, the ARN of a key in AWS KMS, or
	// ssh-agent: with a public key or its file. DefaultSigning is true for the embedded
	// default, which is created on first use, and only if no local key is used.
	Signing        Setting
	DefaultSigning bool
	// MadeSigningKey is called after the signing key was created.
	MadeSigningKey func(file string)
	// Signers are pinned keys, and Pins digests of versions by dataset and number; see
	// package trust.
	Signers []signing.PublicKey
	Pins    map[string]map[int64]string
	// CannotRemember is called with the reason if nothing can be remembered, and
	// FirstContact for each dataset that was not known before.
	CannotRemember func(error)
	FirstContact   func(dataset string, signer signing.KeyID)
	// KMSKeys are ARNs, aliases or IDs of AWS KMS keys; the first makes data keys.
	KMSKeys []Setting
	// KMSRelated makes multi-Region keys also open what their related keys have
	// wrapped: see [awskms.AcceptRelated].
	KMSRelated bool
	// S3 holds the settings for the bucket of a vault in S3, and S3Source says
	// where they were read from.
	S3       s3store.Settings
	S3Source string
	// Source says how to reach a bucket that data is uploaded from. Its section of a file
	// counts as a whole.
	Source SourceSettings
	// Identity and Passphrase are files with further keys that open data keys, or
	// empty. Recipients are files with public keys that new data keys are also
	// wrapped for.
	Identity, Passphrase Setting
	Recipients           []Setting
	Context              envelope.EncryptionContext
	// ContextSource says where Context was read from. It is empty if no context was set.
	ContextSource string
	// Provision is the section provision of the file, which says what init
	// maintains in AWS, or nil. ProvisionSource says where it was read from.
	Provision       *yaml.Node
	ProvisionSource string
	// Files are the configuration files that were read, nearest first.
	Files  []string
	vaults map[string]string  // the vault that each of Files names, if it does
	keys   *keyservice.Client // of Resolved
	// related is the nearest kms_related, or nil if no file has it.
	related *bool
	source  *SourceSettings // the nearest section source, or nil
	// Default is true for the embedded default vault, which is made on first use,
	// and DefaultKey for the embedded default of the local key.
	Default, DefaultKey bool
}

// fileConfig is vaultpack.yaml. Paths in it are relative to its own folder, or to
// the user's home directory if they begin with ~/.
type fileConfig struct {
	Vault          string            `yaml:"vault"`
	KMSKeys        []string          `yaml:"kms_keys"`
	KMSRelated     *bool             `yaml:"kms_related"`
	S3             *s3store.Settings `yaml:"s3"`
	Source         *SourceSettings   `yaml:"source"`
	LocalKey       string            `yaml:"local_key"`
	SigningKey     string            `yaml:"signing_key"`
	Signers        []string          `yaml:"signers"`
	Pins           []string          `yaml:"pins"`
	Identity       string            `yaml:"identity"`
	PassphraseFile string            `yaml:"passphrase_file"`
	Recipients     []string          `yaml:"recipients"`
	Context        map[string]string `yaml:"context"`
	Provision      yaml.Node         `yaml:"provision"`
}

// Load finds every setting. flag returns the values of the flags vault, kms-key, sse,
// local-key, signing-key, identity, passphrase-file, source-endpoint, source-region,
// source-profile and source-pin, or "" for flags that were not given.
func Load(flag func(name string) string) (*Config, error) {
	home, homeErr := homeDir() // not needed if everything is set explicitly
	c := &Config{Home: home}
	for name, s := range map[string]*Setting{"vault": &c.Vault, "local-key": &c.LocalKey, "signing-key": &c.Signing, "identity": &c.Identity, "passphrase-file": &c.Passphrase} {
		c.set(s, flag(name), "flag --"+name)
		env := "VAULTPACK_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		c.set(s, os.Getenv(env), "environment "+env)
	}
	if key := flag("kms-key"); key != "" {
		c.KMSKeys = []Setting{{key, "flag --kms-key"}}
	} else if key := os.Getenv("VAULTPACK_KMS_KEY"); key != "" {
		c.KMSKeys = []Setting{{key, "environment VAULTPACK_KMS_KEY"}}
	}
	files, err := configFiles()
	if err != nil {
		return nil, err
	}
	c.Files, c.vaults = files, map[string]string{}
	for _, file := range files {
		if err := c.readFile(file); err != nil {
			return nil, err
		}
	}
	for name, of := range sourceFlags {
		if value := cmp.Or(flag(name), os.Getenv("VAULTPACK_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")))); value != "" {
			*of(&c.Source) = value
		}
	}
	if sse := flag("sse"); sse != "" {
		c.S3.SSE = sse
		if sse == s3store.SSENone {
			c.S3.KMSKey = ""
		}
	}
	c.Default, c.DefaultKey, c.DefaultSigning = c.Vault.Value == "", c.LocalKey.Value == "", c.Signing.Value == ""
	if homeErr != nil {
		if c.Default || c.DefaultKey && len(c.KMSKeys) == 0 && c.Identity.Value == "" && c.Passphrase.Value == "" {
			return nil, homeErr
		}
		return c, nil
	}
	c.set(&c.Vault, filepath.Join(home.Value, "vault"), "embedded default, below "+home.Source)
	c.set(&c.LocalKey, filepath.Join(home.Value, "local.key"), "embedded default, below "+home.Source)
	if c.DefaultSigning {
		c.Signing = defaultSigning(home)
	}
	return c, nil
}

// OfOtherVault reports whether a setting comes from a file that names a different
// vault than the one chosen by a flag or the environment.
func (c *Config) OfOtherVault(source string) bool {
	v := c.vaults[source]
	return v != "" && strings.TrimSuffix(v, "/") != strings.TrimSuffix(c.Vault.Value, "/")
}

// set gives s a value unless a source with precedence has done so.
func (c *Config) set(s *Setting, value, source string) {
	if s.Value == "" && value != "" {
		*s = Setting{value, source}
	}
}

// maxConfig limits the size of a configuration file, in bytes.
const maxConfig = 1 << 20

// readFile reads a configuration file. Paths in it are relative to the folder of
// the file itself, not of a link to it.
func (c *Config) readFile(file string) error {
	real, err := realTrusted(file)
	if err != nil {
		return fmt.Errorf("the configuration %s: %w", file, err)
	}
	if info, err := os.Stat(real); err == nil && !info.Mode().IsRegular() && real != os.DevNull {
		return fmt.Errorf("the configuration %s is not a regular file", file)
	}
	b, err := fsys.ReadSmall(real, maxConfig)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var f fileConfig
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && err != io.EOF {
		return fmt.Errorf("%s is not a valid configuration (known settings: vault, kms_keys, kms_related, s3, source, local_key, signing_key, signers, pins, identity, passphrase_file, recipients, context, provision): %w", file, err)
	}
	var tilde error
	inFile := func(p string) string {
		full, err := pathIn(file, real, p)
		if err != nil {
			tilde = err
		}
		return full
	}
	if err := c.take(&f, file, inFile); err != nil {
		return err
	}
	return tilde
}

// take takes the settings of a file that no source before it has set.
func (c *Config) take(f *fileConfig, file string, inFile func(string) string) error {
	c.vaults[file] = inFile(f.Vault)
	c.set(&c.Vault, inFile(f.Vault), file)
	c.set(&c.LocalKey, inFile(f.LocalKey), file)
	c.set(&c.Signing, signingIn(f.SigningKey, inFile), file)
	c.set(&c.Identity, inFile(f.Identity), file)
	c.set(&c.Passphrase, inFile(f.PassphraseFile), file)
	if err := c.pins(file, f.Signers, f.Pins, inFile); err != nil {
		return err
	}
	if c.S3Source == "" && f.S3 != nil {
		c.S3, c.S3Source = *f.S3, file
	}
	if c.source == nil && f.Source != nil {
		c.source, c.Source = f.Source, *f.Source
	}
	if c.KMSKeys == nil {
		for _, k := range f.KMSKeys {
			c.KMSKeys = append(c.KMSKeys, Setting{k, file})
		}
	}
	if c.related == nil && f.KMSRelated != nil {
		c.related, c.KMSRelated = f.KMSRelated, *f.KMSRelated
	}
	if c.Recipients == nil {
		for _, r := range f.Recipients {
			c.Recipients = append(c.Recipients, Setting{inFile(r), file})
		}
	}
	if c.Provision == nil && !f.Provision.IsZero() {
		c.Provision, c.ProvisionSource = &f.Provision, file
	}
	if c.Context == nil && f.Context != nil {
		c.Context, c.ContextSource = f.Context, file
		if err := checkContext(f.Context); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// pathIn resolves a path in a file whose real name is real: relative to the file's
// folder, or to the home directory. A URL is unchanged.
func pathIn(file, real, p string) (string, error) {
	switch {
	case p == "~" || strings.HasPrefix(p, "~/"):
		home, err := os.UserHomeDir()
		if err != nil {
			return p, fmt.Errorf("%s: there is no home directory for the path %s; set HOME", file, p)
		}
		return filepath.Join(home, p[1:]), nil
	case strings.HasPrefix(p, "~"):
		return p, fmt.Errorf("%s: the path %s: only one's own home directory can be written as ~; write out another's, or ./%s for a file of this name", file, p, p)
	case p == "" || filepath.IsAbs(p) || strings.Contains(p, "://"):
		return p, nil
	}
	return filepath.Join(filepath.Dir(real), p), nil
}

// checkContext checks the user's pairs, to which vaultpack adds its own.
func checkContext(ec envelope.EncryptionContext) error {
	if _, ok := ec[envelope.ContextDataset]; ok {
		return fmt.Errorf("the encryption context's pair %q is set by vaultpack itself; remove it", envelope.ContextDataset)
	}
	if len(ec) > maxContext {
		return fmt.Errorf("the encryption context has %d pairs, the limit is %d", len(ec), maxContext)
	}
	return ec.Check()
}

// maxContext leaves room for vaultpack's own pairs.
const maxContext = 8

// homeDir returns VAULTPACK_HOME, or vaultpack below the XDG data directory.
func homeDir() (Setting, error) {
	if dir := os.Getenv("VAULTPACK_HOME"); dir != "" {
		abs, err := filepath.Abs(dir)
		return Setting{abs, "environment VAULTPACK_HOME"}, err
	}
	// The XDG specification says that a relative path must be ignored.
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return Setting{filepath.Join(dir, "vaultpack"), "environment XDG_DATA_HOME"}, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return Setting{}, errors.New("there is no home directory for the default vault and its key: set HOME or VAULTPACK_HOME, or both --vault and --local-key")
	}
	return Setting{filepath.Join(home, ".local", "share", "vaultpack"), "HOME"}, nil
}

// configFiles returns the existing configuration files, nearest first.
func configFiles() ([]string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var candidates []string
	for dir := wd; ; dir = filepath.Dir(dir) {
		candidates = append(candidates, filepath.Join(dir, FileName))
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if dir, err := os.UserConfigDir(); err == nil {
		candidates = append(candidates, filepath.Join(dir, "vaultpack", FileName))
	}
	var nearest, found []string
	for i, file := range candidates {
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || err == nil && info.IsDir() {
			continue // a parent folder that cannot be read holds no setting of ours
		}
		if err != nil {
			return nil, fmt.Errorf("looking for the configuration: %w", err)
		}
		if i < len(candidates)-1 && nearest != nil {
			continue
		}
		if i == len(candidates)-1 {
			found = append(found, file)
		} else {
			nearest = []string{file}
		}
	}
	return slices.Compact(append(nearest, found...)), nil
}
