package sagemakertest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
)

// newAPI is a world without S3 and without containers: all jobs end at once.
func newAPI(t testing.TB) *world {
	t.Helper()
	srv, err := sagemakertest.Start(sagemakertest.Config{S3: "http://127.0.0.1:1", Roles: map[string]aws.Credentials{role: {AccessKeyID: "a", SecretAccessKey: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	srv.Outcome("*", sagemakertest.Outcome{Status: types.TrainingJobStatusCompleted})
	w := &world{TB: t, srv: srv, bucket: "b"}
	w.sm, w.logs = sdk(srv)
	return w
}

func repeated(n int, value string) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprintf("K%d", i)] = value
	}
	return m
}

// Every case is one change to a request that is accepted, and what the service's
// answer has to say; "" for a request that is still accepted.
func TestValidation(t *testing.T) {
	w := newAPI(t)
	type in = sagemaker.CreateTrainingJobInput
	long := func(n int) string { return strings.Repeat("x", n) }
	oneChannel := func(change func(*types.Channel)) func(*in) {
		return func(r *in) {
			c := channel("c", "s3://b/m.manifest", types.S3DataTypeManifestFile)
			change(&c)
			r.InputDataConfig = []types.Channel{c}
		}
	}
	spot := func(run, wait int32) func(*in) {
		return func(r *in) {
			r.EnableManagedSpotTraining = aws.Bool(true)
			r.StoppingCondition = &types.StoppingCondition{MaxRuntimeInSeconds: &run, MaxWaitTimeInSeconds: &wait}
		}
	}
	cases := map[string]struct {
		change func(*in)
		says   string
	}{
		"plain":      {func(r *in) {}, ""},
		"name chars": {func(r *in) { r.TrainingJobName = aws.String("a_b") }, "Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"},
		"name end":   {func(r *in) { r.TrainingJobName = aws.String("a-") }, "trainingJobName"},
		"name line":  {func(r *in) { r.TrainingJobName = aws.String("a\n") }, "trainingJobName"},
		"name long":  {func(r *in) { r.TrainingJobName = aws.String(long(64)) }, "2 validation errors detected: "},
		"role":       {func(r *in) { r.RoleArn = aws.String("arn:aws:iam::111122223333:role/other") }, "Could not assume role arn:aws:iam::111122223333:role/other. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role."},
		"role arn":   {func(r *in) { r.RoleArn = aws.String("training-role-by-its-name") }, "at 'roleArn' failed to satisfy constraint"},

		"hyperparameters":       {func(r *in) { r.HyperParameters = repeated(100, long(2500)) }, ""},
		"hyperparameters many":  {func(r *in) { r.HyperParameters = repeated(101, "v") }, "at 'hyperParameters' failed to satisfy constraint: Member must have length less than or equal to 100"},
		"hyperparameters value": {func(r *in) { r.HyperParameters = repeated(1, long(2501)) }, "Map value must satisfy constraint: [Member must have length less than or equal to 2500"},
		"hyperparameters line":  {func(r *in) { r.HyperParameters = repeated(1, "a\nb") }, "Map value must satisfy constraint"},
		"hyperparameters key":   {func(r *in) { r.HyperParameters = map[string]string{long(257): "v"} }, "Map keys must satisfy constraint: [Member must have length less than or equal to 256"},
		"environment":           {func(r *in) { r.Environment = repeated(100, strings.Repeat("é\n", 256)) }, ""},
		"environment many":      {func(r *in) { r.Environment = repeated(101, "v") }, "'environment' failed to satisfy constraint: Member must have length less than or equal to 100"},
		"environment value":     {func(r *in) { r.Environment = repeated(1, long(513)) }, "less than or equal to 512"},
		"environment key":       {func(r *in) { r.Environment = map[string]string{"1A": "v"} }, "Map keys must satisfy constraint"},

		"entrypoint":      {func(r *in) { r.AlgorithmSpecification.ContainerEntrypoint = slices.Repeat([]string{long(256)}, 100) }, ""},
		"entrypoint many": {func(r *in) { r.AlgorithmSpecification.ContainerEntrypoint = slices.Repeat([]string{"x"}, 101) }, "'algorithmSpecification.containerEntrypoint'"},
		"entrypoint long": {func(r *in) { r.AlgorithmSpecification.ContainerEntrypoint = []string{"x", long(257)} }, "'algorithmSpecification.containerEntrypoint.2.member'"},
		"entrypoint none": {func(r *in) { r.AlgorithmSpecification.ContainerEntrypoint = []string{} }, "Member must have length greater than or equal to 1"},
		"arguments many":  {func(r *in) { r.AlgorithmSpecification.ContainerArguments = slices.Repeat([]string{"x"}, 101) }, "'algorithmSpecification.containerArguments'"},
		"arguments line":  {func(r *in) { r.AlgorithmSpecification.ContainerArguments = []string{"a\nb"} }, "'algorithmSpecification.containerArguments.1.member'"},
		"no image":        {func(r *in) { r.AlgorithmSpecification.TrainingImage = nil }, "TrainingImage"},
		"algorithm":       {func(r *in) { r.AlgorithmSpecification.AlgorithmName = aws.String("a") }, "both AlgorithmName and TrainingImage"},
		"unknown image":   {func(r *in) { r.AlgorithmSpecification.ContainerEntrypoint = nil }, "Cannot find the image"},
		"input mode":      {func(r *in) { r.AlgorithmSpecification.TrainingInputMode = "Stream" }, "Member must satisfy enum value set: [Pipe, File, FastFile]"},
		"metrics": {func(r *in) {
			r.AlgorithmSpecification.MetricDefinitions = slices.Repeat([]types.MetricDefinition{{Name: aws.String("m"), Regex: aws.String("r")}}, 41)
		}, "less than or equal to 40"},
		"no resources":  {func(r *in) { r.ResourceConfig = nil }, "resourceConfig"},
		"no count":      {func(r *in) { r.ResourceConfig.InstanceCount = aws.Int32(0) }, "Value '0' at 'resourceConfig.instanceCount'"},
		"instance type": {func(r *in) { r.ResourceConfig.InstanceType = "ml.m5.huge" }, "Value 'ml.m5.huge' at 'resourceConfig.instanceType'"},
		"no volume":     {func(r *in) { r.ResourceConfig.VolumeSizeInGB = nil }, "volumeSizeInGB"},
		"volume key":    {func(r *in) { r.ResourceConfig.VolumeKmsKeyId = aws.String("arn:aws:kms:eu-west-1:111122223333:key/k") }, ""},
		"volume key, NVMe": {func(r *in) {
			r.ResourceConfig.InstanceType, r.ResourceConfig.VolumeKmsKeyId = types.TrainingInstanceTypeMlG5Xlarge, aws.String("k")
		}, "You can't request a VolumeKmsKeyId when using an instance type with local storage: ml.g5.xlarge"},
		"no volume, NVMe": {func(r *in) {
			r.ResourceConfig.InstanceType, r.ResourceConfig.VolumeSizeInGB = types.TrainingInstanceTypeMlP4d24xlarge, nil
		}, ""},
		"keep alive": {func(r *in) { r.ResourceConfig.KeepAlivePeriodInSeconds = aws.Int32(21601) }, "less than or equal to 21600"},
		"groups and type": {func(r *in) {
			r.ResourceConfig.InstanceGroups = []types.InstanceGroup{{InstanceGroupName: aws.String("g"), InstanceCount: aws.Int32(1), InstanceType: "ml.m5.large"}}
		}, "InstanceGroups together with"},
		"retries":              {func(r *in) { r.RetryStrategy = &types.RetryStrategy{MaximumRetryAttempts: aws.Int32(31)} }, "Value '31' at 'retryStrategy.maximumRetryAttempts'"},
		"no stop":              {func(r *in) { r.StoppingCondition = nil }, ""},
		"runtime":              {func(r *in) { r.StoppingCondition.MaxRuntimeInSeconds = aws.Int32(28*24*3600 + 1) }, "Invalid MaxRuntimeInSeconds"},
		"wait without spot":    {func(r *in) { r.StoppingCondition.MaxWaitTimeInSeconds = aws.Int32(100) }, "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"},
		"spot":                 {spot(100, 100), ""},
		"spot, wait too short": {spot(100, 99), "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"},
		"spot without wait":    {func(r *in) { r.EnableManagedSpotTraining = aws.Bool(true) }, "Invalid MaxWaitTimeInSeconds"},
		"output":               {func(r *in) { r.OutputDataConfig.S3OutputPath = aws.String("/tmp") }, "outputDataConfig.s3OutputPath"},
		"output key":           {func(r *in) { r.OutputDataConfig.KmsKeyId = aws.String("my key") }, "outputDataConfig.kmsKeyId"},
		"checkpoints": {func(r *in) {
			r.CheckpointConfig = &types.CheckpointConfig{S3Uri: aws.String("s3://b"), LocalPath: aws.String("/tmp/c")}
		}, "not done by sagemakertest"},
		"subnets": {func(r *in) {
			r.VpcConfig = &types.VpcConfig{SecurityGroupIds: []string{"sg-1"}, Subnets: slices.Repeat([]string{"s"}, 17)}
		}, "vpcConfig.subnets"},
		"tags":       {func(r *in) { r.Tags = slices.Repeat([]types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}, 51) }, "'tags'"},
		"tag of aws": {func(r *in) { r.Tags = []types.Tag{{Key: aws.String("aws:k"), Value: aws.String("v")}} }, "Tag keys can't start with aws:"},

		"channel":       {oneChannel(func(c *types.Channel) {}), ""},
		"channels none": {func(r *in) { r.InputDataConfig = []types.Channel{} }, "'inputDataConfig' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"channels many": {func(r *in) {
			r.InputDataConfig = slices.Repeat([]types.Channel{channel("c", "s3://b/k", types.S3DataTypeManifestFile)}, 21)
		}, "less than or equal to 20"},
		"channels twice": {func(r *in) {
			r.InputDataConfig = slices.Repeat([]types.Channel{channel("c", "s3://b/k", types.S3DataTypeManifestFile)}, 2)
		}, "Channel names must be unique"},
		"channel name":       {oneChannel(func(c *types.Channel) { c.ChannelName = aws.String("a b") }), "Value 'a b' at 'inputDataConfig.1.member.channelName'"},
		"channel name long":  {oneChannel(func(c *types.Channel) { c.ChannelName = aws.String(long(65)) }), "less than or equal to 64"},
		"channel, pipe":      {oneChannel(func(c *types.Channel) { c.InputMode = types.TrainingInputModePipe }), "not done by sagemakertest: channel c: Pipe mode"},
		"channel, fast":      {oneChannel(func(c *types.Channel) { c.InputMode = types.TrainingInputModeFastfile }), "FastFile mode requires the S3DataType S3Prefix"},
		"channel, augmented": {oneChannel(func(c *types.Channel) { c.DataSource.S3DataSource.S3DataType = types.S3DataTypeAugmentedManifestFile }), "not done by sagemakertest"},
		"channel, gzip":      {oneChannel(func(c *types.Channel) { c.CompressionType = types.CompressionTypeGzip }), "not done by sagemakertest"},
		"channel, no source": {oneChannel(func(c *types.Channel) { c.DataSource.S3DataSource = nil }), "only S3DataSource"},
		"channel, group":     {oneChannel(func(c *types.Channel) { c.DataSource.S3DataSource.InstanceGroupNames = []string{"g"} }), "no instance group g"},
	}
	for i, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		r := request(fmt.Sprintf("job-%d", i), "b", "/bin/true")
		c.change(r)
		_, err := w.sm.CreateTrainingJob(w.ctx(), r)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (code(err) != "ValidationException" || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}

	w.create(request("twice", "b", "/bin/true"))
	_, err := w.sm.CreateTrainingJob(w.ctx(), request("twice", "b", "/bin/true"))
	if want := "Training job names must be unique within an AWS account and region, and a training job with this name already exists (arn:aws:sagemaker:eu-west-1:111122223333:training-job/twice)"; code(err) != "ResourceInUse" || !strings.Contains(err.Error(), want) {
		t.Errorf("a name taken: %v", err)
	}
	_, err = w.sm.CreateTrainingJob(w.ctx(), request("twice", "b", "/bin/true"), func(o *sagemaker.Options) { o.Region = "us-east-1" })
	if err != nil {
		t.Errorf("the same name in another Region: %v", err)
	}
	for _, name := range []string{"nothing", "twice "} {
		if _, err = w.sm.DescribeTrainingJob(w.ctx(), &sagemaker.DescribeTrainingJobInput{TrainingJobName: &name}); code(err) != "ValidationException" {
			t.Errorf("describing %q: %v", name, err)
		}
	}
	if _, err = w.sm.ListModels(w.ctx(), &sagemaker.ListModelsInput{}); code(err) != "UnknownOperationException" {
		t.Errorf("an operation that is not there: %v", err)
	}
}

