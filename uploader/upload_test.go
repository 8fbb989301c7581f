package uploader_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

const packSize = 3 << 20

var ctx = context.Background()

func newVault(t testing.TB) *vault.Vault {
	t.Helper()
	dir := t.TempDir()
	v, _, err := config.Init(ctx, &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, v *vault.Vault, name string) *dataset.Dataset {
	t.Helper()
	d, err := dataset.Open(v, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// upload uploads dir, and fails the test for every file that fails.
func upload(t testing.TB, v *vault.Vault, name, dir string, set ...func(*uploader.Options)) (uploader.Stats, *uploader.Result) {
	t.Helper()
	opts := uploader.Options{PackSize: packSize,
		Failed: func(path string, err error) { t.Errorf("%q failed: %v", path, err) },
		Warn: func(err error) {
			if !errors.Is(err, uploader.ErrLinksOut) { // an odd tree has some
				t.Errorf("warning: %v", err)
			}
		}}
	for _, f := range set {
		f(&opts)
	}
	res, err := uploader.Upload(ctx, open(t, v, name), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return res.Stats, res
}

func restoreTo(t testing.TB, ver *dataset.Version, dir string) restore.Result {
	t.Helper()
	res, err := restore.Run(ctx, ver, dir, restore.Options{PreserveSetID: true, Failed: func(path string, err error) { t.Errorf("%q failed: %v", path, err) }})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func verified(t testing.TB, ver *dataset.Version) verify.Result {
	t.Helper()
	res, err := verify.Run(ctx, ver, verify.Options{Sample: 1, Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestOddTreeComesBack(t *testing.T) {
	v, src, out := newVault(t), t.TempDir(), filepath.Join(t.TempDir(), "out")
	treetest.Odd(t, src, packSize)
	u, res := upload(t, v, "odd", src)
	if !res.Committed || res.Version.Number != 1 {
		t.Fatalf("result %+v", res)
	}
	restoreTo(t, res.Version, out)
	treetest.Equal(t, src, out)
	if c := verified(t, res.Version); c.Packs != u.Packs {
		t.Errorf("verified %d of %d packs", c.Packs, u.Packs)
	}
	against, err := verify.Against(ctx, res.Version, src, verify.Options{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	if against.Bytes != u.Bytes {
		t.Errorf("compared %d of %d bytes", against.Bytes, u.Bytes)
	}

	// Packs keep to their bound, and the files of a sample to one pack.
	samples := map[string]string{}
	for e, err := range res.Version.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range e.Extents {
			if n, err := x.Pack.PlaintextSize(); err != nil || n > packSize {
				t.Errorf("%q lies in a pack of %d bytes, %v", e.Path, n, err)
			}
		}
		if stem, _, ok := strings.Cut(e.Path, "."); ok && strings.HasPrefix(e.Path, "samples/") || e.Path == "names/a" || e.Path == "names/a.txt" {
			id := e.Extents[0].Pack.ID.String()
			if other, ok := samples[stem]; ok && other != id {
				t.Errorf("the sample of %q is cut", e.Path)
			}
			samples[stem] = id
		}
	}
	if len(samples) != 61 {
		t.Errorf("%d samples, want 61", len(samples))
	}

	// The same again finds nothing to do, and restoring again nothing to write.
	u, again := upload(t, v, "odd", src)
	if again.Committed || u.SentFiles != 0 || u.UnchangedFiles != u.Files {
		t.Errorf("second run: committed %v, sent %d, unchanged %d of %d", again.Committed, u.SentFiles, u.UnchangedFiles, u.Files)
	}
	if r := restoreTo(t, res.Version, out); r.Files != 0 {
		t.Errorf("restored %d files that were there", r.Files)
	}
	treetest.Equal(t, src, out)
}

func TestSecondVersion(t *testing.T) {
	v, src := newVault(t), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		write(fmt.Sprintf("a/%03d.txt", i), fmt.Sprint(i))
		write(fmt.Sprintf("b/%03d.jpg", i), fmt.Sprint(i))
		write(fmt.Sprintf("b/%03d.json", i), fmt.Sprint(i))
	}
	if err := os.WriteFile(filepath.Join(src, "large"), treetest.Bytes(2*packSize+5, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	_, one := upload(t, v, "d", src)
	first := filepath.Join(t.TempDir(), "out")
	restoreTo(t, one.Version, first)

	write("a/new.txt", "new")
	write("b/007.json", "changed")
	if err := os.Remove(filepath.Join(src, "a/000.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(src, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	u, two := upload(t, v, "d", src)
	// 007.jpg goes with its sample.
	if got := [...]int64{u.Added, u.Changed, u.Removed, u.SentFiles, u.Packs}; got != [...]int64{1, 1, 1, 3, 1} {
		t.Errorf("added, changed, removed, sent, packs = %v", got)
	}
	if !two.Committed || two.Version.Number != 2 || two.Version.Parent != 1 || two.Version.ParentPin != one.Version.Pin {
		t.Errorf("second version %+v", two.Version)
	}
	out := filepath.Join(t.TempDir(), "out")
	restoreTo(t, two.Version, out)
	treetest.Equal(t, src, out)
	verified(t, two.Version)

	// The first is still what it was.
	old, err := open(t, v, "d").Version(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "out")
	restoreTo(t, old, again)
	treetest.Equal(t, first, again)
}

func TestChecksum(t *testing.T) {
	v, src := newVault(t), t.TempDir()
	for name, n := range map[string]int64{"small": 100, "medium": 5 << 20, "large": 2*packSize + 1} {
		if err := os.WriteFile(filepath.Join(src, name), treetest.Bytes(n, 0), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sum := func(u *uploader.Options) { u.Checksum, u.PackSize = true, 6<<20 }
	upload(t, v, "d", src, sum)
	// Another time with the same contents is not sent again, other contents
	// with the same time are.
	info, err := os.Stat(filepath.Join(src, "small"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "small"), treetest.Bytes(100, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"small", "medium", "large"} {
		if err := os.Chtimes(filepath.Join(src, name), info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	u, res := upload(t, v, "d", src, sum)
	if u.SentFiles != 1 || u.SentBytes != 100 {
		t.Errorf("sent %d files, %d bytes", u.SentFiles, u.SentBytes)
	}
	out := filepath.Join(t.TempDir(), "out")
	restoreTo(t, res.Version, out)
	treetest.Equal(t, src, out)
}

func TestUnreadableAndSpecialFiles(t *testing.T) {
	v, src := newVault(t), t.TempDir()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint(i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(src, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(filepath.Join(src, "socket"), syscall.S_IFSOCK|0o644, 0); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var failed, skipped []string
	opts := uploader.Options{
		Failed:  func(path string, err error) { mu.Lock(); defer mu.Unlock(); failed = append(failed, path) },
		Skipped: func(path, kind string) { skipped = append(skipped, path+" "+kind) }}
	opts.Filter, _ = uploader.NewFilter(nil, []string{"9"})
	unreadable(t, filepath.Join(src, "3"))
	res, err := uploader.Upload(ctx, open(t, v, "d"), src, opts)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 && !slices.Equal(failed, []string{"3"}) {
		t.Errorf("failed: %q", failed)
	}
	if !slices.Equal(skipped, []string{"pipe named pipe", "socket socket"}) {
		t.Errorf("skipped: %q", skipped)
	}
	if want := 9 - int64(len(failed)); res.Version.Totals.Files != want {
		t.Errorf("%d files in the version, want %d", res.Version.Totals.Files, want)
	}
	verified(t, res.Version)
}

func unreadable(t *testing.T, name string) {
	t.Helper()
	if err := os.Chmod(name, 0); err != nil {
		t.Fatal(err)
	}
}

func TestLinkAsSource(t *testing.T) {
	v, dir := newVault(t), t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("contents"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	_, res := upload(t, v, "d", link)
	e, err := res.Version.Lookup(ctx, "link")
	if err != nil || !e.IsFile() || e.Size != int64(len("contents")) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestTwoWriters(t *testing.T) {
	v := newVault(t)
	for round := range 10 {
		var wg sync.WaitGroup
		errs := make([]error, 2)
		src := []string{t.TempDir(), t.TempDir()}
		for i := range src {
			if err := os.WriteFile(filepath.Join(src[i], "f"), []byte(fmt.Sprint(round, i)), 0o644); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				_, errs[i] = uploader.Upload(ctx, open(t, v, "d"), src[i], uploader.Options{})
			})
		}
		wg.Wait()
		for i, err := range errs {
			if err == nil {
				continue
			}
			if !errors.Is(err, dataset.ErrConflict) {
				t.Fatal(err)
			}
			u, res := upload(t, v, "d", src[i])
			if u.SentFiles != 0 || u.ResumedFiles != 1 || !res.Committed {
				t.Errorf("the loser's next try sent %d files, resumed %d", u.SentFiles, u.ResumedFiles)
			}
		}
		latest, err := open(t, v, "d").Latest(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if latest.Number != int64(2*round+2) {
			t.Errorf("round %d ends with version %d", round, latest.Number)
		}
		verified(t, latest)
	}
}
