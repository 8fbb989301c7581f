package container_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

const packSize = 64 << 10

// A sealed is a vault with one dataset, and the tree that was sealed.
type sealed struct {
	vault *vault.Vault
	set   *dataset.Dataset
	src   string
	ver   *dataset.Version
}

func seal(t testing.TB, name string, make func(dir string), keys ...envelope.KeyWrapper) *sealed {
	t.Helper()
	dir := t.TempDir()
	v, _, err := config.Init(t.Context(), &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	check(t, err)
	if keys != nil {
		v.Keys = &vault.Keys{Open: keys, Wrap: keys}
	}
	s := &sealed{vault: v, src: filepath.Join(dir, "src")}
	s.set, err = dataset.Open(v, name)
	check(t, err)
	t.Cleanup(s.set.Close)
	check(t, os.Mkdir(s.src, 0o755))
	make(s.src)
	s.upload(t)
	return s
}

// upload makes the next version, of what the source holds now.
func (s *sealed) upload(t testing.TB) {
	t.Helper()
	res, err := uploader.Upload(t.Context(), s.set, s.src, uploader.Options{PackSize: packSize})
	check(t, err)
	s.ver = res.Version
}

// tree makes files of all kinds: many small ones, large ones in pieces, odd names.
func tree(t testing.TB) func(dir string) {
	return func(dir string) {
		treetest.Odd(t, dir, packSize)
		treetest.NoSetID(t, dir)
		for i := range 40 {
			write(t, filepath.Join(dir, "many", fmt.Sprint(i%4), fmt.Sprintf("%03d.bin", i)), treetest.Bytes(int64(i)*997, byte(i)))
		}
		write(t, filepath.Join(dir, "large"), treetest.Bytes(5*packSize+123, 7))
		// A name that packs have.
		write(t, filepath.Join(dir, strings.Repeat("0a", 32)+".vpk"), []byte("no pack"))
	}
}

// A job is a base directory with channels as SageMaker fills them.
type job struct {
	t    testing.TB
	base string
	cfg  container.Config
	log  []string
}

func newJob(t testing.TB, s *sealed) *job {
	j := &job{t: t, base: t.TempDir()}
	j.cfg = container.Config{BaseDir: j.base, Keys: s.vault.Keys.Open, Logf: func(format string, args ...any) {
		j.log = append(j.log, fmt.Sprintf(format, args...))
	}}
	j.add(s, "training")
	return j
}

func (j *job) add(s *sealed, channel string) {
	j.t.Helper()
	ch, err := local.Stage(j.t.Context(), s.ver, s.set, j.base, channel)
	check(j.t, err)
	j.cfg.Channels = append(j.cfg.Channels, ch)
}

func (j *job) dir(elem ...string) string {
	return filepath.Join(append([]string{j.base, "input", "data"}, elem...)...)
}

func (j *job) open() error {
	_, err := container.Open(j.t.Context(), &j.cfg)
	return err
}

func (j *job) packs(channel string) []string {
	j.t.Helper()
	found, err := filepath.Glob(j.dir(channel, "*.vpk"))
	check(j.t, err)
	return found
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(name), 0o755))
	check(t, os.WriteFile(name, b, 0o644))
}

func TestOpen(t *testing.T) {
	s := seal(t, "d", tree(t))
	j := newJob(t, s)
	if n := len(j.packs("training")); n < 8 {
		t.Fatalf("only %d packs", n)
	}
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
	// Again: everything is found done, and nothing is written.
	before := stamp(t, j.dir("training"))
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
	if after := stamp(t, j.dir("training")); before != after {
		t.Error("the second run has written files")
	}
	if !strings.Contains(j.log[1], "opened packs: 0, files: 0") {
		t.Errorf("the second run: %s", j.log[1])
	}
	// And with fresh packs, as after a restart of a spot instance whose disk stays.
	j.cfg.Channels = nil
	j.add(s, "training")
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
	if after := stamp(t, j.dir("training")); before != after {
		t.Error("the run with fresh packs has written files")
	}
}

// stamp is the inode and time of every file.
func stamp(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, err := e.Info()
			check(t, err)
			fmt.Fprintln(&b, name, info.Sys().(*syscall.Stat_t).Ino, info.ModTime())
		}
		return err
	}))
	return b.String()
}

// Files that someone else has put into the channel, and links, go.
func TestWhatDoesNotBelong(t *testing.T) {
	s := seal(t, "d", tree(t))
	j := newJob(t, s)
	out := t.TempDir()
	write(t, filepath.Join(out, "precious"), []byte("precious"))
	write(t, j.dir("training", "many", "evil.bin"), []byte("evil"))
	write(t, j.dir("training", "many", "0", "000.bin"), []byte("evil"))
	check(t, os.Symlink(out, j.dir("training", "extra")))
	check(t, os.Symlink(out, j.dir("training", "many", "1")))
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
	if _, err := os.Stat(filepath.Join(out, "precious")); err != nil {
		t.Error("a link was followed:", err)
	}
	if log := strings.Join(j.log, "\n"); !strings.Contains(log, `"many/evil.bin" is not part of the dataset`) {
		t.Error(log)
	}
	// A file that was touched after it was opened, and whose pack is gone.
	write(t, j.dir("training", "many", "3", "003.bin"), []byte("evil"))
	if err := j.open(); !errors.Is(err, dataset.ErrMissing) || !strings.Contains(err.Error(), `"many/3/003.bin" was changed`) {
		t.Errorf("got %v", err)
	}
}