// Programs find the server by the variables that the SDK has for it.
func TestEndpointVariables(t *testing.T) {
	w := newAPI(t)
	for k, v := range map[string]string{"AWS_ENDPOINT_URL_SAGEMAKER": w.srv.URL, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": w.srv.URL,
		"AWS_REGION": region, "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "not a secret"} {
		t.Setenv(k, v)
	}
	cfg, err := config.LoadDefaultConfig(w.ctx())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sagemaker.NewFromConfig(cfg).ListTrainingJobs(w.ctx(), &sagemaker.ListTrainingJobsInput{}); err != nil {
		t.Error(err)
	}
	_, err = cloudwatchlogs.NewFromConfig(cfg).DescribeLogStreams(w.ctx(), &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String(sagemakertest.LogGroup)})
	if code(err) != "ResourceNotFoundException" || len(w.srv.Calls("ListTrainingJobs", "DescribeLogStreams")) != 2 {
		t.Errorf("%v; the calls are %+v", err, w.srv.Calls())
	}
}

func TestFaultsAndOutcomes(t *testing.T) {
	w := newAPI(t)
	w.srv.Outcome("poor", sagemakertest.Outcome{Status: types.TrainingJobStatusFailed, Reason: "CapacityError: Unable to provision requested ML compute capacity."})
	w.srv.Outcome("late", sagemakertest.Outcome{Status: types.TrainingJobStatusStopped, Secondary: types.SecondaryStatusMaxWaitTimeExceeded})
	w.create(request("poor", "b", "/bin/true"))
	if got, passed := w.wait("poor"); passed != "Starting Failed" || aws.ToString(got.FailureReason) != "CapacityError: Unable to provision requested ML compute capacity." || got.TrainingStartTime != nil {
		t.Errorf("%s: %s", passed, aws.ToString(got.FailureReason))
	}
	w.create(request("late", "b", "/bin/true"))
	if got, passed := w.wait("late"); got.TrainingJobStatus != types.TrainingJobStatusStopped || passed != "Starting MaxWaitTimeExceeded" {
		t.Errorf("%s by %s", got.TrainingJobStatus, passed)
	}

	quick := func(o *sagemaker.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
	}
	name := "late"
	w.srv.Fail("DescribeTrainingJob", 2, sagemakertest.Fault{Code: "ThrottlingException", Message: "Rate exceeded"})
	if _, err := w.sm.DescribeTrainingJob(w.ctx(), &sagemaker.DescribeTrainingJobInput{TrainingJobName: &name}, quick); err != nil || w.srv.Unmet() != 0 {
		t.Errorf("two throttled calls: %v, %d unmet", err, w.srv.Unmet())
	}
	calls := w.srv.Calls("DescribeTrainingJob")
	if n := len(calls); calls[n-2].Error != "ThrottlingException" || calls[n-1].Error != "" || string(calls[n-1].Body) != `{"TrainingJobName":"late"}` {
		t.Errorf("the calls are %+v", calls)
	}
	// An answer that is lost: the retry meets the job that the first call made.
	w.srv.Fail("CreateTrainingJob", 1, sagemakertest.Fault{Drop: true})
	if _, err := w.sm.CreateTrainingJob(w.ctx(), request("lost", "b", "/bin/true"), quick); code(err) != "ResourceInUse" {
		t.Errorf("a lost answer: %v", err)
	}
}

