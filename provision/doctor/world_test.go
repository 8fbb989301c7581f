package doctor_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/doctor"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// A world is a vault in order, and what it lies on, for a case to damage.
type world struct {
	t   *testing.T
	doc *doctor.Doctor
	cfg *config.Config

	server *s3test.Server
	s3     *s3.Client // past all proxies
	bucket string

	kms *kmstest.Server // of MinIO's world
	key string          // the ARN of the KMS key

	aws aws.Config // of moto's world
	dir string     // of the directory's world
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

const gib = 1 << 30

// machine is one in order.
var machine = fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:  8000000 kB\nMemAvailable:    4000000 kB\n")}}

func newDoctor(cfg *config.Config) *doctor.Doctor {
	d := &doctor.Doctor{Options: doctor.Options{Config: cfg, Dataset: "scans"}}
	d.OnMachine(machine, 100*gib)
	return d
}

// inMinIO is a vault in MinIO, with a fake KMS.
func inMinIO(t *testing.T, s *s3test.Server) *world {
	w := &world{t: t, server: s, s3: s.Client(t), kms: kmstest.NewServer(), bucket: s.EncryptedBucket(t)}
	h := httptest.NewServer(w.kms)
	t.Cleanup(h.Close)
	t.Setenv("AWS_ENDPOINT_URL_KMS", h.URL)
	_, err := w.s3.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &w.bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	w.ok(err)
	admin := w.kms.Client(s.Region, "admin")
	made, err := admin.CreateKey(t.Context(), &kms.CreateKeyInput{})
	w.ok(err)
	w.key = *made.KeyMetadata.Arn
	_, err = admin.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: &w.key})
	w.ok(err)
	w.cfg = &config.Config{Vault: config.Setting{Value: "s3://" + w.bucket + "/ml", Source: "the test"}, DefaultKey: true,
		Signing: config.Setting{Value: filepath.Join(t.TempDir(), "signing.key"), Source: "the test"}, DefaultSigning: true,
		KMSKeys: []config.Setting{{Value: w.key, Source: "the test"}},
		S3:      s3store.Settings{Endpoint: s.URL, KMSKey: s.KMSKey, LoadOptions: s.Options()}}
	w.doc = newDoctor(w.cfg)
	return w
}

// inMoto is a vault that vaultpack init has made in moto, or fixed.
func inMoto(t *testing.T, s *s3test.Server) *world {
	w := &world{t: t, server: s, bucket: "vault"}
	options := append(s.Options(), awsconfig.WithBaseEndpoint(s.URL), awsconfig.WithRegion("eu-central-1"))
	var err error
	w.aws, err = awsconfig.LoadDefaultConfig(t.Context(), options...)
	w.ok(err)
	pathStyle := func(o *s3.Options) { o.UsePathStyle = true }
	w.s3 = s3.NewFromConfig(w.aws, pathStyle)
	w.s3.DeleteBucketLifecycle(t.Context(), &s3.DeleteBucketLifecycleInput{Bucket: &w.bucket}) // init leaves the rules of others
	p, err := provision.New(w.aws, provision.Target{Bucket: w.bucket, Prefix: "ml/"}, pathStyle)
	w.ok(err)
	plan, err := p.Plan(t.Context())
	w.ok(err)
	w.ok(p.Apply(t.Context(), plan, func(provision.Step) {}))
	o := p.Outputs()
	w.key = o.KMSKeyARN
	w.cfg = &config.Config{Vault: config.Setting{Value: "s3://" + w.bucket + "/ml", Source: "the test"}, DefaultKey: true,
		Signing: config.Setting{Value: filepath.Join(t.TempDir(), "signing.key"), Source: "the test"}, DefaultSigning: true,
		KMSKeys: []config.Setting{{Value: w.key, Source: "the test"}},
		S3:      s3store.Settings{Region: "eu-central-1", LoadOptions: options}}
	w.doc = newDoctor(w.cfg)
	w.doc.WithoutSimulator() // moto has none; TestRolePermissions asks another
	w.doc.Role = o.TrainerRoles["*"]
	return w
}

