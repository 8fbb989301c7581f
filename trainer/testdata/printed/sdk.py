"""Runs printed Python with stand-ins for boto3 and the SageMaker SDKs, and prints the requests
that it sends. The stand-ins take the arguments that the SDKs document, and no others."""

import json
import sys
import types

sent = []


def boto3_client(service, *, region_name):
    assert (service, region_name) == ("sagemaker", "eu-west-1")
    return types.SimpleNamespace(create_training_job=lambda **request: sent.append(request))


def put(request, path, value):
    if value is None:
        return
    *outer, last = path.split(".")
    for name in outer:
        request = request.setdefault(name, {})
    request[last] = value


class TrainingInput:
    """sagemaker.inputs.TrainingInput of version 2."""

    def __init__(self, s3_data, distribution=None, compression=None, content_type=None, record_wrapping=None, s3_data_type="S3Prefix",
                 instance_groups=None, input_mode=None, attribute_names=None, target_attribute_name=None, shuffle_config=None):
        source = {"S3DataType": s3_data_type, "S3Uri": s3_data}
        put(source, "S3DataDistributionType", distribution)
        put(source, "InstanceGroupNames", instance_groups)
        put(source, "AttributeNames", attribute_names)
        self.config = {"DataSource": {"S3DataSource": source}}
        put(self.config, "CompressionType", compression)
        put(self.config, "ContentType", content_type)
        put(self.config, "RecordWrapperType", record_wrapping)
        put(self.config, "InputMode", input_mode)
        if shuffle_config:
            self.config["ShuffleConfig"] = {"Seed": shuffle_config.seed}


class Estimator:
    """sagemaker.estimator.Estimator of version 2."""

    def __init__(self, image_uri, role=None, instance_count=None, instance_type=None, keep_alive_period_in_seconds=None, volume_size=None,
                 volume_kms_key=None, max_run=86400, input_mode="File", output_path=None, output_kms_key=None, tags=None, subnets=None,
                 security_group_ids=None, metric_definitions=None, encrypt_inter_container_traffic=None, use_spot_instances=False, max_wait=None,
                 checkpoint_s3_uri=None, checkpoint_local_path=None, debugger_hook_config=None, tensorboard_output_config=None,
                 enable_network_isolation=None, profiler_config=None, disable_profiler=None, environment=None, max_retry_attempts=None,
                 hyperparameters=None, instance_groups=None, container_entry_point=None, container_arguments=None, disable_output_compression=False):
        r = self.request = {}
        assert debugger_hook_config is False and (disable_profiler is True or profiler_config)
        put(r, "RoleArn", role)
        put(r, "HyperParameters", hyperparameters)
        put(r, "Environment", environment)
        put(r, "Tags", tags)
        put(r, "AlgorithmSpecification.TrainingImage", image_uri)
        put(r, "AlgorithmSpecification.TrainingInputMode", input_mode)
        put(r, "AlgorithmSpecification.ContainerEntrypoint", container_entry_point)
        put(r, "AlgorithmSpecification.ContainerArguments", container_arguments)
        put(r, "AlgorithmSpecification.MetricDefinitions", metric_definitions)
        put(r, "OutputDataConfig.S3OutputPath", output_path)
        put(r, "OutputDataConfig.KmsKeyId", output_kms_key)
        put(r, "OutputDataConfig.CompressionType", "NONE" if disable_output_compression else None)
        put(r, "ResourceConfig.InstanceType", instance_type)
        put(r, "ResourceConfig.InstanceCount", instance_count)
        put(r, "ResourceConfig.VolumeSizeInGB", volume_size)
        put(r, "ResourceConfig.VolumeKmsKeyId", volume_kms_key)
        put(r, "ResourceConfig.KeepAlivePeriodInSeconds", keep_alive_period_in_seconds)
        put(r, "ResourceConfig.InstanceGroups", instance_groups and [g.config for g in instance_groups])
        put(r, "StoppingCondition.MaxRuntimeInSeconds", max_run)
        put(r, "StoppingCondition.MaxWaitTimeInSeconds", max_wait)
        put(r, "VpcConfig.Subnets", subnets)
        put(r, "VpcConfig.SecurityGroupIds", security_group_ids)
        put(r, "CheckpointConfig.S3Uri", checkpoint_s3_uri)
        put(r, "CheckpointConfig.LocalPath", checkpoint_local_path)
        put(r, "RetryStrategy.MaximumRetryAttempts", max_retry_attempts)
        put(r, "EnableNetworkIsolation", enable_network_isolation)
        put(r, "EnableManagedSpotTraining", use_spot_instances or None)
        put(r, "EnableInterContainerTrafficEncryption", encrypt_inter_container_traffic)
        put(r, "TensorBoardOutputConfig", tensorboard_output_config)
        put(r, "ProfilerConfig", profiler_config)

    def fit(self, inputs=None, wait=True, logs="All", job_name=None):
        assert not wait
        channels = [dict(i.config, ChannelName=name) for name, i in inputs.items()]
        sent.append(dict(self.request, TrainingJobName=job_name, InputDataConfig=channels))


class InstanceGroup:
    def __init__(self, instance_group_name, instance_type, instance_count):
        self.config = {"InstanceGroupName": instance_group_name, "InstanceType": instance_type, "InstanceCount": instance_count}


def tensorboard(s3_output_path, container_local_output_path=None):
    config = {"S3OutputPath": s3_output_path}
    put(config, "LocalPath", container_local_output_path)
    return config


class TrainingJob:
    """sagemaker.core.resources.TrainingJob of version 3, whose arguments are the members of the
    request in snake case. What that is of each is in the list, as sagemaker.core has it."""

    names = {"s3_uri": "S3Uri", "s3_data_source": "S3DataSource", "s3_data_type": "S3DataType", "s3_data_distribution_type": "S3DataDistributionType",
             "s3_output_path": "S3OutputPath", "volume_size_in_gb": "VolumeSizeInGB", "tensor_board_output_config": "TensorBoardOutputConfig"}

    @classmethod
    def pascal(cls, v):
        if isinstance(v, list):
            return [cls.pascal(e) for e in v]
        if not isinstance(v, dict):
            return v
        out = {}
        for k, e in v.items():
            assert k == k.lower(), k
            name = cls.names.get(k) or "".join(w.capitalize() for w in k.split("_"))
            out[name] = e if k in ("hyper_parameters", "environment") else cls.pascal(e)
        return out

    @classmethod
    def create(cls, **request):
        sent.append(cls.pascal(request))


def module(name, **members):
    m = types.ModuleType(name)
    m.__dict__.update(members)
    sys.modules[name] = m


module("boto3", client=boto3_client)
for package in ("sagemaker", "sagemaker.core"):
    module(package)
module("sagemaker.estimator", Estimator=Estimator)
module("sagemaker.inputs", TrainingInput=TrainingInput, ShuffleConfig=lambda seed: types.SimpleNamespace(seed=seed))
module("sagemaker.instance_group", InstanceGroup=InstanceGroup)
module("sagemaker.debugger", TensorBoardOutputConfig=tensorboard, ProfilerConfig=lambda s3_output_path: {"S3OutputPath": s3_output_path})
module("sagemaker.core.resources", TrainingJob=TrainingJob)

if __name__ == "__main__":
    requests = {}
    for name, source in json.load(sys.stdin).items():
        sent.clear()
        exec(compile(source, name, "exec"), {})
        (requests[name],) = sent
    json.dump(requests, sys.stdout)
