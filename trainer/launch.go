package trainer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// API is the part of SageMaker that this package calls. *sagemaker.Client implements
// it.
type API interface {
	CreateTrainingJob(context.Context, *sagemaker.CreateTrainingJobInput, ...func(*sagemaker.Options)) (*sagemaker.CreateTrainingJobOutput, error)
	DescribeTrainingJob(context.Context, *sagemaker.DescribeTrainingJobInput, ...func(*sagemaker.Options)) (*sagemaker.DescribeTrainingJobOutput, error)
	ListTrainingJobs(context.Context, *sagemaker.ListTrainingJobsInput, ...func(*sagemaker.Options)) (*sagemaker.ListTrainingJobsOutput, error)
	StopTrainingJob(context.Context, *sagemaker.StopTrainingJobInput, ...func(*sagemaker.Options)) (*sagemaker.StopTrainingJobOutput, error)
}

// A Launcher launches training jobs on the datasets of one vault in S3.
type Launcher struct {
	Vault *vault.Vault
	// SSEKey is the KMS key of the vault's objects in S3, and the default for what
	// a job writes.
	SSEKey string
	// KeyStore opens the vault for writing objects under another KMS key.
	KeyStore  func(ctx context.Context, kmsKey string) (vault.Store, error)
	SageMaker API
	// Processing is called only for processing jobs.
	Processing ProcessingAPI
	Region     string
	Images     ImageReader

	findBinary func(file, arch string) (*Binary, error) // FindBinary, except in tests
}

// A Plan is a checked training job, with everything that is needed to launch it. The
// caller must close it.
type Plan struct {
	Request *sagemaker.CreateTrainingJobInput
	staging
}

// A staging is what a job of either kind needs in the vault.
type staging struct {
	Sealed []*Sealed
	Binary *Binary
	// Weakened lists, one sentence each, how the job is less protected than it
	// could be.
	Weakened []string

	job     *Job
	loc     s3store.Location
	source  []byte
	uploads []upload
	// certify says that the job signs its results, and records its inputs; run is what the
	// statement will say.
	certify bool
	run     provenance.Run
	// ownKeys are the job's own keys, under which it seals its results.
	ownKeys []string
}

// An upload is an object that the job needs in the vault. Objects that are named
// after their digest are sent only once.
type upload struct {
	name  string
	size  int64
	write func(io.Writer) error
	once  bool
}

// Close wipes the data keys that Plan has opened.
func (p *staging) Close() {
	for _, s := range p.Sealed {
		s.set.Close()
	}
}

// Name returns the job's name.
func (p *Plan) Name() string {
	if p.Request == nil {
		return ""
	}
	return aws.ToString(p.Request.TrainingJobName)
}

// main returns the job's main channel: that of the field "dataset", or otherwise the
// first by name. What belongs to the job is stored below its dataset.
func (p *staging) main() *Sealed {
	if i := slices.IndexFunc(p.Sealed, func(s *Sealed) bool { return s.Channel == defaultChannel }); i >= 0 {
		return p.Sealed[i]
	}
	return p.Sealed[0]
}

func (p *staging) dataset() string { return p.main().set.Name }

// Plan checks a job, reads what it names in the vault, and prepares the request.
// It writes nothing, and sends nothing to SageMaker.
func (l *Launcher) Plan(ctx context.Context, j *Job) (_ *Plan, err error) {
	if err := given.Check(ctx, l.usable() && j != nil && l.SageMaker != nil, errNoLauncher); err != nil {
		return nil, err
	}
	if err := j.Check(); err != nil {
		return nil, err
	}
	p := &Plan{staging: staging{job: j, ownKeys: j.ownKeys()}}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	command := func(arch string) ([]string, string, error) { return l.command(ctx, j, arch) }
	args, err := l.prepare(ctx, &p.staging, inTraining, command)
	if err != nil {
		return nil, err
	}
	if err := l.request(p, p.run.Job, args); err != nil {
		return nil, err
	}
	p.describe()
	return p, nil
}

var errNoLauncher = errors.New("trainer: a nil job, or a launcher without a vault or an API")

func (l *Launcher) usable() bool {
	return l != nil && l.Vault != nil && l.Vault.Store != nil && l.Vault.Keys != nil
}

