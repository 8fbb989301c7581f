package sagemakertest_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
)

func testIsolation(w *world) {
	w.put("secret", "sesame")
	in := w.request("isolated", `env | grep -i credentials; tail -n +3 /proc/net/dev | cut -d: -f1; exec `+os.Args[0]+" "+w.bucket+" secret")
	in.Environment = map[string]string{"AWS_ENDPOINT_URL_S3": w.minio.URL, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": w.minio.AccessKey, "AWS_SECRET_ACCESS_KEY": w.minio.SecretKey, "AWS_MAX_ATTEMPTS": "1"}
	in.EnableNetworkIsolation = aws.Bool(true)
	w.create(in)
	got, _ := w.wait("isolated")
	lines := strings.Join(w.srv.Logs("isolated"), "\n")
	if aws.ToString(got.FailureReason) != "AlgorithmError: , exit code: 7" || !strings.Contains(lines, "connection refused") ||
		!strings.Contains(lines, "    lo\n") || strings.Contains(lines, "eth") || strings.Contains(lines, "FULL_URI") {
		w.Errorf("%s: %s, logged\n%s", got.TrainingJobStatus, aws.ToString(got.FailureReason), lines)
	}
}

func testSpot(w *world) {
	in := w.request("spot", `cd /opt/ml; trap 'echo 2 >checkpoints/deep/epoch; exit 1' TERM; ls model
		if [ -e checkpoints/deep/epoch ]; then cat checkpoints/deep/epoch checkpoints/old; exit 0; fi
		echo lost >model/w; mkdir checkpoints/deep; echo 1 >checkpoints/deep/epoch; echo first; while :; do sleep 0.05; done`)
	w.put("ckpt/old", "earlier")
	in.EnableManagedSpotTraining = aws.Bool(true)
	in.StoppingCondition.MaxWaitTimeInSeconds = aws.Int32(100)
	in.CheckpointConfig = &types.CheckpointConfig{S3Uri: aws.String("s3://" + w.bucket + "/ckpt")}
	w.create(in)
	w.until("spot", "first")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // while it trains
		if out, err := w.s3.GetObject(w.ctx(), &s3.GetObjectInput{Bucket: &w.bucket, Key: aws.String("ckpt/deep/epoch")}); err == nil {
			out.Body.Close()
			break
		} else if time.Now().After(end) {
			w.Fatalf("the checkpoint is not put into S3: %v", err)
		}
	}
	if err := w.srv.Interrupt("spot"); err != nil {
		w.Fatal(err)
	}
	got, passed := w.wait("spot")
	if passed != "Starting Training Interrupted Starting Training Uploading Completed" || got.ModelArtifacts.S3ModelArtifacts != nil {
		w.Errorf("%s by %s: %s", got.TrainingJobStatus, passed, aws.ToString(got.FailureReason))
	}
	if lines := w.srv.Logs("spot"); !slices.Equal(lines, []string{"first", "2", "earlier"}) {
		w.Errorf("logged %q", lines)
	}
	streams, err := w.logs.DescribeLogStreams(w.ctx(), &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String(sagemakertest.LogGroup), LogStreamNamePrefix: aws.String("spot/algo-1-")})
	if err != nil || len(streams.LogStreams) != 2 {
		w.Errorf("two attempts have the streams %v, %v", streams, err)
	}

	in = w.request("spot-waits", "while :; do sleep 0.05; done")
	in.EnableManagedSpotTraining = aws.Bool(true)
	in.StoppingCondition = &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(1), MaxWaitTimeInSeconds: aws.Int32(1)}
	w.create(in)
	if got, _ := w.wait("spot-waits"); got.SecondaryStatus != types.SecondaryStatusMaxWaitTimeExceeded || got.TrainingJobStatus != types.TrainingJobStatusStopped {
		w.Errorf("a spot job that waits too long is %s %s", got.TrainingJobStatus, got.SecondaryStatus)
	}
	if err := w.srv.Interrupt("spot-waits"); err == nil {
		w.Error("a job that has ended was interrupted")
	}
}

