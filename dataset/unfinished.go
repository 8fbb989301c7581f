package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// unfinished holds what unfinished uploads have in the vault.
type unfinished struct {
	leases, records []pendingObject
	strange         []string

	// The fate of the records; see decide.
	kept, doomed []vault.Object
}

type pendingObject struct {
	vault.Object
	codec.PendingName
}

// unfinished lists the leases first, and then the records: an upload that ends
// normally has written its records before its lease is removed.
func (d *Dataset) unfinished(ctx context.Context) (*unfinished, error) {
	left := &unfinished{}
	for _, leases := range []bool{true, false} {
		for o, err := range d.set().Vault.List(ctx, d.Name+"/pending/") {
			if err != nil {
				return nil, fmt.Errorf("listing unfinished uploads: %w", err)
			}
			switch p, ok := codec.ParsePending(o.Name); {
			case !ok && !leases:
				left.strange = append(left.strange, o.Name)
			case !ok || p.Lease != leases:
			case leases:
				left.leases = append(left.leases, pendingObject{o, p})
			default:
				left.records = append(left.records, pendingObject{o, p})
			}
		}
	}
	return left, nil
}

func (left *unfinished) empty() bool { return len(left.leases)+len(left.records) == 0 }

// live returns a lease whose upload is alive and may commit, or nil. A time in the future
// comes from another clock, and so from a live upload.
func (left *unfinished) live(all objects.Numbers, now time.Time) *pendingObject {
	for i, l := range left.leases {
		if !all.Has(l.Number) && now.Sub(l.Modified) < objects.LeaseTTL {
			return &left.leases[i]
		}
	}
	return nil
}

// decide determines the fate of the records. If an upload is in progress, it returns a
// *BusyError. fence holds the numbers to close before anything is removed. There are some
// if an unfinished upload, which may be asleep, has not been ended by a closed number;
// or if records are removed from which another upload may have continued in the meantime.
// In addition to the number that the upload would commit, this is the one after the
// highest: no upload that has already begun commits any other number.
func (left *unfinished) decide(c *collection, all objects.Numbers, now time.Time) (fence []int64, err error) {
	if l := left.live(all, now); l != nil && !c.EndUploads {
		return nil, &busyLease{l}
	}
	for _, l := range left.leases {
		if taken := all.Has(l.Number); !taken || l.Number > all.Closed() {
			fence = append(fence, all.Highest()+1)
			if !taken {
				fence = append(fence, l.Number)
			}
		}
	}
	var open []vault.Object // records that an upload may continue from
	var last time.Time
	for _, r := range left.records {
		if r.Number <= all.Closed() {
			left.doomed = append(left.doomed, r.Object)
			continue
		}
		open = append(open, r.Object)
		if r.Modified.After(last) {
			last = r.Modified
		}
	}
	young := len(open) > 0 && last.After(now.Add(-c.Grace)) && !c.EndUploads
	switch {
	case young && fence != nil:
		// Closing a number would end them.
		return nil, &BusyError{Last: last, Dead: true}
	case young:
		left.kept = open
	default:
		left.doomed = append(left.doomed, open...)
		if len(open) > 0 {
			fence = append(fence, all.Highest()+1)
		}
	}
	slices.Sort(fence)
	return slices.Compact(fence), nil
}

// busyLease returns the lease that makes a collection give up.
type busyLease struct{ *pendingObject }

func (busyLease) Error() string { return ErrBusy.Error() }

// since turns the error of decide into one for the user.
func (d *Dataset) since(ctx context.Context, err error) error {
	var dead *BusyError
	if errors.As(err, &dead) {
		dead.Dataset = d.Name
		return dead
	}
	var l *busyLease
	if !errors.As(err, &l) {
		return err
	}
	busy := &BusyError{Dataset: d.Name, Last: l.Modified}
	// What the lease says is not authenticated, and only displayed.
	if b, err := d.set().Get(ctx, l.Name, 4<<10); err == nil {
		if started, ok := codec.DecodeLease(b); ok {
			busy.Since = started
		}
	}
	return busy
}

// Busy returns a [*BusyError] if an upload is under way, and an [*OpenPlanError] if a plan
// has not ended.
func (d *Dataset) Busy(ctx context.Context) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	left, err := d.unfinished(ctx)
	if err != nil {
		return err
	}
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return err
	}
	if l := left.live(all, time.Now()); l != nil {
		return d.since(ctx, &busyLease{l})
	}
	plans, err := d.set().Plans(ctx)
	if err != nil {
		return err
	}
	return d.openPlan(plans)
}
