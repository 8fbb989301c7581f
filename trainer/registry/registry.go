// Package registry looks up what a training image runs, in the image's registry. It is
// separate from package trainer because it depends on container libraries.
package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/vaultpack/vaultpack/trainer"
)

// A Client reads the configurations of images from their registries, with the
// credentials stored by docker login.
type Client struct{}

var _ trainer.ImageReader = Client{}

// Image reads the image's configuration from its registry.
func (Client) Image(ctx context.Context, image, arch string) (found trainer.Image, err error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return found, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
	if err != nil {
		return found, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return found, err
	}
	if cfg.Architecture != "" && cfg.Architecture != arch {
		return found, fmt.Errorf("it is for %s, but the instances are %s", cfg.Architecture, arch)
	}
	digest, err := img.Digest()
	if err != nil {
		return found, err
	}
	return trainer.Image{Entrypoint: cfg.Config.Entrypoint, Cmd: cfg.Config.Cmd, Digest: digest.Hex}, nil
}
