package dataset_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

// With each object of a dataset changed, cut to nothing or removed, RemoveDamaged removes
// the versions that cannot be read and no other, a Collection works afterwards, and what
// could be read before is whole after it.
func TestRemoveDamaged(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	t.Parallel()
	v, src, store := sealed(t, 64<<10, func(src string) {
		for i := range 6 {
			write(t, filepath.Join(src, fmt.Sprint(i)), treetest.Bytes(30_000, byte(i)))
		}
	})
	vlt, err := config.Open(t.Context(), &config.Config{Vault: config.Setting{Value: store}, LocalKey: config.Setting{Value: filepath.Join(filepath.Dir(store), "key")}})
	must(t, err)
	for n := 2; n <= 3; n++ {
		write(t, filepath.Join(src, fmt.Sprint(n)), treetest.Bytes(30_000, byte(10*n)))
		d, err := dataset.Open(vlt, v.Dataset())
		must(t, err)
		_, err = uploader.Upload(t.Context(), d, src, uploader.Options{PackSize: 64 << 10})
		must(t, err)
		if n == 2 {
			_, err := rekey.Rotate(t.Context(), d) // version 3, under another key; the next is 4
			must(t, err)
		}
		d.Close()
	}
	objects, err := filepath.Glob(filepath.Join(store, "d/*/*"))
	if err != nil || len(objects) < 12 {
		t.Fatal(objects, err)
	}
	folder, good := filepath.Join(store, "d"), filepath.Join(t.TempDir(), "good")
	must(t, os.CopyFS(good, os.DirFS(folder)))
	removed := 0
	for _, object := range objects {
		for _, how := range []string{"changed", "cut", "removed"} {
			must(t, os.RemoveAll(folder))
			must(t, os.CopyFS(folder, os.DirFS(good)))
			b, err := os.ReadFile(object)
			must(t, err)
			switch how {
			case "changed":
				b[len(b)/2] ^= 1
				must(t, os.WriteFile(object, b, 0o644))
			case "cut":
				must(t, os.Truncate(object, 0))
			default:
				must(t, os.Remove(object))
			}
			what := filepath.Base(filepath.Dir(object)) + " " + how
			d, err := dataset.Open(vlt, v.Dataset())
			must(t, err)
			numbers, err := d.Versions(t.Context())
			must(t, err)
			var sound, whole []int64 // whose index can be read, and all of whose packs are sound
			for _, n := range numbers {
				if readable(t, d, n) {
					sound = append(sound, n)
				}
				if verifies(t, d, n) {
					whole = append(whole, n)
				}
				err := d.RemoveDamaged(t.Context(), n)
				switch is := slices.Contains(sound, n); {
				case is && !errors.Is(err, dataset.ErrSound):
					t.Errorf("%s: version %d can be read, and its removal gives %v", what, n, err)
				case !is && err == nil:
					removed++
				case !is && filepath.Base(filepath.Dir(object)) != "keys":
					t.Errorf("%s: version %d cannot be read, and its removal gives %v", what, n, err)
				}
			}
			left, err := d.Versions(t.Context())
			must(t, err)
			if slices.Equal(left, sound) {
				if _, err := d.Collect(t.Context(), dataset.CollectOptions{}); err != nil {
					t.Errorf("%s: the collection: %v", what, err)
				}
			}
			for _, n := range whole {
				if !verifies(t, d, n) {
					t.Errorf("%s: version %d is not whole any more", what, n)
				}
			}
			d.Close()
		}
	}
	if removed < 12 {
		t.Errorf("%d versions were removed", removed)
	}
}

func readable(t *testing.T, d *dataset.Dataset, number int64) bool {
	return reads(t, d, number, func(*dataset.Version, *tree.Entry) error { return nil })
}

func verifies(t *testing.T, d *dataset.Dataset, number int64) bool {
	return reads(t, d, number, func(v *dataset.Version, e *tree.Entry) error { return v.WriteFile(t.Context(), io.Discard, e) })
}

func reads(t *testing.T, d *dataset.Dataset, number int64, each func(*dataset.Version, *tree.Entry) error) bool {
	v, err := d.Version(t.Context(), number)
	if err != nil {
		return false
	}
	for e, err := range v.Entries(t.Context()) {
		if err != nil || each(v, e) != nil {
			return false
		}
	}
	return true
}
