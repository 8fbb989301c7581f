package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/vault"
)

// MainChannel is the channel of the dataset that a job is started for.
const MainChannel = "training"

// Channels describe the contents of a job's channels.
type Channels struct {
	// Main is the DATASET[@VERSION] of channel training. If it is empty, at least one
	// channel of More must be a dataset.
	Main string
	// More are further channels by their names: DATASET[@VERSION], or the path of a
	// folder, which has a separator in it or begins with a dot.
	More map[string]string
	// Remote are channels that are read from S3.
	Remote map[string]Remote
	// Sharded names the channels of datasets of which each host gets a part.
	Sharded map[string]bool
	// AtLeast is the number of a version of Main that is known to have existed.
	AtLeast int64
	// AllowIncomplete also accepts incomplete versions, some of whose source could not be
	// read.
	AllowIncomplete bool
}

// IsFolder reports whether the source of a channel is the path of a folder and not a
// dataset: it contains a separator or begins with a dot, and is not a URI.
func IsFolder(what string) bool {
	return (strings.ContainsRune(what, filepath.Separator) || strings.HasPrefix(what, ".")) && !strings.Contains(what, "://")
}

// withMain are the channels with that of Main, too, if More has it.
func (c Channels) withMain() Channels {
	if what := c.More[MainChannel]; c.Main == "" && what != "" && !IsFolder(what) {
		c.Main, c.More = what, maps.Clone(c.More)
		delete(c.More, MainChannel)
	}
	return c
}

// Dataset returns the name of the dataset that the job is started for, as for a job in
// SageMaker: the dataset of channel training, or else of the first channel, by name, that
// has one.
func (c Channels) Dataset() (string, error) {
	c = c.withMain()
	channel, ref := MainChannel, c.Main
	for _, name := range slices.Sorted(maps.Keys(c.More)) {
		if ref == "" && !IsFolder(c.More[name]) {
			channel, ref = name, c.More[name]
		}
	}
	r, err := dataset.ParseReference(ref)
	if err != nil {
		return "", &ChannelError{channel, err}
	}
	return r.Dataset, nil
}

// A ChannelError reports that a channel's description is invalid, whatever the vault
// holds.
type ChannelError struct {
	Channel string
	Err     error
}

func (e *ChannelError) Error() string { return fmt.Sprintf("channel %s: %v", e.Channel, e.Err) }
func (e *ChannelError) Unwrap() error { return e.Err }

// Fill opens the versions for the channels in the vault, and gives the vault's keys to
// the job. The job must then be closed. If Fill fails, nothing is left open.
func (j *Job) Fill(ctx context.Context, v *vault.Vault, c Channels) (err error) {
	if err := given.Check(ctx, j != nil && v != nil && v.Store != nil && v.Keys != nil, errors.New("local: a nil Job, or a vault without a store or keys")); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	j.Keys, j.Context, j.Plain, j.Remote = v.Keys.Open, v.Context, map[string]string{}, c.Remote
	if _, err := c.Dataset(); err != nil {
		return err
	}
	c = c.withMain()
	if c.Main != "" {
		if err := j.seal(ctx, v, MainChannel, c.Main, c); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.More)) {
		what := c.More[name]
		switch {
		case name == MainChannel && c.Main != "" || name == container.MetaChannel || !container.IsChannelName(name):
			return &ChannelError{name, fmt.Errorf("%q cannot name another channel", name)}
		case IsFolder(what):
			j.Plain[name] = what
		default:
			if err := j.seal(ctx, v, name, what, c); err != nil {
				return err
			}
		}
	}
	for name := range c.Remote {
		if name == MainChannel && c.Main != "" || name == container.MetaChannel || !container.IsChannelName(name) || c.More[name] != "" {
			return &ChannelError{name, fmt.Errorf("%q cannot name another channel", name)}
		}
	}
	return nil
}

// seal fills a channel with a version. Channels of one dataset share its data keys.
func (j *Job) seal(ctx context.Context, v *vault.Vault, channel, ref string, c Channels) error {
	r, err := dataset.ParseReference(ref)
	if err != nil {
		return &ChannelError{channel, err}
	}
	name := r.Dataset
	s := Sealed{Channel: channel, Sharded: c.Sharded[channel]}
	if i := slices.IndexFunc(j.Sealed, func(s Sealed) bool { return s.Dataset.Name == name }); i >= 0 {
		s.Dataset = j.Sealed[i].Dataset
	} else if s.Dataset, err = dataset.Open(v, name); err != nil {
		return &ChannelError{channel, err}
	}
	j.Sealed = append(j.Sealed, s) // from here on Close closes it
	choice := r.Choice()
	if channel == MainChannel {
		choice.AtLeast = c.AtLeast
	}
	if s.Version, err = s.Dataset.Choose(ctx, choice); err != nil {
		return err
	}
	if !c.AllowIncomplete {
		if err := s.Version.CheckComplete(); err != nil {
			return err
		}
	}
	j.Sealed[len(j.Sealed)-1] = s
	return nil
}

// Close wipes the data keys of the channels and checkpoints.
func (j *Job) Close() {
	if j == nil {
		return
	}
	for _, s := range j.Sealed {
		s.Dataset.Close()
	}
	if j.Saved != nil {
		j.Saved.Dataset.Close()
	}
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// NewName returns a name for a job on a dataset in the style of SageMaker's SDK. It has
// at most 63 characters, and an end that differs even for jobs that are started at the
// same moment.
func NewName(dataset string, now time.Time) string {
	base := notInNames.ReplaceAllString(dataset, "-")
	stamp := strings.Replace(now.UTC().Format("2006-01-02-15-04-05.000"), ".", "-", 1)
	return fmt.Sprintf("%s-%s-%06x", strings.Trim(base[:min(len(base), 32)], "-"), stamp, rand.N(1<<24))
}
