package trainer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/vault"
)

// describe is an answer of DescribeTrainingJob.
func describe(status, reason string, steps ...string) string {
	var ts []string
	for i, s := range steps {
		s, message, _ := strings.Cut(s, ":")
		ts = append(ts, fmt.Sprintf(`{"Status":%q,"StatusMessage":%q,"StartTime":%d}`, s, message, 1_700_000_000+i))
	}
	last, _, _ := strings.Cut(steps[len(steps)-1], ":")
	why, _ := json.Marshal(reason)
	return fmt.Sprintf(`{"TrainingJobName":"j","TrainingJobStatus":%q,"SecondaryStatus":%q,"FailureReason":%s,"SecondaryStatusTransitions":[%s]}`,
		status, last, why, strings.Join(ts, ","))
}

func TestWait(t *testing.T) {
	throttled := `{"__type":"ThrottlingException","message":"Rate exceeded"}`
	denied := `{"__type":"AccessDeniedException","message":"User: u is not authorized to perform: sagemaker:DescribeTrainingJob on resource: arn:j"}`
	for name, c := range map[string]struct {
		answers []string // the last one stays; those with __type are errors
		steps   string
		wrong   func(error) bool
	}{
		"completed": {[]string{describe("InProgress", "", "Starting:a"), describe("InProgress", "", "Starting:b", "Downloading:c"),
			describe("InProgress", "", "Starting:b", "Downloading:c", "Training:d"), describe("Completed", "", "Starting:b", "Downloading:c", "Training:d", "Uploading:e", "Completed:f")},
			"Starting:a Starting:b Downloading:c Training:d Uploading:e Completed:f", func(err error) bool { return err != nil }},
		"throttled": {[]string{throttled, throttled, throttled, describe("InProgress", "", "Starting:a"), `{"__type":"InternalFailure","message":"x"}`, describe("Completed", "", "Starting:a", "Completed:b")},
			"Starting:a Completed:b", func(err error) bool { return err != nil }},
		"failed": {[]string{describe("Failed", "AlgorithmError: \x1b[31mtampered\nexit code 4", "Starting:a", "Failed:b")}, "Starting:a Failed:b", func(err error) bool {
			var f *trainer.FailedError
			return !errors.As(err, &f) || f.Status != "Failed" || !strings.HasSuffix(err.Error(), "AlgorithmError: tampered exit code 4")
		}},
		"stopped is no success": {[]string{describe("Stopped", "", "Starting:a", "MaxRuntimeExceeded:b")}, "Starting:a MaxRuntimeExceeded:b", func(err error) bool {
			var f *trainer.FailedError
			return !errors.As(err, &f) || f.Status != "Stopped" || f.Detail != "MaxRuntimeExceeded"
		}},
		"denied":  {[]string{denied}, "", func(err error) bool { return !errors.Is(err, fs.ErrPermission) }},
		"unknown": {[]string{`{"__type":"ValidationException","message":"Requested resource not found."}`}, "", func(err error) bool { return !errors.Is(err, trainer.ErrNoJob) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := 0
			w.answer = func(string, int) (int, string) {
				a := c.answers[min(n, len(c.answers)-1)]
				n++
				if strings.Contains(a, "InternalFailure") {
					return 500, a
				}
				if strings.Contains(a, "__type") {
					return 400, a
				}
				return 200, a
			}
			var steps []string
			_, err := (&trainer.Watcher{SageMaker: w.launcher.SageMaker, Job: "j", Every: time.Millisecond,
				Changed: func(tr trainer.Transition) { steps = append(steps, tr.Status+":"+tr.Message) }}).Wait(t.Context())
			if c.wrong(err) {
				t.Errorf("%v", err)
			}
			if got := strings.Join(steps, " "); got != c.steps {
				t.Errorf("got  %s\nwant %s", got, c.steps)
			}
		})
	}
}