// inDirectory is a vault in a directory, with a local key and a dataset.
func inDirectory(t *testing.T) *world {
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "vault")}
	w.cfg = &config.Config{Vault: config.Setting{Value: w.dir, Source: "the test"},
		LocalKey: config.Setting{Value: filepath.Join(t.TempDir(), "local.key"), Source: "the test"}}
	w.doc = newDoctor(w.cfg)
	w.doc.Dataset = ""
	v, _, err := config.Init(t.Context(), w.cfg)
	w.ok(err)
	w.newDataset(v)
	return w
}

// newDataset makes a keyring, as the first upload of a dataset does.
func (w *world) newDataset(v *vault.Vault) {
	d, err := dataset.Open(v, "scans")
	w.ok(err)
	defer d.Close()
	l, err := commit.Begin(w.t.Context(), d, "the test")
	w.ok(err)
	_, err = l.NewKey(w.t.Context())
	w.ok(err)
	w.ok(l.End(w.t.Context()))
}

// upload makes the dataset in S3.
func (w *world) upload() {
	v, err := config.Open(w.t.Context(), w.cfg)
	w.ok(err)
	w.newDataset(v)
}

// through has the doctor meet faults on the way to S3.
func (w *world) through(faults ...*faultproxy.Fault) {
	w.cfg.S3.Endpoint = faultproxy.New(w.t, w.server.URL, w.server.Transport(), faults...).URL
}

// refuse has S3 refuse an operation for want of a permission.
func (w *world) refuse(op string) {
	w.through(&faultproxy.Fault{Op: op, Do: faultproxy.Refuse(403, "AccessDenied")})
}

// query is a fault of the requests that ask for a setting of the bucket.
func query(method, name string, do faultproxy.Action) *faultproxy.Fault {
	return &faultproxy.Fault{Op: method, Times: -1, Do: func(x *faultproxy.Exchange) {
		if x.Request.URL.Query().Has(name) {
			do(x)
			return
		}
		x.Answer(x.Forward())
	}}
}

// caller limits what the caller may do in KMS.
func (w *world) caller(actions ...string) {
	w.kms.SetPrincipal(w.server.AccessKey, "arn:aws:iam::"+kmstest.Account+":user/limited")
	w.kms.SetIAM("arn:aws:iam::"+kmstest.Account+":user/limited", actions...)
}

// examine runs all checks, and sees that nothing of the probe is left.
func (w *world) examine(ctx context.Context) (doctor.Report, error) {
	w.t.Helper()
	told := 0
	w.doc.Told = func(doctor.Finding) { told++ }
	report, err := w.doc.Check(ctx)
	if told != len(report) {
		w.t.Errorf("%d of %d findings were told", told, len(report))
	}
	for _, name := range w.probes() {
		w.t.Errorf("%s is left", name)
	}
	return report, err
}

// probes are the objects of a doctor that are still there, old versions too.
func (w *world) probes() (names []string) {
	if w.dir != "" {
		filepath.WalkDir(w.dir, func(path string, _ os.DirEntry, _ error) error {
			if strings.Contains(path, "pending") {
				names = append(names, path)
			}
			return nil
		})
		return names
	}
	out, err := w.s3.ListObjectVersions(context.Background(), &s3.ListObjectVersionsInput{Bucket: &w.bucket})
	if err != nil {
		return nil // there is no such bucket
	}
	for _, v := range out.Versions {
		names = append(names, aws.ToString(v.Key))
	}
	for _, m := range out.DeleteMarkers {
		names = append(names, "the mark of "+aws.ToString(m.Key))
	}
	var probes []string
	for _, n := range names {
		// A bucket with versions keeps the lease of the upload, and its mark.
		if strings.Contains(n, "pending/") && !strings.HasSuffix(n, ".lease") {
			probes = append(probes, n)
		}
	}
	return probes
}
