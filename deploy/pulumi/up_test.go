package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optremove"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

// A deployment is a stack that Pulumi's own engine brings up, in a cloud of ours.
type deployment struct {
	*testing.T
	stack auto.Stack
	cloud *cloud
}

func deploy(t *testing.T, command auto.PulumiCommand, c *cloud, config map[string]string) *deployment {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	project := workspace.Project{Name: tokens.PackageName("vaultpack"), Runtime: workspace.NewProjectRuntimeInfo("go", nil),
		Backend: &workspace.ProjectBackend{URL: "file://" + state}}
	s, err := auto.NewStackInlineSource(t.Context(), "dev", "vaultpack", run, auto.Pulumi(command), auto.WorkDir(dir), auto.Project(project),
		auto.EnvVars(map[string]string{
			"PULUMI_CONFIG_PASSPHRASE": "of a test", "PULUMI_SKIP_UPDATE_CHECK": "true",
			"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true", // nothing is fetched
			"PULUMI_DEBUG_PROVIDERS":                      fmt.Sprintf("aws:%d", c.port),
		}))
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{t, s, c}
	d.set(config)
	return d
}

// sample makes the config that docs/PULUMI.md shows.
func (d *deployment) sample() {
	d.Helper()
	doc, err := os.ReadFile("../../docs/PULUMI.md")
	if err != nil {
		d.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(config:\n.*?)```").FindSubmatch(doc)
	if block == nil {
		d.Fatal("docs/PULUMI.md shows no config")
	}
	file := filepath.Join(d.stack.Workspace().WorkDir(), "Pulumi.dev.yaml")
	salt, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Fatal(err)
	}
	if err := os.WriteFile(file, append(salt, block[1]...), 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d *deployment) set(config map[string]string) {
	d.Helper()
	all := auto.ConfigMap{}
	for k, v := range config {
		all[k] = auto.ConfigValue{Value: v}
	}
	if err := d.stack.SetAllConfig(d.Context(), all); err != nil {
		d.Fatal(err)
	}
}

// up is pulumi up; it gives how many resources saw which operation.
func (d *deployment) up() (auto.OutputMap, map[string]int) {
	d.Helper()
	r, err := d.stack.Up(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	return r.Outputs, *r.Summary.ResourceChanges
}

// want wants these changes to have been made in the cloud, and no others.
func (d *deployment) want(calls ...string) {
	d.Helper()
	if got := d.cloud.changes(); !slices.Equal(got, calls) {
		d.Errorf("the changes are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(calls, "\n  "))
	}
}

// refused wants an operation to fail with these words, and nothing to be changed.
func (d *deployment) refused(err error, words string) {
	d.Helper()
	if err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), words) {
		d.Errorf("the error is %v, want one with %q", err, words)
	}
	d.want()
}

// Pulumi's engine brings the vault up from nothing, finds nothing to do the second
// time, changes what the config changes, fixes what someone else has changed, and
// deletes nothing that is protected.
func TestUp(t *testing.T) {
	d := deploy(t, cli(t), newCloud(t), map[string]string{"bucket": "data", "prefix": "ml"})
	config := func(path, value string) {
		t.Helper()
		if err := d.stack.SetConfigWithOptions(t.Context(), path, auto.ConfigValue{Value: value}, &auto.ConfigOptions{Path: true}); err != nil {
			t.Fatal(err)
		}
	}

	// A setting is missing: nothing is made, and the error says what to type.
	_, err := d.stack.Up(t.Context())
	d.refused(err, "config vaultpack:admins is not set")
	config("admins[0]", admin)

	// The plan is made before AWS has said anything.
	plan, err := d.stack.Preview(t.Context())
	if err != nil || plan.ChangeSummary[apitype.OpCreate] != 17 { // the stack is there
		t.Errorf("the plan is %v, %v", plan.ChangeSummary, err)
	}
	d.want()

	out, _ := d.up()
	d.want("create iam/role vaultpack-data-reader", "create iam/role vaultpack-data-trainer", "create iam/role vaultpack-data-uploader",
		"create iam/rolePolicy vaultpack-data-reader:vaultpack", "create iam/rolePolicy vaultpack-data-trainer:vaultpack", "create iam/rolePolicy vaultpack-data-uploader:vaultpack",
		"create kms/alias alias/vaultpack-data", "create kms/alias alias/vaultpack-data-signing", "create kms/key "+keyUUID, "create kms/key "+signingUUID,
		"create s3/bucket data", "create s3/bucketLifecycleConfiguration data", "create s3/bucketOwnershipControls data", "create s3/bucketPolicy data",
		"create s3/bucketPublicAccessBlock data", "create s3/bucketServerSideEncryptionConfiguration data", "create s3/bucketVersioning data")
	for name, want := range map[string]any{"kms_key_id": keyUUID, "kms_key_arn": keyARN, "s3_bucket_name": "data", "uploader_role_arn": roleARN("vaultpack-data-uploader")} {
		if out[name].Value != want {
			t.Errorf("the output %s is %v, want %v", name, out[name].Value, want)
		}
	}

	_, ops := d.up()
	d.want()
	if !maps.Equal(ops, map[string]int{"same": 18}) { // the stack is one
		t.Errorf("the second up did %v", ops)
	}

	config("expire_old_versions_days", "30")
	d.up()
	d.want("update s3/bucketLifecycleConfiguration data")

	config("trainers[0]", "scans")
	d.up()
	d.want("create iam/role vaultpack-data-trainer-scans", "create iam/rolePolicy vaultpack-data-trainer-scans:vaultpack",
		"delete iam/role vaultpack-data-trainer", "delete iam/rolePolicy vaultpack-data-trainer:vaultpack", "update kms/key "+keyUUID)

	// Somebody suspends versioning: refresh sees it, and up fixes it.
	versioning := "s3/bucketVersioning data"
	was := d.cloud.there[versioning]
	d.cloud.there[versioning] = resource.NewPropertyMapFromMap(map[string]any{"bucket": "data", "versioningConfiguration": map[string]any{"status": "Suspended"}})
	if _, err := d.stack.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.want()
	d.up()
	d.want("update " + versioning)
	if !d.cloud.there[versioning].DeepEquals(was) {
		t.Errorf("versioning is %v, want %v", d.cloud.there[versioning], was)
	}

	// Another bucket's name would be another bucket, and this one gone.
	config("bucket", "other")
	_, err = d.stack.Up(t.Context())
	d.refused(err, "marked for protection")
	config("bucket", "data")

	// Destroy is refused. What it does take is the policies of trainers, which the
	// next up makes again: they come and go with datasets.
	if _, err = d.stack.Destroy(t.Context()); err == nil || !strings.Contains(err.Error(), "protected") {
		t.Errorf("destroying what is protected: %v", err)
	}
	d.want("delete iam/rolePolicy vaultpack-data-trainer-scans:vaultpack")
	d.up()
	d.want("create iam/rolePolicy vaultpack-data-trainer-scans:vaultpack")

	// Without protection: the bucket is not empty, so it stays with all that guards
	// it, and so does the key.
	config("protect", "false")
	d.up()
	d.want()
	d.cloud.full = true
	if _, err = d.stack.Destroy(t.Context()); err == nil || !strings.Contains(err.Error(), "BucketNotEmpty") {
		t.Errorf("destroying a full bucket: %v", err)
	}
	d.cloud.changes()
	for _, kind := range []string{"kms/key", "s3/bucket", "s3/bucketOwnershipControls", "s3/bucketPolicy", "s3/bucketPublicAccessBlock", "s3/bucketServerSideEncryptionConfiguration", "s3/bucketVersioning"} {
		if !slices.Contains(d.cloud.kinds(), kind) {
			t.Errorf("%s is gone, and the bucket is full", kind)
		}
	}
	d.cloud.full = false
	if _, err = d.stack.Destroy(t.Context(), optdestroy.Remove()); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"kms/key", "s3/bucket", "iam/role"} {
		if slices.Contains(d.cloud.kinds(), kind) {
			t.Errorf("%s is still there", kind)
		}
	}
}

// A vault that is there is taken over as it is: nothing in it is changed. And Pulumi
// lets go of it, and leaves it there.
func TestTakeOver(t *testing.T) {
	command, c := cli(t), newCloud(t)
	first := deploy(t, command, c, nil)
	first.sample()
	first.up()
	if err := first.stack.Workspace().RemoveStack(context.Background(), "dev", optremove.Force()); err != nil {
		t.Fatal(err)
	}
	// vaultpack init makes all of it but endpoints.
	for name := range c.there {
		if strings.HasPrefix(name, "ec2/") {
			delete(c.there, name)
		}
	}
	before := c.kinds()
	if len(before) != 19 {
		t.Errorf("there is %s", before)
	}
	c.changes()

	second := deploy(t, command, c, nil)
	second.sample()
	second.set(map[string]string{"import_key": keyARN, "import_signing_key": signingARN})
	_, ops := second.up()
	const endpoint = "create ec2/vpcEndpoint vpce-com.amazonaws.eu-central-1."
	second.want(endpoint+"kms", endpoint+"logs", endpoint+"s3", endpoint+"sagemaker.api")
	if ops["import"] != len(before) || ops["create"] != 5 { // the stack is one
		t.Errorf("taking over did %v", ops)
	}
	for _, key := range []string{"import_key", "import_signing_key"} {
		if err := second.stack.RemoveConfig(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	_, ops = second.up()
	second.want()
	if !maps.Equal(ops, map[string]int{"same": 24}) {
		t.Errorf("the next up did %v", ops)
	}
}
