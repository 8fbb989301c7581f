"""Training jobs on sealed data, started from Python.

>>> from vaultpack.sagemaker import seal_inputs
>>> job = seal_inputs("digits@3", image=IMAGE, role=ROLE, instance_type="ml.m5.xlarge")
>>> boto3.client("sagemaker").create_training_job(**job.request)

The vaultpack command makes the request and stores in the vault what the job needs. It can be
sent once, within a day. This module needs neither boto3 nor the SageMaker Python SDK until
something of theirs is asked for.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from .child import command, failure
from .errors import ChildError, UsageError

__all__ = ["SealedJob", "seal_inputs"]

# Arguments of sagemaker.estimator.Estimator, version 2, by the member of the request.
_ESTIMATOR = {
    "RoleArn": "role", "HyperParameters": "hyperparameters", "Environment": "environment", "Tags": "tags",
    "AlgorithmSpecification.TrainingImage": "image_uri", "AlgorithmSpecification.TrainingInputMode": "input_mode",
    "AlgorithmSpecification.ContainerEntrypoint": "container_entry_point", "AlgorithmSpecification.ContainerArguments": "container_arguments",
    "AlgorithmSpecification.MetricDefinitions": "metric_definitions",
    "OutputDataConfig.S3OutputPath": "output_path", "OutputDataConfig.KmsKeyId": "output_kms_key",
    "ResourceConfig.InstanceType": "instance_type", "ResourceConfig.InstanceCount": "instance_count", "ResourceConfig.VolumeSizeInGB": "volume_size",
    "ResourceConfig.VolumeKmsKeyId": "volume_kms_key", "ResourceConfig.KeepAlivePeriodInSeconds": "keep_alive_period_in_seconds",
    "StoppingCondition.MaxRuntimeInSeconds": "max_run", "StoppingCondition.MaxWaitTimeInSeconds": "max_wait",
    "VpcConfig.Subnets": "subnets", "VpcConfig.SecurityGroupIds": "security_group_ids",
    "CheckpointConfig.S3Uri": "checkpoint_s3_uri", "CheckpointConfig.LocalPath": "checkpoint_local_path",
    "RetryStrategy.MaximumRetryAttempts": "max_retry_attempts",
    "EnableNetworkIsolation": "enable_network_isolation", "EnableManagedSpotTraining": "use_spot_instances",
    "EnableInterContainerTrafficEncryption": "encrypt_inter_container_traffic",
}  # fmt: skip

# Arguments of sagemaker.inputs.TrainingInput.
_INPUT = {
    "ContentType": "content_type", "CompressionType": "compression", "RecordWrapperType": "record_wrapping", "InputMode": "input_mode",
    "DataSource.S3DataSource.S3Uri": "s3_data", "DataSource.S3DataSource.S3DataType": "s3_data_type",
    "DataSource.S3DataSource.S3DataDistributionType": "distribution", "DataSource.S3DataSource.InstanceGroupNames": "instance_groups",
    "DataSource.S3DataSource.AttributeNames": "attribute_names",
}  # fmt: skip

_TEXTS = ("HyperParameters", "Environment")  # members whose names are the user's


@dataclass(frozen=True)
class SealedJob:
    """A job that is ready to be sent, by whatever sends it."""

    request: dict[str, Any]
    """What boto3's create_training_job takes, as `vaultpack train --print` prints it."""

    @property
    def name(self) -> str:
        return self.request["TrainingJobName"]

    @property
    def channels(self) -> list[dict[str, Any]]:
        return self.request["InputDataConfig"]

    @property
    def entry_point(self) -> list[str]:
        return self.request["AlgorithmSpecification"]["ContainerEntrypoint"]

    @property
    def arguments(self) -> list[str]:
        return self.request["AlgorithmSpecification"]["ContainerArguments"]

    @property
    def environment(self) -> dict[str, str]:
        return self.request.get("Environment", {})

    def estimator(self) -> dict[str, Any]:
        """The arguments of sagemaker.estimator.Estimator, version 2 of the SDK. Raises UsageError
        if it has none for something of the request."""
        args: dict[str, Any] = {"disable_profiler": True, "debugger_hook_config": False}
        for path, value in _flat(self.request).items():
            if path in _ESTIMATOR:
                args[_ESTIMATOR[path]] = copy.deepcopy(value)
            elif path in ("TrainingJobName", "InputDataConfig"):
                continue
            elif path == "OutputDataConfig.CompressionType":
                args["disable_output_compression"] = value == "NONE"
            elif path == "ProfilerConfig.S3OutputPath":
                from sagemaker.debugger import ProfilerConfig

                del args["disable_profiler"]
                args["profiler_config"] = ProfilerConfig(s3_output_path=value)
            elif path.startswith("TensorBoardOutputConfig."):
                from sagemaker.debugger import TensorBoardOutputConfig

                config = self.request["TensorBoardOutputConfig"]
                args["tensorboard_output_config"] = TensorBoardOutputConfig(
                    s3_output_path=config["S3OutputPath"], container_local_output_path=config.get("LocalPath")
                )
            elif path == "ResourceConfig.InstanceGroups":
                from sagemaker.instance_group import InstanceGroup

                args["instance_groups"] = [InstanceGroup(g["InstanceGroupName"], g["InstanceType"], g["InstanceCount"]) for g in value]
            else:
                raise UsageError(f"{path}: the Estimator has no argument for it; send request with boto3, or use training_job()")
        return args

    def fit(self) -> dict[str, Any]:
        """The arguments of Estimator.fit: inputs and job_name."""
        return {"inputs": {c["ChannelName"]: _training_input(c) for c in self.channels}, "job_name": self.name}

    def training_job(self) -> dict[str, Any]:
        """The arguments of sagemaker.core.resources.TrainingJob.create, version 3 of the SDK.
        ModelTrainer, which calls it, takes no entrypoint of the container."""
        return _snaked(self.request)

    def step(self, name: str | None = None) -> dict[str, Any]:
        """A step of a SageMaker Pipelines definition. Pipelines name the job themselves."""
        arguments = {k: copy.deepcopy(v) for k, v in self.request.items() if k != "TrainingJobName"}
        return {"Name": name or self.name, "Type": "Training", "Arguments": arguments}


