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
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func initCommand(con *console) *cli.Command {
	inAWS := []cli.Flag{
		&cli.BoolFlag{Name: "plan", Usage: "show what would be done, then exit"},
		&cli.BoolFlag{Name: "check", Usage: "report what differs; exit with 1 if anything does"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask for confirmation"},
		&cli.BoolFlag{Name: "adopt", Usage: "take over an existing key, bucket or role without this vault's tag"},
		&cli.BoolFlag{Name: "destroy", Usage: "print the steps to remove the vault; remove nothing"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the key's alias, and prefix of the role names (default: vaultpack-BUCKET)"},
		&cli.StringSliceFlag{Name: "admin", Usage: "`ARN` that manages the key but cannot use it; can be repeated (default: you)"},
		&cli.StringSliceFlag{Name: "user", Usage: "`ARN` that may use the key for all datasets, or \"me\"; can be repeated"},
		&cli.StringSliceFlag{Name: "assume", Usage: "`ARN` that may assume the uploader and reader roles; can be repeated (default: anyone whom IAM allows to)"},
		&cli.BoolFlag{Name: "resume-uploads", Usage: "let the uploader decrypt data keys. It needs this to continue uploads and to send only changes"},
		&cli.StringSliceFlag{Name: "trainer", Usage: "`DATASET` that gets its own training role; can be repeated (default: one role for all)"},
		&cli.StringSliceFlag{Name: "output", Usage: "s3:// `URL` that training jobs may write to; can be repeated (default: in the vault)"},
		&cli.StringSliceFlag{Name: "image", Usage: "`ARN` of an ECR repository that jobs may pull from; can be repeated (default: all in the Region)"},
		&cli.BoolFlag{Name: "volumes", Usage: "allow SageMaker to encrypt job volumes with the key"},
		&cli.BoolFlag{Name: "vpc", Usage: "allow jobs to run in a VPC"},
		&cli.StringFlag{Name: "access-logs", Usage: "write S3 access logs to `URL` (s3://BUCKET/PREFIX)"},
		&cli.IntFlag{Name: "expire-old-versions", Usage: "delete old versions of objects after `DAYS`", DefaultText: "never"},
		&cli.IntFlag{Name: "abort-uploads", Usage: "abort unfinished multipart uploads after `DAYS`", DefaultText: "7"},
	}
	for _, f := range inAWS {
		switch f := f.(type) {
		case *cli.BoolFlag:
			f.Category = "vaults in S3"
		case *cli.StringFlag:
			f.Category = "vaults in S3"
		case *cli.StringSliceFlag:
			f.Category = "vaults in S3"
		case *cli.IntFlag:
			f.Category = "vaults in S3"
		}
	}
	return &cli.Command{
		Name:      "init",
		Usage:     "create a vault and its key, or check an existing vault",
		ArgsUsage: " ",
		Flags:     inAWS,
		Description: "Without --vault, init creates the default vault, as the first upload does. It never\n" +
			"changes an existing vault.\n\n" +
			"With --vault s3://BUCKET/PREFIX, init creates a KMS key, a bucket and the roles for\n" +
			"uploading, reading and training. It shows a plan and asks for confirmation. Run it again\n" +
			"to find and fix drift, or to continue after an interruption. Your choices are saved in\n" +
			"vaultpack.yaml. init never deletes anything.",
		Action: func(c *cli.Context) error {
			cfg, err := configAlone(c)
			if err != nil {
				return err
			}
			if s3store.IsURL(cfg.Vault.Value) {
				return initS3(c, con, cfg)
			}
			for _, f := range inAWS {
				if name := f.Names()[0]; c.IsSet(name) {
					return usagef("--%s is for vaults in S3, and %s (from %s) is a directory", name, cfg.Vault.Value, cfg.Vault.Source)
				}
			}
			return initVault(c.Context, con, cfg)
		},
	}
}

// initVault makes a directory and a local key, or looks into a bucket.
func initVault(ctx context.Context, con *console, cfg *config.Config) error {
	v, made, err := config.Init(ctx, cfg)
	if err != nil {
		return err
	}
	switch {
	case made:
		con.tellNewVault(v)
	case len(cfg.KMSKeys) > 0:
		con.printf("The vault %s and its key %s are ready.", show(v.Location), show(v.Keys.Names[0]))
	default:
		con.printf("The vault %s and its key %s are ready.", show(v.Location), show(cfg.LocalKey.Value))
	}
	if err := con.tellFileSystem(ctx, v); err != nil {
		return err
	}
	con.emit("summary", event{"command": "init", "vault": v.Location, "keys": v.Keys.Names, "created": made})
	return nil
}

// tellFileSystem says what is weaker where the vault lies.
func (c *console) tellFileSystem(ctx context.Context, v *vault.Vault) error {
	p, ok := vault.As[vault.Prober](v.Store)
	if !ok {
		return nil
	}
	found, err := p.Abilities(ctx)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		c.notef("note: %s can only be read from here: %v", show(v.Location), err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("trying what the file system of %s can do: %w", show(v.Location), err)
	}
	for _, w := range found.Weaknesses() {
		c.notef("note: %s", w.Says)
	}
	return nil
}

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
	for _, s := range plan.Steps {
		e := event{"change": s.Change, "resource": s.Resource, "property": s.Property, "from": s.From, "to": s.To, "action": s.Action}
		if s.Document != "" {
			e["document"] = json.RawMessage(s.Document)
		}
		con.emit("step", e)
	}
	for _, n := range plan.Notes {
		con.emit("note", event{"note": n})
		con.notef("note: %s", n)
	}
	for _, w := range plan.Warnings {
		con.emit("warning", event{"warning": w})
		con.warnf("warning: %s", w)
	}
	if n := len(plan.Steps); n > 0 {
		con.tellPlan(target, plan)
		switch {
		case c.Bool("check"):
			con.emit("summary", event{"command": "init", "vault": target.URL(), "changes": n, "applied": false})
			return &partialError{text: fmt.Sprintf("the vault differs in %s; to fix that: vaultpack init --vault %s", count(int64(n), "point"), target.URL()), code: exitFailed}
		case c.Bool("plan"):
			con.emit("summary", event{"command": "init", "vault": target.URL(), "changes": n, "applied": false})
			return nil
		}
		if err := con.ask(c.Bool("yes"), "Do this?"); err != nil {
			return err
		}
		done := 0
		err := p.Apply(c.Context, plan, func(s provision.Step) {
			done++
			con.emit("done", event{"change": s.Change, "resource": s.Resource, "property": s.Property})
			what := s.Resource
			if s.Property != "" {
				what += ": " + s.Property
			}
			con.printf("%*d of %d  %s", len(fmt.Sprint(n)), done, n, what)
		})
		if err != nil {
			return fmt.Errorf("%d of %d steps are done; run the same command again to continue: %w", done, n, err)
		}
	}
	return tellVault(c, con, cfg, p, target, plan)
}

// watch tells what a provisioner waits for, and how far it is.
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

// reason is the answer of a service in short.
func reason(err error) string {
	return cmp.Or(awserr.Code(err), err.Error())
}

// newProvisioner reads the settings: those of the configuration, and the flags.
func newProvisioner(c *cli.Context, cfg *config.Config) (*provision.Provisioner, *provision.Target, error) {
	loc, err := s3store.ParseURL(cfg.Vault.Value)
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	// The key and the settings of another vault are not for a new one.
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
	for name, to := range map[string]*string{"name": &t.Name, "access-logs": &t.LogTo} {
		if c.IsSet(name) {
			*to = c.String(name)
		}
	}
	for name, to := range map[string]*[]string{"admin": &t.Admins, "user": &t.Users, "assume": &t.Assume, "trainer": &t.Trainers, "output": &t.Outputs, "image": &t.Images} {
		if c.IsSet(name) {
			*to = c.StringSlice(name)
		}
	}
	for name, to := range map[string]*bool{"resume-uploads": &t.Resume, "volumes": &t.Volumes, "vpc": &t.VPC} {
		if c.IsSet(name) {
			*to = c.Bool(name)
		}
	}
	for name, to := range map[string]*int32{"expire-old-versions": &t.ExpireDays, "abort-uploads": &t.AbortDays} {
		if c.IsSet(name) {
			days := int64(c.Int(name))
			if days < 0 || days > math.MaxInt32 {
				return nil, nil, usagef("--%s must be a positive number of days, not %d", name, days)
			}
			*to = int32(days)
		}
	}
	aws, err := cfg.AWS(c.Context)
	if err != nil {
		return nil, nil, err
	}
	// At an endpoint of its own S3 is another server than AWS, unless all of AWS is
	// there (AWS_ENDPOINT_URL).
	own := s3.NewFromConfig(aws, cfg.S3Options).Options().BaseEndpoint != nil && iam.NewFromConfig(aws).Options().BaseEndpoint == nil
	t.BucketOnly = own || cfg.S3.SSE == s3store.SSENone
	switch {
	case t.BucketOnly:
		if cfg, err = cfg.Resolved(c.Context); err != nil {
			return nil, nil, err
		}
		t.Key = cfg.SSEKey()
		// What is wrong with the settings is said before anything is made.
		set := cfg.S3
		set.KMSKey = t.Key
		if _, err := s3store.Open(c.Context, cfg.Vault.Value, set); err != nil {
			return nil, nil, usagef("%w", err)
		}
	case len(cfg.KMSKeys) > 0:
		t.Key = cfg.KMSKeys[0].Value
		if k := cfg.S3.KMSKey; k != "" && k != t.Key {
			// One may be an alias of the other.
			if cfg, err = cfg.Resolved(c.Context); err != nil {
				return nil, nil, err
			}
			k, t.Key = cfg.S3.KMSKey, cfg.KMSKeys[0].Value
			if k == t.Key {
				break
			}
			return nil, nil, usagef("s3.kms_key (%s) differs from the first of kms_keys (%s); init manages one key for both: remove one of the two settings", k, t.Key)
		}
	default:
		t.Key = cfg.S3.KMSKey
	}
	p, err := provision.New(aws, *t, cfg.S3Options)
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	return p, t, nil
}

// provisionSettings are those of the configuration file.
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

// ask wants a yes, from a person.
func (c *console) ask(yes bool, question string) error {
	if yes {
		return nil
	}
	if c.json || c.quiet || !term.IsTerminal(int(os.Stdin.Fd())) {
		return usagef("init needs your confirmation: use --yes to apply the plan, or --plan only to see it")
	}
	c.mu.Lock()
	c.out.Flush()
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	c.mu.Unlock()
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// tellVault ends an init: the vault is there.
func tellVault(c *cli.Context, con *console, cfg *config.Config, p *provision.Provisioner, t *provision.Target, plan *provision.Plan) error {
	n := len(plan.Steps)
	switch {
	case n == 0 && len(plan.Warnings) > 0:
		con.printf("The vault %s needs no change by init.", t.URL())
	case n == 0:
		con.printf("The vault %s is up to date.", t.URL())
	}
	if n := len(plan.Warnings); n > 0 && c.Bool("check") {
		con.emit("summary", event{"command": "init", "vault": t.URL(), "changes": 0, "applied": false, "outputs": p.Outputs()})
		return &partialError{text: fmt.Sprintf("init would change nothing, but see %s above: the vault is at risk", count(int64(n), "warning")), code: exitFailed}
	}
	if c.Bool("check") || c.Bool("plan") {
		con.emit("summary", event{"command": "init", "vault": t.URL(), "changes": n, "applied": false, "outputs": p.Outputs()})
		return nil
	}
	o := p.Outputs()
	if t.BucketOnly {
		if _, err := writeConfig(con, cfg, p, o); err != nil {
			return err
		}
		return initVault(c.Context, con, cfg)
	}
	con.printf("")
	con.printf("kms_key_id      %s", o.KMSKeyID)
	con.printf("kms_key_arn     %s", o.KMSKeyARN)
	con.printf("s3_bucket_name  %s", o.S3BucketName)
	con.printf("uploader role   %s", o.UploaderRole)
	con.printf("reader role     %s", o.ReaderRole)
	for _, d := range slices.Sorted(maps.Keys(o.TrainerRoles)) {
		of := ""
		if d != "*" {
			of = "   (" + d + ")"
		}
		con.printf("trainer role    %s%s", o.TrainerRoles[d], of)
	}
	file, err := writeConfig(con, cfg, p, o)
	if err != nil {
		return err
	}
	if n > 0 && len(p.Users) == 0 {
		con.printf("\nOnly these roles can use the key; you and administrators cannot. To upload, assume the uploader role:\n"+
			"  aws configure set profile.%[1]s.role_arn %[2]s\n  aws configure set profile.%[1]s.source_profile default\n"+
			"  AWS_PROFILE=%[1]s %[3]s push ./DIR", p.Name+"-uploader", o.UploaderRole, program())
	}
	con.emit("summary", event{"command": "init", "vault": t.URL(), "changes": n, "applied": n > 0, "outputs": o, "config": file})
	return nil
}

// writeConfig writes vaultpack.yaml: the one that names the vault, or the one in
// the working folder or the nearest above it.
func writeConfig(con *console, cfg *config.Config, p *provision.Provisioner, o provision.Outputs) (file string, err error) {
	change := config.Change{Vault: p.URL(), Region: o.Region}
	if chosen := p.Chosen(); !reflect.ValueOf(chosen).IsZero() {
		change.Provision = chosen
	}
	if o.KMSKeyARN != "" {
		change.KMSKeys = []string{o.KMSKeyARN}
	}
	if cfg.S3.SSE == s3store.SSENone {
		change.SSE = s3store.SSENone
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	file = filepath.Join(wd, config.FileName)
	switch {
	case slices.Contains(cfg.Files, cfg.Vault.Source):
		file = cfg.Vault.Source
	case len(cfg.Files) > 0 && strings.HasPrefix(wd+"/", filepath.Dir(cfg.Files[0])+"/"):
		file = cfg.Files[0]
	}
	written, err := config.Write(file, change)
	switch {
	case errors.Is(err, config.ErrOtherVault):
		text, terr := change.Text()
		if terr != nil {
			return "", terr
		}
		con.notef("note: %v, so it is not changed. For this vault, write to another vaultpack.yaml:\n%s", err, printable.Verbatim(text))
		return "", nil
	case err != nil:
		return "", err
	case written:
		con.printf("written         %s", show(file))
	}
	return file, nil
}
