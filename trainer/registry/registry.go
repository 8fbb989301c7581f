// Package registry looks up what a training image runs, in the registry that it lies
// in. It is apart from package trainer for what it needs: the libraries of containers.
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

// A Client reads images' configurations from their registries, with the
// credentials that docker login has left.
type Client struct{}

var _ trainer.ImageReader = Client{}

// Image asks the image's registry.
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
	return trainer.Image{Entrypoint: cfg.Config.Entrypoint, Digest: digest.Hex}, nil
}
