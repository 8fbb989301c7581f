package sagemakertest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// LogGroup is the log group of training jobs, and ProcessingLogGroup that of processing
// jobs.
const (
	LogGroup           = "/aws/sagemaker/TrainingJobs"
	ProcessingLogGroup = "/aws/sagemaker/ProcessingJobs"
)

const (
	maxEvent = 256 << 10 // bytes; a longer line becomes several events
	maxPage  = 1 << 20   // bytes of events in an answer
)

// A logGroup is the log group of one kind of job in one Region. It exists from the first job
// on.
type logGroup struct {
	name    string
	streams []*logStream // sorted by name
	events  []event      // of all streams, in the order in which they arrived
}

type logStream struct {
	*Server
	group   *logGroup
	name    string
	created time.Time
	events  []event
}

type event struct {
	ID            string `json:"eventId,omitempty"`
	Stream        string `json:"logStreamName,omitempty"`
	Timestamp     int64  `json:"timestamp"`
	IngestionTime int64  `json:"ingestionTime"`
	Message       string `json:"message"`
}

// stream makes the stream of a host's container.
func (j *job) stream(host string) *logStream {
	j.mu.Lock()
	defer j.mu.Unlock()
	key := logKey{j.region, LogGroup}
	if j.processing {
		key.group = ProcessingLogGroup
	}
	g := j.groups[key]
	if g == nil {
		g = &logGroup{name: key.group}
		j.groups[key] = g
	}
	now := time.Now()
	for at := now.Unix(); ; at++ { // of two attempts in the same second, the later is named after the next second
		name := fmt.Sprintf("%s/%s-%d", j.name, host, at)
		i, found := slices.BinarySearchFunc(g.streams, name, func(l *logStream, name string) int { return strings.Compare(l.name, name) })
		if !found {
			l := &logStream{Server: j.Server, group: g, name: name, created: now}
			g.streams = slices.Insert(g.streams, i, l)
			return l
		}
	}
}

// add logs a line.
func (l *logStream) add(line string) {
	line = strings.ToValidUTF8(line, "\uFFFD")
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(line) > 0 {
		n := min(len(line), maxEvent)
		now := time.Now().UnixMilli()
		e := event{Timestamp: now, IngestionTime: now, Message: line[:n]}
		line = line[n:]
		l.events = append(l.events, e)
		e.ID, e.Stream = fmt.Sprintf("%056d", len(l.group.events)), l.name
		l.group.events = append(l.group.events, e)
	}
}

// Logs returns the lines that all hosts of the job have logged, in the order in
// which they arrived.
func (s *Server) Logs(name string) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		for _, e := range g.events {
			if strings.HasPrefix(e.Stream, name+"/") {
				lines = append(lines, e.Message)
			}
		}
	}
	return lines
}

type logGroupIn struct{ LogGroupName, LogGroupIdentifier string }

func (r *request) logGroup(in logGroupIn) (*logGroup, error) {
	if (in.LogGroupName == "") == (in.LogGroupIdentifier == "") {
		return nil, badParameter("Exactly one of logGroupName and logGroupIdentifier must be given.")
	}
	name := in.LogGroupName
	if name == "" {
		name = in.LogGroupIdentifier
		if strings.HasPrefix(name, "arn:") {
			name = name[strings.LastIndex(name, ":")+1:]
		}
	}
	if g := r.groups[logKey{r.region, name}]; g != nil {
		return g, nil
	}
	return nil, fail("ResourceNotFoundException", "The specified log group does not exist.")
}

func badParameter(format string, args ...any) error {
	return fail("InvalidParameterException", format, args...)
}

func limit(n *int, ordinary, most int) (int, error) {
	switch {
	case n == nil:
		return ordinary, nil
	case *n < 1 || *n > most:
		return 0, badParameter("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value between 1 and %d", *n, most)
	}
	return *n, nil
}

type describeStreamsIn struct {
	logGroupIn
	LogStreamNamePrefix string
	OrderBy             logtypes.OrderBy
	Descending          bool
	NextToken           string
	Limit               *int
}