// prepare reads what the job names in the vault and plans what is staged. It returns the
// arguments of the container. command returns what the job runs on an architecture, and
// the digest of the image if known.
func (l *Launcher) prepare(ctx context.Context, p *staging, in inside, find func(arch string) (command []string, digest string, err error)) (args []string, err error) {
	j := p.job
	if p.loc, err = Location(l.Vault.Location); err != nil {
		return nil, err
	}
	if p.Sealed, err = l.openSealed(ctx, j); err != nil {
		return nil, err
	}
	arch := cmp.Or(j.Arch, archOf(j.types()[0]))
	findBinary := l.findBinary
	if findBinary == nil {
		findBinary = FindBinary
	}
	if p.Binary, err = findBinary(j.Binary, arch); err != nil {
		return nil, &FieldError{Field: "binary", Origin: j.where("binary"), Problem: err.Error()}
	}
	command, digest, err := find(arch)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(j.Name, defaultName(p.main().set.Name, time.Now()))
	if err := p.certifiable(ctx); err != nil {
		return nil, err
	}
	if err := p.addObjects(name); err != nil {
		return nil, err
	}
	p.run = provenance.Run{Job: name, Builder: provenance.SageMaker, Image: j.Image, ImageDigest: digest, Command: command}
	if p.source != nil {
		sum := sha256.Sum256(p.source)
		digest := hex.EncodeToString(sum[:])
		p.run.Source = "sha256:" + digest
		command = append([]string{"/bin/sh", "-c", in.code, digest}, command...)
	}
	flags, err := l.flags(p)
	if err != nil {
		return nil, err
	}
	args = arguments(p.Binary.SHA256, append(flags, in.flags(j)...), command)
	return args, checkArguments(args)
}

// Location returns the location of a vault in S3. It returns an error if SageMaker
// cannot read the vault.
func Location(url string) (s3store.Location, error) {
	if !s3store.IsURL(url) {
		return s3store.Location{}, fmt.Errorf("the vault %s is a folder, but SageMaker reads its input from S3; use a vault at s3://BUCKET/PREFIX, or train here with --local", url)
	}
	loc, err := s3store.ParseURL(url)
	if err == nil && strings.HasPrefix(loc.Bucket, "arn:") {
		err = fmt.Errorf("the vault %s is named by the ARN of an access point, which SageMaker does not take for its input; name it by the bucket or by the access point's alias", url)
	}
	return loc, err
}

func (p *staging) root() string { return root(p.loc) }

func root(l s3store.Location) string { return "s3://" + l.Bucket + "/" + l.Prefix }

// addObjects plans what is staged except the key channel: binary, manifests, source.
func (p *staging) addObjects(job string) error {
	binary := binaries + p.Binary.SHA256 + "/vaultpack"
	p.uploads = append(p.uploads, upload{binary, p.Binary.Size, p.Binary.write, true})
	names := []string{binary}
	for _, s := range p.Sealed {
		names = append(names, s.Contents.Metadata...)
		m, err := s.packManifest(p.root())
		if err != nil {
			return err
		}
		p.addManifest(m)
	}
	if p.certify {
		names = append(names, objects.JobFolder(p.dataset(), job)+provenance.SigningName)
	}
	for _, key := range p.ownKeys {
		names = append(names, objects.JobFolder(p.dataset(), job)+key)
	}
	slices.Sort(names)
	m, err := newManifest(p.root(), slices.Compact(names))
	if err != nil {
		return err
	}
	if p.addManifest(m); p.certify || len(p.ownKeys) > 0 { // it is only for this job
		own := &p.uploads[len(p.uploads)-1]
		own.name, own.once = objects.JobFolder(p.dataset(), job)+ownManifest, false
	}
	if p.job.Source == "" {
		return nil
	}
	if p.source, err = packSource(p.job.Source, p.job.Entry); err != nil {
		return &FieldError{Field: "source", Origin: p.job.where("source"), Problem: err.Error()}
	}
	p.uploads = append(p.uploads, upload{objects.JobFolder(p.dataset(), job) + "source/" + sourceName, int64(len(p.source)), writer(p.source), false})
	return nil
}

