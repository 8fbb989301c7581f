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
		case strings.Contains(r.Resource, "/_vaultpack/bin/") || strings.Contains(r.Resource, "/_vaultpack/manifests/") || strings.HasPrefix(r.Action, "logs:") || r.Context["kms:ViaService"] != "":
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
	if refused != 2 { // one for each kind of job
		t.Errorf("without volumes %d requests are refused", refused)
	}
}

// requests are what a training job and a processing job on a dataset have asked of AWS in their
// role's name.
func (w *world) requests(name string) []iamtest.Request {
	puts := map[string]int{}
	w.launcher.Vault.Store = &countingStore{w.vault.Store, puts}
	r := &asked{world: w, name: name}
	r.training()
	r.processing()
	for object := range puts { // by the launcher
		if !strings.HasPrefix(object, "_vaultpack/") {
			w.t.Errorf("a launch has stored %s", object)
		}
	}
	if len(puts) == 0 {
		w.t.Error("the launches have stored nothing")
	}
	return r.all
}

// asked are requests of jobs on a dataset.
type asked struct {
	*world
	name string
	all  []iamtest.Request
}

func (w *asked) ask(action, resource string, context ...string) {
	r := iamtest.Request{Principal: "arn:aws:iam::111122223333:role/trainer", Action: action, Resource: resource, Context: map[string]string{"aws:SecureTransport": "true"}}
	for i := 0; i < len(context); i += 2 {
		r.Context[context[i]] = context[i+1]
	}
	w.all = append(w.all, r)
}

func (w *asked) object(action, uri string) {
	w.ask(action, "arn:aws:s3:::"+strings.TrimPrefix(uri, "s3://"))
}

func (w *asked) list(uri string) {
	w.ask("s3:ListBucket", "arn:aws:s3:::data", "s3:prefix", strings.TrimPrefix(uri, "s3://data/"))
}

// input is read as SageMaker reads what fills a channel.
func (w *asked) input(uri string, prefix bool) {
	if prefix {
		w.list(uri)
		w.object("s3:GetObject", uri+"file")
		return
	}
	w.object("s3:GetObject", uri)
	base, names := readManifest(w.t, w.objects()[strings.TrimPrefix(uri, "s3://data/ml/")])
	for _, n := range names {
		w.object("s3:GetObject", base+n)
	}
}

func (w *asked) keys(output, volume *string) {
	viaS3 := []string{"kms:ViaService", "s3.eu-west-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn", "arn:aws:s3:::data"}
	w.ask("kms:Decrypt", sseKey, viaS3...)
	w.ask("kms:GenerateDataKey", aws.ToString(output), viaS3...)
	w.ask("kms:CreateGrant", aws.ToString(volume), "kms:ViaService", "sagemaker.eu-west-1.amazonaws.com", "kms:GrantIsForAWSResource", "true")
	w.ask("kms:Decrypt", sseKey, "kms:EncryptionContext:vaultpack:dataset", w.name)
}

func (w *asked) logs(group string) {
	const arn = "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/sagemaker/"
	w.ask("logs:CreateLogStream", arn+group+":log-stream:job/algo-1")
	w.ask("logs:PutLogEvents", arn+group+":log-stream:job/algo-1")
}

func (w *asked) training() {
	p := w.plan(w.job(func(j *trainer.Job) {
		j.Dataset, j.Name, j.Spot = w.name, "job-on-"+w.name, true
		j.Source, j.Entry = "testdata/src", "train.py"
	}))
	if _, err := w.launcher.Launch(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	in := p.Request
	for _, c := range in.InputDataConfig {
		w.input(*c.DataSource.S3DataSource.S3Uri, c.DataSource.S3DataSource.S3DataType == types.S3DataTypeS3Prefix)
	}
	w.object("s3:PutObject", *in.OutputDataConfig.S3OutputPath+"/"+*in.TrainingJobName+"/output/model.tar.gz")
	checkpoints := *in.CheckpointConfig.S3Uri
	w.list(checkpoints)
	w.object("s3:PutObject", checkpoints+"1")
	w.object("s3:GetObject", checkpoints+"1")
	w.keys(in.OutputDataConfig.KmsKeyId, in.ResourceConfig.VolumeKmsKeyId)
	w.logs("TrainingJobs")
}

func (w *asked) processing() {
	p := w.planProcessing(w.job(func(j *trainer.Job) {
		j.Dataset, j.Name = w.name, "processing-"+w.name
		j.Source, j.Entry = "testdata/src", "train.py"
		j.Outputs = map[string]string{"small": w.name + "-small", "report": w.name + "-report"}
	}))
	if _, err := w.launcher.LaunchProcessing(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	in := p.Request
	for _, c := range in.ProcessingInputs {
		w.input(*c.S3Input.S3Uri, c.S3Input.S3DataType == types.ProcessingS3DataTypeS3Prefix)
	}
	for _, out := range in.ProcessingOutputConfig.Outputs {
		w.object("s3:PutObject", *out.S3Output.S3Uri+"/algo-1.vpk")
	}
	w.keys(in.ProcessingOutputConfig.KmsKeyId, in.ProcessingResources.ClusterConfig.VolumeKmsKeyId)
	w.logs("ProcessingJobs")
}
