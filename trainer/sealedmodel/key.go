// Package sealedmodel seals a training job's model in place, and opens it again. Each job
// has its own key for that, and another for its checkpoints: anyone who takes a key from
// the job's memory can open what the job made, but nothing that it read.
package sealedmodel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// The names of a job's keys in the job's folder in the vault.
const (
	KeyName            = "model.vpk"
	CheckpointsKeyName = "checkpoints.vpk"
)

// keyMax is more than the text of a local key takes.
const keyMax = 4096

var errNoVersion = errors.New("sealedmodel: no version of a dataset that the job reads, or no name of a key")

// NewKey makes a key of a job, named KeyName or CheckpointsKeyName, and stores it in the
// job's folder, sealed under the data key of a version that the job reads. It returns the
// name of the stored object.
func NewKey(ctx context.Context, v *dataset.Version, job, keyName string) (name string, err error) {
	if err := given.Check(ctx, v != nil && objects.Of(v) != nil && keyName != "", errNoVersion); err != nil {
		return "", err
	}
	key := envelope.GenerateLocalKey()
	defer key.Wipe()
	secret := key.EncodeSecret()
	defer clear(secret)
	set := objects.Of(v)
	dataKey, err := set.Key(ctx, v.KeyID)
	if err != nil {
		return "", err
	}
	name = objects.JobFolder(set.Name, job) + keyName
	if err := set.SealData(ctx, dataKey, name, secret); err != nil {
		return name, fmt.Errorf("sealing the key of what the job makes: %w", err)
	}
	return name, nil
}

// OpenKey returns the key that NewKey stored under the name, for a dataset or a version
// of one. Anyone who can open the dataset can open it. The caller must wipe it.
func OpenKey(ctx context.Context, set *objects.Set, name string) (*envelope.LocalKey, error) {
	if err := given.Check(ctx, set.Usable(), errNoVersion); err != nil {
		return nil, err
	}
	b, _, err := set.ReadSealed(ctx, name, keyMax)
	if err != nil {
		return nil, fmt.Errorf("the key of what the job makes: %w", err)
	}
	defer clear(b)
	key, err := envelope.ParseLocalKey(b)
	if err != nil {
		return nil, fmt.Errorf("what lies in the place of the key of what the job makes is not a key: %w", envelope.ErrAuthentication)
	}
	return key, nil
}

// KeyOf returns the key of a job on the dataset, named KeyName or
// CheckpointsKeyName.
func KeyOf(ctx context.Context, d *dataset.Dataset, job, keyName string) (*envelope.LocalKey, error) {
	if err := given.Check(ctx, d != nil, errNoVersion); err != nil {
		return nil, err
	}
	set := objects.Of(d)
	return OpenKey(ctx, set, objects.JobFolder(set.Name, job)+keyName)
}

// contextOf returns what a sealed file of a job is bound to: the job, and its place
// in the model. A path may be longer than the context allows for a value.
func contextOf(job, path string) envelope.EncryptionContext {
	sum := sha256.Sum256([]byte(path))
	return envelope.EncryptionContext{"job": job, "path-sha256": hex.EncodeToString(sum[:])}
}
