package vault_test

import (
	"context"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/vault"
)

// plain is a store that can do nothing besides.
type plain struct{ vault.Store }

// wrapper has no part in what the other can do, and keeps it.
type wrapper struct{ vault.Store }

func (w wrapper) Unwrap() vault.Store { return w.Store }

// uploads is a store that counts the uploads that were to be aborted.
type uploads struct {
	vault.Store
	aborted int
}

func (u *uploads) StaleAge() time.Duration { return time.Hour }

func (u *uploads) CountStale(_ context.Context, _ string, age time.Duration) (int, error) {
	return map[time.Duration]int{time.Hour: 3}[age], nil
}

func (u *uploads) MeasureStale(ctx context.Context, prefix string, age time.Duration) (int, int64, error) {
	n, err := u.CountStale(ctx, prefix, age)
	return n, 0, err
}

func (u *uploads) AbortStale(context.Context, string, time.Duration) (int, error) {
	u.aborted++
	return 0, nil
}

// takes7 is a store that takes 7 bytes.
type takes7 struct{ vault.Store }

func (takes7) PutMemory() int64 { return 7 }

func (u *uploads) Usage() vault.Requests            { return vault.Requests{Gets: 1} }
func (u *uploads) PutRequests(int64) vault.Requests { return vault.Requests{Puts: 1} }
func (u *uploads) ListRequests(int) int64           { return 1 }

// A wrapper keeps what a store can do; what has no Unwrap can do what it says itself.
func TestAs(t *testing.T) {
	dir, err := vault.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	mem := &memstore.Store{}
	if _, ok := vault.As[vault.Linker](wrapper{wrapper{dir}}); !ok {
		t.Error("a wrapped directory has no Link")
	}
	if got, ok := vault.As[*memstore.Store](wrapper{mem}); !ok || got != mem {
		t.Errorf("of the store itself: %v, %v", got, ok)
	}
	for name, s := range map[string]vault.Store{"no Unwrap": plain{dir}, "another store": wrapper{mem}, "nil": nil, "nil, wrapped": wrapper{}} {
		if l, ok := vault.As[vault.Linker](s); ok {
			t.Errorf("%s: found %v", name, l)
		}
	}
}

// A plan does nothing of what the store could do besides, however it is wrapped; what a
// run would ask for is counted.
func TestPlanDoesNothing(t *testing.T) {
	u := &uploads{Store: &memstore.Store{}}
	for name, s := range map[string]vault.Store{"does not tell": u, "takes 7 bytes": takes7{u}} {
		plan := (&vault.Vault{Store: wrapper{s}, Keys: &vault.Keys{}}).Plan()
		b, ok := vault.As[vault.Buffered](plan.Store)
		if _, want := s.(takes7); ok != want || ok && b.PutMemory() != 7 {
			t.Errorf("the plan of a store that %s: %v", name, ok)
		}
	}
	v := &vault.Vault{Store: wrapper{u}, Keys: &vault.Keys{}}
	plan := v.Plan()
	plan.Store = wrapper{plan.Store}
	if _, ok := vault.As[vault.UploadKeeper](plan.Store); ok {
		t.Error("a plan can abort uploads")
	}
	if _, ok := vault.As[vault.VersionKeeper](plan.Store); ok {
		t.Error("a plan can delete old versions")
	}
	sweeper, ok := vault.As[vault.Sweeper](plan.Store)
	if !ok {
		t.Fatal("a plan has no Sweep")
	}
	if err := sweeper.Sweep(t.Context(), "d/"); err != nil || u.aborted != 0 {
		t.Errorf("sweeping: %v, %d aborted", err, u.aborted)
	}
	if err := plan.Create(t.Context(), "d/x", nil); err != nil {
		t.Error(err)
	}
	want := vault.Requests{Puts: 1, Gets: 1, Deletes: 3}
	if got, ok := plan.Usage(); !ok || got.S3 != want {
		t.Errorf("the plan asks for %+v, %v", got, ok)
	}
	if _, err := u.Stat(t.Context(), "d/x"); err == nil {
		t.Error("the plan has stored an object")
	}
}
