package dataset

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/internal/codec"
)

// numbers are the numbers of a dataset that are taken, in order.
type numbers []taken

type taken struct {
	number int64
	mark   string // empty for a version
}

func (d *Dataset) numbers(ctx context.Context) (numbers, error) {
	var all numbers
	for o, err := range d.vault.List(ctx, d.Name+"/versions/") {
		if err != nil {
			return nil, fmt.Errorf("listing the versions: %w", err)
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(path.Base(o.Name), ".vpk"), 10, 64)
		if err != nil || n <= 0 || d.versionName(n) != o.Name {
			continue
		}
		t := taken{number: n}
		switch o.Size {
		case int64(len(codec.ClosedMark)):
			t.mark = codec.ClosedMark
		case int64(len(codec.RemovedMark)):
			t.mark = codec.RemovedMark
		}
		all = append(all, t)
	}
	return all, nil
}

// highest is the highest number that is taken, or 0.
func (all numbers) highest() int64 {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].number
}

// has reports whether the number is taken.
func (all numbers) has(number int64) bool {
	return slices.ContainsFunc(all, func(t taken) bool { return t.number == number })
}

// closed is the highest number that is closed, or 0.
func (all numbers) closed() int64 {
	for _, t := range slices.Backward(all) {
		if t.mark == codec.ClosedMark {
			return t.number
		}
	}
	return 0
}

// versions are those that are versions.
func (all numbers) versions() []int64 {
	var out []int64
	for _, t := range all {
		if t.mark == "" {
			out = append(out, t.number)
		}
	}
	return out
}

// newest reads the newest version. It returns ErrUnknownDataset if there is none.
func (d *Dataset) newest(ctx context.Context, all numbers) (*Version, error) {
	for _, t := range slices.Backward(all) {
		if t.mark == "" {
			return d.Version(ctx, t.number)
		}
		if err := d.checkMark(ctx, t); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
}

// checkMark reads a mark, so that what is only cut to its size is not taken for one.
func (d *Dataset) checkMark(ctx context.Context, t taken) error {
	b, err := d.get(ctx, d.versionName(t.number), codec.MaxRoot)
	if err == nil && string(b) != t.mark {
		_, err = d.parseVersion(ctx, t.number, b)
		if err == nil {
			err = fmt.Errorf("it is not what the vault lists: %w", ErrConflict)
		}
		err = fmt.Errorf("%s: %w", d.versionName(t.number), tampered(err))
	}
	return d.damaged(t.number, err)
}

// marked says why a number that has a mark is no version.
func (d *Dataset) marked(number int64, mark string) error {
	if mark == codec.RemovedMark {
		return fmt.Errorf("version %d of dataset %q was removed: %w", number, d.Name, ErrUnknownVersion)
	}
	return fmt.Errorf("number %d of dataset %q was closed by a collection: %w", number, d.Name, ErrUnknownVersion)
}

// putMark writes a mark in the place of what has the number.
func (d *Dataset) putMark(ctx context.Context, number int64, mark string) error {
	return d.vault.Put(ctx, d.versionName(number), func(w io.Writer) error {
		_, err := io.WriteString(w, mark)
		return err
	})
}

// Versions gives the numbers of the versions in the vault, in order. Numbers that
// were removed or closed are not among them. The list is the vault's word: whoever
// may delete objects may shorten it.
func (d *Dataset) Versions(ctx context.Context) ([]int64, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	all, err := d.numbers(ctx)
	if err != nil {
		return nil, err
	}
	return all.versions(), nil
}

// Latest reads the newest version. It returns ErrUnknownDataset if there is none.
func (d *Dataset) Latest(ctx context.Context) (*Version, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	all, err := d.numbers(ctx)
	if err != nil {
		return nil, err
	}
	return d.newest(ctx, all)
}

// RemoveVersion removes a version, and keeps its number from being given out again.
// The objects that no other version names are left to a Collection. The newest
// version stays: it is what the next upload goes on from.
func (d *Dataset) RemoveVersion(ctx context.Context, number int64) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	versions, err := d.Versions(ctx)
	if err != nil {
		return err
	}
	switch at := slices.Index(versions, number); {
	case len(versions) == 0:
		return fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	case at < 0:
		return fmt.Errorf("version %d of dataset %q: %w", number, d.Name, ErrUnknownVersion)
	case at == len(versions)-1:
		return fmt.Errorf("version %d is the newest of dataset %q, which always stays unless it is damaged: make another version first, or remove the whole dataset", number, d.Name)
	}
	// Were the number free again, an upload that has slept since before the version
	// was made could commit under it, and nothing would know what it names.
	if err := d.putMark(ctx, number, codec.RemovedMark); err != nil {
		return fmt.Errorf("removing version %d: %w", number, err)
	}
	return nil
}
