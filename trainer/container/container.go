// Package container runs in a training container before the training: it opens
// the sealed channels in place, and then becomes the training command, which
// finds plain files and needs no changes.
//
// The channels were filled from a bucket that is not trusted. Only the
// configuration that the job was started with is trusted: which version of which
// dataset belongs in each channel, by the digest of its root, and which KMS keys
// may be called. Everything else is authenticated by these.
package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/keyservice"
)

// BaseDir is the folder in which SageMaker puts everything that belongs to a job.
const BaseDir = "/opt/ml"

// MetaChannel is the channel that holds everything except packs: the program,
// keyrings, version roots and indexes.
const MetaChannel = "vaultpack"

// SealedCheckpoints is the folder in which checkpoints are sealed, for SageMaker to store.
const SealedCheckpoints = "sealed-checkpoints"

// A Channel is a sealed channel and the version that belongs in it.
type Channel struct {
	Name    string // the name in SageMaker: the folder below input/data
	Dataset string
	Version int64
	Digest  string // of the version's root, in hex
	// Sharded reports whether the channel has only this host's share of the packs.
	Sharded bool
}

func (c Channel) String() string {
	return fmt.Sprintf("%s=%s@%d#%s", c.Name, c.Dataset, c.Version, c.Digest)
}

var channelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.\-_]{0,63}$`)

// IsChannelName reports whether name is a channel name that both SageMaker and this
// package accept.
func IsChannelName(name string) bool { return channelName.MatchString(name) }

// ParseChannel parses NAME=DATASET@VERSION#DIGEST.
func ParseChannel(s string) (Channel, error) {
	bad := func(why string) (Channel, error) {
		return Channel{}, fmt.Errorf("%q is not a sealed channel, which is NAME=DATASET@VERSION#DIGEST: %s", s, why)
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

// A Config says what to open, and with which keys.
type Config struct {
	// BaseDir is /opt/ml, or the folder used instead.
	BaseDir  string
	Channels []Channel
	// KMSKeys are the ARNs of the only KMS keys that are called. Region is used to
	// find an endpoint. Credentials come from the AWS SDK's chain.
	KMSKeys []string
	// KMSRelated makes those that are multi-Region keys also open what was wrapped
	// by their related keys: see [awskms.AcceptRelated].
	KMSRelated bool
	Region     string
	// KeyChannel is a channel with a local key made for this job and the keyrings
	// that it opens, used instead of KMS. The channel is emptied once everything
	// is open.
	KeyChannel string
	// Keys are used instead of both in a run outside of a container.
	Keys []envelope.KeyWrapper
	// Context is the user's part of the encryption context.
	Context envelope.EncryptionContext
	// Signing is the name, in the metadata channel, of the job's certificate as package
	// provenance seals it. It is empty if nothing is signed.
	Signing string
	// ModelKey is the name, in the metadata channel, of the key that the model is sealed
	// under, as package sealedmodel stores it. It is empty if the model is not sealed.
	ModelKey string
	// Processing says that the job is a processing job, which has different folders.
	Processing bool
	// Outputs are the names of the folders whose contents a processing job seals. The
	// command finds each at [Output]; the sealed file goes to [SealedOutput], which
	// SageMaker stores.
	Outputs []string
	// CheckpointsKey is the name, in the metadata channel, of the key that checkpoints are
	// sealed under. It is empty if they are not sealed. The script finds them in
	// CheckpointPath, by default the folder checkpoints of BaseDir; SageMaker stores
	// [SealedCheckpoints].
	CheckpointsKey string
	CheckpointPath string
	// Tars leaves small files in their tars.
	Tars bool
	// Logf is called to report progress, one line per call. It may be called from
	// several goroutines.
	Logf func(format string, args ...any)
}

// Check returns an error unless the configuration can be used. It changes nothing.
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
	for i, name := range c.Outputs {
		switch {
		case !c.Processing:
			return fmt.Errorf("output %q: only a processing job has outputs", name)
		case !IsChannelName(name) || slices.Contains(c.Outputs[:i], name):
			return fmt.Errorf("%q cannot be the name of an output, or is named twice", name)
		case c.ModelKey == "":
			return fmt.Errorf("output %q: no key is named to seal it under", name)
		}
	}
	if c.KMSRelated && len(c.KMSKeys) == 0 {
		return errors.New("no KMS key is named that could be a replica")
	}
	if c.KeyChannel != "" && (!IsChannelName(c.KeyChannel) || c.KeyChannel == MetaChannel || seen[c.KeyChannel]) {
		return fmt.Errorf("%q cannot be the key channel", c.KeyChannel)
	}
	if p := c.CheckpointPath; p != "" && (c.CheckpointsKey == "" || !IsCheckpointPath(p)) {
		return fmt.Errorf("%q cannot be the folder of sealed checkpoints: it is an absolute path, outside of what SageMaker fills or stores, and requires --checkpoints-key", p)
	}
	switch kinds := b2i(len(c.KMSKeys) > 0) + b2i(c.KeyChannel != "") + b2i(len(c.Keys) > 0); {
	case kinds == 0:
		return fmt.Errorf("no key is named: use --kms-key or --key-channel")
	case kinds > 1:
		return fmt.Errorf("keys of KMS and a key channel are both named: use one of them")
	}
	return c.Context.Check()
}

// IsCheckpointPath reports whether sealed checkpoints can be opened in the folder p of a
// container: it does not contain anything of SageMaker's, and is not part of anything that
// SageMaker stores.
func IsCheckpointPath(p string) bool {
	if !filepath.IsAbs(p) || filepath.Clean(p) != strings.TrimSuffix(p, "/") {
		return false
	}
	p = strings.TrimSuffix(p, "/") + "/"
	for _, own := range []string{"input", "model", "output", "code", SealedCheckpoints} {
		dir := BaseDir + "/" + own + "/"
		if strings.HasPrefix(p, dir) || strings.HasPrefix(dir, p) {
			return false
		}
	}
	return true
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *Config) channelDir(name string) string {
	if c.Processing {
		return filepath.Join(c.BaseDir, "processing", "input", name)
	}
	return filepath.Join(c.BaseDir, "input", "data", name)
}

func (c *Config) logf(format string, args ...any) {
	if c.Logf != nil {
		c.Logf(format, args...)
	}
}

// FailureFile returns the file in which SageMaker looks for the reason of a failure.
func FailureFile(baseDir string) string { return filepath.Join(baseDir, "output", "failure") }

// messageFile is the file in which SageMaker looks for the message of a processing job.
func messageFile(baseDir string) string { return filepath.Join(baseDir, "output", "message") }

// maxFailure is how many bytes of either it shows (DescribeTrainingJob,
// FailureReason; DescribeProcessingJob, ExitMessage).
const maxFailure = 1024

// WriteFailure writes, for SageMaker, why a training job failed: one line of at most
// 1024 bytes.
func WriteFailure(baseDir string, reason error) error {
	return writeReason(FailureFile(baseDir), reason)
}

// Failed writes, for SageMaker, why the job failed, as WriteFailure does.
func (c *Config) Failed(reason error) error {
	switch {
	case c == nil || reason == nil:
		return errors.New("container: a nil Config, or no reason")
	case c.Processing:
		return writeReason(messageFile(c.BaseDir), reason)
	}
	return WriteFailure(c.BaseDir, reason)
}

func writeReason(file string, reason error) error {
	line := strings.ToValidUTF8(strings.Join(strings.Fields(reason.Error()), " "), "?")
	if len(line) > maxFailure {
		line = strings.ToValidUTF8(line[:maxFailure-3], "") + "..."
	}
	// Without a base directory there is no SageMaker either.
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// What the command has made there may be a pipe, or a link to another file.
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		if err := os.RemoveAll(file); err != nil {
			return err
		}
	}
	return os.WriteFile(file, []byte(line), 0o644)
}