func TestList(t *testing.T) {
	w := newAPI(t)
	w.srv.Outcome("job-3", sagemakertest.Outcome{Status: types.TrainingJobStatusFailed})
	for i := range 5 {
		r := request(fmt.Sprintf("job-%d", i), "b", "/bin/true")
		r.Tags = []types.Tag{{Key: aws.String("n"), Value: aws.String(fmt.Sprint(i))}}
		w.create(r)
		w.wait(*r.TrainingJobName)
	}
	for want, in := range map[string]*sagemaker.ListTrainingJobsInput{
		"job-4 job-3 job-2 job-1 job-0":  {MaxResults: aws.Int32(2)},
		"job-0 job-1 job-2 job-3 job-4":  {SortBy: types.SortByName, SortOrder: types.SortOrderAscending},
		"job-3":                          {StatusEquals: types.TrainingJobStatusFailed},
		"job-1":                          {NameContains: aws.String("b-1")},
		"":                               {CreationTimeAfter: aws.Time(time.Now().Add(time.Minute))},
		"job-4 job-3 job-2 job-1 job-0 ": {CreationTimeAfter: aws.Time(time.Now().Add(-time.Minute)), LastModifiedTimeBefore: aws.Time(time.Now().Add(time.Minute))},
	} {
		var names []string
		pages := sagemaker.NewListTrainingJobsPaginator(w.sm, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(w.ctx())
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range page.TrainingJobSummaries {
				names = append(names, *j.TrainingJobName)
			}
		}
		if got := strings.Join(names, " "); got != strings.TrimSpace(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	arn := w.describe("job-1").TrainingJobArn
	if _, err := w.sm.AddTags(w.ctx(), &sagemaker.AddTagsInput{ResourceArn: arn, Tags: []types.Tag{{Key: aws.String("more"), Value: aws.String("")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.sm.DeleteTags(w.ctx(), &sagemaker.DeleteTagsInput{ResourceArn: arn, TagKeys: []string{"n"}}); err != nil {
		t.Fatal(err)
	}
	tags, err := w.sm.ListTags(w.ctx(), &sagemaker.ListTagsInput{ResourceArn: arn})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "more" {
		t.Errorf("the tags are %+v, %v", tags, err)
	}
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	group := aws.String(sagemakertest.LogGroup)
	_, err := w.logs.DescribeLogStreams(w.ctx(), &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: group})
	if code(err) != "ResourceNotFoundException" {
		t.Errorf("the group before the first job: %v", err)
	}
	in := w.request("talk", `printf 'one\ntwo\r\n\n\377\nlast'; echo err >&2`)
	in.ResourceConfig.InstanceCount = aws.Int32(3)
	w.create(in)
	w.create(w.request("talkative", "echo other"))
	w.wait("talk")
	w.wait("talkative")

	var streams []logtypes.LogStream
	pages := cloudwatchlogs.NewDescribeLogStreamsPaginator(w.logs, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: group, LogStreamNamePrefix: aws.String("talk/"), Limit: aws.Int32(2)})
	for n := 0; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(w.ctx())
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, page.LogStreams...)
	}
	if len(streams) != 3 || !strings.HasPrefix(*streams[2].LogStreamName, "talk/algo-3-") || streams[0].LastEventTimestamp == nil {
		t.Fatalf("the streams are %+v", streams)
	}

	get := func(in cloudwatchlogs.GetLogEventsInput) (string, *cloudwatchlogs.GetLogEventsOutput) {
		t.Helper()
		in.LogGroupName, in.LogStreamName = group, streams[0].LogStreamName
		out, err := w.logs.GetLogEvents(w.ctx(), &in)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, e := range out.Events {
			lines = append(lines, *e.Message)
		}
		return strings.Join(lines, " "), out
	}
	all, _ := get(cloudwatchlogs.GetLogEventsInput{StartFromHead: aws.Bool(true)})
	if got := strings.Fields(all); len(got) != 5 || !slices.Equal(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s == "err" }), []string{"one", "two", "\uFFFD", "last"}) {
		t.Errorf("the events are %q", all)
	}
	// Forward, page by page: at the end the same token again.
	var parts []string
	var token *string
	for range 10 {
		part, out := get(cloudwatchlogs.GetLogEventsInput{StartFromHead: aws.Bool(true), Limit: aws.Int32(2), NextToken: token})
		if part != "" {
			parts = append(parts, part)
		}
		if token != nil && *token == *out.NextForwardToken {
			break
		}
		token = out.NextForwardToken
	}
	if len(parts) != 3 || strings.Join(parts, " ") != all {
		t.Errorf("by pages %q, at once %q", parts, all)
	}
	tail, out := get(cloudwatchlogs.GetLogEventsInput{Limit: aws.Int32(2)})
	before, _ := get(cloudwatchlogs.GetLogEventsInput{Limit: aws.Int32(10), NextToken: out.NextBackwardToken})
	if before+" "+tail != all || len(strings.Fields(tail)) != 2 {
		t.Errorf("%q, then %q; all are %q", before, tail, all)
	}
	if late, _ := get(cloudwatchlogs.GetLogEventsInput{StartTime: aws.Int64(time.Now().Add(time.Minute).UnixMilli())}); late != "" {
		t.Errorf("events of the future: %q", late)
	}
	_, err = w.logs.GetLogEvents(w.ctx(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: group, LogStreamName: streams[0].LogStreamName, NextToken: token})
	if code(err) != "InvalidParameterException" {
		t.Errorf("a forward token without startFromHead: %v", err)
	}
	_, err = w.logs.GetLogEvents(w.ctx(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: group, LogStreamName: aws.String("talk/algo-9-1")})
	if code(err) != "ResourceNotFoundException" {
		t.Errorf("a stream that is not there: %v", err)
	}

	n := 0
	filtered := cloudwatchlogs.NewFilterLogEventsPaginator(w.logs, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: group, LogStreamNamePrefix: aws.String("talk/"), FilterPattern: aws.String("err"), Limit: aws.Int32(1)})
	for filtered.HasMorePages() {
		page, err := filtered.NextPage(w.ctx())
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Events)
	}
	if n != 3 {
		t.Errorf("%d events with err, want one of each host", n)
	}
}
