package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
)

// newAWS is a place whose AWS is moto.
func newAWS(t *testing.T) (*place, *s3.Client) {
	s := s3test.Moto(t)
	p := newPlace(t)
	p.env = append(p.env, "AWS_ENDPOINT_URL="+s.URL, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID="+s.AccessKey, "AWS_SECRET_ACCESS_KEY="+s.SecretKey,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	return p, s.Client(t)
}

// initSummary is the last object of an init's --json.
type initSummary struct {
	Event   string
	Changes int
	Applied bool
	Outputs struct {
		KeyID    string            `json:"kms_key_id"`
		KeyARN   string            `json:"kms_key_arn"`
		Signing  string            `json:"signing_key_arn"`
		Bucket   string            `json:"s3_bucket_name"`
		Uploader string            `json:"uploader_role_arn"`
		Trainers map[string]string `json:"trainer_role_arns"`
	}
}

func lastEvent(t *testing.T, out string) (s initSummary) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

// A vault in AWS from nothing: planned, made, found in order, broken, fixed, and
// used.
func TestInitAWS(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	p, c := newAWS(t)
	bucket, config := "data", filepath.Join(p.home, "vaultpack.yaml")
	exists := func() bool {
		_, err := c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &bucket})
		return err == nil
	}
	out, _ := p.run(exitDone, "init", "--vault", "s3://data/ml", "--plan")
	contains(t, out, "create the KMS key alias/vaultpack-data", "create the bucket data", "as arn:aws:iam::123456789012:user/moto")
	_, errs := p.run(exitUsage, "init", "--vault", "s3://data/ml") // nobody is there to ask
	contains(t, errs, "--yes")
	if exists() {
		t.Fatal("a plan has made the bucket")
	}
	out, _ = p.run(exitFailed, "init", "--vault", "s3://data/ml", "--check", "--json")
	if !strings.Contains(out, `{"event":"error"`) {
		t.Errorf("a check of nothing says:\n%s", out)
	}
	write(t, config, []byte("# the team's\nvault: s3://data/ml\ncontext:\n  team: x # ours\n"))
	out, _ = p.run(exitDone, "init", "--yes", "--json", "--trainer", "scans", "--user", "me")
	s := lastEvent(t, out)
	if s.Event != "summary" || !s.Applied || s.Changes < 10 || s.Outputs.Bucket != bucket || s.Outputs.KeyID == "" ||
		s.Outputs.Trainers["scans"] != "arn:aws:iam::123456789012:role/vaultpack-data-trainer-scans" {
		t.Errorf("the summary is %+v", s)
	}
	text, err := os.ReadFile(config)
	check(t, err)
	contains(t, string(text), "# the team's\n", "team: x # ours\n", "- "+s.Outputs.KeyARN+"\n", "region: us-east-1\n", "signing_key: "+s.Outputs.Signing+"\n", "trainers:\n    - scans\n", "- arn:aws:iam::123456789012:user/moto\n")

	// The same again, with what is in the file.
	out, _ = p.run(exitDone, "init")
	contains(t, out, "is up to date", "kms_key_id      "+s.Outputs.KeyID, "signing key     "+s.Outputs.Signing, "s3_bucket_name  data")
	if again, err := os.ReadFile(config); err != nil || string(again) != string(text) {
		t.Errorf("the second run has changed the file to:\n%s", again)
	}
	p.run(exitDone, "init", "--check")
	if _, err := c.DeleteBucketPolicy(t.Context(), &s3.DeleteBucketPolicyInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	out, errs = p.run(exitFailed, "init", "--check")
	contains(t, out+errs, "change the bucket data: policy", "it is missing", "the vault differs in 1 point")
	out, _ = p.run(exitDone, "init", "--plan", "--json")
	contains(t, out, `"action":"s3:PutBucketPolicy"`, `"document":{`, `"Sid":"VaultpackTLSOnly"`)
	// Meanwhile it is used; the policy, fixed, would refuse this server, which
	// speaks http.
	src := filepath.Join(p.home, "src")
	write(t, filepath.Join(src, "a"), []byte("a"))
	// This server's KMS signs what it should not: the digest once more digested.
	p.run(exitDone, "keys", "new", "signing", filepath.Join(p.home, "own.key"))
	p.env = append(p.env, "VAULTPACK_SIGNING_KEY="+filepath.Join(p.home, "own.key"))
	p.run(exitDone, "push", src, "-d", "scans")
	p.run(exitDone, "verify", "scans", "--against", src)
	p.run(exitDone, "init", "--yes")
	write(t, filepath.Join(src, "b"), []byte("b"))
	p.run(exitNotAllowed, "push", src, "-d", "scans")

	// The way to remove it is told, and not gone.
	out, _ = p.run(exitDone, "init", "--destroy")
	contains(t, out, "aws kms disable-key --key-id "+s.Outputs.KeyARN, "schedule-key-deletion --key-id "+s.Outputs.KeyARN, "schedule-key-deletion --key-id "+s.Outputs.Signing, "vaultpack-data-trainer-scans", "vaultpack does none of it")
	p.run(exitDone, "init", "--check")

	// Another vault in another place is not written into this file.
	_, errs = p.run(exitDone, "init", "--yes", "--vault", "s3://second")
	contains(t, errs, "the file is about another vault", "vault: s3://second\n")
	if again, err := os.ReadFile(config); err != nil || string(again) != string(text) {
		t.Errorf("another vault has changed the file to:\n%s", again)
	}

	// Without init, what is there is used as it is; to change it takes a word.
	name := "existing"
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	_, errs = p.run(exitFailed, "init", "--yes", "--vault", "s3://existing")
	contains(t, errs, "the bucket existing is there already", "no init is needed", "--adopt")
	p.run(exitDone, "push", src, "-d", "d", "--vault", "s3://existing", "--kms-key", s.Outputs.KeyARN)
	p.run(exitDone, "init", "--yes", "--adopt", "--vault", "s3://existing")

	// A misspelled setting is told with the file's name.
	write(t, config, append(text, "  trainer: [scans]\n"...))
	_, errs = p.run(exitUsage, "init")
	contains(t, errs, config, "trainer")
}

// With another server than AWS, init makes a bucket, and looks at one that is there.
func TestInitMinIO(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	c := newCloud(t, s3test.MinIO(t, false))
	out, errs := c.run(exitDone, "init") // the bucket is there, and nobody's
	contains(t, out+errs, "is not changed", "are ready")
	fresh := newCloud(t, c.s3)
	fresh.configure("s3://fresh/data", "kms_key: "+c.s3.KMSKey)
	out, _ = fresh.run(exitDone, "init", "--yes")
	contains(t, out, "create the bucket fresh", "default encryption", "are ready")
	out, _ = fresh.run(exitDone, "init", "--check")
	contains(t, out, "is up to date")
	src := filepath.Join(fresh.home, "src")
	write(t, filepath.Join(src, "a"), []byte("a"))
	fresh.run(exitDone, "push", src, "-d", "d")
	fresh.run(exitDone, "verify", "d", "--against", src)

	// Without KMS there is a local key, made with the vault.
	check(t, os.Remove(filepath.Join(fresh.home, "vaultpack.yaml")))
	out, errs = fresh.run(exitDone, "init", "--yes", "--vault", "s3://plain", "--sse", "none")
	contains(t, out+errs, "create the bucket plain", "local.key")
	fresh.run(exitDone, "push", src, "-d", "d", "--vault", "s3://plain", "--sse", "none")
	_, errs = fresh.run(exitUsage, "init", "--yes", "--vault", "s3://other") // with what key?
	contains(t, errs, "kms_key is missing")
}