// A run that was killed after a large file took its place, and before that was
// recorded, has all the same opened it. A file that was changed has not been, though
// its size and time are those of before.
func TestRecords(t *testing.T) {
	s := seal(t, "d", tree(t))
	j := newJob(t, s)
	check(t, j.open())
	records, err := filepath.Glob(j.dir("vaultpack/d/opened/training/*-file.vpk"))
	check(t, err)
	if len(records) == 0 {
		t.Fatal("no large file is recorded")
	}
	for _, r := range records {
		check(t, os.Remove(r))
	}
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
	for _, name := range []string{"large", "many/1/021.bin"} {
		file := j.dir("training", name)
		info, err := os.Stat(file)
		check(t, err)
		b, err := os.ReadFile(file)
		check(t, err)
		b[0] ^= 1
		check(t, os.WriteFile(file, b, 0o644))
		check(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
		if err := j.open(); !errors.Is(err, dataset.ErrMissing) {
			t.Errorf("%s was changed: %v", name, err)
		}
		// Fresh packs fix it.
		j.cfg.Channels = nil
		j.add(s, "training")
		check(t, j.open())
		treetest.Equal(t, s.src, j.dir("training"))
	}
	// Records of others, and none that can be read, are no records.
	records, err = filepath.Glob(j.dir("vaultpack/d/opened/training/*.vpk"))
	check(t, err)
	for _, r := range records {
		check(t, os.WriteFile(r, []byte("vaultpk1indx"), 0o644))
	}
	j.cfg.Channels = nil
	j.add(s, "training")
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
}

// Whatever is wrong, the script would not start: Open fails, and no file of a pack
// that is wrong has its name.
func TestTampered(t *testing.T) {
	s := seal(t, "d", tree(t))
	other := seal(t, "d", func(dir string) { write(t, filepath.Join(dir, "x"), []byte("x")) })
	flip := func(file string) {
		b, err := os.ReadFile(file)
		check(t, err)
		b[len(b)/2] ^= 1
		check(t, os.Remove(file)) // it may be a link to the vault's
		check(t, os.WriteFile(file, b, 0o644))
	}
	version := "d/versions/0000000001.vpk"
	for name, c := range map[string]struct {
		change func(j *job)
		want   error
	}{
		"pack": {func(j *job) { flip(j.packs("training")[0]) }, envelope.ErrAuthentication},
		"pack cut": {func(j *job) {
			p := j.packs("training")[1]
			b, err := os.ReadFile(p)
			check(t, err)
			check(t, os.Remove(p))
			check(t, os.WriteFile(p, b[:len(b)-1], 0o644))
		}, envelope.ErrAuthentication},
		"packs exchanged": {func(j *job) {
			p := j.packs("training")
			check(t, os.Rename(p[0], p[0]+"x"))
			check(t, os.Rename(p[1], p[0]))
			check(t, os.Rename(p[0]+"x", p[1]))
		}, envelope.ErrAuthentication},
		"pack missing": {func(j *job) { check(t, os.Remove(j.packs("training")[2])) }, dataset.ErrMissing},
		"pack is a link": {func(j *job) {
			p := j.packs("training")[0]
			check(t, os.Rename(p, j.base+"/elsewhere"))
			check(t, os.Symlink(j.base+"/elsewhere", p))
		}, dataset.ErrMissing},
		"version":      {func(j *job) { flip(j.dir("vaultpack", version)) }, envelope.ErrAuthentication},
		"index":        {func(j *job) { flip(glob(t, j.dir("vaultpack/d/index/*.vpk"))) }, envelope.ErrAuthentication},
		"wrong pin":    {func(j *job) { j.cfg.Channels[0].Digest = strings.Repeat("00", 32) }, envelope.ErrAuthentication},
		"other number": {func(j *job) { j.cfg.Channels[0].Version = 2 }, dataset.ErrUnknownVersion},
		"older under its name": {func(j *job) {
			b, err := os.ReadFile(filepath.Join(other.vault.Location, version))
			check(t, err)
			check(t, os.Remove(j.dir("vaultpack", version)))
			check(t, os.WriteFile(j.dir("vaultpack", version), b, 0o644))
		}, dataset.ErrMissing}, // its key is not even there
		"context":    {func(j *job) { j.cfg.Context = envelope.EncryptionContext{"project": "x"} }, envelope.ErrAuthentication},
		"no channel": {func(j *job) { check(t, os.RemoveAll(j.dir("vaultpack"))) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t, s)
			c.change(j)
			err := j.open()
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			// What has a name is what was sealed.
			onlyTrueFiles(t, s.src, j.dir("training"))
		})
	}
}

