package trainer

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// An Image holds what is known about a training image.
type Image struct {
	Entrypoint []string
	Digest     string // SHA-256 in hex
}

// An ImageReader looks up an image for Linux on an architecture. Package registry
// implements one.
type ImageReader interface {
	Image(ctx context.Context, image, arch string) (Image, error)
}

// command is what runs once the data is open: what the user has given, or what
// SageMaker would run, "docker run IMAGE train": the image's ENTRYPOINT with
// "train". https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
//
// The digest is that of the image, where the reference has it or it was looked up.
func (l *Launcher) command(ctx context.Context, j *Job, arch string) (command []string, digest string, err error) {
	if len(j.Command) > 0 {
		_, digest, _ := strings.Cut(j.Image, "@sha256:")
		return j.Command, digest, nil
	}
	image, err := l.Images.Image(ctx, j.Image, arch)
	if err != nil {
		login := "docker login"
		if host, _, _ := strings.Cut(j.Image, "/"); strings.Contains(host, ".dkr.ecr.") {
			login = fmt.Sprintf("aws ecr get-login-password | docker login --username AWS --password-stdin %s", host)
		}
		return nil, "", fmt.Errorf("cannot look up the command of the image %s: %w; log in to its registry (%s), or give the command after --, such as: -- python3 train.py", j.Image, err, login)
	}
	return append(slices.Clone(image.Entrypoint), "train"), image.Digest, nil
}