// Whoever stops waiting is let go at once; a service that fails for too long is told.
func TestWaitEnds(t *testing.T) {
	w := newWorld(t)
	w.answer = func(string, int) (int, string) { return 200, describe("InProgress", "", "Training:a") }
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := (&trainer.Watcher{SageMaker: w.launcher.SageMaker, Job: "j", Every: time.Hour}).Wait(ctx); !errors.Is(err, context.Canceled) || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	w.answer = func(string, int) (int, string) {
		return 503, `{"__type":"ServiceUnavailable","message":"x"}`
	}
	if _, err := (&trainer.Watcher{SageMaker: w.launcher.SageMaker, Job: "j", Every: time.Millisecond, Patience: 50 * time.Millisecond}).Wait(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "the job j goes on") {
		t.Errorf("%v", err)
	}
}

// fakeLogs are streams that grow with every look, in pages of two events, with an empty
// page in front.
type fakeLogs struct {
	streams map[string][]string // lines are "TIME text"
	shown   int                 // how many lines of each are there yet
	fails   error
	listed  []string
	read    int // how many pages
}

func (f *fakeLogs) DescribeLogStreams(_ context.Context, in *cloudwatchlogs.DescribeLogStreamsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogStreamsOutput, error) {
	f.shown += 2
	f.listed = append(f.listed, *in.LogStreamNamePrefix)
	if f.fails != nil {
		return nil, f.fails
	}
	if f.shown <= 2 {
		return nil, &logtypes.ResourceNotFoundException{}
	}
	var names []string
	for n := range f.streams {
		names = append(names, n)
	}
	slices.Sort(names)
	// One for each page.
	at := 0
	if in.NextToken != nil {
		fmt.Sscan(*in.NextToken, &at)
	}
	out := &cloudwatchlogs.DescribeLogStreamsOutput{LogStreams: []logtypes.LogStream{{LogStreamName: &names[at]}}}
	if at+1 < len(names) {
		out.NextToken = aws.String(fmt.Sprint(at + 1))
	}
	return out, nil
}

func (f *fakeLogs) GetLogEvents(_ context.Context, in *cloudwatchlogs.GetLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error) {
	if !aws.ToBool(in.StartFromHead) {
		return nil, errors.New("not from the head")
	}
	f.read++
	lines := f.streams[*in.LogStreamName]
	lines = lines[:min(f.shown, len(lines))]
	if in.NextToken == nil {
		return &cloudwatchlogs.GetLogEventsOutput{NextForwardToken: aws.String("f/0")}, nil
	}
	var at int
	fmt.Sscanf(*in.NextToken, "f/%d", &at)
	out := &cloudwatchlogs.GetLogEventsOutput{}
	for ; at < len(lines) && len(out.Events) < 2; at++ {
		ts, text, _ := strings.Cut(lines[at], " ")
		var ms int64
		fmt.Sscan(ts, &ms)
		out.Events = append(out.Events, logtypes.OutputLogEvent{Timestamp: &ms, Message: &text})
	}
	out.NextForwardToken = aws.String(fmt.Sprintf("f/%d", at))
	return out, nil
}

