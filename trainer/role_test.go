package trainer_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/iamtest"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/policy"
	"github.com/vaultpack/vaultpack/trainer"
)

// What train asks for by default is what the role may do that init makes by default: every
// request that SageMaker and the container make for such a job is allowed, and for a job on
// another dataset none of those that belong to it.
func TestRoleOfInit(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 3, 100)
	w.upload("digits-2", 3, 100)
	role := func(settings provision.Settings) *iamtest.World {
		settings.Admins = []string{"arn:aws:iam::111122223333:role/admin"}
		target := &provision.Target{Bucket: "data", Prefix: "ml/", Settings: settings}
		v := policy.Vault{Bucket: "data", Prefix: "ml/", KeyARN: sseKey}
		const arn = "arn:aws:iam::111122223333:role/trainer"
		parse := func(part string) *iamtest.Policy {
			d, err := target.RolePolicy(v, "trainer", part, arn, []string{"digits"})
			if err != nil {
				t.Fatal(err)
			}
			p, err := iamtest.Parse(d.JSON())
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		return &iamtest.World{Account: "111122223333", Identities: map[string][]*iamtest.Policy{arn: {parse("role")}}, Resources: map[string]*iamtest.Policy{sseKey: parse("key")}}
	}
	standard := role(provision.Settings{})
	ours := w.requests("digits")
	for _, r := range ours {
		if ok, why := standard.Decide(r); !ok {
			t.Errorf("%s on %s %v: %s", r.Action, r.Resource, r.Context, why)
		}
	}
	shared := 0
	for _, r := range w.requests("digits-2") {
		switch ok, why := standard.Decide(r); {
		case strings.Contains(r.Resource, "/_vaultpack/bin/") || strings.Contains(r.Resource, "/_vaultpack/manifests/") || r.Context["kms:ViaService"] != "":
			shared++
		case ok:
			t.Errorf("a job on another dataset: %s on %s %v is allowed: %s", r.Action, r.Resource, r.Context, why)
		}
	}
	if shared == 0 {
		t.Error("nothing is shared")
	}
	refused := 0
	without := role(provision.Settings{NoVolumes: true})
	for _, r := range ours {
		if ok, _ := without.Decide(r); !ok {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("without volumes %d requests are refused", refused)
	}
}

// requests are what a job on a dataset has asked of AWS in its role's name.
func (w *world) requests(name string) (all []iamtest.Request) {
	p := w.plan(w.job(func(j *trainer.Job) {
		j.Dataset, j.Name, j.Spot = name, "job-on-"+name, true
		j.Source, j.Entry = "testdata/src", "train.py"
	}))
	if _, err := w.launcher.Launch(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	objects := w.objects()
	ask := func(action, resource string, context ...string) {
		r := iamtest.Request{Principal: "arn:aws:iam::111122223333:role/trainer", Action: action, Resource: resource, Context: map[string]string{"aws:SecureTransport": "true"}}
		for i := 0; i < len(context); i += 2 {
			r.Context[context[i]] = context[i+1]
		}
		all = append(all, r)
	}
	object := func(uri string) string { return "arn:aws:s3:::" + strings.TrimPrefix(uri, "s3://") }
	list := func(uri string) {
		ask("s3:ListBucket", "arn:aws:s3:::data", "s3:prefix", strings.TrimPrefix(uri, "s3://data/"))
	}
	in := p.Request
	for _, c := range in.InputDataConfig {
		uri := *c.DataSource.S3DataSource.S3Uri
		if c.DataSource.S3DataSource.S3DataType == types.S3DataTypeS3Prefix {
			list(uri)
			ask("s3:GetObject", object(uri+"file"))
			continue
		}
		ask("s3:GetObject", object(uri))
		prefix, names := readManifest(w.t, objects[strings.TrimPrefix(uri, "s3://data/ml/")])
		for _, n := range names {
			ask("s3:GetObject", object(prefix+n))
		}
	}
	ask("s3:PutObject", object(*in.OutputDataConfig.S3OutputPath+"/"+*in.TrainingJobName+"/output/model.tar.gz"))
	checkpoints := *in.CheckpointConfig.S3Uri
	list(checkpoints)
	ask("s3:PutObject", object(checkpoints+"1"))
	ask("s3:GetObject", object(checkpoints+"1"))
	viaS3 := []string{"kms:ViaService", "s3.eu-west-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn", "arn:aws:s3:::data"}
	ask("kms:Decrypt", sseKey, viaS3...)
	ask("kms:GenerateDataKey", aws.ToString(in.OutputDataConfig.KmsKeyId), viaS3...)
	ask("kms:CreateGrant", aws.ToString(in.ResourceConfig.VolumeKmsKeyId), "kms:ViaService", "sagemaker.eu-west-1.amazonaws.com", "kms:GrantIsForAWSResource", "true")
	ask("kms:Decrypt", sseKey, "kms:EncryptionContext:vaultpack:dataset", name)
	return all
}
