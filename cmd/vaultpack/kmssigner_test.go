package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A vault whose keys are all in KMS, the one that signs too: readers take no call more, an
// upload one Sign, a dry run says so, and who may not sign is told which permission it takes.
func TestSigningKeyInKMS(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	p := newPlace(t)
	s := kmstest.NewServer()
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	key := func(spec types.KeySpec, usage types.KeyUsageType) string {
		out, err := s.Client("eu-central-1", "admin").CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
		check(t, err)
		return *out.KeyMetadata.Arn
	}
	data, signer := key(types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt), key(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	p.env = append(p.env, "AWS_ENDPOINT_URL="+h.URL, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=admin", "AWS_SECRET_ACCESS_KEY=x",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	write(t, filepath.Join(p.home, "vaultpack.yaml"), []byte("vault: vault\nkms_keys: ["+data+"]\nsigning_key: "+signer+"\n"))
	calls := func() string {
		count := map[string]int{}
		for _, c := range s.Calls() {
			count[c.Operation]++
		}
		s.ResetCalls()
		b, err := json.Marshal(count)
		check(t, err)
		return string(b)
	}
	p.run(exitDone, "init")
	write(t, filepath.Join(p.home, "d", "a"), []byte("a"))
	calls()
	run := func(want int, args ...string) string {
		out, errs := p.run(want, args...)
		return out + errs
	}
	foretold := func(more ...string) string {
		out, _ := p.run(exitDone, append([]string{"push", "./d", "--dry-run", "--json"}, more...)...)
		s.ResetCalls()
		for line := range strings.Lines(out) {
			var e struct {
				Event string `json:"event"`
				Calls int    `json:"kms_calls"`
			}
			if json.Unmarshal([]byte(line), &e) == nil && e.Event == "usage" {
				b, err := json.Marshal(e.Calls)
				check(t, err)
				return string(b)
			}
		}
		t.Fatalf("no usage in %s", out)
		return ""
	}
	// The first version: the first link, the grant of the data key, the version.
	if got := foretold(); got != "5" {
		t.Errorf("the dry run foretells %s calls", got)
	}
	p.run(exitDone, "push", "./d")
	if got := calls(); got != `{"GenerateDataKey":1,"GetPublicKey":1,"Sign":3}` {
		t.Errorf("the first upload: %s", got)
	}
	write(t, filepath.Join(p.home, "d", "b"), []byte("b"))
	if got := foretold(); got != "3" {
		t.Errorf("the dry run foretells %s calls", got)
	}
	p.run(exitDone, "push", "./d")
	if got := calls(); got != `{"Decrypt":1,"GetPublicKey":1,"Sign":1}` {
		t.Errorf("another upload: %s", got)
	}
	// An upload of more packs than are written at once records its progress, and has its
	// key for that certified once.
	for i := range 8 {
		write(t, filepath.Join(p.home, "d", fmt.Sprint("large", i)), treetest.Bytes(2<<20, byte(i)))
	}
	packs := []string{"--pack-size", "1MiB", "--concurrency", "1"}
	if got := foretold(packs...); got != "4" {
		t.Errorf("the dry run foretells %s calls", got)
	}
	p.run(exitDone, append([]string{"push", "./d"}, packs...)...)
	if got := calls(); got != `{"Decrypt":1,"GetPublicKey":1,"Sign":2}` {
		t.Errorf("an upload that records: %s", got)
	}
	p.run(exitDone, "verify", "d")
	if got := calls(); got != `{"Decrypt":1}` {
		t.Errorf("a reader: %s", got)
	}
	says(t, run(exitDone, "signers", "list", "d"), "owner")
	calls()
	s.SetIAM("arn:aws:iam::111122223333:user/reader", "kms:Decrypt", "kms:GenerateDataKey", "kms:GetPublicKey")
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=reader")
	p.run(exitDone, "verify", "d")
	write(t, filepath.Join(p.home, "d", "c"), []byte("c"))
	says(t, run(exitNotAllowed, "push", "./d"), "kms:Sign", signer)
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=admin")
	says(t, run(exitFailed, "push", "./d", "--signing-key", data), "cannot sign versions")
	p.run(exitDone, "push", "./d")
	says(t, run(exitDone, "versions", "d"), "4")
}
