package provision

import (
	"context"
	"time"
)

// WithoutTime has the provisioner's waits take none, and counts their length.
func (p *Provisioner) WithoutTime(waited *time.Duration) {
	p.sleep = func(ctx context.Context, d time.Duration) error {
		if waited != nil {
			*waited += d
		}
		return context.Cause(ctx)
	}
}
