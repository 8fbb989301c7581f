package sagemakertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// prepareProcessing lays out the host's folder as a processing job finds it:
// https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-config.html
func (j *job) prepareProcessing(ctx context.Context, c *s3.Client, hosts []host, i int) error {
	ml := filepath.Join(hosts[i].dir, "ml")
	for _, d := range []string{"config", "output", "processing"} {
		if err := os.MkdirAll(filepath.Join(ml, d), 0o755); err != nil {
			return err
		}
	}
	for n, in := range j.proc.ProcessingInputs {
		dir, err := underML(*in.S3Input.LocalPath)
		if err != nil {
			return err
		}
		if err := j.fetch(ctx, c, j.in.InputDataConfig[n], i, filepath.Join(ml, dir)); err != nil {
			return err
		}
	}
	if j.proc.ProcessingOutputConfig != nil {
		for _, o := range j.proc.ProcessingOutputConfig.Outputs {
			dir, err := underML(*o.S3Output.LocalPath)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Join(ml, dir), 0o755); err != nil {
				return err
			}
		}
	}
	config := map[string]any{"ProcessingJobArn": j.arn}
	for name, v := range j.raw {
		config[name] = json.RawMessage(v)
	}
	var names []string
	for _, h := range hosts {
		names = append(names, h.name)
	}
	slices.Sort(names)
	for name, v := range map[string]any{"processingjobconfig.json": config,
		"resourceconfig.json": map[string]any{"current_host": hosts[i].name, "hosts": names}} {
		if err := os.WriteFile(filepath.Join(ml, "config", name), indented(v), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// maxMessage is how many bytes of a job's message are kept.
const maxMessage = 1024

// hear reads the host's message from /opt/ml/output/message. The messages of several
// hosts are concatenated.
func (j *job) hear(h host) {
	b, err := readMade(filepath.Join(h.dir, "ml"), "output/message")
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !utf8.Valid(b) {
		j.reason = "ClientError: /opt/ml/output/message is not in UTF-8"
	}
	j.message += strings.ToValidUTF8(string(b), "\uFFFD")
	for len(j.message) > maxMessage {
		_, n := utf8.DecodeLastRuneInString(j.message)
		j.message = j.message[:len(j.message)-n]
	}
}

// uploadOutputs stores the contents of the output folders, no matter how the job ended:
// the documentation does not say that those of a failed job are left out. Links are
// neither followed nor stored.
func (j *job) uploadOutputs(c *s3.Client, hosts []host) error {
	out := j.proc.ProcessingOutputConfig
	if out == nil {
		return nil
	}
	for _, o := range out.Outputs {
		dir, err := underML(*o.S3Output.LocalPath)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			files, err := collect([]host{h}, dir)
			if err != nil {
				return err
			}
			for _, f := range files {
				if info, err := os.Lstat(f.path); err != nil || !info.Mode().IsRegular() {
					continue
				}
				if err := j.put(j.Server.ctx, c, f.path, strings.TrimSuffix(*o.S3Output.S3Uri, "/")+"/"+f.name, str(out.KmsKeyId)); err != nil {
					return fmt.Errorf("output %s: %w", *o.OutputName, err)
				}
			}
		}
	}
	return nil
}