func (r *request) describeLogStreams(in *describeStreamsIn) (any, error) {
	g, err := r.logGroup(in.logGroupIn)
	if err != nil {
		return nil, err
	}
	if in.OrderBy == logtypes.OrderByLastEventTime && in.LogStreamNamePrefix != "" {
		return nil, badParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	max, err := limit(in.Limit, 50, 50)
	if err != nil {
		return nil, err
	}
	var found []*logStream
	for _, l := range g.streams {
		if strings.HasPrefix(l.name, in.LogStreamNamePrefix) {
			found = append(found, l)
		}
	}
	if in.OrderBy == logtypes.OrderByLastEventTime {
		slices.SortStableFunc(found, func(a, b *logStream) int { return cmp.Compare(a.last(), b.last()) })
	}
	if in.Descending {
		slices.Reverse(found)
	}
	skip, err := position(in.NextToken, "s", len(found))
	if err != nil {
		return nil, err
	}
	end := min(skip+max, len(found))
	list := []map[string]any{}
	for _, l := range found[skip:end] {
		m := map[string]any{"logStreamName": l.name, "creationTime": l.created.UnixMilli(), "storedBytes": 0,
			"arn": fmt.Sprintf("arn:%s:logs:%s:111122223333:log-group:%s:log-stream:%s", arn.Partition(r.region), r.region, g.name, l.name)}
		if len(l.events) > 0 {
			m["firstEventTimestamp"], m["lastEventTimestamp"], m["lastIngestionTime"] = l.events[0].Timestamp, l.last(), l.last()
		}
		list = append(list, m)
	}
	out := map[string]any{"logStreams": list}
	if end < len(found) {
		out["nextToken"] = token("s", end)
	}
	return out, nil
}

func (l *logStream) last() int64 {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[len(l.events)-1].Timestamp
}

// token is a place in a list; its kind says in which direction to continue.
func token(kind string, at int) string { return fmt.Sprintf("%s/%056d/s", kind, at) }

func position(tok, kind string, max int) (int, error) {
	if tok == "" {
		return 0, nil
	}
	digits, ok1 := strings.CutPrefix(tok, kind+"/")
	digits, ok2 := strings.CutSuffix(digits, "/s")
	n, err := strconv.Atoi(digits)
	if !ok1 || !ok2 || err != nil || n < 0 || n > max {
		return 0, badParameter("The specified nextToken is invalid.")
	}
	return n, nil
}

type getEventsIn struct {
	logGroupIn
	LogStreamName      string
	StartTime, EndTime *int64
	NextToken          string
	Limit              *int
	StartFromHead      bool
}

func (r *request) getLogEvents(in *getEventsIn) (any, error) {
	g, err := r.logGroup(in.logGroupIn)
	if err != nil {
		return nil, err
	}
	i, found := slices.BinarySearchFunc(g.streams, in.LogStreamName, func(l *logStream, name string) int { return strings.Compare(l.name, name) })
	if !found {
		return nil, fail("ResourceNotFoundException", "The specified log stream does not exist.")
	}
	max, err := limit(in.Limit, 10_000, 10_000)
	if err != nil {
		return nil, err
	}
	all := g.streams[i].events
	from, to := 0, len(all) // the events to examine; forward unless back
	back := !in.StartFromHead
	switch {
	case strings.HasPrefix(in.NextToken, "b/"):
		if to, err = position(in.NextToken, "b", len(all)); err != nil {
			return nil, err
		}
		back = true
	case in.NextToken != "":
		if from, err = position(in.NextToken, "f", len(all)); err != nil {
			return nil, err
		}
		if !in.StartFromHead {
			return nil, badParameter("startFromHead must be true with a nextForwardToken.")
		}
	}
	wanted := func(e event) bool {
		return (in.StartTime == nil || e.Timestamp >= *in.StartTime) && (in.EndTime == nil || e.Timestamp < *in.EndTime)
	}
	events := []event{}
	size := 0
	take := func(e event) bool {
		if !wanted(e) {
			return true
		}
		size += len(e.Message) + 26
		if len(events) == max || size > maxPage && len(events) > 0 {
			return false
		}
		events = append(events, e)
		return true
	}
	if back {
		i := to
		for i > from && take(all[i-1]) {
			i--
		}
		slices.Reverse(events)
		from = i
	} else {
		i := from
		for i < to && take(all[i]) {
			i++
		}
		to = i
	}
	return map[string]any{"events": events, "nextForwardToken": token("f", to), "nextBackwardToken": token("b", from)}, nil
}

type filterEventsIn struct {
	logGroupIn
	LogStreamNames      []string
	LogStreamNamePrefix string
	StartTime, EndTime  *int64
	FilterPattern       string
	NextToken           string
	Limit               *int
}

func (r *request) filterLogEvents(in *filterEventsIn) (any, error) {
	g, err := r.logGroup(in.logGroupIn)
	if err != nil {
		return nil, err
	}
	switch {
	case in.LogStreamNames != nil && in.LogStreamNamePrefix != "":
		return nil, badParameter("Only one of logStreamNames and logStreamNamePrefix may be given.")
	case strings.ContainsAny(in.FilterPattern, `{}[]?-%*" `):
		return nil, notDone("a filterPattern other than one word")
	}
	max, err := limit(in.Limit, 10_000, 10_000)
	if err != nil {
		return nil, err
	}
	at, err := position(in.NextToken, "e", len(g.events))
	if err != nil {
		return nil, err
	}
	events := []event{}
	for size := 0; at < len(g.events) && len(events) < max && size < maxPage; at++ {
		e := g.events[at]
		if strings.HasPrefix(e.Stream, in.LogStreamNamePrefix) && (in.LogStreamNames == nil || slices.Contains(in.LogStreamNames, e.Stream)) &&
			(in.StartTime == nil || e.Timestamp >= *in.StartTime) && (in.EndTime == nil || e.Timestamp <= *in.EndTime) &&
			strings.Contains(e.Message, in.FilterPattern) {
			events = append(events, e)
			size += len(e.Message) + 26
		}
	}
	out := map[string]any{"events": events}
	if at < len(g.events) {
		out["nextToken"] = token("e", at)
	}
	return out, nil
}