func (p *staging) addManifest(m manifest) {
	p.uploads = append(p.uploads, upload{m.name, int64(len(m.data)), writer(m.data), true})
}

func writer(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(b))
		return err
	}
}

// manifestURI returns where the i-th manifest is; the last is that of vaultpack's
// own channel, and those before it belong to the sealed channels.
func (p *staging) manifestURI(i int) string { return p.root() + p.uploads[1+i].name }

var notInName = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// defaultName returns a unique name.
func defaultName(dataset string, now time.Time) string {
	var r [3]byte
	rand.Read(r[:])
	stem := strings.Trim(notInName.ReplaceAllString(dataset, "-"), "-")
	return fmt.Sprintf("%.40s-%s-%x", stem, now.UTC().Format("20060102-150405"), r)
}

// Launch stages what the job needs and creates the job. If that fails, Launch
// removes what belongs only to this job.
func (l *Launcher) Launch(ctx context.Context, p *Plan) (arn string, err error) {
	if err := given.Check(ctx, l.usable() && p != nil && p.Request != nil && l.SageMaker != nil, errNoPlan); err != nil {
		return "", err
	}
	err = l.stage(ctx, &p.staging, limitsOf(p.Request), func() error {
		arn, err = l.create(ctx, p)
		return err
	})
	return arn, err
}

// Stage stores in the vault what the job needs, and leaves it to others to send the
// request, which holds no secrets. The request can be sent once. It should be sent within
// a day: after that the job's results are no longer signed.
func (l *Launcher) Stage(ctx context.Context, p *Plan) error {
	if err := given.Check(ctx, l.usable() && p != nil && p.Request != nil, errNoPlan); err != nil {
		return err
	}
	return l.stage(ctx, &p.staging, limitsOf(p.Request), func() error { return nil })
}

var errNoPlan = errors.New("trainer: a plan that was not made by Plan, or a launcher without a vault or an API")

// create sends the request.
func (l *Launcher) create(ctx context.Context, p *Plan) (arn string, err error) {
	name, began := p.Name(), time.Now()
	out, err := l.SageMaker.CreateTrainingJob(ctx, p.Request)
	if err == nil {
		return aws.ToString(out.TrainingJobArn), nil
	}
	// A request whose response was lost may have succeeded, and the retry then
	// fails because the name is taken.
	if d, derr := l.SageMaker.DescribeTrainingJob(context.WithoutCancel(ctx), &sagemaker.DescribeTrainingJobInput{TrainingJobName: &name}); derr == nil &&
		d.AlgorithmSpecification != nil && slices.Equal(d.AlgorithmSpecification.ContainerArguments, p.Request.AlgorithmSpecification.ContainerArguments) &&
		began.Sub(aws.ToTime(d.CreationTime)) < 5*time.Minute {
		return aws.ToString(d.TrainingJobArn), nil
	}
	return "", explain("CreateTrainingJob", name, err)
}

// compared is the size up to which an existing object is read and compared. Only
// the program is larger: if somebody has changed it, jobs report that.
const compared = 8 << 20

// there reports whether the vault already has the upload.
func (l *Launcher) there(ctx context.Context, u upload) (bool, error) {
	o, err := l.Vault.Stat(ctx, u.name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && o.Size != u.size {
		return false, nil
	}
	if err != nil || o.Size > compared {
		return err == nil, err
	}
	r, err := l.Vault.Get(ctx, u.name, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	want, got := sha256.New(), sha256.New()
	if err := u.write(want); err != nil {
		return false, err
	}
	if _, err := io.Copy(got, io.LimitReader(r, compared)); err != nil {
		return false, err
	}
	return bytes.Equal(want.Sum(nil), got.Sum(nil)), nil
}

// free checks that no other job has left its own objects under the name.
func (l *Launcher) free(ctx context.Context, dataset, name string) error {
	for _, err := range l.Vault.List(ctx, objects.JobFolder(dataset, name)) {
		if err != nil {
			return fmt.Errorf("looking for an older job of the name: %w", err)
		}
		return fmt.Errorf("the vault has objects of a job %s; names can be used only once: choose another with --name", name)
	}
	return nil
}

func (p *staging) weaken(format string, args ...any) {
	p.Weakened = append(p.Weakened, fmt.Sprintf(format, args...))
}
