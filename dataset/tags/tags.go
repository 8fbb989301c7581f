// Package tags gives names to versions of a dataset. Every change of the tags is a
// version with the same contents, signed like every version, so that only signers can
// set or move a tag.
package tags

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// ErrUnchanged is returned by Set if the version already has the tag, and by Remove if
// no version has it.
var ErrUnchanged = errors.New("the tags are that already")

// Set gives the tag to a version, and takes it from any other version. It returns
// [dataset.ErrConflict] if another writer has made a version in the meantime.
func Set(ctx context.Context, v *dataset.Version, name string) (*dataset.Version, error) {
	if err := codec.CheckTag(name); err != nil {
		return nil, err
	}
	if err := jobs.Check(ctx, v); err != nil {
		return nil, err
	}
	return change(ctx, jobs.DatasetOf(v), func(tags []codec.Tag) ([]codec.Tag, error) {
		tag := codec.Tag{Name: name, Number: v.Number, Digest: v.Pin.Digest}
		if slices.Contains(tags, tag) {
			return nil, fmt.Errorf("version %d has the tag %q: %w", v.Number, name, ErrUnchanged)
		}
		tags = append(without(tags, name), tag)
		if len(tags) > codec.MaxTags {
			return nil, fmt.Errorf("a dataset has at most %d tags", codec.MaxTags)
		}
		slices.SortFunc(tags, func(a, b codec.Tag) int { return strings.Compare(a.Name, b.Name) })
		return tags, nil
	})
}

// Remove removes the tag from the version that has it.
func Remove(ctx context.Context, d *dataset.Dataset, name string) (*dataset.Version, error) {
	return change(ctx, d, func(tags []codec.Tag) ([]codec.Tag, error) {
		rest := without(tags, name)
		if len(rest) == len(tags) {
			return nil, fmt.Errorf("no version of dataset %q has the tag %q: %w", d.Name, name, ErrUnchanged)
		}
		return rest, nil
	})
}

func without(tags []codec.Tag, name string) []codec.Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t codec.Tag) bool { return t.Name == name })
}

func change(ctx context.Context, d *dataset.Dataset, how func([]codec.Tag) ([]codec.Tag, error)) (*dataset.Version, error) {
	return commit.Change(ctx, d, "tags", "with the tags", func(ctx context.Context, l *commit.Lease) (*dataset.Version, error) {
		tags, err := how(objects.RootOf(l.Previous()).Tags)
		if err != nil {
			return nil, err
		}
		key, err := l.SealingKey(ctx)
		if err != nil {
			return nil, err
		}
		c := commit.Same(l.Previous())
		c.Tags = &tags
		return l.Commit(ctx, key, c)
	})
}
