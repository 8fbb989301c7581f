package plans

import (
	"fmt"
	"io/fs"
	"testing"
)

func TestFromEnvironment(t *testing.T) {
	const processing, training = "/opt/ml/config/resourceconfig.json", "/opt/ml/input/config/resourceconfig.json"
	hosts := func(current string) string {
		return fmt.Sprintf(`{"current_host":%q,"hosts":["algo-1","algo-10","algo-2","algo-3"]}`, current)
	}
	type m = map[string]string
	for name, x := range map[string]struct {
		env, files m
		want       int // -1 for an error
		where      string
	}{
		"nothing":                        {want: -1},
		"slurm":                          {env: m{"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_PROCID": "0"}, want: 7, where: "SLURM_ARRAY_TASK_ID"},
		"one task of an array again":     {env: m{"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "5"}, want: 5, where: "SLURM_ARRAY_TASK_ID"},
		"kubernetes":                     {env: m{"JOB_COMPLETION_INDEX": "0"}, want: 0, where: "JOB_COMPLETION_INDEX"},
		"batch":                          {env: m{"AWS_BATCH_JOB_ARRAY_INDEX": "9999"}, want: 9999, where: "AWS_BATCH_JOB_ARRAY_INDEX"},
		"processing":                     {files: m{processing: hosts("algo-10")}, want: 3, where: processing},
		"training":                       {files: m{training: hosts("algo-2")}, want: 1, where: training},
		"a host that is not in the list": {files: m{training: hosts("algo-4")}, want: -1},
		"no JSON":                        {files: m{training: "x"}, want: -1},
		"open mpi":                       {env: m{"OMPI_COMM_WORLD_RANK": "2", "RANK": "2"}, want: 2, where: "OMPI_COMM_WORLD_RANK"},
		"torchrun":                       {env: m{"RANK": "4"}, want: 4, where: "RANK"},
		"ours":                           {env: m{"VAULTPACK_SHARD": "1"}, want: 1, where: "VAULTPACK_SHARD"},
		"two that differ":                {env: m{"RANK": "1", "JOB_COMPLETION_INDEX": "0"}, want: -1},
		"a variable and a file":          {env: m{"RANK": "1"}, files: m{training: hosts("algo-3")}, want: -1},
		"negative":                       {env: m{"RANK": "-1"}, want: -1},
		"not a number":                   {env: m{"RANK": "one"}, want: -1},
		"octal":                          {env: m{"RANK": "010"}, want: -1},
		"with a space":                   {env: m{"RANK": " 1"}, want: -1},
	} {
		n, where, err := fromEnvironment(func(name string) string { return x.env[name] }, func(file string) ([]byte, error) {
			if text, ok := x.files[file]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		})
		if x.want < 0 && err == nil || x.want >= 0 && (err != nil || n != x.want || where != x.where) {
			t.Errorf("%s: shard %d by %s, %v", name, n, where, err)
		}
	}
}
