// Package container is what runs in a training container before the training:
// it opens the sealed channels where they lie, and then becomes the command that
// trains, which finds plain files and knows nothing of it.
//
// The channels were filled from a bucket that is not trusted. What is trusted is
// what the job was started with: which version of which dataset belongs into a
// channel, by the digest of its root, and which keys of KMS may be asked. All else
// follows from those, or does not authenticate.
package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/keyservice"
)

// BaseDir is where SageMaker puts what belongs to a job.
const BaseDir = "/opt/ml"

// MetaChannel is the channel that holds what is not packs: the program, keyrings,
// version roots and indexes.
const MetaChannel = "vaultpack"

// A Channel is a sealed channel, and what belongs into it.
type Channel struct {
	Name    string // in SageMaker's sense: the folder below input/data
	Dataset string
	Version int64
	Digest  string // of the version's root, in hex
	// Sharded says that the channel has only this host's share of the packs.
	Sharded bool
}

func (c Channel) String() string {
	return fmt.Sprintf("%s=%s@%d#%s", c.Name, c.Dataset, c.Version, c.Digest)
}

var channelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.\-_]{0,63}$`)

// IsChannelName reports whether SageMaker takes the name for a channel, and this package.
func IsChannelName(name string) bool { return channelName.MatchString(name) }

// ParseChannel reads NAME=DATASET@VERSION#DIGEST.
func ParseChannel(s string) (Channel, error) {
	bad := func(why string) (Channel, error) {
		return Channel{}, fmt.Errorf("%q is no sealed channel, which is NAME=DATASET@VERSION#DIGEST: %s", s, why)
	}
	name, rest, _ := strings.Cut(s, "=")
	if !IsChannelName(name) || name == MetaChannel {
		return bad("a name has 1 to 64 letters, digits, dots, hyphens and underscores")
	}
	r, err := dataset.ParseReference(rest)
	if err != nil {
		return bad(err.Error())
	}
	if r.Number == 0 {
		return bad("the version is a number from 1")
	}
	if r.Digest == "" {
		return bad("the digest is 64 hexadecimal digits, as vaultpack versions prints them")
	}
	return Channel{Name: name, Dataset: r.Dataset, Version: r.Number, Digest: r.Digest}, nil
}

// A Config says what to open, and with what.
type Config struct {
	// BaseDir is /opt/ml, or what stands for it.
	BaseDir  string
	Channels []Channel
	// KMSKeys are the ARNs of the only KMS keys that are called, in Region where an
	// endpoint has to be found. Credentials come from the chain of the AWS SDK.
	KMSKeys []string
	// KMSRelated has those of them that are multi-Region keys also open what their
	// replicas have wrapped: see [awskms.AcceptRelated].
	KMSRelated bool
	Region     string
	// KeyChannel is a channel with a local key made for this job and the keyrings
	// that it opens, in place of KMS. It is emptied once everything is open.
	KeyChannel string
	// Keys are used in place of both, by a run that is no container.
	Keys []envelope.KeyWrapper
	// Context is the user's part of the encryption context.
	Context envelope.EncryptionContext
	// Signing is the name of the job's certificate, as package provenance seals it, among
	// the objects of the metadata channel; empty where nothing is to be signed.
	Signing string
	// ModelKey is the name of the key, as package sealedmodel stores it, that what the job has
	// made is sealed under, among the objects of the metadata channel; empty where that is
	// not to be sealed.
	ModelKey string
	// Tars leaves small files in the tars that they lie in.
	Tars bool
	// Logf is told what happens, a line a call. It may be called from several
	// goroutines.
	Logf func(format string, args ...any)
}

// Check returns an error unless the configuration can be used, before anything is done.
func (c *Config) Check() error {
	if c == nil {
		return errors.New("container: a nil Config")
	}
	if len(c.Channels) == 0 {
		return fmt.Errorf("no sealed channel is named: use --channel NAME=DATASET@VERSION#DIGEST")
	}
	seen := map[string]bool{}
	for _, ch := range c.Channels {
		if seen[ch.Name] {
			return fmt.Errorf("channel %q is named twice", ch.Name)
		}
		seen[ch.Name] = true
		if _, err := ParseChannel(ch.String()); err != nil {
			return err
		}
	}
	for _, name := range c.KMSKeys {
		if !keyservice.Fixed(name) {
			return fmt.Errorf("%q is not the ARN of a KMS key; in a container nothing else is called", name)
		}
	}
	if c.KMSRelated && len(c.KMSKeys) == 0 {
		return errors.New("no KMS key is named that could be a replica")
	}
	if c.KeyChannel != "" && (!IsChannelName(c.KeyChannel) || c.KeyChannel == MetaChannel || seen[c.KeyChannel]) {
		return fmt.Errorf("%q cannot be the key channel", c.KeyChannel)
	}
	switch kinds := b2i(len(c.KMSKeys) > 0) + b2i(c.KeyChannel != "") + b2i(len(c.Keys) > 0); {
	case kinds == 0:
		return fmt.Errorf("no key is named: use --kms-key or --key-channel")
	case kinds > 1:
		return fmt.Errorf("keys of KMS and a key channel are both named: use one of them")
	}
	return c.Context.Check()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *Config) channelDir(name string) string {
	return filepath.Join(c.BaseDir, "input", "data", name)
}

func (c *Config) logf(format string, args ...any) {
	if c.Logf != nil {
		c.Logf(format, args...)
	}
}

// FailureFile is where SageMaker looks for the reason of a failure.
func FailureFile(baseDir string) string { return filepath.Join(baseDir, "output", "failure") }

// maxFailure is how much of it SageMaker shows (DescribeTrainingJob, FailureReason).
const maxFailure = 1024

// WriteFailure tells SageMaker why the job failed: in one line, of at most 1024
// bytes.
func WriteFailure(baseDir string, reason error) error {
	line := strings.ToValidUTF8(strings.Join(strings.Fields(reason.Error()), " "), "?")
	if len(line) > maxFailure {
		line = strings.ToValidUTF8(line[:maxFailure-3], "") + "..."
	}
	file := FailureFile(baseDir)
	// Where there is no base directory there is no SageMaker either.
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.WriteFile(file, []byte(line), 0o644)
}