// An image's own command gets the argument train, and what has no channel, no
// model and an uncompressed output works too.
func testImage(w *world) {
	srv, err := sagemakertest.Start(sagemakertest.Config{S3: w.minio.URL, S3Region: w.minio.Region,
		Roles: map[string]aws.Credentials{role: {AccessKeyID: w.minio.AccessKey, SecretAccessKey: w.minio.SecretKey}},
		Images: map[string]sagemakertest.Image{image: {Entrypoint: []string{"/bin/sh", "-c", `echo $0 $COLOR $(pwd) >/opt/ml/model/said`},
			Env: map[string]string{"COLOR": "blue"}, WorkDir: "/usr"}}})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(srv.Close)
	w.srv = srv
	w.sm, w.logs = sdk(srv)
	in := request("image", w.bucket)
	in.OutputDataConfig.CompressionType = types.OutputCompressionTypeNone
	w.create(in)
	got, _ := w.wait("image")
	if where := "s3://" + w.bucket + "/out/image/output/model/"; aws.ToString(got.ModelArtifacts.S3ModelArtifacts) != where {
		w.Errorf("%s, the model is at %s", got.TrainingJobStatus, aws.ToString(got.ModelArtifacts.S3ModelArtifacts))
	}
	out := w.get("out/image/output/model/said")
	defer out.Body.Close()
	if b, _ := io.ReadAll(out.Body); string(b) != "train blue /usr\n" {
		w.Errorf("the image's command said %q", b)
	}
	in = request("other-image", w.bucket)
	in.AlgorithmSpecification.TrainingImage = aws.String("other")
	if _, err := w.sm.CreateTrainingJob(w.ctx(), in); code(err) != "ValidationException" {
		w.Errorf("an image that is not there: %v", err)
	}
}

// Names of keys: an object as its own prefix, a prefix that ends within a name,
// and folders as consoles make them.
func testOdd(w *world) {
	w.put("x/", "")
	w.put("x/one.txt", "1")
	w.put("x/onetwo/two.txt", "2")
	in := w.request("odd", `cd /opt/ml/input/data; find . -type f | sort`)
	in.InputDataConfig = []types.Channel{
		channel("a", "s3://"+w.bucket+"/x/one.txt", types.S3DataTypeS3Prefix),
		channel("b", "s3://"+w.bucket+"/x/one", types.S3DataTypeS3Prefix),
		channel("c", "s3://"+w.bucket, types.S3DataTypeS3Prefix)}
	w.create(in)
	w.wait("odd")
	want := []string{"./a/one.txt", "./b/one.txt", "./b/onetwo/two.txt", "./c/x/one.txt", "./c/x/onetwo/two.txt"}
	if lines := w.srv.Logs("odd"); !slices.Equal(lines, want) {
		w.Errorf("the channels hold %q, want %q", lines, want)
	}
}

// What a job started does not outlive a test that is killed.
func TestDiesWithItsParent(t *testing.T) {
	if fifo := os.Getenv("SAGEMAKERTEST_FIFO"); fifo != "" {
		w := newWorld(t)
		w.create(w.request("child", `exec 3>`+fifo+`; (sleep 60 & sleep 60) & echo on >&3; sleep 60`))
		time.Sleep(time.Minute)
		return
	}
	needsNamespaces(t)
	s3test.NeedMinIO(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestDiesWithItsParent$")
	cmd.Env = append(os.Environ(), "SAGEMAKERTEST_FIFO="+fifo, "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() {
		cmd.Process.Kill()
		<-exited
	}()
	said, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		f, err := os.Open(fifo) // every process of the container holds its other end
		if err != nil {
			ended <- err
			return
		}
		defer f.Close()
		r := bufio.NewReader(f)
		line, _ := r.ReadString('\n')
		said <- line
		_, err = r.ReadByte()
		ended <- err
	}()
	select {
	case line := <-said:
		if line != "on\n" {
			t.Fatalf("the container said %q", line)
		}
	case err := <-ended:
		t.Fatal(err)
	case err := <-exited:
		exited <- err
		t.Fatalf("the process ended before a container was started: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("no container was started")
	}
	cmd.Process.Kill()
	select {
	case err := <-ended:
		if err != io.EOF {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the container's processes are still there")
	}
}
