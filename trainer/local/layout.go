package local

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/internal/pyjson"
	"github.com/vaultpack/vaultpack/trainer/container"
)

type object = map[string]any

// layOut makes the files that a job finds when it starts, but for the channels
// (SageMaker developer guide, "How Amazon SageMaker Provides Training Information").
func (r *run) layOut(ctx context.Context, h *host) error {
	base := h.base()
	for _, dir := range []string{"input/config", "input/data", "model", "output/data", "output/intermediate", checkpointsName, "code"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			return err
		}
	}
	hps := r.Hyperparameters
	if hps == nil {
		hps = map[string]string{}
	}
	for name, v := range map[string]any{
		"hyperparameters": hps, "inputdataconfig": r.inputDataConfig(), "resourceconfig": r.cluster.resources(h),
	} {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(base, "input", "config", name+".json"), b, 0o644); err != nil {
			return err
		}
	}
	if r.Source != "" {
		if err := copySource(filepath.Join(base, "code"), r.Source); err != nil {
			return fmt.Errorf("copying the source folder: %w", err)
		}
		if _, err := os.Stat(filepath.Join(base, "code", r.Entry)); err != nil {
			return fmt.Errorf("the script %s is not in %s: %w", r.Entry, r.Source, err)
		}
	}
	return ctx.Err()
}

// byName returns the names of the groups, and each group of resourceconfig.json by its name.
func (c *cluster) byName(resources object) (names []string, groups object) {
	names, groups = []string{}, object{}
	for i, g := range c.groups {
		names = append(names, g.Name)
		groups[g.Name] = resources["instance_groups"].([]object)[i]
	}
	return names, groups
}

// channels are the names of all channels, sorted.
func (j *Job) channels() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(j.Plain)), maps.Keys(j.Remote))
	if len(j.Sealed) > 0 {
		names = append(names, container.MetaChannel)
	}
	for _, s := range j.Sealed {
		names = append(names, s.Channel)
	}
	return slices.Sorted(slices.Values(names))
}

func (j *Job) inputDataConfig() object {
	config := object{}
	for _, name := range j.channels() {
		distribution := "FullyReplicated"
		if slices.ContainsFunc(j.Sealed, func(s Sealed) bool { return s.Channel == name && s.Sharded }) || j.Remote[name].Sharded {
			distribution = "ShardedByS3Key"
		}
		config[name] = object{"TrainingInputMode": "File", "S3DistributionType": distribution, "RecordWrapperType": "None"}
		if t := j.Remote[name].ContentType; t != "" {
			config[name].(object)["ContentType"] = t
		}
	}
	return config
}

// environment is what the job finds set: SageMaker's own variables, and those that
// the toolkit in AWS's images sets (sagemaker-training, environment.py), which
// scripts read. base is where the job sees its files.
func (r *run) environment(h *host, base string) []string {
	at := func(elem ...string) string { return filepath.Join(append([]string{base}, elem...)...) }
	channels := r.channels()
	dirs := object{}
	for _, name := range channels {
		dirs[name] = at("input", "data", name)
	}
	module := strings.TrimSuffix(r.Entry, ".py")
	rc := r.cluster.resources(h)
	hosts, main := r.cluster.names(""), r.main(h)
	groups, byName := r.cluster.byName(rc)
	distributed := []string{} // the toolkit's, of the launchers
	if r.Launcher != "" {
		distributed = append(distributed, h.group)
	}
	env := object{
		"hosts": hosts, "current_host": h.name, "network_interface_name": r.cluster.iface,
		"current_instance_type": h.kind, "current_instance_group": h.group, "current_instance_group_hosts": r.cluster.names(h.group),
		"instance_groups": groups, "instance_groups_dict": byName,
		"distribution_instance_groups": distributed, "is_hetero": len(groups) > 1,
		"user_args": r.userArgs(), "user_entry_point": r.Entry, "module_name": module, "module_dir": at("code"),
		"framework_module": "", "framework_params": object{}, "log_level": 20,
		"resource_config": rc, "input_data_config": r.inputDataConfig(), "channels": channels,
		"input_dir": at("input"), "input_config_dir": at("input", "config"), "model_dir": at("model"),
		"output_dir": at("output"), "output_data_dir": at("output", "data"), "output_intermediate_dir": at("output", "intermediate"),
		"num_cpus": runtime.NumCPU(), "num_gpus": gpus(), "num_neurons": 0,
	}
	env["training_env"] = object{
		"channel_input_dirs": dirs, "current_host": h.name, "hosts": hosts, "input_config_dir": at("input", "config"),
		"input_data_config": env["input_data_config"], "input_dir": at("input"), "is_master": main == h.name, "job_name": r.Name, "log_level": 20,
		"master_hostname": main, "model_dir": at("model"), "module_dir": at("code"), "module_name": module, "network_interface_name": r.cluster.iface,
		"num_cpus": env["num_cpus"], "num_gpus": env["num_gpus"], "output_data_dir": at("output", "data"), "output_dir": at("output"),
		"output_intermediate_dir": at("output", "intermediate"), "resource_config": rc, "user_entry_point": r.Entry,
	}
	for name, dir := range dirs {
		env["channel_"+name] = dir
	}
	vars := map[string]string{
		"TRAINING_JOB_NAME": r.Name, "TRAINING_JOB_ARN": "arn:aws:sagemaker:local:000000000000:training-job/" + r.Name,
		"CURRENT_HOST": h.name,
	}
	maps.Copy(vars, r.launcherVariables())
	hps := r.hyperparameters()
	for k, v := range env {
		value := python(v)
		if k == "training_env" {
			value.(*pyjson.Dict).Values["hyperparameters"] = hps
		}
		vars["SM_"+strings.ToUpper(k)] = variable(value)
	}
	vars["SM_HPS"] = variable(hps)
	for k, v := range hps.Values {
		vars["SM_HP_"+strings.ToUpper(k)] = variable(v)
	}
	if base != container.BaseDir {
		vars["SAGEMAKER_BASE_DIR"] = base
	}
	maps.Copy(vars, r.Env)
	return inherited(vars)
}

// inherited are the variables of this process, but for those of another job, and vars.
func inherited(vars map[string]string) (out []string) {
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		if _, ours := vars[k]; !ours && !strings.HasPrefix(k, "SM_") && k != "SAGEMAKER_BASE_DIR" {
			out = append(out, kv)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, k+"="+vars[k])
	}
	return out
}

// python is a value of strings, numbers and the like as Python has it.
func python(v any) pyjson.Value {
	b, err := json.Marshal(v)
	if err != nil {
		panic("local: environment: " + err.Error())
	}
	p, err := pyjson.Parse(string(b))
	if err != nil {
		panic("local: environment: " + err.Error())
	}
	return p
}

// gpus counts NVIDIA devices.
func gpus() int {
	found, _ := filepath.Glob("/dev/nvidia[0-9]*")
	return len(found)
}
