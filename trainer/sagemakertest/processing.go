package sagemakertest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

var processingPath = text(0, 256, ".*")

// processingShape is CreateProcessingJobRequest from the service's model of 2017-07-24.
var processingShape = structure(
	must("ProcessingJobName", text(1, 63, jobNamePattern)),
	may("ProcessingInputs", list(0, 10, structure(
		must("InputName", anyText(0)),
		may("AppManaged", boolean),
		may("S3Input", structure(
			must("S3Uri", s3URI),
			may("LocalPath", processingPath),
			must("S3DataType", enum[types.ProcessingS3DataType]()),
			may("S3InputMode", enum[types.ProcessingS3InputMode]()),
			may("S3DataDistributionType", enum[types.ProcessingS3DataDistributionType]()),
			may("S3CompressionType", enum[types.ProcessingS3CompressionType]()),
		)),
		may("DatasetDefinition", opaque),
	))),
	may("ProcessingOutputConfig", structure(
		must("Outputs", list(0, 10, structure(
			must("OutputName", anyText(0)),
			may("S3Output", structure(
				must("S3Uri", s3URI),
				may("LocalPath", processingPath),
				must("S3UploadMode", enum[types.ProcessingS3UploadMode]()),
			)),
			may("FeatureStoreOutput", opaque),
			may("AppManaged", boolean),
		))),
		may("KmsKeyId", kmsKey),
	)),
	must("ProcessingResources", structure(
		must("ClusterConfig", structure(
			must("InstanceCount", number(1, 100)),
			must("InstanceType", enum[types.ProcessingInstanceType]()),
			must("VolumeSizeInGB", number(1, 16384)),
			may("VolumeKmsKeyId", kmsKey),
		)),
	)),
	may("StoppingCondition", structure(must("MaxRuntimeInSeconds", number(1, 604800)))),
	must("AppSpecification", structure(
		must("ImageUri", anyText(255)),
		may("ContainerEntrypoint", list(1, 100, anyText(256))),
		may("ContainerArguments", list(1, 100, anyText(256))),
	)),
	may("Environment", mapOf(100, text(0, 256, `[a-zA-Z_][a-zA-Z0-9_]*`), text(0, 256, `[\S\s]*`))),
	may("NetworkConfig", structure(
		may("EnableInterContainerTrafficEncryption", boolean),
		may("EnableNetworkIsolation", boolean),
		may("VpcConfig", structure(
			must("SecurityGroupIds", list(1, 5, text(0, 32, `[-0-9a-zA-Z]+`))),
			must("Subnets", list(1, 16, text(0, 32, `[-0-9a-zA-Z]+`))),
		)),
	)),
	must("RoleArn", text(20, 2048, `arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`)),
	may("Tags", tagList),
	may("ExperimentConfig", opaque),
)

func (r *request) createProcessingJob() (any, error) {
	if err := processingShape.check(r.body); err != nil {
		return nil, err
	}
	in := new(sagemaker.CreateProcessingJobInput)
	if err := json.Unmarshal(r.body, in); err != nil {
		return nil, fail("SerializationException", "%v", err)
	}
	if err := checkProcessing(in); err != nil {
		return nil, err
	}
	creds, ok := r.cfg.Roles[*in.RoleArn]
	if !ok {
		return nil, invalid("Could not assume role %s. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role.", *in.RoleArn)
	}
	image, ok := r.cfg.Images[*in.AppSpecification.ImageUri]
	if !ok && (len(r.cfg.Images) > 0 || in.AppSpecification.ContainerEntrypoint == nil) {
		return nil, invalid("Cannot find the image %s: it is not in sagemakertest's Config.Images", *in.AppSpecification.ImageUri)
	}
	j := &job{Server: r.Server, jobKey: jobKey{r.region, *in.ProcessingJobName, true}, in: asTraining(in), proc: in, creds: creds, image: image}
	if err := r.add(j, "processing-job"); err != nil {
		return nil, err
	}
	for _, t := range in.Tags {
		j.tags[*t.Key] = *t.Value
	}
	return map[string]string{"ProcessingJobArn": j.arn}, nil
}

// checkProcessing checks the rules that involve several members, which are not in the model.
func checkProcessing(in *sagemaker.CreateProcessingJobInput) error {
	cluster := in.ProcessingResources.ClusterConfig
	if localNVMe.MatchString(string(cluster.InstanceType)) && cluster.VolumeKmsKeyId != nil {
		return invalid("You can't request a VolumeKmsKeyId when using an instance type with local storage: %s", cluster.InstanceType)
	}
	names, paths := map[string]bool{}, map[string]bool{}
	place := func(kind, name string, path *string) error {
		p := strings.TrimRight(str(path), "/")
		if rel, err := underML(p); err != nil || !strings.HasPrefix(rel, "processing/") {
			return invalid("%s %s: LocalPath must be an absolute path that begins with /opt/ml/processing/, not %q", kind, name, p)
		}
		if names[kind+name] || paths[p] {
			return invalid("%s %s: its name or its LocalPath is used more than once", kind, name)
		}
		names[kind+name], paths[p] = true, true
		return nil
	}
	for _, i := range in.ProcessingInputs {
		switch {
		case i.S3Input == nil || i.AppManaged != nil && *i.AppManaged:
			return notDone("input %s: only S3Input", *i.InputName)
		case i.S3Input.S3InputMode != types.ProcessingS3InputModeFile:
			return notDone("input %s: S3InputMode %s", *i.InputName, i.S3Input.S3InputMode)
		case i.S3Input.S3CompressionType == types.ProcessingS3CompressionTypeGzip:
			return notDone("input %s: S3CompressionType Gzip", *i.InputName)
		}
		if err := place("input", *i.InputName, i.S3Input.LocalPath); err != nil {
			return err
		}
	}
	if in.ProcessingOutputConfig == nil {
		return nil
	}
	for _, o := range in.ProcessingOutputConfig.Outputs {
		if o.S3Output == nil || o.S3Output.S3UploadMode != types.ProcessingS3UploadModeEndOfJob {
			return notDone("output %s: only S3Output, and S3UploadMode EndOfJob", *o.OutputName)
		}
		if err := place("output", *o.OutputName, o.S3Output.LocalPath); err != nil {
			return err
		}
	}
	return nil
}

