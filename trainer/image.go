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
	Cmd        []string // of a processing job: SageMaker has training images run "train"
	Digest     string   // SHA-256 in hex
}

// An ImageReader looks up an image for Linux on an architecture. Package registry
// implements one.
type ImageReader interface {
	Image(ctx context.Context, image, arch string) (Image, error)
}

// command returns what runs once the data is open: the user's command, or what SageMaker would run,
// "docker run IMAGE train": the image's ENTRYPOINT with "train".
// https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
//
// The digest is the image's, if the reference has it or it was looked up.
func (l *Launcher) command(ctx context.Context, j *Job, arch string) (command []string, digest string, err error) {
	if len(j.Command) > 0 {
		_, digest, _ := strings.Cut(j.Image, "@sha256:")
		return j.Command, digest, nil
	}
	image, err := l.image(ctx, j, arch)
	if err != nil {
		return nil, "", err
	}
	return append(slices.Clone(image.Entrypoint), "train"), image.Digest, nil
}

// processingCommand is what a processing job runs once the data is open: what the user has
// given, the script of its source, or what SageMaker would run, "docker run IMAGE": the image's
// ENTRYPOINT with its CMD.
// https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
func (l *Launcher) processingCommand(ctx context.Context, j *Job, arch string) (command []string, digest string, err error) {
	_, digest, _ = strings.Cut(j.Image, "@sha256:")
	switch {
	case len(j.Command) > 0:
		return j.Command, digest, nil
	case j.Entry != "":
		return []string{"python3", j.Entry}, digest, nil
	}
	image, err := l.image(ctx, j, arch)
	if err != nil {
		return nil, "", err
	}
	if command = slices.Concat(image.Entrypoint, image.Cmd); len(command) == 0 {
		return nil, "", &FieldError{Field: "command", Origin: j.where("command"), Problem: fmt.Sprintf(
			"is missing, and the image %s has neither ENTRYPOINT nor CMD: give the command after --, such as: -- python3 prepare.py", j.Image)}
	}
	return command, image.Digest, nil
}

func (l *Launcher) image(ctx context.Context, j *Job, arch string) (Image, error) {
	image, err := l.Images.Image(ctx, j.Image, arch)
	if err != nil {
		login := "docker login"
		if host, _, _ := strings.Cut(j.Image, "/"); strings.Contains(host, ".dkr.ecr.") {
			login = fmt.Sprintf("aws ecr get-login-password | docker login --username AWS --password-stdin %s", host)
		}
		return image, fmt.Errorf("cannot look up the command of the image %s: %w; log in to its registry (%s), or give the command after --, such as: -- python3 train.py", j.Image, err, login)
	}
	return image, nil
}
