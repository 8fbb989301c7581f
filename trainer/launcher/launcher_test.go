package launcher_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack"
	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/launcher"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// From Go alone: a vault in a bucket, records in it, and a job that trains on them.
func TestLaunchFromGo(t *testing.T) {
	race.Skip(t, "it builds the program for containers")
	s := awstest.New("eu-central-1")
	s.AddBucket("data", awstest.Bucket{})
	aws := httptest.NewServer(s)
	t.Cleanup(aws.Close)
	var mu sync.Mutex
	var request map[string]any
	sm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".CreateTrainingJob") {
			w.WriteHeader(http.StatusBadRequest)
			w.Write([]byte(`{"__type": "ValidationException", "message": "Requested resource not found."}`))
			return
		}
		json.NewDecoder(r.Body).Decode(&request)
		w.Write([]byte(`{"TrainingJobArn": "arn:aws:sagemaker:eu-central-1:111122223333:training-job/j"}`))
	}))
	t.Cleanup(sm.Close)
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": aws.URL, "AWS_ENDPOINT_URL_SAGEMAKER": sm.URL, "AWS_REGION": s.Region, "AWS_ACCESS_KEY_ID": "admin",
		"AWS_SECRET_ACCESS_KEY": "x", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_CA_BUNDLE": ""} {
		t.Setenv(k, v)
	}
	key, err := kms.NewFromConfig(s.Config()).CreateKey(t.Context(), &kms.CreateKeyInput{})
	check(t, err)

	settings := vaultpack.Settings{Vault: "s3://data/ml", KMSKeys: []string{*key.KeyMetadata.KeyId}, SigningKey: filepath.Join(t.TempDir(), "signing.key")}
	check(t, config.CreateSigningKey(settings.SigningKey))
	v, err := vaultpack.Create(t.Context(), settings)
	check(t, err)
	defer v.Close()
	w, err := v.Writer(t.Context(), "events", ingest.Options{ID: "x"})
	check(t, err)
	defer w.Close()
	f, err := w.Create("2024/a.json", ingest.Meta{})
	check(t, err)
	_, err = f.Write(make([]byte, 10<<20)) // more than one part of an object in S3
	check(t, err)
	check(t, f.Close())
	version, err := w.Commit(t.Context())
	check(t, err)
	file, err := version.OpenFile(t.Context(), "2024/a.json")
	check(t, err)
	defer file.Close()
	if n, err := file.ReadAt(make([]byte, 100), 5<<20); n != 100 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}

	binary := filepath.Join(t.TempDir(), "vaultpack-run")
	build := exec.Command("go", "build", "-o", binary, "github.com/vaultpack/vaultpack/cmd/vaultpack-run")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, services, err := launcher.Open(t.Context(), settings.Config())
	check(t, err)
	if services.Region != s.Region || services.SageMaker == nil || services.Logs == nil {
		t.Errorf("%+v", services)
	}
	plan, err := l.Plan(t.Context(), &trainer.Job{Name: "j", Dataset: "events", Image: "111122223333.dkr.ecr.eu-central-1.amazonaws.com/train:1",
		Command: []string{"python3", "train.py"}, Role: "arn:aws:iam::111122223333:role/train", InstanceType: "ml.m5.xlarge", Output: "s3://data/models", Binary: binary})
	check(t, err)
	defer plan.Close()
	arn, err := l.Launch(t.Context(), plan)
	check(t, err)
	mu.Lock()
	defer mu.Unlock()
	text, _ := json.Marshal(request)
	if !strings.HasSuffix(arn, "/j") || !strings.Contains(string(text), version.Digest()) {
		t.Errorf("%s: the request does not name the version: %s", arn, text)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	for k, v := range map[string]string{"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"} {
		t.Setenv(k, v)
	}
	dir := t.TempDir()
	settings := vaultpack.Settings{Vault: filepath.Join(dir, "vault"), LocalKey: filepath.Join(dir, "key")}
	v, err := vaultpack.Create(t.Context(), settings)
	check(t, err)
	defer v.Close()
	if _, _, err := launcher.Open(t.Context(), settings.Config()); err == nil || !strings.Contains(err.Error(), "SageMaker reads its input from S3") {
		t.Errorf("a vault in a directory: %v", err)
	}
	if _, err := launcher.Connect(t.Context(), settings.Config()); !errors.Is(err, launcher.ErrNoRegion) {
		t.Errorf("no region: %v", err)
	}
}