// Every line of every host comes once, in order, to the last one, which CloudWatch
// shows only after the job has ended.
func TestLogs(t *testing.T) {
	f := &fakeLogs{streams: map[string][]string{"j/algo-1-17000": nil, "j/algo-2-17001": nil, "j/algo-1-17009": {"99 restarted"}}}
	for i := range 21 {
		f.streams["j/algo-1-17000"] = append(f.streams["j/algo-1-17000"], fmt.Sprintf("%d a%d", 10+2*i, i))
		f.streams["j/algo-2-17001"] = append(f.streams["j/algo-2-17001"], fmt.Sprintf("%d b%d\r\n", 11+2*i, i))
	}
	var got []string
	l := &trainer.Logs{API: f, Job: "j", Quiet: 40 * time.Millisecond, Line: func(line trainer.Line) { got = append(got, line.Host+" "+line.Text) }}
	for range 5 {
		if _, err := l.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	byHost := map[string][]string{}
	for _, s := range got {
		host, text, _ := strings.Cut(s, " ")
		byHost[host] = append(byHost[host], text)
	}
	want := map[string][]string{}
	for i := range 21 {
		want["algo-1"] = append(want["algo-1"], fmt.Sprintf("a%d", i))
		want["algo-2"] = append(want["algo-2"], fmt.Sprintf("b%d", i))
	}
	byHost["algo-1"] = slices.DeleteFunc(byHost["algo-1"], func(s string) bool { return s == "restarted" })
	for host, lines := range want {
		if !slices.Equal(byHost[host], lines) {
			t.Errorf("%s: %q", host, byHost[host])
		}
	}
	if len(got) != 43 {
		t.Errorf("%d lines", len(got))
	}
	if i := slices.Index(got, "algo-1 a1"); i < 0 || got[i-1] != "algo-2 b0" {
		t.Errorf("not merged by time: %q", got)
	}
	if f.listed[0] != "j/" {
		t.Errorf("streams of %q", f.listed[0])
	}
}

// A log is told as it is read: of a long one no more than a page of each stream is held.
func TestLongLogs(t *testing.T) {
	f := &fakeLogs{shown: 1000, streams: map[string][]string{}}
	for _, stream := range []string{"j/algo-1-1", "j/algo-2-1"} {
		for i := range 1000 {
			f.streams[stream] = append(f.streams[stream], fmt.Sprintf("%d line", i))
		}
	}
	lines, most := 0, 0
	l := &trainer.Logs{API: f, Job: "j"}
	l.Line = func(trainer.Line) {
		lines++
		most = max(most, 2*f.read-lines) // two lines are a page
	}
	if _, err := l.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lines != 2000 || most > 12 {
		t.Errorf("%d lines, of which up to %d were held", lines, most)
	}
}

// Whoever may not read the log still follows the job.
func TestWaitWithoutLogs(t *testing.T) {
	w := newWorld(t)
	w.answer = func(string, int) (int, string) { return 200, describe("Completed", "", "Completed:a") }
	f := &fakeLogs{fails: &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}}
	var told error
	_, err := (&trainer.Watcher{SageMaker: w.launcher.SageMaker, Job: "j", Every: time.Millisecond, LogsFailed: func(err error) { told = err },
		Logs: &trainer.Logs{API: f, Job: "j", Line: func(trainer.Line) {}}}).Wait(t.Context())
	if err != nil || !errors.Is(told, fs.ErrPermission) || !strings.Contains(told.Error(), "logs:DescribeLogStreams on the log group /aws/sagemaker/TrainingJobs") {
		t.Errorf("%v; %v", err, told)
	}
}

