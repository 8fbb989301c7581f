package trainer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// estimatorArguments maps members of the request to arguments of sagemaker.estimator.Estimator,
// version 2 of the SDK:
// https://sagemaker.readthedocs.io/en/v2/api/training/estimators.html
var estimatorArguments = map[string]string{
	"RoleArn": "role", "HyperParameters": "hyperparameters", "Environment": "environment", "Tags": "tags",
	"AlgorithmSpecification.TrainingImage": "image_uri", "AlgorithmSpecification.TrainingInputMode": "input_mode",
	"AlgorithmSpecification.ContainerEntrypoint": "container_entry_point", "AlgorithmSpecification.ContainerArguments": "container_arguments",
	"AlgorithmSpecification.MetricDefinitions": "metric_definitions",
	"OutputDataConfig.S3OutputPath":            "output_path", "OutputDataConfig.KmsKeyId": "output_kms_key",
	"ResourceConfig.InstanceType": "instance_type", "ResourceConfig.InstanceCount": "instance_count", "ResourceConfig.VolumeSizeInGB": "volume_size",
	"ResourceConfig.VolumeKmsKeyId": "volume_kms_key", "ResourceConfig.KeepAlivePeriodInSeconds": "keep_alive_period_in_seconds",
	"StoppingCondition.MaxRuntimeInSeconds": "max_run", "StoppingCondition.MaxWaitTimeInSeconds": "max_wait",
	"VpcConfig.Subnets": "subnets", "VpcConfig.SecurityGroupIds": "security_group_ids",
	"CheckpointConfig.S3Uri": "checkpoint_s3_uri", "CheckpointConfig.LocalPath": "checkpoint_local_path",
	"RetryStrategy.MaximumRetryAttempts": "max_retry_attempts",
	"EnableNetworkIsolation":             "enable_network_isolation", "EnableManagedSpotTraining": "use_spot_instances",
	"EnableInterContainerTrafficEncryption": "encrypt_inter_container_traffic",
}

// inputArguments maps members to arguments of sagemaker.inputs.TrainingInput.
var inputArguments = map[string]string{
	"ContentType": "content_type", "CompressionType": "compression", "RecordWrapperType": "record_wrapping", "InputMode": "input_mode",
	"DataSource.S3DataSource.S3Uri": "s3_data", "DataSource.S3DataSource.S3DataType": "s3_data_type", "DataSource.S3DataSource.S3DataDistributionType": "distribution",
	"DataSource.S3DataSource.InstanceGroupNames": "instance_groups", "DataSource.S3DataSource.AttributeNames": "attribute_names",
}

// estimator returns Python for version 2 of the SDK. Nothing in the request is left out.
func estimator(request map[string]any) ([]byte, error) {
	imports := map[string]bool{"from sagemaker.estimator import Estimator": true, "from sagemaker.inputs import TrainingInput": true}
	args := map[string]any{"disable_profiler": true, "debugger_hook_config": false}
	inputs := map[string]any{}
	var order []string
	for path, value := range flat("", request) {
		switch name := estimatorArguments[path]; {
		case name != "":
			args[name] = value
		case path == "TrainingJobName":
		case path == "OutputDataConfig.CompressionType":
			args["disable_output_compression"] = value == "NONE"
		case path == "ProfilerConfig.S3OutputPath":
			imports["from sagemaker.debugger import ProfilerConfig"] = true
			delete(args, "disable_profiler")
			args["profiler_config"] = raw("ProfilerConfig(s3_output_path=" + python(value, 0) + ")")
		case strings.HasPrefix(path, "TensorBoardOutputConfig."):
			imports["from sagemaker.debugger import TensorBoardOutputConfig"] = true
			config := request["TensorBoardOutputConfig"].(map[string]any)
			args["tensorboard_output_config"] = raw(fmt.Sprintf("TensorBoardOutputConfig(s3_output_path=%s, container_local_output_path=%s)", python(config["S3OutputPath"], 0), python(config["LocalPath"], 0)))
		case path == "ResourceConfig.InstanceGroups":
			imports["from sagemaker.instance_group import InstanceGroup"] = true
			var groups []any
			for _, g := range value.([]any) {
				g := g.(map[string]any)
				groups = append(groups, raw(fmt.Sprintf("InstanceGroup(%s, %s, %v)", python(g["InstanceGroupName"], 0), python(g["InstanceType"], 0), g["InstanceCount"])))
			}
			args["instance_groups"] = groups
		case path == "InputDataConfig":
			for _, c := range value.([]any) {
				c := c.(map[string]any)
				name := c["ChannelName"].(string)
				input, err := trainingInput(c, imports)
				if err != nil {
					return nil, err
				}
				inputs[name], order = input, append(order, name)
			}
		default:
			return nil, fmt.Errorf("%s: %w", path, errNotInSDK)
		}
	}
	var b strings.Builder
	for _, line := range slices.Sorted(maps.Keys(imports)) {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\nestimator = Estimator(%s)\n\nestimator.fit(\n    inputs={\n", pythonArguments(args))
	for _, name := range order {
		fmt.Fprintf(&b, "        %s: %s,\n", jsonString(name), python(inputs[name], 0))
	}
	fmt.Fprintf(&b, "    },\n    job_name=%s,\n    wait=False,\n)\n", python(request["TrainingJobName"], 0))
	return []byte(b.String()), nil
}

func trainingInput(c map[string]any, imports map[string]bool) (raw, error) {
	args := map[string]any{}
	for path, value := range flat("", c) {
		switch name := inputArguments[path]; {
		case name != "":
			args[name] = value
		case path == "ChannelName":
		case path == "ShuffleConfig.Seed":
			imports["from sagemaker.inputs import ShuffleConfig"] = true
			args["shuffle_config"] = raw("ShuffleConfig(" + fmt.Sprint(value) + ")")
		default:
			return "", fmt.Errorf("%s of channel %s: %w", path, c["ChannelName"], errNotInSDK)
		}
	}
	return raw("TrainingInput(" + strings.ReplaceAll(pythonArguments(args), "\n", "\n        ") + ")"), nil
}

// flat returns the members of a structure and of structures in it, by path. The user's
// maps, and lists, are values.
func flat(path string, v map[string]any) map[string]any {
	all := map[string]any{}
	for k, e := range v {
		m, structure := e.(map[string]any)
		if !structure || slices.Contains(texts, k) {
			all[path+k] = e
			continue
		}
		maps.Copy(all, flat(path+k+".", m))
	}
	return all
}
