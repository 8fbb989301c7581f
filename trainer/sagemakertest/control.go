package sagemakertest

import (
	"cmp"
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// An Outcome is the end of a job that is not run.
type Outcome struct {
	Status    types.TrainingJobStatus // Completed, Failed or Stopped
	Secondary types.SecondaryStatus   // "" for the same
	Message   string                  // the StatusMessage; "" for the usual one
	Reason    string                  // the FailureReason
}

// Outcome makes the job with the name, or all jobs for "*", end with this
// outcome right after creation, without running.
func (s *Server) Outcome(name string, o Outcome) {
	o.Secondary = cmp.Or(o.Secondary, types.SecondaryStatus(o.Status))
	o.Message = cmp.Or(o.Message, endMessages[o.Secondary])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[name] = o
}

// Wait waits until the job with the name, in any Region, has ended. It returns
// the job's status, and the reason if it failed.
func (s *Server) Wait(ctx context.Context, name string) (status types.TrainingJobStatus, reason string, err error) {
	j, err := s.named(name)
	if err != nil {
		return "", "", err
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.status, j.reason, nil
}

// Interrupt takes away the spot instances of the job, which must be training:
// its containers get SIGTERM, then SIGKILL, everything except the checkpoints is
// lost, and the job starts again.
func (s *Server) Interrupt(name string) error {
	j, err := s.named(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case j.in.EnableManagedSpotTraining == nil || !*j.in.EnableManagedSpotTraining:
		return fmt.Errorf("sagemakertest: the job %s is no managed spot training", name)
	case j.interrupt == nil || j.secondary != types.SecondaryStatusTraining:
		return fmt.Errorf("sagemakertest: the job %s is in the status %s, not Training", name, j.secondary)
	}
	j.interrupt()
	return nil
}

func (s *Server) named(name string) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		if j.name == name {
			return j, nil
		}
	}
	return nil, fmt.Errorf("sagemakertest: there is no job %s", name)
}
