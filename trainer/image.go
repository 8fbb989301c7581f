package trainer

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// An ImageReader tells the ENTRYPOINT of an image for Linux on an architecture.
type ImageReader interface {
	Entrypoint(ctx context.Context, image, arch string) ([]string, error)
}

// Registry reads images' configurations from their registries, with the
// credentials that docker login has left.
type Registry struct{}

// Entrypoint asks the image's registry.
func (Registry) Entrypoint(ctx context.Context, image, arch string) ([]string, error) {
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

// command is what runs once the data is open: what the user has given, or what
// SageMaker would run, "docker run IMAGE train": the image's ENTRYPOINT with
// "train". https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
func (l *Launcher) command(ctx context.Context, j *Job, arch string) ([]string, error) {
	if len(j.Command) > 0 {
		return j.Command, nil
	}
	entry, err := l.Images.Entrypoint(ctx, j.Image, arch)
	if err != nil {
		login := "docker login"
		if host, _, _ := strings.Cut(j.Image, "/"); strings.Contains(host, ".dkr.ecr.") {
			login = fmt.Sprintf("aws ecr get-login-password | docker login --username AWS --password-stdin %s", host)
		}
		return nil, fmt.Errorf("what the image %s runs could not be looked up: %w; log in to its registry (%s), or say it after --, such as: -- python3 train.py", j.Image, err, login)
	}
	return append(entry[:len(entry):len(entry)], "train"), nil
}
