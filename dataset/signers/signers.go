// Package signers changes the signers of a dataset: the keys that may make versions.
// Every change is a version with the same contents, signed by an owner of the previous
// set.
package signers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/signing"
)

// ErrUnchanged is returned if a change would leave the signers as they are.
var ErrUnchanged = errors.New("the signers are that already")

// AddOwner makes the key an owner, even if it is already a writer. It returns
// [dataset.ErrConflict] if another writer has made a version in the meantime.
func AddOwner(ctx context.Context, d *dataset.Dataset, key signing.PublicKey) (*dataset.Version, error) {
	return add(ctx, d, key, chain.Owner)
}

// AddWriter makes the key a writer, even if it is already an owner. It returns
// [dataset.ErrConflict] if another writer has made a version in the meantime.
func AddWriter(ctx context.Context, d *dataset.Dataset, key signing.PublicKey) (*dataset.Version, error) {
	return add(ctx, d, key, chain.Writer)
}

func add(ctx context.Context, d *dataset.Dataset, key signing.PublicKey, role chain.Role) (*dataset.Version, error) {
	if key.IsZero() {
		return nil, errors.New("signers: a public key of zero value")
	}
	return change(ctx, d, func(next *chain.Link) error {
		if next.Role(key) == role {
			return fmt.Errorf("%s: %w", key.ID().Short(), ErrUnchanged)
		}
		without(next, key)
		if role == chain.Owner {
			next.Owners = append(next.Owners, key)
		} else {
			next.Writers = append(next.Writers, key)
		}
		if len(next.Owners) == 0 {
			return fmt.Errorf("%s is the only owner, and a dataset without one could never change its signers: add another owner first", key.ID().Short())
		}
		return nil
	})
}

// Remove removes a key from the signers. id is the key's ID in hex, or an unambiguous
// prefix of it. What the key has signed remains valid; it cannot sign later versions.
func Remove(ctx context.Context, d *dataset.Dataset, id string) (*dataset.Version, error) {
	return change(ctx, d, func(next *chain.Link) error {
		var found []signing.PublicKey
		for _, k := range slices.Concat(next.Owners, next.Writers) {
			if len(id) >= 8 && strings.HasPrefix(k.ID().String(), id) {
				found = append(found, k)
			}
		}
		switch len(found) {
		case 0:
			return fmt.Errorf("dataset %q has no signer %q: vaultpack signers list %s shows them", d.Name, id, d.Name)
		case 1:
		default:
			return fmt.Errorf("%d signers of dataset %q begin with %q: write more of the ID", len(found), d.Name, id)
		}
		if without(next, found[0]); len(next.Owners) == 0 {
			return fmt.Errorf("%s is the only owner, and a dataset without one could never change its signers: add another owner first", found[0].ID().Short())
		}
		return nil
	})
}

func without(l *chain.Link, key signing.PublicKey) {
	is := func(k signing.PublicKey) bool { return k == key }
	l.Owners, l.Writers = slices.DeleteFunc(l.Owners, is), slices.DeleteFunc(l.Writers, is)
}

func change(ctx context.Context, d *dataset.Dataset, how func(*chain.Link) error) (*dataset.Version, error) {
	return commit.Change(ctx, d, "signers", "with the new signers", func(ctx context.Context, l *commit.Lease) (*dataset.Version, error) {
		if err := l.ChangeSigners(ctx, how); err != nil {
			return nil, err
		}
		return again(ctx, l)
	})
}

// again commits the contents of the version before.
func again(ctx context.Context, l *commit.Lease) (*dataset.Version, error) {
	// The upload must not continue under a key that only a former signer may seal under.
	key, err := l.SealingKey(ctx)
	if err != nil {
		return nil, err
	}
	return l.Commit(ctx, key, commit.Same(l.Previous()))
}

// Init begins a new chain of signers in which the configured key is the owner. It is for
// a dataset whose owners have all lost their keys. The caller must be able to read the
// newest version. Every reader that knows the dataset rejects the new version until its
// user accepts it, since nothing else distinguishes it from a forgery.
func Init(ctx context.Context, d *dataset.Dataset) (*dataset.Version, error) {
	return commit.ChangeAnew(ctx, d, "signers", "with new signers", again)
}
