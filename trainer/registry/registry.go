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

// Entrypoint asks the image's registry.
func (Client) Entrypoint(ctx context.Context, image, arch string) ([]string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	if cfg.Architecture != "" && cfg.Architecture != arch {
		return nil, fmt.Errorf("it is for %s, but the instances are %s", cfg.Architecture, arch)
	}
	return cfg.Config.Entrypoint, nil
}
