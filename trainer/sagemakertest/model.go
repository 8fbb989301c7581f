package sagemakertest

import (
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

const jobNamePattern = `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`

var (
	anyText = func(max int) *shape { return text(0, max, ".*") }
	s3URI   = text(0, 1024, `(https|s3)://([^/]+)/?(.*)`)
	kmsKey  = text(0, 2048, `[a-zA-Z0-9:/_-]*`)
	tagList = list(0, 50, structure(
		must("Key", text(1, 128, `([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`)),
		must("Value", text(0, 256, `([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`)),
	))
)

// createShape is CreateTrainingJobRequest from the service's model of 2017-07-24.
// Members that the fake does not use are checked only for presence.
var createShape = structure(
	must("TrainingJobName", text(1, 63, jobNamePattern)),
	may("HyperParameters", mapOf(100, anyText(256), anyText(2500))),
	may("AlgorithmSpecification", structure(
		may("TrainingImage", anyText(255)),
		may("AlgorithmName", text(1, 170, "")),
		must("TrainingInputMode", enum[types.TrainingInputMode]()),
		may("MetricDefinitions", list(0, 40, structure(
			must("Name", text(1, 255, ".+")),
			must("Regex", text(1, 500, ".+")),
		))),
		may("EnableSageMakerMetricsTimeSeries", boolean),
		may("ContainerEntrypoint", list(1, 100, anyText(256))),
		may("ContainerArguments", list(1, 100, anyText(256))),
		may("TrainingImageConfig", opaque),
	)),
	must("RoleArn", text(20, 2048, `arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`)),
	may("InputDataConfig", list(1, 20, structure(
		must("ChannelName", text(1, 64, `[A-Za-z0-9\.\-_]+`)),
		must("DataSource", structure(
			may("S3DataSource", structure(
				must("S3DataType", enum[types.S3DataType]()),
				must("S3Uri", s3URI),
				may("S3DataDistributionType", enum[types.S3DataDistribution]()),
				may("AttributeNames", list(0, 16, text(1, 256, ".+"))),
				may("InstanceGroupNames", list(0, 5, text(1, 64, ".+"))),
			)),
		)),
		may("ContentType", anyText(256)),
		may("CompressionType", enum[types.CompressionType]()),
		may("RecordWrapperType", enum[types.RecordWrapper]()),
		may("InputMode", enum[types.TrainingInputMode]()),
		may("ShuffleConfig", opaque),
	))),
	must("OutputDataConfig", structure(
		may("KmsKeyId", kmsKey),
		must("S3OutputPath", s3URI),
		may("CompressionType", enum[types.OutputCompressionType]()),
	)),
	may("ResourceConfig", structure(
		may("InstanceType", enum[types.TrainingInstanceType]()),
		may("InstanceCount", number(0, 0)),
		may("VolumeSizeInGB", number(0, 0)),
		may("VolumeKmsKeyId", kmsKey),
		may("KeepAlivePeriodInSeconds", number(0, 21600)),
		may("InstanceGroups", list(0, 5, structure(
			must("InstanceType", enum[types.TrainingInstanceType]()),
			must("InstanceCount", number(0, 0)),
			must("InstanceGroupName", text(1, 64, ".+")),
		))),
		may("TrainingPlanArn", text(50, 2048, `arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:training-plan/.*`)),
	)),
	may("VpcConfig", structure(
		must("SecurityGroupIds", list(1, 5, text(0, 32, `[-0-9a-zA-Z]+`))),
		must("Subnets", list(1, 16, text(0, 32, `[-0-9a-zA-Z]+`))),
	)),
	may("StoppingCondition", structure(
		may("MaxRuntimeInSeconds", number(1, 0)),
		may("MaxWaitTimeInSeconds", number(1, 0)),
		may("MaxPendingTimeInSeconds", number(7200, 2419200)),
	)),
	may("Tags", tagList),
	may("EnableNetworkIsolation", boolean),
	may("EnableInterContainerTrafficEncryption", boolean),
	may("EnableManagedSpotTraining", boolean),
	may("CheckpointConfig", structure(
		must("S3Uri", s3URI),
		may("LocalPath", anyText(4096)),
	)),
	may("TensorBoardOutputConfig", structure(
		may("LocalPath", anyText(4096)),
		must("S3OutputPath", s3URI),
	)),
	may("Environment", mapOf(100, text(0, 512, `[a-zA-Z_][a-zA-Z0-9_]*`), text(0, 512, `[\S\s]*`))),
	may("RetryStrategy", structure(must("MaximumRetryAttempts", number(1, 30)))),
)

// localNVMe are the families of training instances that come with local storage,
// which is encrypted by its hardware and accepts no KMS key.
var localNVMe = regexp.MustCompile(`^ml\.(g4dn|g5|g6|g6e|g7e|p3dn|p4d|p4de|p5|p5e|p5en|p6|p6e|r5d|trn1|trn1n|trn2)[.-]`)

const maxRuntimeLimit = 28 * 24 * 3600

// checkRules checks the rules that involve several members, which are not in the model.
func checkRules(in *sagemaker.CreateTrainingJobInput) error {
	alg, res, stop := in.AlgorithmSpecification, in.ResourceConfig, in.StoppingCondition
	switch {
	case in.ServerlessJobConfig != nil || in.ModelPackageConfig != nil:
		return notDone("serverless training jobs")
	case alg == nil:
		return invalid("1 validation error detected: Value at 'algorithmSpecification' failed to satisfy constraint: Member must not be null")
	case res == nil:
		return invalid("1 validation error detected: Value at 'resourceConfig' failed to satisfy constraint: Member must not be null")
	case alg.AlgorithmName != nil && alg.TrainingImage != nil:
		return invalid("You can't specify both AlgorithmName and TrainingImage.")
	case alg.AlgorithmName != nil:
		return notDone("AlgorithmName: only training images")
	case str(alg.TrainingImage) == "":
		return invalid("You must specify either the AlgorithmName or the TrainingImage.")
	}
	if err := checkInstances(res); err != nil {
		return err
	}
	spot := in.EnableManagedSpotTraining != nil && *in.EnableManagedSpotTraining
	if stop != nil {
		if stop.MaxRuntimeInSeconds != nil && *stop.MaxRuntimeInSeconds > maxRuntimeLimit {
			return invalid("Invalid MaxRuntimeInSeconds. It must be less than or equal to %d", maxRuntimeLimit)
		}
		if stop.MaxWaitTimeInSeconds != nil && !spot {
			return invalid("Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true")
		}
	}
	if spot && (stop == nil || stop.MaxWaitTimeInSeconds == nil || *stop.MaxWaitTimeInSeconds < maxRuntime(stop)) {
		return invalid("Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds")
	}
	if spot && res.KeepAlivePeriodInSeconds != nil && *res.KeepAlivePeriodInSeconds > 0 {
		return invalid("KeepAlivePeriodInSeconds is not supported with managed spot training.")
	}
	if c := in.CheckpointConfig; c != nil && c.LocalPath != nil {
		if _, err := underML(*c.LocalPath); err != nil {
			return err
		}
	}
	for _, t := range in.Tags {
		if strings.HasPrefix(strings.ToLower(str(t.Key)), "aws:") {
			return invalid("Tag keys can't start with aws:")
		}
	}
	return checkChannels(in)
}

func checkInstances(res *types.ResourceConfig) error {
	count, kinds := int32(0), []types.TrainingInstanceType{res.InstanceType}
	if len(res.InstanceGroups) > 0 {
		if res.InstanceType != "" || res.InstanceCount != nil {
			return invalid("You can't specify InstanceGroups together with InstanceType or InstanceCount.")
		}
		kinds = nil
		for _, g := range res.InstanceGroups {
			count += *g.InstanceCount
			kinds = append(kinds, g.InstanceType)
		}
	} else if res.InstanceCount != nil {
		count = *res.InstanceCount
	}
	if count < 1 {
		return invalid("1 validation error detected: Value '%d' at 'resourceConfig.instanceCount' failed to satisfy constraint: Member must have value greater than or equal to 1", count)
	}
	for _, k := range kinds {
		switch {
		case k == "":
			return invalid("1 validation error detected: Value at 'resourceConfig.instanceType' failed to satisfy constraint: Member must not be null")
		case localNVMe.MatchString(string(k)) && res.VolumeKmsKeyId != nil:
			return invalid("You can't request a VolumeKmsKeyId when using an instance type with local storage: %s", k)
		case !localNVMe.MatchString(string(k)) && (res.VolumeSizeInGB == nil || *res.VolumeSizeInGB < 1):
			return invalid("1 validation error detected: Value at 'resourceConfig.volumeSizeInGB' failed to satisfy constraint: Member must have value greater than or equal to 1 (%s has no storage of its own)", k)
		}
	}
	return nil
}

func checkChannels(in *sagemaker.CreateTrainingJobInput) error {
	seen := map[string]bool{}
	for _, c := range in.InputDataConfig {
		name, src := *c.ChannelName, c.DataSource.S3DataSource
		if seen[name] {
			return invalid("Channel names must be unique: %s is used more than once", name)
		}
		seen[name] = true
		mode := inputMode(in, c)
		switch {
		case src == nil:
			return notDone("channel %s: only S3DataSource", name)
		case mode == types.TrainingInputModePipe:
			return notDone("channel %s: Pipe mode", name)
		case src.S3DataType != types.S3DataTypeS3Prefix && src.S3DataType != types.S3DataTypeManifestFile:
			return notDone("channel %s: S3DataType %s", name, src.S3DataType)
		case c.CompressionType == types.CompressionTypeGzip || c.RecordWrapperType == types.RecordWrapperRecordio:
			return notDone("channel %s: CompressionType and RecordWrapperType, which are for Pipe mode", name)
		case mode == types.TrainingInputModeFastfile && src.S3DataType != types.S3DataTypeS3Prefix:
			return invalid("Channel %s: FastFile mode requires the S3DataType S3Prefix.", name)
		case !strings.HasPrefix(*src.S3Uri, "s3://"):
			return notDone("channel %s: S3Uri of the form https://", name)
		}
		for _, g := range src.InstanceGroupNames {
			if !hasGroup(in.ResourceConfig, g) {
				return invalid("Channel %s: there is no instance group %s in the ResourceConfig.", name, g)
			}
		}
	}
	return nil
}

func hasGroup(res *types.ResourceConfig, name string) bool {
	for _, g := range res.InstanceGroups {
		if str(g.InstanceGroupName) == name {
			return true
		}
	}
	return false
}

func inputMode(in *sagemaker.CreateTrainingJobInput, c types.Channel) types.TrainingInputMode {
	if c.InputMode != "" {
		return c.InputMode
	}
	return in.AlgorithmSpecification.TrainingInputMode
}

// maxRuntime is one day unless the request sets it.
func maxRuntime(stop *types.StoppingCondition) int32 {
	if stop == nil || stop.MaxRuntimeInSeconds == nil {
		return 24 * 3600
	}
	return *stop.MaxRuntimeInSeconds
}

// underML returns the path relative to /opt/ml, the only folder that is private to
// a container.
func underML(path string) (string, error) {
	rel, ok := strings.CutPrefix(strings.TrimRight(path, "/"), "/opt/ml/")
	if !ok || strings.Contains("/"+rel+"/", "/../") {
		return "", notDone("the local path %s, which is not below /opt/ml", path)
	}
	return rel, nil
}

func str(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
