package container_test

import (
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/trainer/container"
)

// What cannot work, or would ask a key that nobody named, is refused before anything
// is done.
func TestConfigCheck(t *testing.T) {
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	channel := container.Channel{Name: "training", Dataset: "d", Version: 1, Digest: strings.Repeat("0a", 32)}
	key := []envelope.KeyWrapper{envelope.GenerateLocalKey()}
	for what, c := range map[string]struct {
		change func(c *container.Config)
		ok     bool
	}{
		"sound":                {func(*container.Config) {}, true},
		"a key channel":        {func(c *container.Config) { c.KMSKeys, c.KeyChannel = nil, "key" }, true},
		"keys":                 {func(c *container.Config) { c.KMSKeys, c.Keys = nil, key }, true},
		"two channels":         {func(c *container.Config) { c.Channels = append(c.Channels, rename(channel, "b")) }, true},
		"no channel":           {func(c *container.Config) { c.Channels = nil }, false},
		"a channel twice":      {func(c *container.Config) { c.Channels = append(c.Channels, channel) }, false},
		"a bad channel":        {func(c *container.Config) { c.Channels[0].Digest = "0a" }, false},
		"the metadata channel": {func(c *container.Config) { c.Channels[0].Name = container.MetaChannel }, false},
		"an alias":             {func(c *container.Config) { c.KMSKeys = []string{"alias/key"} }, false},
		"an alias beside":      {func(c *container.Config) { c.KMSKeys = []string{arn, "alias/key"} }, false},
		"no key":               {func(c *container.Config) { c.KMSKeys = nil }, false},
		"two kinds":            {func(c *container.Config) { c.KeyChannel = "key" }, false},
		"two other kinds":      {func(c *container.Config) { c.Keys = key }, false},
		"three kinds":          {func(c *container.Config) { c.Keys, c.KeyChannel = key, "key" }, false},
		"a sealed key channel": {func(c *container.Config) { c.KMSKeys, c.KeyChannel = nil, "training" }, false},
		"keys in the metadata": {func(c *container.Config) { c.KMSKeys, c.KeyChannel = nil, container.MetaChannel }, false},
		"a path":               {func(c *container.Config) { c.KMSKeys, c.KeyChannel = nil, "../key" }, false},
		"a reserved context": {func(c *container.Config) {
			c.Context = envelope.EncryptionContext{envelope.ContextKeyID: "0a"}
		}, false},
	} {
		cfg := container.Config{BaseDir: t.TempDir(), Channels: []container.Channel{channel}, KMSKeys: []string{arn}}
		c.change(&cfg)
		if err := cfg.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func rename(c container.Channel, name string) container.Channel {
	c.Name = name
	return c
}

// The digest of a channel is that of one version, written in one way.
func TestParseChannelDigest(t *testing.T) {
	for digest, ok := range map[string]bool{
		strings.Repeat("0a", 32): true, strings.Repeat("0a", 31): false, strings.Repeat("0a", 33): false,
		strings.Repeat("0A", 32): false, strings.Repeat("0g", 32): false, "": false,
	} {
		if _, err := container.ParseChannel("training=d@1#" + digest); (err == nil) != ok {
			t.Errorf("%q: %v", digest, err)
		}
	}
}