func glob(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	check(t, err)
	if len(found) != 1 {
		t.Fatalf("%s: %v", pattern, found)
	}
	return found[0]
}

// onlyTrueFiles fails the test for a file in dir that is not the same in src.
func onlyTrueFiles(t testing.TB, src, dir string) (n int) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), ".vaultpack-open-") {
			return fs.SkipDir
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if !e.Type().IsRegular() || len(e.Name()) == 68 && filepath.Dir(rel) == "." {
			return nil // packs
		}
		want, werr := os.ReadFile(filepath.Join(src, rel))
		got, err := os.ReadFile(name)
		if err != nil || werr != nil || string(got) != string(want) {
			t.Errorf("%q is not what was sealed", rel)
		}
		n++
		return nil
	}))
	return n
}

func TestSharded(t *testing.T) {
	s := seal(t, "d", func(dir string) {
		for i := range 60 {
			write(t, filepath.Join(dir, fmt.Sprint(i%3), fmt.Sprintf("%03d.bin", i)), treetest.Bytes(9000, byte(i)))
		}
	})
	files := 0
	for host := range 2 {
		j := newJob(t, s)
		j.cfg.Channels[0].Sharded = true
		for i, p := range j.packs("training") {
			if i%2 != host {
				check(t, os.Remove(p))
			}
		}
		for range 2 {
			check(t, j.open())
		}
		files += onlyTrueFiles(t, s.src, j.dir("training"))
		if !strings.Contains(j.log[0], "this host has ") {
			t.Error(j.log[0])
		}
	}
	if files != 60 {
		t.Errorf("the hosts have %d files, want 60", files)
	}
	// A file in several packs cannot be divided.
	s = seal(t, "d", tree(t))
	j := newJob(t, s)
	j.cfg.Channels[0].Sharded = true
	if err := j.open(); err == nil || !strings.Contains(err.Error(), "several packs") {
		t.Errorf("got %v", err)
	}
}

// Several channels, of one dataset in two versions and of another, under keys of
// their own each; and a channel whose folders SageMaker has not kept.
func TestSeveralChannels(t *testing.T) {
	a, b := seal(t, "a", tree(t)), seal(t, "b", tree(t))
	j := newJob(t, a)
	first := t.TempDir()
	check(t, os.CopyFS(first, os.DirFS(filepath.Join(a.src, "many"))))
	check(t, os.RemoveAll(filepath.Join(a.src, "many", "2")))
	write(t, filepath.Join(a.src, "many", "1", "001.bin"), []byte("another"))
	a.upload(t)
	j.add(a, "validation")
	j.add(b, "test")
	j.cfg.Keys = append(j.cfg.Keys, b.vault.Keys.Open...)
	for _, id := range []string{"a", "b"} {
		for _, folder := range []string{"keys", "index"} {
			dir := j.dir("vaultpack", id, folder)
			entries, err := os.ReadDir(dir)
			check(t, err)
			for _, e := range entries {
				check(t, os.Rename(filepath.Join(dir, e.Name()), j.dir("vaultpack", e.Name())))
			}
			check(t, os.Remove(dir))
		}
	}
	check(t, j.open())
	treetest.Equal(t, a.src, j.dir("validation"))
	treetest.Equal(t, b.src, j.dir("test"))
	if n := onlyTrueFiles(t, first, j.dir("training", "many")); n != 40 {
		t.Errorf("%d files of the older version, want 40", n)
	}
}

func TestFailureFile(t *testing.T) {
	base := t.TempDir()
	check(t, container.WriteFailure(base, fmt.Errorf("one\n two %s\xff", strings.Repeat("x", 2000))))
	b, err := os.ReadFile(container.FailureFile(base))
	check(t, err)
	if s := string(b); len(s) > 1024 || !strings.HasPrefix(s, "one two xxx") || strings.Contains(s, "\n") || !utf8.ValidString(s) {
		t.Errorf("%d bytes: %s", len(s), s)
	}
}

func TestParseChannel(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	for s, ok := range map[string]bool{
		"training=digits@3#" + digest:                  true,
		"a.b_c-d=d@1#" + digest:                        true,
		"training=digits@0#" + digest:                  false,
		"training=digits#" + digest:                    false,
		"training=_x@1#" + digest:                      false,
		"..=digits@1#" + digest:                        false,
		"a/b=digits@1#" + digest:                       false,
		"vaultpack=digits@1#" + digest:                 false,
		"training=digits@1":                            false,
		"training=digits@1#" + strings.ToUpper(digest): false,
		"": false,
	} {
		c, err := container.ParseChannel(s)
		if (err == nil) != ok || ok && c.String() != s {
			t.Errorf("%q: %v, %v", s, c, err)
		}
	}
}
