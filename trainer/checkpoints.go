package trainer

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
)

// ownKeys are the job's own keys, with which it seals.
func (j *Job) ownKeys() (names []string) {
	if j.SealModel {
		names = append(names, sealedmodel.KeyName)
	}
	if j.SealCheckpoints {
		names = append(names, sealedmodel.CheckpointsKeyName)
	}
	return names
}

// checkpointFlags returns the flags of sagemaker-run for sealed checkpoints.
func (p *staging) checkpointFlags() (flags []string) {
	if !p.job.SealCheckpoints {
		return nil
	}
	flags = []string{"--checkpoints-key", objects.JobFolder(p.dataset(), p.run.Job) + sealedmodel.CheckpointsKeyName}
	if p.job.CheckpointPath != "" {
		flags = append(flags, "--checkpoint-path", p.job.CheckpointPath)
	}
	return flags
}

// addCheckpoints sets where checkpoints are stored. If they are sealed, SageMaker stores what
// the opener has sealed; the script keeps its folder.
func (p *Plan) addCheckpoints(name string) {
	j, place := p.job, p.job.Checkpoints
	if place == "" && (j.Spot || j.SealCheckpoints) {
		place = p.root() + objects.JobFolder(p.dataset(), name) + "checkpoints/"
	}
	if place == "" {
		return
	}
	c := &types.CheckpointConfig{S3Uri: &place}
	p.Request.CheckpointConfig = c
	if j.SealCheckpoints {
		c.LocalPath = aws.String(container.BaseDir + "/" + container.SealedCheckpoints)
		return
	}
	if j.CheckpointPath != "" {
		c.LocalPath = &j.CheckpointPath
	}
	p.weaken("checkpoints are encrypted in S3 as the default of the bucket says (%s): SageMaker takes no key for them; seal_checkpoints seals them", place)
}

func (j *Job) checkCheckpoints(p *problems) {
	p.check(j.CheckpointPath == "" || containerPath.MatchString(j.CheckpointPath) && len(j.CheckpointPath) <= 4096, "checkpoint_path", "%q is not an absolute path", j.CheckpointPath)
	p.check(j.CheckpointPath == "" || j.Checkpoints != "" || j.Spot || j.SealCheckpoints, "checkpoint_path", "requires checkpoints, the place in S3")
	p.check(j.CheckpointPath == "" || !j.SealCheckpoints || container.IsCheckpointPath(j.CheckpointPath), "checkpoint_path", "%q holds, or is part of, what SageMaker fills or stores: checkpoints that are sealed need a folder of their own", j.CheckpointPath)
}