// asTraining returns a training job with what a processing job has in common with training
// jobs.
func asTraining(in *sagemaker.CreateProcessingJobInput) *sagemaker.CreateTrainingJobInput {
	cluster, app := in.ProcessingResources.ClusterConfig, in.AppSpecification
	t := &sagemaker.CreateTrainingJobInput{TrainingJobName: in.ProcessingJobName, RoleArn: in.RoleArn, Environment: in.Environment,
		AlgorithmSpecification: &types.AlgorithmSpecification{TrainingImage: app.ImageUri, ContainerEntrypoint: app.ContainerEntrypoint, ContainerArguments: app.ContainerArguments},
		ResourceConfig:         &types.ResourceConfig{InstanceCount: cluster.InstanceCount, InstanceType: types.TrainingInstanceType(cluster.InstanceType)}}
	if in.StoppingCondition != nil {
		t.StoppingCondition = &types.StoppingCondition{MaxRuntimeInSeconds: in.StoppingCondition.MaxRuntimeInSeconds}
	}
	if in.NetworkConfig != nil {
		t.EnableNetworkIsolation = in.NetworkConfig.EnableNetworkIsolation
	}
	for _, i := range in.ProcessingInputs {
		t.InputDataConfig = append(t.InputDataConfig, types.Channel{ChannelName: i.InputName, InputMode: types.TrainingInputModeFile, DataSource: &types.DataSource{
			S3DataSource: &types.S3DataSource{S3Uri: i.S3Input.S3Uri, S3DataType: types.S3DataType(i.S3Input.S3DataType),
				S3DataDistributionType: types.S3DataDistribution(i.S3Input.S3DataDistributionType)}}})
	}
	return t
}

type processingName struct{ ProcessingJobName string }

var processingNameShape = structure(must("ProcessingJobName", text(1, 63, jobNamePattern)))

func (r *request) findProcessing(name string) (*job, error) {
	if err := processingNameShape.check(r.body); err != nil {
		return nil, err
	}
	if j := r.jobs[jobKey{r.region, name, true}]; j != nil {
		return j, nil
	}
	return nil, invalid("Could not find requested job with name: %s", name)
}

func (r *request) describeProcessingJob(in *processingName) (any, error) {
	j, err := r.findProcessing(in.ProcessingJobName)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for name, v := range j.raw {
		if name != "Tags" {
			out[name] = v
		}
	}
	maps.Copy(out, map[string]any{"ProcessingJobArn": j.arn, "ProcessingJobStatus": j.status, "CreationTime": epoch(j.created), "LastModifiedTime": epoch(j.modified)})
	if out["StoppingCondition"] == nil {
		out["StoppingCondition"] = map[string]any{"MaxRuntimeInSeconds": maxRuntime(nil)}
	}
	for name, v := range map[string]string{"FailureReason": j.reason, "ExitMessage": j.message} {
		if v != "" {
			out[name] = v
		}
	}
	for name, t := range map[string]time.Time{"ProcessingStartTime": j.started, "ProcessingEndTime": j.ended} {
		if !t.IsZero() {
			out[name] = epoch(t)
		}
	}
	return out, nil
}

func (r *request) stopProcessingJob(in *processingName) (any, error) {
	j, err := r.findProcessing(in.ProcessingJobName)
	if err != nil {
		return nil, err
	}
	if j.status != types.TrainingJobStatusInProgress {
		return nil, invalid("The request was rejected because the processing job is in status %s.", j.status)
	}
	j.toLocked(types.TrainingJobStatusStopping, types.SecondaryStatusStopping, "")
	j.cancel(errStopped)
	return nil, nil
}

// listProcessingJobs accepts the same input as ListTrainingJobs.
func (r *request) listProcessingJobs(in *listJobsIn) (any, error) {
	if err := listShape.check(r.body); err != nil {
		return nil, err
	}
	var found []*job
	for _, j := range r.order {
		if j.region == r.region && j.processing && in.wants(j) {
			found = append(found, j)
		}
	}
	slices.SortStableFunc(found, func(a, b *job) int { return a.created.Compare(b.created) })
	if in.SortOrder != types.SortOrderAscending {
		slices.Reverse(found)
	}
	limit, skip := 10, 0
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	if in.NextToken != "" {
		var err error
		if skip, err = strconv.Atoi(in.NextToken); err != nil || skip < 0 || skip > len(found) {
			return nil, invalid("Invalid NextToken")
		}
	}
	list := []map[string]any{}
	for _, j := range found[skip:min(skip+limit, len(found))] {
		m := map[string]any{"ProcessingJobName": j.name, "ProcessingJobArn": j.arn, "CreationTime": epoch(j.created), "LastModifiedTime": epoch(j.modified), "ProcessingJobStatus": j.status}
		if !j.ended.IsZero() {
			m["ProcessingEndTime"] = epoch(j.ended)
		}
		list = append(list, m)
	}
	out := map[string]any{"ProcessingJobSummaries": list}
	if skip+limit < len(found) {
		out["NextToken"] = strconv.Itoa(skip + limit)
	}
	return out, nil
}
