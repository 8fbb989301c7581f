package trainer

// onlySageMaker are the fields that have no effect where a job runs on one machine, in the
// order that they are told in. The rest has one there too.
var onlySageMaker = []string{
	"image", "role", "volume_size", "volume_kms_key", "keep_alive",
	"output", "output_kms_key", "output_compression", "subnets", "security_groups",
	"key_channel", "inter_container_encryption", "max_pending", "spot", "max_wait", "checkpoints", "checkpoint_path",
	"retries", "metrics", "tags", "tensorboard", "tensorboard_path", "profiler", "binary", "arch", "outputs",
}

// OnlySageMaker returns the fields that were set but have no effect on this machine.
func (j *Job) OnlySageMaker() (fields []string) {
	if j == nil {
		return nil
	}
	for _, f := range onlySageMaker {
		if j.given(f) {
			fields = append(fields, f)
		}
	}
	return fields
}
