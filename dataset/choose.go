package dataset

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A Choice chooses a version. Its zero value is the newest.
type Choice struct {
	Number int64 // 0 is the newest
	// AtLeast is the number of a version that the caller knows to have been there; 0
	// where it knows none. A vault whose newest version is older was rolled back.
	AtLeast int64
	// Tag is the name of a version, where there is no Number.
	Tag string
	// Digest is that of the version, where the caller knows it.
	Digest string
}

// A RollbackError says that the newest version of a dataset is older than one that has
// been there. It wraps envelope.ErrAuthentication.
type RollbackError = objects.RollbackError

// An UntrustedError says that a version is none of the dataset that the reader knows,
// though its signature is right. It wraps envelope.ErrAuthentication.
type UntrustedError = objects.UntrustedError

// Choose reads the version that is chosen. It returns a *[RollbackError] where the vault
// was rolled back, whichever version is asked for. What it looks for and what it reads
// come from one list: a vault cannot show one to the check, and another to the reader.
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

// MaxMessage is how long the message of a version may be, in bytes.
const MaxMessage = codec.MaxMessage

// CheckTag returns an error unless a version may have the name.
func CheckTag(name string) error { return codec.CheckTag(name) }

// A Tag is a name that the signers of a dataset have given one of its versions.
type Tag struct {
	Name   string
	Number int64
	Digest string // of the version
}

// Tags are those that hold as of this version, sorted by name.
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
