// Package objects reads and writes the sealed objects of a dataset in a vault: what they
// are named, which key opens which, and what is authentic. Nothing outside of vaultpack
// needs it: packages dataset, uploader and their siblings are built on it.
package objects

import (
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

// Errors of objects; package dataset documents them.
var (
	ErrMissing        = errors.New("an object of the dataset is missing")
	ErrClosed         = errors.New("the dataset has been closed")
	ErrUnknownDataset = errors.New("no such dataset")
	ErrUnknownVersion = errors.New("no such version")
	ErrConflict       = errors.New("another writer changed the dataset")
)

// A Set holds the objects of one dataset in a vault, with the data keys that open them.
type Set struct {
	Name  string
	Vault *vault.Vault

	*openKeys // shared with other views of the dataset
}

// NewSet returns the objects of the dataset with the name.
func NewSet(v *vault.Vault, name string) *Set {
	return &Set{Name: name, Vault: v, openKeys: newOpenKeys()}
}

// Usable reports whether the Set has a usable vault.
func (s *Set) Usable() bool {
	return s != nil && s.Vault != nil && s.Vault.Store != nil && s.Vault.Keys != nil && s.openKeys != nil
}

// Over returns the same dataset, with the same keys, and its objects in another store.
func (s *Set) Over(store vault.Store) *Set {
	v := *s.Vault
	v.Store = store
	return &Set{Name: s.Name, Vault: &v, openKeys: s.openKeys}
}

// JobsFolder is the folder of the vault for what belongs to training jobs, next to
// the datasets.
const JobsFolder = "_vaultpack/jobs/"

// JobFolder returns the folder for what belongs to one job: below the dataset that it
// trains on, so that a role for one dataset has no access to the jobs of another.
func JobFolder(dataset, job string) string { return JobsFolder + dataset + "/" + job + "/" }

// KeyName returns the name of a keyring in the store.
func (s *Set) KeyName(id envelope.KeyID) string { return s.Name + "/keys/" + id.String() + ".json" }

// PackName returns the name of a pack in the store.
func (s *Set) PackName(id envelope.ObjectID) string {
	return s.Name + "/packs/" + id.String() + ".vpk"
}

// IndexName returns the name of a part of an index in the store.
func (s *Set) IndexName(id envelope.ObjectID) string {
	return s.Name + "/index/" + id.String() + ".vpk"
}

// VersionName returns the name of the root of a version in the store.
func (s *Set) VersionName(n int64) string {
	return fmt.Sprintf("%s/versions/%010d.vpk", s.Name, n)
}
