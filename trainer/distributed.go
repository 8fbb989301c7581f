package trainer

import (
	"slices"
	"strconv"
)

// Launchers that start processes in script-mode images. In its argument distribution,
// the SageMaker Python SDK calls them torch_distributed, mpi and
// smdistributed.dataparallel.
const (
	Torchrun = "torchrun"
	MPI      = "mpi"
	SMDDP    = "smddp"
)

// launcherParameters returns the hyperparameters that make the toolkit in a script-mode
// image start the script in several processes, each value in JSON. They are the same as
// in the SageMaker Python SDK (sagemaker.estimator.Framework._distribution_configuration
// and sagemaker.pytorch).
func (j *Job) launcherParameters() map[string]string {
	switch j.Launcher {
	case Torchrun:
		return map[string]string{"sagemaker_torch_distributed_enabled": "true", "sagemaker_instance_type": jsonString(j.InstanceType)}
	case MPI:
		params := map[string]string{"sagemaker_mpi_enabled": "true", "sagemaker_mpi_custom_mpi_options": jsonString(j.MPIOptions)}
		if j.ProcessesPerHost > 0 { // otherwise one for each GPU
			params["sagemaker_mpi_num_of_processes_per_host"] = strconv.Itoa(j.ProcessesPerHost)
		}
		if group := j.launcherGroup(); group != "" {
			// Without it the toolkit assumes on each host that its group is the one that
			// trains, and starts mpirun in every group.
			params["sagemaker_distribution_instance_groups"] = "[" + jsonString(group) + "]"
		}
		return params
	case SMDDP:
		return map[string]string{"sagemaker_distributed_dataparallel_enabled": "true", "sagemaker_instance_type": jsonString(j.InstanceType),
			"sagemaker_distributed_dataparallel_custom_mpi_options": jsonString(j.MPIOptions)}
	}
	return nil
}

// launcherGroup returns the instance group in which the launcher starts processes, or ""
// if the job has no groups. The SageMaker Python SDK also accepts only one group.
func (j *Job) launcherGroup() string {
	if j.LauncherGroup == "" && len(j.InstanceGroups) == 1 {
		return j.InstanceGroups[0].Name
	}
	return j.LauncherGroup
}

// checkLauncher checks the settings for the processes of a script.
func (j *Job) checkLauncher(p *problems) {
	p.oneOf("launcher", j.Launcher, Torchrun, MPI, SMDDP)
	p.check(j.Launcher == "" || j.Source != "", "launcher", "is for script mode: the image's toolkit starts the script of source and entry. A command of your own starts its processes itself")
	p.check(j.Launcher == "" || j.Launcher == MPI || len(j.InstanceGroups) == 0, "launcher", "%s requires one instance_type, without instance_groups", j.Launcher)
	p.check(j.LauncherGroup == "" || j.Launcher == MPI, "launcher_group", "is for the launcher mpi")
	p.check(j.LauncherGroup == "" || slices.ContainsFunc(j.InstanceGroups, func(g InstanceGroup) bool { return g.Name == j.LauncherGroup }),
		"launcher_group", "there is no instance group %q", j.LauncherGroup)
	p.check(j.Launcher != MPI || len(j.InstanceGroups) < 2 || j.LauncherGroup != "", "launcher_group",
		"is missing: name the instance group in which mpirun starts the script; the other groups run it once on each host")
	p.check(!j.given("processes_per_host") && j.ProcessesPerHost == 0 || j.Launcher == MPI, "processes_per_host", "is for the launcher mpi")
	p.check(j.ProcessesPerHost >= 0 && j.ProcessesPerHost <= 1024, "processes_per_host", "is %d, but must be from 1 to 1024", j.ProcessesPerHost)
	p.check(j.MPIOptions == "" || slices.Contains([]string{MPI, SMDDP}, j.Launcher), "mpi_options", "are for the launchers mpi and smddp")
	p.text("mpi_options", j.MPIOptions, 2400)
}
