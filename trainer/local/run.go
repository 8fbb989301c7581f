package local

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// A run is a job that runs.
type run struct {
	*Job
	ws      *workspace
	rec     *record
	cluster *cluster
	walls   walls
	now     <-chan struct{} // closed when the job is to end at once
	// delivered is set when the results are where they are to be.
	delivered bool
	stored    map[string]stamp // checkpoints that are in S3 already
}

// Run runs the job to its end. The error is about the run itself; the result says
// how the command ended. All plaintext is in a private folder, which Run removes,
// except for results that were not delivered.
func (j *Job) Run(ctx context.Context) (res *Result, err error) {
	switch {
	case j == nil:
		return nil, errors.New("local: a nil Job")
	case ctx == nil:
		return nil, errors.New("local: a nil context")
	case len(j.Command) == 0 && j.Entry == "":
		return nil, errors.New("local: a job without a command")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if j.Logf == nil {
		j.Logf = func(string, ...any) {}
	}
	defer func() { j.Certificate.Wipe() }()
	ctx, now, release := j.watch(ctx)
	defer release()
	if err := j.To.Check(); err != nil {
		return nil, fmt.Errorf("the results cannot be delivered there: %w", err)
	}
	if err := j.Checkpoints.Check(); err != nil {
		return nil, fmt.Errorf("the checkpoints cannot be kept there: %w", err)
	}
	if err := j.Reach(ctx); err != nil {
		return nil, err
	}
	ws, err := newWorkspace(j)
	if err != nil {
		return nil, err
	}
	defer ws.close()
	r := &run{Job: j, ws: ws, now: now}
	r.rec = &record{Job: j.Name, To: j.To, Checkpoints: j.Checkpoints, Drop: j.Output == nil, Started: time.Now().UTC()}
	if len(j.Sealed) > 0 {
		r.rec.Dataset = j.Sealed[0].Dataset.Name
	}
	defer func() { err = r.settle(err) }()
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	if err := r.certify(ctx); err != nil {
		return nil, err
	}
	if res, err = r.prepare(ctx); res != nil || err != nil {
		return res, err
	}
	j.Close() // no data key is in memory while the job runs
	if res, err = r.train(ctx); err != nil {
		return nil, err
	}
	return res, r.deliver(ctx, res)
}

// settle removes the job's folder. Whatever has happened, what the job has made is removed
// only once it was delivered.
func (r *run) settle(err error) error {
	gathered := r.gather()
	res := r.results(r.rec.Status)
	if gathered == nil && !res.unkept() && (r.delivered || r.rec.Drop || res.Empty()) {
		return errors.Join(err, r.ws.remove())
	}
	err = errors.Join(err, gathered)
	var kept *UndeliveredError
	if !errors.As(err, &kept) && err != nil {
		err = &UndeliveredError{r.Name, r.ws.dir, err}
	}
	if serr := r.ws.strip(); serr != nil {
		err = errors.Join(err, serr)
	}
	return err
}

func (r *run) gather() error {
	return gather(r.ws.dir, func(err error) { r.Logf("warning: %v", err) })
}

func (r *run) results(status Status) *Results {
	made := newResults(r.ws.base, r.Name, status, r.rec.Ended, r.rec.Checkpoints)
	made.stored = r.stored
	return made
}

// begin makes the job known to others, and finds out what its hosts can be.
func (r *run) begin(ctx context.Context) error {
	r.Logf("%s", r.ws.why)
	if err := r.rec.write(r.ws.dir); err != nil {
		return err
	}
	if err := r.checkOthers(r.ws.dir); err != nil {
		return err
	}
	var err error
	if r.cluster, err = r.newCluster(r.ws.dir); err != nil {
		return err
	}
	if err := r.checkShares(ctx); err != nil {
		return err
	}
	return r.build()
}

// certify makes the job's certificate.
func (r *run) certify(ctx context.Context) error {
	if r.Certify == nil {
		return nil
	}
	cert, err := r.Certify(ctx)
	if err == nil {
		r.Job.Certificate = cert
	}
	return err
}

// checkShares returns an error if a channel cannot be shared by the hosts, as for SageMaker.
func (r *run) checkShares(ctx context.Context) error {
	n := len(r.cluster.hosts)
	for _, s := range r.Sealed {
		if !s.Sharded {
			continue
		}
		c, err := s.Version.Contents(ctx)
		switch {
		case err != nil:
			return err
		case c.Split != "":
			return &ChannelError{s.Channel, fmt.Errorf("%q is larger than a pack, and with ShardedByS3Key no host would get all of it; use FullyReplicated, or upload with a larger --pack-size", c.Split)}
		case len(c.Packs) < n:
			return &ChannelError{s.Channel, fmt.Errorf("version %d has %d packs for %d hosts, so with ShardedByS3Key some would get nothing; use fewer hosts, or upload with a smaller --pack-size", s.Version.Number, len(c.Packs), n)}
		}
	}
	return nil
}

// prepare fills the hosts' folders. If there is a result, the job has ended already.
func (r *run) prepare(ctx context.Context) (*Result, error) {
	stopped := func() bool { return ctx.Err() != nil }
	early := &Result{Status: Stopped, Code: -1, Reason: "stopped before the command was started"}
	for _, h := range r.cluster.hosts {
		if err := r.layOut(ctx, &h); err != nil {
			return nil, err
		}
		err := r.open(ctx, &h)
		switch {
		case err == nil:
		case stopped():
			return early, nil
		default:
			reason := "AlgorithmError: " + err.Error()
			if werr := container.WriteFailure(h.base(), err); werr != nil {
				return nil, werr
			}
			return &Result{Status: Failed, Code: -1, Reason: reason}, err
		}
	}
	if r.Checkpoints == (Destination{}) {
		return nil, nil
	}
	switch err := r.resume(ctx); {
	case err == nil:
		return nil, nil
	case stopped():
		return early, nil
	default:
		return nil, fmt.Errorf("fetching the checkpoints of an earlier job: %w", err)
	}
}

// open stages the sealed channels of a host and opens them.
func (r *run) open(ctx context.Context, h *host) error {
	base := h.base()
	logf := r.Logf
	if len(r.cluster.hosts) > 1 {
		logf = func(format string, args ...any) { r.Logf("%s: "+format, slices.Insert(args, 0, any(h.name))...) }
	}
	cfg := container.Config{BaseDir: base, Keys: r.Keys, Context: r.Context, Tars: r.Tars, Logf: logf}
	for _, s := range r.Sealed {
		var part share
		if s.Sharded {
			part.part, part.of = r.cluster.share(h)
		}
		ch, err := stage(ctx, s.Version, s.Dataset, base, s.Channel, part)
		if err != nil {
			return fmt.Errorf("channel %s: %w", s.Channel, err)
		}
		cfg.Channels = append(cfg.Channels, ch)
	}
	for name, dir := range r.Plain {
		if err := copyPlain(filepath.Join(base, "input", "data", name), dir); err != nil {
			return fmt.Errorf("channel %s: %w", name, err)
		}
	}
	for name, ch := range r.Remote {
		if err := r.fetchChannel(ctx, h, filepath.Join(base, "input", "data", name), ch); err != nil {
			return fmt.Errorf("channel %s: %w", name, err)
		}
	}
	_, err := container.Open(ctx, &cfg)
	return err
}

// train runs the command, and notes how it has ended. If it cannot be started the
// checkpoints in the hosts' folders are an earlier job's, and are removed.
func (r *run) train(ctx context.Context) (*Result, error) {
	began := time.Now()
	var cmd *exec.Cmd
	var res *Result
	for _, dir := range r.dirs() {
		if err := reserve(dir); err != nil {
			return nil, err
		}
	}
	keep, err := r.keepStoring(ctx)
	if err == nil {
		if cmd, err = r.command(); err == nil {
			res, err = r.start(ctx, cmd)
		}
		r.stored = keep()
	}
	for _, dir := range r.dirs() {
		err = errors.Join(err, release(dir))
	}
	if cmd == nil || cmd.Process == nil {
		for _, h := range r.cluster.hosts {
			err = errors.Join(err, discard(filepath.Join(h.base(), checkpointsName)))
		}
	}
	if err := errors.Join(err, r.gather()); err != nil {
		return nil, err
	}
	r.sign(ctx, r.ws.base, res, began)
	if err := r.rec.end(r.ws.dir, res); err != nil {
		r.Logf("%v", err) // what follows tells how it ended
	}
	return res, nil
}

// deliver brings the checkpoints and the results where they are to go.
func (r *run) deliver(ctx context.Context, res *Result) error {
	made := r.results(res.Status)
	res.NoModel = res.Status == Completed && made.Unfinished
	if free := freeSpace(r.ws.dir); r.Output != nil && free < 1<<20 {
		r.Logf("warning: %s is full, so what the job has written may be incomplete: set --work-dir to a larger place for the job's files", r.ws.dir)
	}
	if res.Status == Stopped && ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = untilAgain(ctx, r.now)
		defer cancel()
	}
	if err := made.keep(ctx, r.Keep); err != nil {
		return &UndeliveredError{r.Name, r.ws.dir, err}
	}
	if r.Output == nil || made.Empty() {
		return nil
	}
	if err := r.Output(ctx, made); err != nil {
		return &UndeliveredError{r.Name, r.ws.dir, err}
	}
	r.delivered = true
	return nil
}
