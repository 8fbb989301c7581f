package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedoutput"
)

// The folders of a processing job, below BaseDir. SageMaker requires that the folders that
// it fills or stores are below processing.
const (
	inputs  = "processing/input"
	outputs = "processing/output"
	sealed  = "processing/sealed"
)

// ProcessingInput returns the folder of an input of a processing job.
func ProcessingInput(name string) string { return path.Join(BaseDir, inputs, name) }

// SealedOutput returns the folder of a processing job that SageMaker stores. It receives an
// output when that has been sealed, and never holds anything else, so nothing unsealed is
// stored no matter how the job ends.
func SealedOutput(name string) string { return path.Join(BaseDir, sealed, name) }

// makeOutputs makes the folders that the command writes its outputs to. They are links to
// folders in the metadata channel, which is on the volume that is encrypted under the
// job's key; the rest of the container's file system may not be.
func (c *Config) makeOutputs() error {
	for _, name := range c.Outputs {
		link, dir := filepath.Join(c.BaseDir, outputs, name), filepath.Join(c.channelDir(MetaChannel), ".output", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("the folder of output %s: %w", name, err)
		}
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return fmt.Errorf("the folder of output %s: %w", name, err)
		}
		if to, err := os.Readlink(link); err == nil && to == dir {
			continue // the program was restarted
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty folder of the image
			return fmt.Errorf("the folder of output %s is in the image already: %w", name, err)
		}
		if err := os.Symlink(dir, link); err != nil {
			return fmt.Errorf("the folder of output %s: %w", name, err)
		}
	}
	return nil
}

// finishOutputs signs and seals the outputs of a command that succeeded. If it failed,
// nothing is stored.
func (t *Tasks) finishOutputs(ctx context.Context, baseDir string, ended Ended, started time.Time, logf func(format string, args ...any)) error {
	if ended.Code != 0 || ended.Stopped {
		if len(t.outputs) > 0 {
			logf("vaultpack: the command has not succeeded, so its outputs are not stored")
		}
		return nil
	}
	made := provenance.Made{Invocation: processingJobARN(baseDir), Host: host(filepath.Join(baseDir, "config")), Started: started, Finished: time.Now()}
	for i, name := range t.outputs {
		n, err := t.finishOutput(ctx, baseDir, name, made)
		if err != nil { // then the job has no outputs
			err = fmt.Errorf("output %s: %w", name, err)
			for _, done := range t.outputs[:i] {
				err = errors.Join(err, os.RemoveAll(filepath.Join(baseDir, sealed, done, made.Host+".vpk")))
			}
			return err
		}
		logf("vaultpack: sealed output %s: %d files", name, n)
	}
	return nil
}

func (t *Tasks) finishOutput(ctx context.Context, baseDir, name string, made provenance.Made) (files int, err error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(baseDir, outputs, name))
	if err != nil {
		return 0, err
	}
	label := sealedoutput.Label{Job: t.mark.Job, Output: name, Host: made.Host}
	if err := label.Write(dir); err != nil {
		return 0, err
	}
	if t.certificate != nil {
		if err := t.certificate.Sign(ctx, dir, made); err != nil {
			return 0, fmt.Errorf("signing how it was made: %w", err)
		}
	}
	to := filepath.Join(baseDir, sealed, name)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return 0, err
	}
	return sealedoutput.Seal(ctx, dir, filepath.Join(to, label.Object()), label, t.modelKey)
}

// processingJobARN returns "" if SageMaker does not provide it:
// https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-config.html
func processingJobARN(baseDir string) string {
	var c struct{ ProcessingJobArn string }
	b, err := os.ReadFile(filepath.Join(baseDir, "config", "processingjobconfig.json"))
	if err != nil || json.Unmarshal(b, &c) != nil {
		return ""
	}
	return c.ProcessingJobArn
}
