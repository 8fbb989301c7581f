package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// The key channel is how a job without network gets the data key: a local key made
// only for this job, and the keyrings with a slot for it. They are stored with
// SSE-KMS under a separate KMS key, for as long as the job needs them. The data key
// itself is never written.
func keyFolder(dataset, job string) string { return objects.JobFolder(dataset, job) + "key/" }

// stageKey writes the key channel.
func (l *Launcher) stageKey(ctx context.Context, p *staging) error {
	store, err := l.KeyStore(ctx, p.job.KeyChannel)
	if err != nil {
		return err
	}
	key := envelope.GenerateLocalKey()
	defer key.Wipe()
	text := key.EncodeSecret()
	defer clear(text)
	folder := keyFolder(p.dataset(), p.run.Job)
	done := map[string]bool{}
	for _, s := range p.Sealed {
		for _, id := range s.Contents.Keys {
			ring, name, err := s.set.KeyringFor(ctx, id, key)
			if err != nil {
				return err
			}
			if done[name] {
				continue
			}
			done[name] = true
			if err := put(ctx, store, folder+name, ring.Bytes()); err != nil {
				return fmt.Errorf("the key channel: %w", err)
			}
		}
	}
	if err := put(ctx, store, folder+"local.key", text); err != nil {
		return fmt.Errorf("the key channel: %w", err)
	}
	return nil
}

// RemoveKey removes the key channel of a job on a dataset from the vault. If the key
// channel does not exist, RemoveKey returns nil. In a bucket with versioning, old
// versions stay until a lifecycle rule expires them.
func RemoveKey(ctx context.Context, v vault.Store, dataset, job string) error {
	if err := given.Check(ctx, v != nil, errors.New("trainer: a nil store")); err != nil {
		return err
	}
	var errs []error
	for o, err := range v.List(ctx, keyFolder(dataset, job)) {
		if err != nil {
			return fmt.Errorf("removing the key channel: %w", err)
		}
		if err := v.Delete(ctx, o.Name); err != nil {
			errs = append(errs, fmt.Errorf("removing the key channel: %w", err))
		}
	}
	return errors.Join(errs...)
}

// A KeyLeftError reports that the key channel of a job that no longer needs it could
// not be removed. It wraps the cause.
type KeyLeftError struct {
	Job   string
	Place string // s3://…
	Err   error
}

func (e *KeyLeftError) Error() string {
	return fmt.Sprintf("the key of the job %s still lies in S3, at %s, and must be removed: %v", e.Job, e.Place, e.Err)
}

func (e *KeyLeftError) Unwrap() error { return e.Err }

// A keyWatch is what a Watcher knows about the key channel of its job.
type keyWatch struct {
	place string // where it is; empty if there is none, or no longer one
	again bool   // the job may reread it after it has begun to train
	tried bool
	err   error // of the last attempt to remove it
}

// removeKey removes the key channel of a job that no longer needs it: the job is
// training and will not be restarted, or it has ended. It does so even after an
// interrupt.
func (w *Watcher) removeKey(ctx context.Context, d *sagemaker.DescribeTrainingJobOutput) {
	k := &w.key
	if !k.tried {
		k.place, k.again = keyChannelOf(d)
	}
	over := ended(d.TrainingJobStatus)
	if k.place == "" || !over && (!w.trains || k.again || k.tried) {
		return
	}
	k.tried, k.err = true, nil
	if err := w.removeKeyAt(context.WithoutCancel(ctx), k.place); err != nil {
		k.err = &KeyLeftError{Job: w.Job, Place: k.place, Err: err}
	} else {
		k.place = ""
	}
	if w.KeyRemoved != nil {
		w.KeyRemoved(k.err)
	}
}

func (w *Watcher) removeKeyAt(ctx context.Context, place string) error {
	if w.OpenVault == nil {
		return errors.New("its vault is not known here")
	}
	v, err := w.OpenVault(ctx)
	if err != nil {
		return err
	}
	// Another vault has no key of this job, and removing nothing is not a success.
	loc, err := Location(v.Location)
	if err != nil {
		return err
	}
	name, below := strings.CutPrefix(place, root(loc)+objects.JobsFolder)
	name, _, _ = strings.Cut(name, "/")
	if !below || dataset.CheckName(name) != nil || root(loc)+keyFolder(name, w.Job) != place {
		return fmt.Errorf("it is not in the vault %s: name the vault of the job with --vault, or remove it by other means", v.Location)
	}
	return RemoveKey(ctx, v, name, w.Job)
}

// keyChannelOf returns where the key channel of a job is, "" if it has none, and whether
// the job may need it again after it has begun to train.
func keyChannelOf(d *sagemaker.DescribeTrainingJobOutput) (place string, again bool) {
	for _, c := range d.InputDataConfig {
		if aws.ToString(c.ChannelName) != keyChannel {
			continue
		}
		place = "a place that SageMaker does not tell"
		if c.DataSource != nil && c.DataSource.S3DataSource != nil {
			place = cmp.Or(aws.ToString(c.DataSource.S3DataSource.S3Uri), place)
		}
	}
	return place, aws.ToBool(d.EnableManagedSpotTraining) || d.RetryStrategy != nil
}

func put(ctx context.Context, v vault.Store, name string, data []byte) error {
	return v.Put(ctx, name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
