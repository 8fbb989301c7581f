package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"github.com/vaultpack/vaultpack/config"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func configCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "config",
		Usage:     "show each setting and where it comes from",
		ArgsUsage: " ",
		Description: "A setting comes from the first of these that has it: its flag, its environment variable\n" +
			"(VAULTPACK_VAULT, VAULTPACK_LOCAL_KEY), the nearest vaultpack.yaml in this folder or\n" +
			"above it, the one in your configuration directory, and the default below VAULTPACK_HOME.",
		Action: func(c *cli.Context) error {
			cfg, err := configAlone(c, con)
			if err != nil {
				return err
			}
			show := func(name string, s config.Setting, state string) {
				con.emit("setting", event{"name": name, "value": s.Value, "source": s.Source, "state": state})
				if state != "" {
					state = "; " + state
				}
				con.printf("%-10s %s\n           from %s%s", name, s.Value, s.Source, state)
			}
			show("home", cfg.Home, "")
			if s3store.IsURL(cfg.Vault.Value) {
				show("vault", cfg.Vault, "")
			} else {
				show("vault", cfg.Vault, state(vaultError(cfg)))
			}
			for _, k := range cfg.KMSKeys {
				show("kms_key", k, "")
			}
			if cfg.S3Source != "" {
				b, err := yaml.Marshal(cfg.S3)
				if err != nil {
					return err
				}
				for line := range strings.Lines(string(b)) {
					name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
					if !slices.Contains([]string{`""`, "null", "{}", "0", "0s", "false", ""}, value) {
						show("s3."+name, config.Setting{Value: value, Source: cfg.S3Source}, "")
					}
				}
			}
			_, err = config.ReadLocalKey(cfg)
			show("local_key", cfg.LocalKey, state(err))
			for name, s := range map[string]config.Setting{"identity": cfg.Identity, "passphrase_file": cfg.Passphrase} {
				if s.Value != "" {
					_, err := os.Stat(s.Value)
					show(name, s, state(err))
				}
			}
			for _, s := range cfg.Recipients {
				_, err := config.ReadRecipient(s)
				show("recipient", s, state(err))
			}
			for _, name := range slices.Sorted(maps.Keys(cfg.Context)) {
				show("context", config.Setting{Value: name + "=" + cfg.Context[name], Source: cfg.ContextSource}, "")
			}
			return nil
		},
	}
}

func vaultError(cfg *config.Config) error {
	_, err := os.Stat(cfg.Vault.Value)
	return err
}

func state(err error) string {
	switch {
	case err == nil:
		return "is there"
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist yet"
	}
	return err.Error()
}
