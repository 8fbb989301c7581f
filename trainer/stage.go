package trainer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
)

// stage stores what the job needs in the vault, and then calls create. If either fails,
// stage removes what belongs only to this job. limit is the maximum time until the job
// has ended.
func (l *Launcher) stage(ctx context.Context, p *staging, limit time.Duration, create func() error) (err error) {
	name := p.run.Job
	if err := l.free(ctx, p.dataset(), name); err != nil {
		return err
	}
	var own []string
	defer func() {
		if err == nil {
			return
		}
		clean := context.WithoutCancel(ctx)
		for _, o := range own {
			err = errors.Join(err, l.Vault.Delete(clean, o))
		}
		if p.job.KeyChannel != "" {
			err = errors.Join(err, RemoveKey(clean, l.Vault, p.dataset(), name))
		}
	}()
	for _, u := range p.uploads {
		if !u.once {
			own = append(own, u.name)
		} else if there, err := l.there(ctx, u); err != nil {
			return fmt.Errorf("staging the job: %w", err)
		} else if there {
			continue
		}
		if err := l.Vault.Put(ctx, u.name, u.write); err != nil {
			return fmt.Errorf("staging the job: %w", err)
		}
	}
	if p.job.KeyChannel != "" {
		if err := l.stageKey(ctx, p); err != nil {
			return err
		}
	}
	stored, err := p.certificate(ctx, l.Vault, limit)
	if own = append(own, stored...); err != nil {
		return err
	}
	for _, key := range p.ownKeys {
		stored, err := sealedmodel.NewKey(ctx, p.main().Version, name, key)
		if stored != "" {
			own = append(own, stored)
		}
		if err != nil {
			return err
		}
	}
	return create()
}
