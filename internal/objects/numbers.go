package objects

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/internal/codec"
)

// Numbers holds the numbers of a dataset that are taken, in order.
type Numbers []Taken

type Taken struct {
	Number int64
	Mark   string // empty for a version
}

// Numbers lists the numbers that are taken. It recalls what is known about the
// dataset before listing: so a version that another process makes and remembers
// after the listing does not look like a rollback.
func (s *Set) Numbers(ctx context.Context) (Numbers, error) {
	if _, err := s.Known(ctx); err != nil {
		return nil, err
	}
	var all Numbers
	for o, err := range s.Vault.List(ctx, s.Name+"/versions/") {
		if err != nil {
			return nil, fmt.Errorf("listing the versions: %w", err)
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(path.Base(o.Name), ".vpk"), 10, 64)
		if err != nil || n <= 0 || s.VersionName(n) != o.Name {
			continue
		}
		t := Taken{Number: n}
		switch o.Size {
		case int64(len(codec.ClosedMark)):
			t.Mark = codec.ClosedMark
		case int64(len(codec.RemovedMark)):
			t.Mark = codec.RemovedMark
		}
		all = append(all, t)
	}
	return all, nil
}

// Highest returns the highest number that is taken, or 0.
func (all Numbers) Highest() int64 {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Number
}

// Has reports whether the number is taken.
func (all Numbers) Has(number int64) bool {
	return slices.ContainsFunc(all, func(t Taken) bool { return t.Number == number })
}

// Closed returns the highest number that is closed, or 0.
func (all Numbers) Closed() int64 {
	for _, t := range slices.Backward(all) {
		if t.Mark == codec.ClosedMark {
			return t.Number
		}
	}
	return 0
}

// Versions returns the numbers that are versions.
func (all Numbers) Versions() []int64 {
	var out []int64
	for _, t := range all {
		if t.Mark == "" {
			out = append(out, t.Number)
		}
	}
	return out
}

// PutMark replaces the object with the number by a mark.
func (s *Set) PutMark(ctx context.Context, number int64, mark string) error {
	return s.Vault.Put(ctx, s.VersionName(number), func(w io.Writer) error {
		_, err := io.WriteString(w, mark)
		return err
	})
}

// Exists reports whether the dataset has any key.
func (s *Set) Exists(ctx context.Context) (bool, error) {
	for _, err := range s.Vault.List(ctx, s.Name+"/keys/") {
		if err != nil {
			return false, fmt.Errorf("listing the vault: %w", err)
		}
		return true, nil
	}
	return false, nil
}

// LeaseTTL is how long an upload without a sign of life counts as alive. Safety does not
// depend on it: an upload that sleeps longer cannot commit once a collection has run.
const LeaseTTL = 15 * time.Minute
