package trainer

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/vaultpack/vaultpack/internal/given"
)

// logGroup is the log group to which SageMaker writes the output of training jobs.
const logGroup = "/aws/sagemaker/TrainingJobs"

// LogsAPI is the part of CloudWatch Logs that this package calls.
type LogsAPI interface {
	DescribeLogStreams(context.Context, *cloudwatchlogs.DescribeLogStreamsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogStreamsOutput, error)
	GetLogEvents(context.Context, *cloudwatchlogs.GetLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error)
}

// A Line is one line of a job's output.
type Line struct {
	Host string // algo-1
	Time time.Time
	Text string // the whole line, without control characters and escape sequences
}

// Logs reads the output of all hosts of a job, each line once. Lines of one host
// keep their order; lines of several hosts are merged by time if they are read
// together.
type Logs struct {
	API LogsAPI
	Job string
	// Group is the log group; the default is that of training jobs.
	Group string
	Line  func(Line)
	// Hosts is the number of hosts of the job, from which Line can tell whether to show
	// a line's host. A Watcher sets it.
	Hosts int
	// Quiet is how long Finish waits for new lines after the job's end, since
	// CloudWatch shows lines some seconds late. The default is 5 seconds.
	Quiet time.Duration
	// Since omits older lines; the zero time omits nothing.
	Since time.Time

	tokens map[string]*string // of each stream, where to go on
}

// Poll reads the new lines, and reports whether there were any. If the job has
// written nothing yet, that is not an error.
func (l *Logs) Poll(ctx context.Context) (bool, error) {
	if err := given.Check(ctx, l != nil && l.API != nil, errNoLogs); err != nil {
		return false, err
	}
	if l.tokens == nil {
		l.tokens = map[string]*string{}
	}
	if err := l.findStreams(ctx); err != nil {
		return false, err
	}
	var lines []Line
	var failed error
	for _, stream := range slices.Sorted(maps.Keys(l.tokens)) {
		got, err := l.read(ctx, stream)
		lines = append(lines, got...)
		if failed = err; failed != nil {
			break // what was read is told: it will not be read again
		}
	}
	slices.SortStableFunc(lines, func(a, b Line) int { return cmp.Compare(a.Time.UnixMilli(), b.Time.UnixMilli()) })
	for _, line := range lines {
		l.Line(line)
	}
	return len(lines) > 0, failed
}

// findStreams looks for the streams of the job: JOB/algo-N-TIME, another for each
// restart.
func (l *Logs) findStreams(ctx context.Context) error {
	in := &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: l.group(), LogStreamNamePrefix: aws.String(l.Job + "/")}
	for {
		out, err := l.API.DescribeLogStreams(ctx, in)
		var none *types.ResourceNotFoundException
		if errors.As(err, &none) {
			return nil // the first job of the account makes the group
		}
		if err != nil {
			return explain("DescribeLogStreams", l.Job, err)
		}
		for _, s := range out.LogStreams {
			name := aws.ToString(s.LogStreamName)
			if _, known := l.tokens[name]; !known && strings.HasPrefix(name, l.Job+"/") {
				l.tokens[name] = nil
			}
		}
		if aws.ToString(out.NextToken) == "" {
			return nil
		}
		in.NextToken = out.NextToken
	}
}

func (l *Logs) group() *string { return aws.String(cmp.Or(l.Group, logGroup)) }

// read reads a stream to its present end, which is where the token stays the same.
func (l *Logs) read(ctx context.Context, stream string) (lines []Line, err error) {
	_, host, _ := strings.Cut(stream, "/")
	if i := strings.LastIndexByte(host, '-'); i > 0 {
		host = host[:i]
	}
	for {
		in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: l.group(), LogStreamName: &stream, StartFromHead: aws.Bool(true), NextToken: l.tokens[stream]}
		if !l.Since.IsZero() {
			in.StartTime = aws.Int64(l.Since.UnixMilli())
		}
		out, err := l.API.GetLogEvents(ctx, in)
		if err != nil {
			return lines, explain("GetLogEvents", l.Job, err)
		}
		for _, e := range out.Events {
			lines = append(lines, Line{Host: host, Time: time.UnixMilli(aws.ToInt64(e.Timestamp)), Text: oneLine(strings.TrimRight(aws.ToString(e.Message), "\r\n"))})
		}
		before := l.tokens[stream]
		if out.NextForwardToken != nil {
			l.tokens[stream] = out.NextForwardToken
		}
		if out.NextForwardToken == nil || before != nil && *before == *out.NextForwardToken {
			return lines, nil
		}
	}
}

// Finish continues to read after the job's end, until no new line has come for Quiet.
func (l *Logs) Finish(ctx context.Context) error {
	if err := given.Check(ctx, l != nil && l.API != nil, errNoLogs); err != nil {
		return err
	}
	quiet := l.Quiet
	if quiet == 0 {
		quiet = 5 * time.Second
	}
	last, failures := time.Now(), 0
	for time.Since(last) < quiet {
		if !sleep(ctx, quiet/4) {
			return ctx.Err()
		}
		some, err := l.Poll(ctx)
		switch {
		case err != nil && (!passes(err) || failures == 5):
			return err
		case err != nil:
			failures++
			last = time.Now()
		case some:
			last = time.Now()
		}
	}
	return nil
}
