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

	tokens map[string]*string // of each stream, where to continue
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
	pages, err := l.pages(ctx)
	some := false
	for {
		var first *page
		for _, p := range pages { // sorted by name, the order of lines with equal times
			if len(p.lines) > 0 && (first == nil || p.lines[0].Time.Before(first.lines[0].Time)) {
				first = p
			}
		}
		if first == nil {
			return some, err
		}
		some = true
		l.Line(first.lines[0])
		if first.lines = first.lines[1:]; len(first.lines) == 0 && err == nil {
			err = l.turn(ctx, first) // after an error, what was read is still passed on: it will not be read again
		}
	}
}

// A page is what was read from a stream and has not been passed on yet. Its size is
// limited, so that a log of any length takes little memory.
type page struct {
	stream string
	lines  []Line
	last   bool
}

// pages reads the next page of each stream. With an error, it returns the pages read before it.
func (l *Logs) pages(ctx context.Context) (all []*page, err error) {
	for _, stream := range slices.Sorted(maps.Keys(l.tokens)) {
		p := &page{stream: stream}
		if err := l.turn(ctx, p); err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

// turn reads the next page that has lines, unless the stream has no more for now.
func (l *Logs) turn(ctx context.Context, p *page) error {
	for len(p.lines) == 0 && !p.last {
		if err := l.read(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// findStreams looks for the streams of the job: JOB/algo-N-TIME, and another for
// each restart.
func (l *Logs) findStreams(ctx context.Context) error {
	in := &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: l.group(), LogStreamNamePrefix: aws.String(l.Job + "/")}
	for {
		out, err := l.API.DescribeLogStreams(ctx, in)
		var none *types.ResourceNotFoundException
		if errors.As(err, &none) {
			return nil // the group is created by the account's first job
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

// read reads the next page of a stream. The stream ends, for now, when the token stays the
// same.
func (l *Logs) read(ctx context.Context, p *page) error {
	_, host, _ := strings.Cut(p.stream, "/")
	if i := strings.LastIndexByte(host, '-'); i > 0 {
		host = host[:i]
	}
	before := l.tokens[p.stream]
	in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: l.group(), LogStreamName: &p.stream, StartFromHead: aws.Bool(true), NextToken: before}
	if !l.Since.IsZero() {
		in.StartTime = aws.Int64(l.Since.UnixMilli())
	}
	out, err := l.API.GetLogEvents(ctx, in)
	if err != nil {
		return explain("GetLogEvents", l.Job, err)
	}
	for _, e := range out.Events {
		p.lines = append(p.lines, Line{Host: host, Time: time.UnixMilli(aws.ToInt64(e.Timestamp)), Text: oneLine(strings.TrimRight(aws.ToString(e.Message), "\r\n"))})
	}
	p.last = out.NextForwardToken == nil || before != nil && *before == *out.NextForwardToken
	if out.NextForwardToken != nil {
		l.tokens[p.stream] = out.NextForwardToken
	}
	return nil
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
