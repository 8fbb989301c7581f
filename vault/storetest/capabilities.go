package storetest

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/vaultpack/vaultpack/vault"
)

// testOldVersions checks that the versions that are counted can be deleted, and that nothing
// else is.
func testOldVersions(t *testing.T, s vault.Store) {
	keeper, ok := vault.As[vault.VersionKeeper](s)
	if !ok {
		return
	}
	stays := "stays"
	put(t, s, "d/replaced", "first")
	put(t, s, "d/replaced", "second")
	put(t, s, "d/deleted", "x")
	put(t, s, "other/o", stays)
	put(t, s, "other/o", stays)
	if err := s.Delete(t.Context(), "d/deleted"); err != nil {
		t.Fatal(err)
	}
	beside, err := keeper.CountOld(t.Context(), "other/")
	if err != nil {
		t.Fatal(err)
	}
	n, err := keeper.CountOld(t.Context(), "d/")
	if err != nil {
		t.Fatal(err)
	}
	if deleted, err := keeper.DeleteOld(t.Context(), "d/"); err != nil || deleted != n {
		t.Errorf("of %d old versions %d were deleted: %v", n, deleted, err)
	}
	if left, err := keeper.CountOld(t.Context(), "d/"); err != nil || left != 0 {
		t.Errorf("%d old versions are left: %v", left, err)
	}
	if now, err := keeper.CountOld(t.Context(), "other/"); err != nil || now != beside {
		t.Errorf("beside them there are %d, there were %d: %v", now, beside, err)
	}
	second := "second"
	holds(t, s, "d/replaced", &second)
	holds(t, s, "other/o", &stays)
	if _, err := s.Stat(t.Context(), "d/deleted"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was deleted is there again: %v", err)
	}
}

// testUploads checks that a store without uploads in progress reports none as stale, for
// any age.
func testUploads(t *testing.T, s vault.Store) {
	keeper, ok := vault.As[vault.UploadKeeper](s)
	if !ok {
		return
	}
	if age := keeper.StaleAge(); age <= 0 {
		t.Errorf("Sweep takes for dead what is %v old", age)
	}
	put(t, s, "d/o", "x")
	n, err := keeper.CountStale(t.Context(), "d/", 0)
	if err != nil || n != 0 {
		t.Errorf("CountStale: %d, %v", n, err)
	}
	if n, bytes, err := keeper.MeasureStale(t.Context(), "d/", 0); err != nil || n != 0 || bytes != 0 {
		t.Errorf("MeasureStale: %d, %d bytes, %v", n, bytes, err)
	}
	if n, err := keeper.AbortStale(t.Context(), "d/", 0); err != nil || n != 0 {
		t.Errorf("AbortStale: %d, %v", n, err)
	}
	there := "x"
	holds(t, s, "d/o", &there)
}
