package deps

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/vaultpack/vaultpack/"

// What each package must not depend on, however far away. Who imports it would
// have to compile, update and trust that.
var never = map[string][]string{
	"trainer": {"github.com/google/go-containerregistry", "github.com/docker/"},
	"cmd/vaultpack-run": {module + "config", module + "provision", module + "vault/s3", module + "uploader", "github.com/urfave/",
		"github.com/aws/aws-sdk-go-v2/service/s3", "github.com/aws/aws-sdk-go-v2/service/sagemaker", "github.com/aws/aws-sdk-go-v2/service/iam"},
	"trainer/container": {module + "config", module + "provision", module + "vault/s3",
		"github.com/aws/aws-sdk-go-v2/service/s3", "github.com/aws/aws-sdk-go-v2/service/sagemaker"},
	"trainer/folder":  {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"envelope":        {"github.com/aws/", module + "vault"},
	"vault":           {"github.com/aws/", module + "config", module + "dataset"},
	"dataset":         {"github.com/hanwen/", "github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"dataset/restore": {"github.com/hanwen/", "github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"dataset/verify":  {"github.com/hanwen/", "github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"dataset/samples": {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"dataset/mount":   {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"dataset/cache":   {"github.com/hanwen/", "github.com/aws/", module + "config", module + "vault"},
	"dataset/view":    {"github.com/hanwen/", "github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"serve":           {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"serve/s3api":     {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"serve/browse":    {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"serve/web":       {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"dataset/rekey":   {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"":                {"github.com/hanwen/", module + "trainer", module + "provision", "github.com/aws/aws-sdk-go-v2/service/sagemaker", "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs", "github.com/aws/aws-sdk-go-v2/service/iam", "github.com/google/", "github.com/urfave/"},
	"ingest":          {"github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms", module + "uploader"},
	"plans":           {"github.com/hanwen/", "github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
	"uploader":        {"github.com/hanwen/", "github.com/aws/", module + "config", module + "vault/s3", module + "envelope/awskms"},
}

// known are packages that are in the lists of dependencies, which shows that the lists are
// what they seem.
var known = map[string]string{
	"trainer":           module + "dataset",
	"cmd/vaultpack-run": module + "trainer/container",
	"trainer/container": module + "envelope/awskms",
	"trainer/folder":    module + "dataset/restore",
	"envelope":          "golang.org/x/crypto/argon2",
	"vault":             module + "envelope",
	"dataset":           module + "vault",
	"dataset/restore":   module + "dataset",
	"dataset/verify":    module + "dataset",
	"dataset/samples":   module + "dataset/view",
	"dataset/mount":     "github.com/hanwen/go-fuse/v2/fuse",
	"dataset/cache":     module + "envelope",
	"dataset/view":      module + "dataset",
	"dataset/rekey":     module + "dataset",
	"serve":             module + "dataset/view",
	"serve/s3api":       module + "serve",
	"serve/browse":      module + "serve",
	"serve/web":         module + "serve",
	"":                  module + "ingest",
	"ingest":            module + "dataset",
	"plans":             module + "uploader",
	"uploader":          module + "dataset",
}

func TestDependencies(t *testing.T) {
	for pkg, forbidden := range never {
		out, err := exec.Command("go", "list", "-deps", strings.TrimSuffix(module+pkg, "/")).Output()
		if err != nil {
			t.Fatalf("%s: %v", pkg, err)
		}
		found := false
		for dep := range strings.FieldsSeq(string(out)) {
			found = found || dep == known[pkg]
			for _, prefix := range forbidden {
				if strings.HasPrefix(dep, prefix) {
					t.Errorf("%s depends on %s", pkg, dep)
				}
			}
		}
		if !found {
			t.Errorf("the dependencies of %s lack %q, which is known to be one", pkg, known[pkg])
		}
	}
}
