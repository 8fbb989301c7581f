package uploader

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/vault"
)

// buffering is a store that takes 48 MiB for each object that it is sent.
type buffering struct{ vault.Store }

func (s buffering) Unwrap() vault.Store { return s.Store }

func (buffering) PutMemory() int64 { return 48 << 20 }

// silent is a store that does not say what it keeps in memory.
type silent struct{ vault.Store }

// Whatever the cores, the packs under way keep to the memory, and at least one
// is written.
func TestLimits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	dir := t.TempDir()
	v, _, err := config.Init(t.Context(), &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	local := v.Store
	for _, cores := range []int{1, 2, 4, 16, 64, 192} {
		runtime.GOMAXPROCS(cores)
		for _, store := range []vault.Store{local, buffering{local}, silent{local}} {
			v.Store = store
			d, err := dataset.Open(v, "d")
			if err != nil {
				t.Fatal(err)
			}
			put := int64(0)
			switch s := store.(type) {
			case buffering:
				put = s.PutMemory()
			case silent: // perhaps a whole pack
				put = DefaultPackSize
			}
			for _, memory := range []int64{1, 200 << 20, 256 << 20, DefaultMemory, 4 << 30} {
				for _, n := range []int{0, 1, 3, 100} {
					u := &upload{dataset: d, Options: Options{Memory: memory, Concurrency: n, PackSize: DefaultPackSize}}
					packs, segments := u.limits()
					if packs < 1 || segments < 1 || n > 0 && packs > n {
						t.Errorf("%d cores, %d bytes, %d wanted: %d packs of %d segments", cores, memory, n, packs, segments)
					}
					need := int64(packs) * (put + int64(segments)*segmentMemory)
					if need > max(memory-otherMemory, put+segmentMemory) {
						t.Errorf("%d cores, %d bytes, %d wanted: %d packs of %d segments take %d bytes", cores, memory, n, packs, segments, need)
					}
					if memory >= DefaultMemory && n == 0 && put == 0 && packs*segments < min(cores, 80) {
						t.Errorf("%d cores are not busy with %d packs of %d segments", cores, packs, segments)
					}
				}
			}
		}
	}
}
