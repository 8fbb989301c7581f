package trainer

import (
	"context"
	"fmt"
	"strings"
)

// An ImageReader tells the ENTRYPOINT of an image for Linux on an architecture. Package
// registry has one.
type ImageReader interface {
	Entrypoint(ctx context.Context, image, arch string) ([]string, error)
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
		return nil, fmt.Errorf("cannot look up the command of the image %s: %w; log in to its registry (%s), or give the command after --, such as: -- python3 train.py", j.Image, err, login)
	}
	return append(entry[:len(entry):len(entry)], "train"), nil
}