// The key channel of a job is removed once: when it trains, or, where it may start again,
// when it has ended. That it could not be is an error, however well the job ends.
func TestKeyChannelIsRemoved(t *testing.T) {
	const place = "s3://data/ml/_vaultpack/jobs/scans/j/key/"
	starting, training := describe("InProgress", "", "Starting:a"), describe("InProgress", "", "Starting:a", "Training:b")
	completed, failed := describe("Completed", "", "Starting:a", "Training:b", "Completed:c"), describe("Failed", "", "Starting:a", "Failed:b")
	for name, c := range map[string]struct {
		answers  []string
		place    string // where the job has its key
		spot     bool
		at       int    // the look after which it is gone, from 1
		location string // of the vault that is configured; empty is that of the job
		refuse   bool   // the vault removes nothing
		enough   int    // the look after which WaitForKey ends
		left     bool   // the error says that the key is left
		told     string
	}{
		"it trains":              {[]string{starting, training, training, completed}, place, false, 2, "", false, 2, false, "removed"},
		"it may start again":     {[]string{starting, training, training, completed}, place, true, 4, "", false, 4, false, "removed"},
		"it never trains":        {[]string{starting, failed}, place, false, 2, "", false, 2, false, "removed"},
		"there is none":          {[]string{starting, training, completed}, "", false, 0, "", false, 2, false, ""},
		"of another vault":       {[]string{starting, training, completed}, place, false, 0, "s3://data/other", false, 2, true, "left left"},
		"of a folder":            {[]string{training, completed}, place, false, 0, "/a/folder", false, 1, true, "left left"},
		"of another job":         {[]string{training, completed}, "s3://data/ml/_vaultpack/jobs/scans/k/key/", false, 0, "", false, 1, true, "left left"},
		"of no dataset":          {[]string{training, completed}, "s3://data/ml/_vaultpack/jobs/../j/key/", false, 0, "", false, 1, true, "left left"},
		"of a job of before":     {[]string{training, completed}, "s3://data/ml/_vaultpack/jobs/j/key/", false, 0, "", false, 1, true, "left left"},
		"that cannot be removed": {[]string{starting, training, completed}, place, false, 0, "", true, 2, true, "left left"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, all := range []bool{true, false} {
				w := newWorld(t)
				inKey := "_vaultpack/jobs/scans/j/key/local.key"
				put := func(w io.Writer) error { _, err := io.WriteString(w, "key"); return err }
				if err := w.vault.Put(t.Context(), inKey, put); err != nil {
					t.Fatal(err)
				}
				looks, gone := 0, 0
				look := func() {
					if _, err := w.vault.Stat(t.Context(), inKey); err != nil && gone == 0 {
						gone = looks
					}
				}
				w.answer = func(string, int) (int, string) {
					look()
					a := c.answers[min(looks, len(c.answers)-1)]
					looks++
					if c.place != "" {
						a = strings.TrimSuffix(a, "}") + `,"InputDataConfig":[{"ChannelName":"training"},{"ChannelName":"vaultpack-key","DataSource":{"S3DataSource":{"S3Uri":"` + c.place + `"}}}]}`
					}
					return 200, strings.TrimSuffix(a, "}") + fmt.Sprintf(`,"EnableManagedSpotTraining":%v}`, c.spot)
				}
				v := *w.vault
				if c.location != "" {
					v.Location = c.location
				}
				if c.refuse {
					v.Store = refusing{v.Store}
				}
				var told []string
				watcher := &trainer.Watcher{SageMaker: w.launcher.SageMaker, Job: "j", Every: time.Millisecond,
					OpenVault: func(context.Context) (*vault.Vault, error) {
						if c.place == "" {
							t.Error("the vault is opened for nothing")
						}
						return &v, nil
					},
					KeyRemoved: func(err error) {
						if told = append(told, "removed"); err != nil {
							told[len(told)-1] = "left"
						}
					}}
				wait, wantLooks := watcher.Wait, len(c.answers)
				if !all {
					wait, wantLooks = watcher.WaitForKey, c.enough
				}
				out, err := wait(t.Context())
				look()
				var left *trainer.KeyLeftError
				if out == nil || errors.As(err, &left) != c.left || looks != wantLooks || gone != c.at {
					t.Errorf("to the end %v: %v after %d looks, gone after %d", all, err, looks, gone)
				}
				if c.left && left != nil && (left.Place != c.place || left.Job != "j") {
					t.Errorf("left at %s", left.Place)
				}
				if got := strings.Join(told, " "); got != c.told && (all || !strings.HasPrefix(c.told, got)) {
					t.Errorf("told %q", got)
				}
			}
		})
	}
}

type refusing struct{ vault.Store }

func (refusing) Delete(context.Context, string) error { return fs.ErrPermission }

// Who stops following is told where the key lies that nobody removes now.
func TestKeyOfAJobThatGoesOn(t *testing.T) {
	w := newWorld(t)
	var cancel context.CancelFunc
	w.answer = func(string, int) (int, string) {
		time.AfterFunc(20*time.Millisecond, cancel)
		return 200, strings.TrimSuffix(describe("InProgress", "", "Starting:a"), "}") + `,"InputDataConfig":[{"ChannelName":"vaultpack-key","DataSource":{"S3DataSource":{"S3Uri":"s3://a/b/"}}}]}`
	}
	for _, wait := range []func(*trainer.Watcher, context.Context) (*sagemaker.DescribeTrainingJobOutput, error){(*trainer.Watcher).Wait, (*trainer.Watcher).WaitForKey} {
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		_, err := wait(&trainer.Watcher{SageMaker: w.launcher.SageMaker, Job: "j", Every: time.Hour}, ctx)
		var on *trainer.GoesOnError
		if !errors.As(err, &on) || !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if on.Key != "s3://a/b/" {
			t.Errorf("%q", on.Key)
		}
	}
}
