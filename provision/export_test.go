package provision

import (
	"context"
	"sync/atomic"
	"time"
)

// WithoutTime has the provisioner's waits take none, and counts their length
// in nanoseconds. Steps wait side by side.
func (p *Provisioner) WithoutTime(waited *atomic.Int64) {
	p.sleep = func(ctx context.Context, d time.Duration) error {
		if waited != nil {
			waited.Add(int64(d))
		}
		return context.Cause(ctx)
	}
}
