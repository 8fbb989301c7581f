package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/awsload"
	"github.com/vaultpack/vaultpack/internal/keyservice"
	"github.com/vaultpack/vaultpack/vault"
)

// LocalKeyName is the name of the job's key in a key channel.
const LocalKeyName = "local.key"

// keys are the keys that may open data keys; wipe overwrites as much as possible.
func (c *Config) keys(ctx context.Context, store *channelStore) (keys *vault.Keys, wipe func(), err error) {
	wipe = func() {}
	switch {
	case len(c.Keys) > 0:
		return &vault.Keys{Open: c.Keys}, wipe, nil
	case c.KeyChannel != "":
		key, err := store.localKey()
		if err != nil {
			return nil, nil, fmt.Errorf("the key channel %s: %w", c.KeyChannel, err)
		}
		return &vault.Keys{Open: []envelope.KeyWrapper{key}, Names: []string{"the key channel"}}, key.Wipe, nil
	}
	services := keyservice.New(keyservice.Settings{AWS: awsload.Settings{Region: c.Region}, Related: c.KMSRelated})
	keys = &vault.Keys{Calls: services.Calls}
	for _, name := range c.KMSKeys {
		key, err := services.Key(ctx, name)
		if err != nil {
			return nil, nil, fmt.Errorf("the key from --kms-key: %w", err)
		}
		keys.Open, keys.Names = append(keys.Open, key), append(keys.Names, name)
	}
	return keys, wipe, nil
}

// emptyKeyChannel removes the job's key from disk. The training command must not
// find it.
func (c *Config) emptyKeyChannel() error {
	if c.KeyChannel == "" {
		return nil
	}
	fail := func(err error) error {
		return fmt.Errorf("the key channel %s could not be emptied, so nothing is started: %w", c.KeyChannel, err)
	}
	root, err := os.OpenRoot(c.channelDir(c.KeyChannel))
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	// On disks that write in place this overwrites the key; on others, all that can
	// be done is to remove it.
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Base(name) != LocalKeyName || !e.Type().IsRegular() {
			return err
		}
		f, err := root.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, min(info.Size(), 1<<20)))
		return errors.Join(err, f.Sync())
	})
	if err != nil {
		return fail(err)
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		err = errors.Join(err, root.RemoveAll(e.Name()))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}
