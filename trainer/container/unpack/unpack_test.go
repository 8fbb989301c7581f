package unpack_test

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/trainer/container/unpack"
	"github.com/vaultpack/vaultpack/uploader"
)

// An index of any size is gone through without being kept, and packs that several
// versions have left to the newest one open as well as those of one upload.
func TestUnpackWithoutKeepingTheIndex(t *testing.T) {
	defer unpack.SetMaxHeld(0)()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, dir := t.Context(), t.TempDir()
	v, _, err := config.Init(ctx, &config.Config{Vault: config.Setting{Value: dir + "/vault"}, LocalKey: config.Setting{Value: dir + "/key"}})
	check(err)
	d, err := dataset.Open(v, "d")
	check(err)
	defer d.Close()
	src, out := filepath.Join(dir, "src"), filepath.Join(dir, "out")
	check(os.Mkdir(src, 0o755))
	treetest.Odd(t, src, 64<<10)
	treetest.NoSetID(t, src)
	// Contents that are in the vault once: of copies, large and small, and of holes.
	pieces := treetest.Bytes(5*64<<10+3, 7)
	check(os.WriteFile(filepath.Join(src, "pieces"), pieces, 0o600))
	check(os.WriteFile(filepath.Join(src, "sparse"), nil, 0o600))
	check(os.Truncate(filepath.Join(src, "sparse"), 20*64<<10+5))
	var ver *dataset.Version
	for _, more := range []string{"a", "m", "z"} {
		check(os.WriteFile(filepath.Join(src, "copy of pieces "+more), pieces, 0o600))
		check(os.WriteFile(filepath.Join(src, "copy of a "+more), []byte(strings.Repeat("a", 1000)), 0o600))
		check(os.WriteFile(filepath.Join(src, more), []byte(strings.Repeat(more, 1000)), 0o640))
		res, err := uploader.Upload(ctx, d, src, uploader.Options{PackSize: 64 << 10})
		check(err)
		ver = res.Version
	}
	c, err := ver.Contents(ctx)
	check(err)
	check(os.Mkdir(out, 0o755))
	for _, p := range c.Packs {
		r, err := v.Get(ctx, d.PackName(p.ID), 0, -1)
		check(err)
		b, err := io.ReadAll(r)
		check(errors.Join(err, r.Close()))
		check(os.WriteFile(filepath.Join(out, path.Base(d.PackName(p.ID))), b, 0o644))
	}
	u, err := unpack.Prepare(ctx, ver, out, unpack.Options{Name: "out"})
	check(err)
	defer u.Close()
	res, err := u.Run(ctx)
	check(err)
	treetest.Equal(t, src, out)
	if res.Packs != int64(len(c.Packs)) || res.Files != ver.Totals.Files {
		t.Errorf("%d packs of %d and %d files of %d", res.Packs, len(c.Packs), res.Files, ver.Totals.Files)
	}
}
