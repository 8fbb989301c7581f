package registry_test

import (
	"io"
	"log"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/vaultpack/vaultpack/trainer/registry"
)

// The entrypoint is read from a registry, without a pull of the image.
func TestRegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	srv := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	image := strings.TrimPrefix(srv.URL, "http://") + "/train:1"
	cfg, err := empty.Image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture, cfg.Config.Entrypoint, cfg.Config.Cmd = "amd64", []string{"bash", "-m", "start.sh"}, []string{"/bin/bash"}
	img, err := mutate.ConfigFile(empty.Image, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	got, err := registry.Client{}.Image(t.Context(), image, "amd64")
	digest, derr := img.Digest()
	if err != nil || derr != nil || !slices.Equal(got.Entrypoint, []string{"bash", "-m", "start.sh"}) || !slices.Equal(got.Cmd, []string{"/bin/bash"}) || got.Digest != digest.Hex {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := (registry.Client{}).Image(t.Context(), image, "arm64"); err == nil || !strings.Contains(err.Error(), "arm64") {
		t.Errorf("another architecture: %v", err)
	}
	if _, err := (registry.Client{}).Image(t.Context(), image+"0", "amd64"); err == nil {
		t.Error("an image that is not there")
	}
}
