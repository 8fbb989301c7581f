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
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/vault"
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

// ParseChannel reads NAME=DATASET@VERSION#DIGEST.
func ParseChannel(s string) (Channel, error) {
	bad := func(why string) (Channel, error) {
		return Channel{}, fmt.Errorf("%q is no sealed channel, which is NAME=DATASET@VERSION#DIGEST: %s", s, why)
	}
	name, rest, _ := strings.Cut(s, "=")
	ref, digest, _ := strings.Cut(rest, "#")
	set, number, _ := strings.Cut(ref, "@")
	if !channelName.MatchString(name) || name == MetaChannel {
		return bad("a name has 1 to 64 letters, digits, dots, hyphens and underscores")
	}
	if err := dataset.CheckName(set); err != nil {
		return bad(err.Error())
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		return bad("the version is a number from 1")
	}
	if b, err := hex.DecodeString(digest); err != nil || len(b) != 32 || strings.ToLower(digest) != digest {
		return bad("the digest is 64 hexadecimal digits, as vaultpack versions prints them")
	}
	return Channel{Name: name, Dataset: set, Version: n, Digest: digest}, nil
}

// A Config says what to open, and with what.
type Config struct {
	// BaseDir is /opt/ml, or what stands for it.
	BaseDir  string
	Channels []Channel
	// KMSKeys are the ARNs of the only KMS keys that are called, in Region where an
	// endpoint has to be found. Credentials come from the chain of the AWS SDK.
	KMSKeys []string
	Region  string
	// KeyChannel is a channel with a local key made for this job and the keyrings
	// that it opens, in place of KMS. It is emptied once everything is open.
	KeyChannel string
	// Keys are used in place of both, by a run that is no container.
	Keys []envelope.KeyWrapper
	// Context is the user's part of the encryption context.
	Context envelope.EncryptionContext
	// Tars leaves small files in the tars that they lie in.
	Tars bool
	// Logf is told what happens, a line a call.
	Logf func(format string, args ...any)
}

// Check says whether the configuration can be used, before anything is done.
func (c *Config) Check() error {
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
	for _, arn := range c.KMSKeys {
		if !awskms.IsKeyARN(arn) {
			return fmt.Errorf("%q is not the ARN of a KMS key; in a container nothing else is called", arn)
		}
	}
	if c.KeyChannel != "" && (!channelName.MatchString(c.KeyChannel) || c.KeyChannel == MetaChannel || seen[c.KeyChannel]) {
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

// Open opens the channels. When it has returned nil, each channel's folder holds
// the files of its dataset and nothing else, and no key is left in memory or on
// disk. After an error, or a kill, the same call goes on from what is done.
//
// One data key takes one call to KMS, however many channels are sealed under it.
func Open(ctx context.Context, c *Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	store, err := openStore(c)
	if err != nil {
		return err
	}
	defer store.close()
	keys, wipe, err := c.keys(ctx, store)
	if err != nil {
		return err
	}
	defer wipe()
	v := &vault.Vault{Store: store, Location: c.channelDir(MetaChannel), Keys: keys, Context: c.Context}
	sets := map[string]*dataset.Dataset{}
	defer func() {
		for _, d := range sets {
			d.Close()
		}
	}()
	// Every version is found and compared before the first file is written.
	versions := make([]*dataset.Version, len(c.Channels))
	for i, ch := range c.Channels {
		d := sets[ch.Dataset]
		if d == nil {
			if d, err = dataset.Open(v, ch.Dataset); err != nil {
				return err
			}
			sets[ch.Dataset] = d
		}
		if versions[i], err = c.version(ctx, d, ch); err != nil {
			return fmt.Errorf("channel %s: %w", ch.Name, err)
		}
	}
	if err := c.unpack(ctx, versions); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return c.emptyKeyChannel()
}

// version reads the version of a channel, and compares it with the job's.
func (c *Config) version(ctx context.Context, d *dataset.Dataset, ch Channel) (*dataset.Version, error) {
	ver, err := d.Version(ctx, ch.Version)
	if err != nil {
		return nil, err
	}
	if ver.Digest() != ch.Digest {
		return nil, fmt.Errorf("version %d of dataset %q has the digest %s, and the job was started for %s: %w",
			ch.Version, ch.Dataset, ver.Digest(), ch.Digest, envelope.ErrAuthentication)
	}
	return ver, nil
}

// unpack opens the channels at once. The first error stops them all.
func (c *Config) unpack(ctx context.Context, versions []*dataset.Version) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, ch := range c.Channels {
		wg.Go(func() {
			if err := c.unpackChannel(ctx, ch, versions[i]); err != nil {
				cancel(fmt.Errorf("channel %s: %w", ch.Name, err))
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// toldOfRemoved is how many names are told of files that did not belong in a channel.
const toldOfRemoved = 5

func (c *Config) unpackChannel(ctx context.Context, ch Channel, ver *dataset.Version) error {
	began := time.Now()
	if ch.Sharded { // where there are fewer packs than hosts, one may have got no folder
		if err := os.MkdirAll(c.channelDir(ch.Name), 0o755); err != nil {
			return err
		}
	}
	var removed atomic.Int64
	u := &dataset.Unpack{Name: ch.Name, Partial: ch.Sharded, Tars: c.Tars, Removed: func(path string) {
		if removed.Add(1) <= toldOfRemoved {
			c.logf("channel %s: %q is not of the dataset; somebody else put it there, and it was removed", ch.Name, path)
		}
	}}
	if err := u.Run(ctx, ver, c.channelDir(ch.Name)); err != nil {
		return err
	}
	if n := removed.Load(); n > toldOfRemoved {
		c.logf("channel %s: and %d more", ch.Name, n-toldOfRemoved)
	}
	line := fmt.Sprintf("channel %s: %s@%d, opened packs: %d, files: %d, bytes: %d, in %.1f s", ch.Name, ch.Dataset, ch.Version,
		u.Packs.Load(), u.Files.Load(), u.Bytes.Load(), time.Since(began).Seconds())
	if n := u.Done.Load(); n > 0 {
		line += fmt.Sprintf("; open already: %d", n)
	}
	if ch.Sharded {
		line += fmt.Sprintf("; this host has %d of %d packs", u.Packs.Load()+u.Done.Load(), u.Packs.Load()+u.Done.Load()+u.Absent.Load())
	}
	c.logf("%s", line)
	return nil
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
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(line), 0o644)
}
