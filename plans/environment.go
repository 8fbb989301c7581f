package plans

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Variable is the environment variable that names the shard where no engine does.
const Variable = "VAULTPACK_SHARD"

// variables are those of engines that number the tasks of a job from 0. In an array job of
// Slurm every task has the SLURM_PROCID 0, so that is not among them.
var variables = []string{Variable, "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "OMPI_COMM_WORLD_RANK", "RANK"}

// resourceConfigs are where SageMaker says which host a container is: in a processing job
// and in a training job.
var resourceConfigs = []string{"/opt/ml/config/resourceconfig.json", "/opt/ml/input/config/resourceconfig.json"}

// ErrNoShard is returned if the environment does not name a shard.
var ErrNoShard = errors.New("nothing in the environment says which shard this is")

// FromEnvironment returns the number of the shard that the environment names, and the
// variable or file that does. VAULTPACK_SHARD counts, and the number that Slurm, Kubernetes,
// AWS Batch, SageMaker, Open MPI or torchrun gives to a task. If two of them say different
// things, that is an error. A nil getenv is os.Getenv.
func FromEnvironment(getenv func(string) string) (n int, where string, err error) {
	return fromEnvironment(getenv, os.ReadFile)
}

func fromEnvironment(getenv func(string) string, readFile func(string) ([]byte, error)) (n int, where string, err error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	found := func(m int, from string) error {
		if where != "" && m != n {
			return fmt.Errorf("%s says that this is shard %d, and %s says %d: unset the one that is not meant, or use --shard", where, n, from, m)
		}
		if where == "" {
			n, where = m, from
		}
		return nil
	}
	for _, name := range variables {
		text := getenv(name)
		if text == "" {
			continue
		}
		m, err := strconv.Atoi(text)
		if err != nil || m < 0 || strconv.Itoa(m) != text {
			return 0, "", fmt.Errorf("%s is %q, and not the number of a shard", name, text)
		}
		if err := found(m, name); err != nil {
			return 0, "", err
		}
	}
	for _, file := range resourceConfigs {
		m, err := hostNumber(file, readFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = found(m, file)
		}
		if err != nil {
			return 0, "", err
		}
	}
	if where == "" {
		return 0, "", fmt.Errorf("%w: set %s, or one of %s, or use --shard", ErrNoShard, Variable, strings.Join(variables[1:], ", "))
	}
	return n, where, nil
}

// hostNumber returns the place of the current host among the hosts of a job.
func hostNumber(file string, readFile func(string) ([]byte, error)) (int, error) {
	b, err := readFile(file)
	if err != nil {
		return 0, err
	}
	var config struct {
		Current string   `json:"current_host"`
		Hosts   []string `json:"hosts"`
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	// By number, since algo-10 comes before algo-2.
	slices.SortFunc(config.Hosts, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	n := slices.Index(config.Hosts, config.Current)
	if n < 0 {
		return 0, fmt.Errorf("%s: the host %q is not among %q", file, config.Current, config.Hosts)
	}
	return n, nil
}