def seal_inputs(job: str | os.PathLike[str] | Mapping[str, Any] | None = None, *, stage: bool = True, **fields: Any) -> SealedJob:
    """Makes the request of a training job on sealed data, and stores in the vault what the job
    needs.

    job is a dataset (NAME, NAME@VERSION), the path of a job's file (*.yaml, *.yml, *.json), or a
    dict with the fields of such a file, which docs/TRAINING.md describes. fields are such fields
    too, and go before those of a dict. With stage=False nothing is stored, and the request is only
    to look at.
    """
    args = ["train", "--print-as", "json", *(["--stage"] if stage else [])]
    if isinstance(job, (str, os.PathLike)) and Path(job).suffix in (".yaml", ".yml", ".json"):
        if fields:
            raise UsageError("fields go with a dataset or a dict, not with a file: " + ", ".join(sorted(fields)))
        return SealedJob(_run([*args, "-f", os.fspath(job)]))
    described = {"dataset": os.fspath(job)} if isinstance(job, (str, os.PathLike)) else dict(job or {})
    described.update(fields)
    for path in ("source", "binary"):  # relative to here, and not to the file
        if described.get(path):
            described[path] = os.path.abspath(described[path])
    with tempfile.TemporaryDirectory(prefix="vaultpack-") as folder:
        file = Path(folder, "job.yaml")
        file.write_text(json.dumps(described), encoding="utf-8")  # JSON is YAML
        return SealedJob(_run([*args, "-f", str(file)]))


def _run(args: list[str]) -> dict[str, Any]:
    try:
        done = subprocess.run([command(), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError as err:
        raise ChildError(f"the vaultpack command cannot be started: {err}") from err
    said = done.stderr.decode("utf-8", "replace")
    problem = failure(done.returncode, said)
    if problem is not None:
        raise problem
    for line in said.splitlines():
        if line.startswith("warning: "):
            warnings.warn(line.removeprefix("warning: "), stacklevel=3)
    try:
        request = json.loads(done.stdout)
    except ValueError as err:
        raise ChildError(f"the vaultpack command printed no request, but {done.stdout[:200]!r}: {err}") from err
    if not isinstance(request, dict) or not request.get("TrainingJobName"):
        raise ChildError("the vaultpack command printed no request")
    return request


def _flat(request: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for k, v in request.items():
        if isinstance(v, dict) and k not in _TEXTS:
            flat.update(_flat(v, path + k + "."))
        else:
            flat[path + k] = v
    return flat


def _training_input(channel: Mapping[str, Any]) -> Any:
    from sagemaker.inputs import ShuffleConfig, TrainingInput

    args: dict[str, Any] = {}
    for path, value in _flat(channel).items():
        if path in _INPUT:
            args[_INPUT[path]] = value
        elif path == "ShuffleConfig.Seed":
            args["shuffle_config"] = ShuffleConfig(value)
        elif path != "ChannelName":
            raise UsageError(f"{path} of channel {channel['ChannelName']}: TrainingInput has no argument for it; send request with boto3")
    return TrainingInput(**args)


def _snaked(v: Any) -> Any:
    if isinstance(v, list):
        return [_snaked(e) for e in v]
    if isinstance(v, dict):
        return {_snake(k): dict(e) if k in _TEXTS else _snaked(e) for k, e in v.items()}
    return v


def _snake(name: str) -> str:
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
