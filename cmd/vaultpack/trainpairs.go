package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/local"
)

// setPairs sets what is written as NAME=VALUE.
func setPairs(c *cli.Context, j *trainer.Job) error {
	each := func(flag, field string, set func(name, value string) error) error {
		seen := map[string]bool{}
		for _, s := range c.StringSlice(flag) {
			name, value, ok := strings.Cut(s, "=")
			if !ok || name == "" || seen[name] {
				return fmt.Errorf("--%s: %q is not NAME=VALUE, or the name is used twice", flag, s)
			}
			seen[name] = true
			if err := set(name, value); err != nil {
				return fmt.Errorf("--%s %s: %w", flag, name, err)
			}
			j.Given(field+"."+name, "--"+flag)
		}
		return nil
	}
	if c.IsSet("instance-group") {
		j.InstanceGroups = nil
	}
	var errs []error
	if c.Command.Name == "process" {
		errs = append(errs, each("output", "outputs", into(&j.Outputs)))
	}
	return errors.Join(append(errs,
		each("environment", "environment", into(&j.Environment)),
		each("tag", "tags", into(&j.Tags)),
		each("hyperparameter", "hyperparameters", func(name, value string) error {
			if j.Hyperparameters == nil {
				j.Hyperparameters = map[string]trainer.Value{}
			}
			j.Hyperparameters[name] = trainer.ParseValue(value)
			return nil
		}),
		each("metric", "metrics", func(name, value string) error {
			j.Metrics = append(j.Metrics, trainer.Metric{Name: name, Regex: value})
			return nil
		}),
		each("instance-group", "instance_groups", func(name, value string) error {
			typ, n, _ := strings.Cut(value, ":")
			count, err := strconv.Atoi(n)
			if err != nil {
				return fmt.Errorf("%q is not TYPE:COUNT", value)
			}
			j.InstanceGroups = append(j.InstanceGroups, trainer.InstanceGroup{Name: name, Type: typ, Count: count})
			return nil
		}),
		each("channel", "channels", func(name, value string) error { return setChannel(c, j, name, value) }),
	)...)
}

func setChannel(c *cli.Context, j *trainer.Job, name, value string) error {
	ch := &trainer.Channel{Folder: value}
	if !c.Bool("local") || !local.IsFolder(value) {
		var err error
		if ch, err = trainer.ParseChannel(value); err != nil {
			return err
		}
	}
	if j.Channels == nil {
		j.Channels = map[string]*trainer.Channel{}
	}
	j.Channels[name] = ch
	return nil
}

// into sets entries of a map, which it makes.
func into(m *map[string]string) func(name, value string) error {
	return func(name, value string) error {
		if *m == nil {
			*m = map[string]string{}
		}
		(*m)[name] = value
		return nil
	}
}
