package trainer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

const sseKey = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"

// A world is a vault with datasets, a KMS, and a SageMaker that records requests.
type world struct {
	t        *testing.T
	vault    *vault.Vault
	kms      *kmstest.Server
	kmsKey   string
	launcher *trainer.Launcher
	binary   *trainer.Binary
	keyStore []string // the KMS keys that the store was opened with

	mu     sync.Mutex
	bodies []string
	// answer answers a request; nil is success.
	answer func(op string, n int) (status int, body string)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, kms: kmstest.NewServer()}
	client := w.kms.Client("eu-west-1", "admin")
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	w.kmsKey = *made.KeyMetadata.Arn
	dir := t.TempDir()
	v, _, err := config.Init(t.Context(), &config.Config{Vault: config.Setting{Value: filepath.Join(dir, "v")}, LocalKey: config.Setting{Value: filepath.Join(dir, "k")}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := awskms.New(t.Context(), client, w.kmsKey)
	if err != nil {
		t.Fatal(err)
	}
	keys := []envelope.KeyWrapper{key}
	w.vault = &vault.Vault{Store: v.Store, Location: "s3://data/ml", Keys: &vault.Keys{Open: keys, Wrap: keys}, Context: envelope.EncryptionContext{"team": "vision"}, Signer: signing.GenerateKey()}

	bin := filepath.Join(dir, "vaultpack")
	if err := os.WriteFile(bin, []byte("a binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("a binary"))
	w.binary = &trainer.Binary{File: bin, SHA256: hex.EncodeToString(sum[:]), Size: 8}

	srv := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(srv.Close)
	w.launcher = &trainer.Launcher{Vault: w.vault, SSEKey: sseKey, Region: "eu-west-1", Images: images{},
		SageMaker: sagemaker.New(sagemaker.Options{Region: "eu-west-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}),
		KeyStore: func(_ context.Context, key string) (vault.Store, error) {
			w.keyStore = append(w.keyStore, key)
			return v.Store, nil
		}}
	w.launcher.Processing = w.launcher.SageMaker.(*sagemaker.Client)
	w.launcher.SetBinary(w.binary)
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "SageMaker.")
	w.mu.Lock()
	if op == "CreateTrainingJob" || op == "CreateProcessingJob" {
		w.bodies = append(w.bodies, string(b))
	}
	n := len(w.bodies)
	w.mu.Unlock()
	status, body := http.StatusOK, `{"TrainingJobArn":"arn:aws:sagemaker:eu-west-1:111122223333:training-job/x"}`
	if w.answer != nil {
		status, body = w.answer(op, n)
	}
	rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
	rw.WriteHeader(status)
	io.WriteString(rw, body)
}

// upload makes a dataset of n files of the size, in packs of 8 KiB.
func (w *world) upload(name string, n, size int) *dataset.Version {
	w.t.Helper()
	dir := w.t.TempDir()
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.bin", i)), bytes.Repeat([]byte{byte(i)}, size), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	d := w.open(name)
	res, err := uploader.Upload(w.t.Context(), d, dir, uploader.Options{PackSize: 8 << 10})
	if err != nil {
		w.t.Fatal(err)
	}
	return res.Version
}

func (w *world) open(name string) *dataset.Dataset {
	w.t.Helper()
	d, err := dataset.Open(w.vault, name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(d.Close)
	return d
}

// plan plans the job and closes it with the test.
func (w *world) plan(j *trainer.Job) *trainer.Plan {
	w.t.Helper()
	p, err := w.launcher.Plan(w.t.Context(), j)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	return p
}

func (w *world) planProcessing(j *trainer.Job) *trainer.ProcessingPlan {
	w.t.Helper()
	p, err := w.launcher.PlanProcessing(w.t.Context(), j)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	return p
}

func (w *world) objects() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for o, err := range w.vault.List(w.t.Context(), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		r, err := w.vault.Get(w.t.Context(), o.Name, 0, -1)
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			w.t.Fatal(err)
		}
		all[o.Name] = string(b)
	}
	return all
}

// readManifest gives the prefix and the names of a manifest.
func readManifest(t *testing.T, s string) (prefix string, names []string) {
	t.Helper()
	var list []json.RawMessage
	var first struct{ Prefix string }
	if err := json.Unmarshal([]byte(s), &list); err != nil || len(list) < 2 {
		t.Fatalf("manifest %q: %v", s, err)
	}
	if err := json.Unmarshal(list[0], &first); err != nil {
		t.Fatal(err)
	}
	for _, raw := range list[1:] {
		var n string
		if err := json.Unmarshal(raw, &n); err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	return first.Prefix, names
}

// images is a registry in which every image has an entrypoint.
type images struct{}

func (images) Image(_ context.Context, image, arch string) (trainer.Image, error) {
	if strings.Contains(image, "missing") {
		return trainer.Image{}, fmt.Errorf("%s: MANIFEST_UNKNOWN", image)
	}
	if strings.Contains(image, "bare") {
		return trainer.Image{}, nil
	}
	return trainer.Image{Entrypoint: []string{"bash", "-m", "start.sh"}, Cmd: []string{"all"}, Digest: strings.Repeat("d1", 32)}, nil
}

// A countingStore counts Puts by name.
type countingStore struct {
	vault.Store
	puts map[string]int
}

func (s *countingStore) Unwrap() vault.Store { return s.Store }

func (s *countingStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	s.puts[name]++
	return s.Store.Put(ctx, name, write)
}
