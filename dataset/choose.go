package dataset

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A Choice selects a version. Its zero value selects the newest.
type Choice struct {
	Number int64 // 0 is the newest
	// AtLeast is the number of a version that the caller knows to have existed, or
	// 0. A vault whose newest version is older was rolled back.
	AtLeast int64
	// Tag is the tag of the version, if Number is 0.
	Tag string
	// Digest is the digest of the version, if the caller knows it.
	Digest string
}

// A RollbackError reports that the newest version of a dataset is older than one that
// has existed. It wraps envelope.ErrAuthentication.
type RollbackError = objects.RollbackError

// An UntrustedError reports that a version does not belong to the dataset that the
// reader knows, although its signature is valid. It wraps envelope.ErrAuthentication.
type UntrustedError = objects.UntrustedError

// Choose reads the chosen version. If the vault was rolled back, it returns a
// [*RollbackError], no matter which version was chosen. The check and the read use
// the same list of versions, so a vault cannot show one list to the check and another
// to the reader.
func (d *Dataset) Choose(ctx context.Context, c Choice) (*Version, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	v, err := d.choose(ctx, c)
	if err == nil && c.Digest != "" && v.Digest() != c.Digest {
		err = &UntrustedError{Dataset: d.Name, Number: v.Number, Reason: "its digest is " + v.Digest() + ", and " + c.Digest + " is expected"}
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (d *Dataset) choose(ctx context.Context, c Choice) (*Version, error) {
	if c.Number != 0 {
		if err := d.set().Pin(ctx, c.Number, c.Digest); err != nil {
			return nil, err
		}
		if c.AtLeast <= 0 {
			return d.Version(ctx, c.Number)
		}
	}
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return nil, err
	}
	newest := append([]int64{0}, all.Versions()...)
	if n := newest[len(newest)-1]; n < c.AtLeast {
		return nil, &RollbackError{Dataset: d.Name, Newest: n, AtLeast: c.AtLeast}
	}
	if c.Number != 0 {
		return d.Version(ctx, c.Number)
	}
	v, err := d.newest(ctx, all)
	if err != nil || c.Tag == "" {
		return v, err
	}
	for _, t := range v.Tags() {
		if t.Name != c.Tag {
			continue
		}
		if err := d.set().Pin(ctx, t.Number, t.Digest); err != nil {
			return nil, err
		}
		return d.Version(ctx, t.Number)
	}
	return nil, fmt.Errorf("version %d of dataset %q has no tag %q: %w", v.Number, d.Name, c.Tag, ErrUnknownVersion)
}

// MaxMessage is the maximum length of a version's message, in bytes.
const MaxMessage = codec.MaxMessage

// CheckTag returns an error unless name is valid for a tag.
func CheckTag(name string) error { return codec.CheckTag(name) }

// A Tag is a name given by the signers of a dataset to one of its versions.
type Tag struct {
	Name   string
	Number int64
	Digest string // of the version
}

// Tags returns the dataset's tags as of this version, sorted by name.
func (v *Version) Tags() (tags []Tag) {
	r := objects.RootOf(v)
	if r == nil {
		return nil
	}
	for _, t := range r.Tags {
		tags = append(tags, Tag{t.Name, t.Number, hex.EncodeToString(t.Digest[:])})
	}
	return tags
}
