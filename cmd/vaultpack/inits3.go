package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/provision"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func initS3(c *cli.Context, con *console, cfg *config.Config) error {
	p, target, err := newProvisioner(c, cfg)
	if err != nil {
		return err
	}
	if c.Bool("destroy") {
		return destroySteps(c.Context, con, p)
	}
	con.watch(p)
	plan, err := p.Plan(c.Context)
	if target.BucketOnly && errors.Is(err, provision.ErrNotOurs) && !c.Bool("plan") && !c.Bool("check") {
		con.notef("note: the bucket %s already exists and is not changed; use --adopt to let init manage it", target.Bucket)
		return initVault(c.Context, con, cfg)
	}
	var limit *provision.LimitError
	if errors.As(err, &limit) {
		return usagef("nothing was done: %w", err)
	}
	if err != nil {
		return err
	}
	con.tellSteps(plan)
	if len(plan.Steps) > 0 {
		con.tellPlan(target, plan)
		if c.Bool("check") || c.Bool("plan") {
			n := len(plan.Steps)
			con.emit("summary", event{"command": "init", "vault": target.URL(), "changes": n, "applied": false})
			if !c.Bool("check") {
				return nil
			}
			return &partialError{text: fmt.Sprintf("the vault differs in %s; to fix that: vaultpack init --vault %s", count(int64(n), "point"), target.URL()), code: exitFailed}
		}
		if !c.Bool("yes") {
			if err := con.ask("Do this?"); err != nil {
				return err
			}
		}
		if err := con.apply(c.Context, p, plan); err != nil {
			return err
		}
	}
	return tellVault(c, con, cfg, p, target, plan)
}

// tellSteps prints the steps of a plan.
func (c *console) tellSteps(plan *provision.Plan) {
	for _, s := range plan.Steps {
		e := event{"change": s.Change, "resource": s.Resource, "property": s.Property, "from": s.From, "to": s.To, "action": s.Action}
		if s.Document != "" {
			e["document"] = json.RawMessage(s.Document)
		}
		c.emit("step", e)
	}
	for _, n := range plan.Notes {
		c.emit("note", event{"note": n})
		c.notef("note: %s", n)
	}
	for _, w := range plan.Warnings {
		c.emit("warning", event{"warning": w})
		c.warnf("warning: %s", w)
	}
}

// apply carries out a plan, and prints each step.
func (c *console) apply(ctx context.Context, p *provision.Provisioner, plan *provision.Plan) error {
	n, done := len(plan.Steps), 0
	err := p.Apply(ctx, plan, func(s provision.Step) {
		done++
		c.emit("done", event{"change": s.Change, "resource": s.Resource, "property": s.Property})
		what := s.Resource
		if s.Property != "" {
			what += ": " + s.Property
		}
		c.printf("%*d of %d  %s", len(fmt.Sprint(n)), done, n, what)
	})
	if err != nil {
		return fmt.Errorf("%d of %d steps are done; run the same command again to continue: %w", done, n, err)
	}
	return nil
}

// watch prints what a provisioner waits for, and its progress.
func (c *console) watch(p *provision.Provisioner) {
	p.OnWait = func(w provision.Wait) {
		what := w.What
		if what == "" {
			what = "AWS asks for fewer requests"
		}
		c.emit("wait", event{"what": what, "seconds": w.For.Seconds(), "why": w.Why.Error()})
		c.printf("  waiting %v: %s (%s)", w.For, what, reason(w.Why))
		c.flush()
	}
	p.OnProgress = func(what string, done, total int) {
		c.emit("progress", event{"what": what, "done": done, "total": total})
		c.printf("  %d of %d %s", done, total, what)
		c.flush()
	}
}

// reason returns a service's answer in short form.
func reason(err error) string {
	return cmp.Or(awserr.Code(err), err.Error())
}

// newProvisioner reads the settings from the configuration and the flags.
func newProvisioner(c *cli.Context, cfg *config.Config) (*provision.Provisioner, *provision.Target, error) {
	loc, err := s3store.ParseURL(cfg.Vault.Value)
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	// The key and the settings of another vault do not apply to a new one.
	cfg.KMSKeys = slices.DeleteFunc(cfg.KMSKeys, func(k config.Setting) bool { return cfg.OfOtherVault(k.Source) })
	if cfg.OfOtherVault(cfg.ProvisionSource) {
		cfg.Provision = nil
	}
	if cfg.OfOtherVault(cfg.S3Source) {
		cfg.S3.KMSKey, cfg.S3.SSE = "", lineageString(c, "sse")
	}
	t := &provision.Target{Bucket: loc.Bucket, Prefix: loc.Prefix, Adopt: c.Bool("adopt")}
	if t.Settings, err = provisionSettings(cfg); err != nil {
		return nil, nil, usagef("%w", err)
	}
	if err := setTarget(c, t); err != nil {
		return nil, nil, err
	}
	if t.SigningKey == "" && signsItself(cfg) {
		t.SigningKey = provision.NoKey
	}
	aws, err := cfg.AWS(c.Context)
	if err != nil {
		return nil, nil, err
	}
	t.BucketOnly = cfg.S3.SSE == s3store.SSENone || !provision.IsAWS(aws, cfg.S3Options)
	if t.BucketOnly {
		t.Key, err = serverKey(c.Context, cfg)
	} else {
		t.Key, err = oneKey(c.Context, cfg)
	}
	if err != nil {
		return nil, nil, err
	}
	p, err := provision.New(aws, *t, cfg.S3Options)
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	return p, t, nil
}

