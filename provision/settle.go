package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// A Wait is a pause before retrying a request that AWS has temporarily refused.
type Wait struct {
	// What names the step that waits; it is empty for a request of Plan.
	What string
	For  time.Duration
	// Why is the error that AWS returned.
	Why error
}

// patience is how long a step waits in total for conditions that pass with time.
const patience = 2 * time.Minute

// settle carries out a step, and retries it as long as AWS returns errors that pass
// with time: a new resource is not visible everywhere at once, and concurrent
// changes of a resource exclude each other.
func (p *Provisioner) settle(ctx context.Context, s Step) error {
	var waited time.Duration
	for wait := time.Second; ; wait = min(2*wait, 16*time.Second) {
		err := s.do(ctx)
		if !passes(err) {
			return err
		}
		var unsure []string
		if ofPrincipal(err) {
			var missing []string
			if missing, unsure = p.missingPrincipals(ctx); len(missing) > 0 && waited >= 3*time.Second {
				return fmt.Errorf("there is no %s; make it first, or correct --admin, --user and --assume: %w", strings.Join(missing, ", and no "), err)
			}
		}
		if waited >= patience {
			if len(unsure) > 0 {
				err = fmt.Errorf("one of these probably does not exist: %s: %w", strings.Join(unsure, ", "), err)
			}
			return fmt.Errorf("AWS refused it for %v: %w", waited, err)
		}
		what := s.Resource
		if s.Property != "" {
			what += ": " + s.Property
		}
		if err := p.pause(ctx, Wait{what, wait, err}); err != nil {
			return err
		}
		waited += wait
	}
}

func (p *Provisioner) tellWait(w Wait) {
	if p.OnWait != nil {
		p.mu.Lock()
		defer p.mu.Unlock() // also if OnWait panics
		p.OnWait(w)
	}
}

// pause waits, and reports it to OnWait.
func (p *Provisioner) pause(ctx context.Context, w Wait) error {
	p.tellWait(w)
	sleep := p.sleep
	if sleep == nil {
		sleep = func(ctx context.Context, d time.Duration) error {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-t.C:
				return nil
			}
		}
	}
	return sleep(ctx, w.For)
}

// passes reports whether the error of a change is one that time fixes. What a step
// changes existed or was created before it, so "not found" passes too.
func passes(err error) bool {
	switch awserr.Code(err) {
	case "OperationAborted", "ConditionalRequestConflict", // S3
		"NoSuchBucket",
		"NotFoundException", "KMSInvalidStateException", // KMS
		"NoSuchEntity", "NoSuchEntityException", // IAM
		"ConcurrentModification", "ConcurrentModificationException", "EntityTemporarilyUnmodifiable", "EntityTemporarilyUnmodifiableException",
		"ServiceUnavailable", "InternalError", "ServiceFailure", "InternalFailure", "KMSInternalException", "DependencyTimeoutException":
		return true
	case "LimitExceededException":
		return false
	}
	return ofPrincipal(err) || awserr.Throttled(err)
}

// ofPrincipal reports whether the error says that a policy names a principal that the service
// does not know.
func ofPrincipal(err error) bool {
	return is(err, "MalformedPolicyDocumentException", "MalformedPolicyDocument", "MalformedPolicy") &&
		strings.Contains(strings.ToLower(err.Error()), "principal")
}

// missingPrincipals returns the principals of the settings that do not exist, and
// those for which that cannot be determined: those of other accounts, or that the
// caller may not read.
func (p *Provisioner) missingPrincipals(ctx context.Context) (missing, unsure []string) {
	names := slices.Concat(p.Admins, p.Users, p.Assume)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		a, err := arn.Parse(name)
		kind, path, ok := strings.Cut(a.Resource, "/")
		if err != nil || !ok {
			continue // the account itself
		}
		if a.AccountID != p.account {
			unsure = append(unsure, name)
			continue
		}
		short, got := path[strings.LastIndex(path, "/")+1:], ""
		if kind == "user" {
			var out *iam.GetUserOutput
			if out, err = p.iam.GetUser(ctx, &iam.GetUserInput{UserName: &short}); err == nil {
				got = aws.ToString(out.User.Arn)
			}
		} else {
			var out *iam.GetRoleOutput
			if out, err = p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &short}); err == nil {
				got = aws.ToString(out.Role.Arn)
			}
		}
		switch {
		case is(err, "NoSuchEntity", "NoSuchEntityException"):
			missing = append(missing, name)
		case err != nil:
			unsure = append(unsure, name)
		case got != name:
			missing = append(missing, fmt.Sprintf("%s (but %s)", name, got))
		}
	}
	return missing, unsure
}

// A patient retryer gives up early if a service cannot be reached, and late if the
// service asks for fewer requests.
type patient struct {
	*retry.Standard
	p *Provisioner
}

const (
	attempts          = 3
	throttledAttempts = 12
)

func newPatient(p *Provisioner) *patient {
	return &patient{p: p, Standard: retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff, o.RateLimiter = throttledAttempts, 20*time.Second, ratelimit.None
	})}
}

// IsErrorRetryable excludes errors that the SDK considers throttling but that mean an exhausted
// quota.
func (r *patient) IsErrorRetryable(err error) bool {
	return !is(err, "LimitExceededException") && r.Standard.IsErrorRetryable(err)
}

// RetryDelay returns the error itself if there must be no further attempt.
func (r *patient) RetryDelay(attempt int, err error) (time.Duration, error) {
	throttled := awserr.Throttled(err)
	if attempt >= attempts && !throttled {
		return 0, err
	}
	d, derr := r.Standard.RetryDelay(attempt, err)
	if derr != nil {
		return 0, err
	}
	if throttled && attempt > 1 && r.p.OnWait != nil {
		r.p.mu.Lock()
		defer r.p.mu.Unlock()
		r.p.OnWait(Wait{For: d.Round(time.Second), Why: err})
	}
	if r.p.sleep != nil {
		return 0, nil // the tests have no time
	}
	return d, nil
}

// once is for a request that must not be repeated unless it certainly had no effect.
func (p *Provisioner) once(o *kms.Options) {
	r, ok := o.Retryer.(*patient)
	if !ok {
		return
	}
	o.Retryer = &onlyThrottled{r}
}

type onlyThrottled struct{ *patient }

func (r *onlyThrottled) IsErrorRetryable(err error) bool { return awserr.Throttled(err) }

// parallel calls f for 0 to n-1, a few at once, and returns their errors. It
// reports progress if there are more than a few.
func (p *Provisioner) parallel(n int, what string, f func(int) error) error {
	const atOnce = 10
	errs := make([]error, n)
	done := 0
	// An error does not prevent the others from being called.
	workers.Run(context.Background(), atOnce, func(_ context.Context, g *workers.Group) error {
		for i := range n {
			g.Go(func() error {
				errs[i] = f(i)
				p.mu.Lock()
				defer p.mu.Unlock()
				done++
				if p.OnProgress != nil && what != "" && n > 2*atOnce && (done%20 == 0 || done == n) {
					p.OnProgress(what, done, n)
				}
				return nil
			})
		}
		return nil
	})
	for _, err := range errs { // the first, so that the same one is reported each time
		if err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
