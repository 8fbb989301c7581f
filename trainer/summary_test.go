package trainer_test

import (
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/report"
)

const described = `{"TrainingJobName":"j","TrainingJobStatus":"Completed","SecondaryStatus":"Completed",
 "CreationTime":1700000000,"TrainingStartTime":1700000010,"TrainingEndTime":1700000110,"TrainingTimeInSeconds":100,"BillableTimeInSeconds":25,
 "EnableManagedSpotTraining":true,"ModelArtifacts":{"S3ModelArtifacts":"s3://b/model.tar.gz"},
 "ResourceConfig":{"InstanceGroups":[{"InstanceGroupName":"gpu","InstanceType":"ml.g5.xlarge","InstanceCount":2}]},
 "AlgorithmSpecification":{"TrainingInputMode":"File","MetricDefinitions":[{"Name":"loss","Regex":"loss=(\\S+)"},{"Name":"late","Regex":"REGEX"}],
  "ContainerArguments":["sagemaker-run","--channel","training=scans@3#0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","--channel","bad","--","--channel","x=y@1"]},
 "InputDataConfig":[{"ChannelName":"vaultpack","DataSource":{"S3DataSource":{"S3DataType":"ManifestFile","S3Uri":"s3://v/m"}}},
  {"ChannelName":"training","DataSource":{"S3DataSource":{"S3DataType":"ManifestFile","S3Uri":"s3://v/t"}}},
  {"ChannelName":"plain","DataSource":{"S3DataSource":{"S3DataType":"S3Prefix","S3Uri":"s3://p/"}}}],
 "FinalMetricDataList":[{"MetricName":"late","Value":7,"Timestamp":1700000100},{"MetricName":"loss","Value":"NaN","Timestamp":1700000100}]}`

func TestSummarize(t *testing.T) {
	lines := map[string][]string{"j/algo-1-1": {"1700000020000 loss=4", "1700000030000 loss=3"}, "j/algo-2-1": {"1700000025000 loss=2"}}
	for name, c := range map[string]struct {
		regex string
		fails error
		want  []string
		not   string
	}{
		"with its log": {"never", nil, []string{"metric   loss 3, the last of 3 values from 2 to 4", "metric   late 7\n"}, "metrics "},
		"whose log may not be read": {"never", &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"},
			[]string{"metric   loss NaN", "metric   late 7\n", "metrics  only the final values are known: "}, "        4 "},
		"with an expression that Go's syntax has not": {"(?=x)", nil, []string{"metric   late 7\n", `metrics  only the final values are known: metric "late": error parsing regexp`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.answer = func(string, int) (int, string) { return 200, strings.Replace(described, "REGEX", c.regex, 1) }
			r, err := trainer.Summarize(t.Context(), w.launcher.SageMaker, &fakeLogs{streams: lines, shown: 10, fails: c.fails}, "j")
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if err := r.WriteText(&b, report.Style{}); err != nil {
				t.Fatal(err)
			}
			for _, want := range append(c.want, "status   Completed after 1m40s\n", "hosts    gpu: 2 of ml.g5.xlarge\n", "billed   25 s of 100 s, 75 % saved by spot\n",
				"channel  training: scans@3\nchannel  plain: s3://p/\n", "model    s3://b/model.tar.gz\n") {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %q in:\n%s", want, &b)
				}
			}
			if _, metrics, _ := strings.Cut(b.String(), "metric "); c.not != "" && strings.Contains(metrics, "\n"+c.not) || strings.Contains(b.String(), "y@1") {
				t.Errorf("%q is in:\n%s", c.not, &b)
			}
		})
	}
}