// signsItself reports whether this vault's vaultpack.yaml has a signing key outside of
// AWS: in a file, or in ssh-agent. If so, init makes none. A flag or the environment only
// sets what one command signs with.
func signsItself(cfg *config.Config) bool {
	return slices.Contains(cfg.Files, cfg.Signing.Source) && !isKeyARN(cfg.Signing) && !cfg.OfOtherVault(cfg.Signing.Source)
}

// setTarget sets what flags were given for.
func setTarget(c *cli.Context, t *provision.Target) error {
	for name, to := range map[string]*string{"name": &t.Name, "access-logs": &t.LogTo, "uploader-signing-key": &t.SigningKey} {
		if c.IsSet(name) {
			*to = c.String(name)
		}
	}
	for name, to := range map[string]*[]string{"admin": &t.Admins, "user": &t.Users, "assume": &t.Assume, "trainer": &t.Trainers, "output": &t.Outputs, "image": &t.Images} {
		if c.IsSet(name) {
			*to = c.StringSlice(name)
		}
	}
	for name, to := range map[string]*bool{"resume-uploads": &t.Resume, "no-volumes": &t.NoVolumes, "vpc": &t.VPC} {
		if c.IsSet(name) {
			*to = c.Bool(name)
		}
	}
	for name, to := range map[string]*int32{"expire-old-versions": &t.ExpireDays, "abort-uploads": &t.AbortDays} {
		if c.IsSet(name) {
			days := int64(c.Int(name))
			if days < 0 || days > math.MaxInt32 {
				return usagef("--%s must be a positive number of days, not %d", name, days)
			}
			*to = int32(days)
		}
	}
	return nil
}

// serverKey returns the key for encryption by a server that is not AWS.
func serverKey(ctx context.Context, cfg *config.Config) (string, error) {
	cfg, err := cfg.Resolved(ctx)
	if err != nil {
		return "", err
	}
	// Wrong settings are reported before anything is created.
	set := cfg.S3
	set.KMSKey = cfg.SSEKey()
	if _, err := s3store.Open(ctx, cfg.Vault.Value, set); err != nil {
		return "", usagef("%w", err)
	}
	return set.KMSKey, nil
}

// oneKey returns the AWS key that is used for both data keys and objects, or "" if none
// is configured.
func oneKey(ctx context.Context, cfg *config.Config) (string, error) {
	if len(cfg.KMSKeys) == 0 {
		return cfg.S3.KMSKey, nil
	}
	ofS3, first := cfg.S3.KMSKey, cfg.KMSKeys[0].Value
	if ofS3 == "" || ofS3 == first {
		return first, nil
	}
	// One may be an alias of the other.
	cfg, err := cfg.Resolved(ctx)
	if err != nil {
		return "", err
	}
	if ofS3, first = cfg.S3.KMSKey, cfg.KMSKeys[0].Value; ofS3 != first {
		return "", usagef("s3.kms_key (%s) differs from the first of kms_keys (%s); init manages one key for both: remove one of the two settings", ofS3, first)
	}
	return first, nil
}

// provisionSettings returns the settings of the configuration file.
func provisionSettings(cfg *config.Config) (s provision.Settings, err error) {
	if cfg.Provision == nil {
		return s, nil
	}
	b, err := yaml.Marshal(cfg.Provision)
	if err != nil {
		return s, err
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil && err != io.EOF {
		return s, fmt.Errorf("the section provision of %s: %w", cfg.ProvisionSource, err)
	}
	return s, nil
}

func (c *console) tellPlan(t *provision.Target, plan *provision.Plan) {
	c.printf("For the vault %s%s:", t.URL(), as(plan.Caller))
	last := ""
	for _, s := range plan.Steps {
		if s.Change == "set" && s.Resource == last {
			c.printf("    %s: %s", s.Property, s.To)
		} else {
			c.printf("  %s", s)
		}
		last = s.Resource
	}
	if len(plan.Admins) > 0 {
		c.printf("The key is managed by %s.", strings.Join(plan.Admins, ", "))
	}
}

func as(caller string) string {
	if caller == "" {
		return ""
	}
	return ", as " + caller
}

// ask asks the user to confirm.
func (c *console) ask(question string) error {
	if c.json || c.quiet || !term.IsTerminal(int(c.stdin.Fd())) {
		return usagef("init needs your confirmation: use --yes to apply the plan, or --plan only to see it")
	}
	c.mu.Lock()
	c.out.Flush()
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	c.mu.Unlock()
	answer, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
