package trainer

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/trainer/metrics"
	"github.com/vaultpack/vaultpack/trainer/report"
)

// Summarize describes a training job in SageMaker that has ended, or is running. It finds the
// values of its metrics in its log, with the job's own expressions. If the log cannot be read,
// or an expression is not valid in Go, the report has the final values that SageMaker knows
// and says why the others are missing.
func Summarize(ctx context.Context, api API, logs LogsAPI, job string) (*report.Report, error) {
	if err := given.Check(ctx, api != nil && logs != nil, errNoAPI); err != nil {
		return nil, err
	}
	d, err := Describe(ctx, api, job)
	if err != nil {
		return nil, err
	}
	r := &report.Report{Job: job, Where: report.SageMaker, Status: string(d.TrainingJobStatus), Reason: aws.ToString(d.FailureReason),
		Created: aws.ToTime(d.CreationTime), Started: aws.ToTime(d.TrainingStartTime), Ended: aws.ToTime(d.TrainingEndTime), Hosts: Hosts(d),
		TrainedSeconds: seconds(d.TrainingTimeInSeconds), BillableSeconds: seconds(d.BillableTimeInSeconds)}
	if percent, spot := SpotSaving(d); spot {
		r.SpotSavedPercent = &percent
	}
	if m := d.ModelArtifacts; m != nil {
		r.Model = aws.ToString(m.S3ModelArtifacts)
	}
	r.Instances, r.Inputs = instances(d), inputs(d)
	if err := addMetrics(ctx, r, d, logs); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Missing = fmt.Sprintf("only the final values are known: %v", err)
		r.Metrics = FinalMetrics(d)
	}
	return r, nil
}

func seconds(n *int32) *int {
	if n == nil {
		return nil
	}
	return aws.Int(int(*n))
}

// SpotSaving returns what a job on spot instances saved, as SageMaker defines it: the
// share of its training time that is not billed.
func SpotSaving(d *sagemaker.DescribeTrainingJobOutput) (percent int, known bool) {
	if d == nil {
		return 0, false
	}
	trained, billed := aws.ToInt32(d.TrainingTimeInSeconds), d.BillableTimeInSeconds
	if !aws.ToBool(d.EnableManagedSpotTraining) || trained <= 0 || billed == nil {
		return 0, false
	}
	return int(math.Round(100 * (1 - float64(*billed)/float64(trained)))), true
}

// instances names the instance types of a job's hosts.
func instances(d *sagemaker.DescribeTrainingJobOutput) (all []string) {
	c := d.ResourceConfig
	if c == nil {
		return nil
	}
	if c.InstanceType != "" {
		all = append(all, fmt.Sprintf("%d of %s", aws.ToInt32(c.InstanceCount), c.InstanceType))
	}
	for _, g := range c.InstanceGroups {
		all = append(all, fmt.Sprintf("%s: %d of %s", aws.ToString(g.InstanceGroupName), aws.ToInt32(g.InstanceCount), g.InstanceType))
	}
	return all
}

// inputs returns the sealed channels, which the opener's arguments name, and the user's
// other channels.
func inputs(d *sagemaker.DescribeTrainingJobOutput) (all []report.Input) {
	sealed := map[string]bool{ownChannel: true, codeChannel: true, keyChannel: true}
	if s := d.AlgorithmSpecification; s != nil {
		for i, arg := range s.ContainerArguments {
			if arg == "--" { // the command's own arguments follow
				break
			}
			if arg != "--channel" || i+1 == len(s.ContainerArguments) {
				continue
			}
			channel, name, _ := strings.Cut(s.ContainerArguments[i+1], "=")
			ref, err := dataset.ParseReference(name)
			if err != nil || sealed[channel] {
				continue
			}
			sealed[channel] = true
			all = append(all, report.Input{Channel: channel, Dataset: ref.Dataset, Version: ref.Number})
		}
	}
	for _, c := range d.InputDataConfig {
		name := aws.ToString(c.ChannelName)
		if sealed[name] || c.DataSource == nil || c.DataSource.S3DataSource == nil {
			continue
		}
		all = append(all, report.Input{Channel: name, Place: aws.ToString(c.DataSource.S3DataSource.S3Uri)})
	}
	return all
}

// addMetrics reads the job's log.
func addMetrics(ctx context.Context, r *report.Report, d *sagemaker.DescribeTrainingJobOutput, logs LogsAPI) error {
	if d.AlgorithmSpecification == nil || len(d.AlgorithmSpecification.MetricDefinitions) == 0 {
		r.Metrics = FinalMetrics(d)
		return nil
	}
	var definitions []metrics.Definition
	for _, m := range d.AlgorithmSpecification.MetricDefinitions {
		definitions = append(definitions, metrics.Definition{Name: aws.ToString(m.Name), Regex: aws.ToString(m.Regex)})
	}
	c, err := metrics.New(definitions)
	if err != nil {
		return err
	}
	l := &Logs{API: logs, Job: r.Job, Line: func(line Line) { c.Line(line.Time, line.Text) }}
	if _, err := l.Poll(ctx); err != nil {
		return err
	}
	r.Metrics = c.Series()
	for i, m := range r.Metrics { // whose lines CloudWatch no longer has
		if m.Count > 0 {
			continue
		}
		for _, final := range FinalMetrics(d) {
			if final.Name == m.Name {
				r.Metrics[i] = final
			}
		}
	}
	return nil
}

// FinalMetrics returns the last value of each metric that SageMaker knows, as a series with one
// value.
func FinalMetrics(d *sagemaker.DescribeTrainingJobOutput) (all []metrics.Series) {
	if d == nil {
		return nil
	}
	for _, m := range d.FinalMetricDataList {
		v := float64(aws.ToFloat32(m.Value))
		s := metrics.Series{Name: aws.ToString(m.MetricName), Count: 1, Last: strconv.FormatFloat(v, 'g', -1, 32)}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			s.NotFinite = 1
		} else {
			s.Min, s.Max, s.Points = &v, &v, []metrics.Point{{Time: aws.ToTime(m.Timestamp), Value: v}}
		}
		all = append(all, s)
	}
	return all
}
