package uploader_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

// contentsTree has small files in samples and series, some of a few MiB, and one of
// several packs.
func contentsTree(t *testing.T) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "src")
	put := func(name string, size int64) {
		t.Helper()
		write(t, filepath.Join(src, name), treetest.Bytes(size, byte(len(name))+byte(size)))
	}
	for i := range 20 {
		put(fmt.Sprintf("samples/%02d.jpg", i), int64(3000+i))
		put(fmt.Sprintf("samples/%02d.json", i), int64(30+i))
		put(fmt.Sprintf("series/train.tfrecord-%02d-of-20", i), int64(200_000+i)) // more than a pack
	}
	put("large", 3*packSize+77)
	put("medium", 2<<20)
	return src
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// What an upload sends after a change to the tree, and that what it makes is the
// tree, by other code than that which decided.
func TestOnlyNewContentsAreSent(t *testing.T) {
	touch := func(name string) {
		now := time.Now()
		if err := os.Chtimes(name, now, now); err != nil {
			t.Error(err)
		}
	}
	all := func(src string, do func(name string)) {
		if err := filepath.WalkDir(src, func(name string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				do(name)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, src string) string // gives the source of the second upload
		sent   int64                                 // bytes that it may send at most
		same   bool                                  // and no version is made
	}{
		"nothing": {func(_ *testing.T, src string) string { return src }, 0, true},
		"touch":   {func(_ *testing.T, src string) string { all(src, touch); return src }, 0, false},
		"chmod": {func(_ *testing.T, src string) string {
			all(src, func(name string) { os.Chmod(name, 0o600) })
			return src
		}, 0, false},
		"cp -a":    {func(t *testing.T, src string) string { run(t, "cp", "-a", src, src+"2"); return src + "2" }, 0, false},
		"cp -r":    {func(t *testing.T, src string) string { run(t, "cp", "-r", src, src+"2"); return src + "2" }, 0, false},
		"mv":       {func(t *testing.T, src string) string { run(t, "mv", src+"/samples", src+"/moved"); return src }, 0, false},
		"mv large": {func(t *testing.T, src string) string { run(t, "mv", src+"/large", src+"/other"); return src }, 0, false},
		"large files change places": {func(t *testing.T, src string) string {
			write(t, src+"/large", treetest.Bytes(3*packSize+77, 4))
			return src
		}, 3*packSize + 77, false},
		"cp within": {func(t *testing.T, src string) string { run(t, "cp", "-r", src+"/samples", src+"/again"); return src }, 0, false},
		"cp of samples": {func(t *testing.T, src string) string {
			for i := range 20 {
				write(t, fmt.Sprintf("%s/labelled/%02d.img", src, i), treetest.Bytes(40_000, byte(i)))
				write(t, fmt.Sprintf("%s/labelled/%02d.cls", src, i), []byte{'0' + byte(i%3)})
			}
			return src
		}, 20 * 40_001, false},
		"new names in a series": {func(t *testing.T, src string) string {
			for i := 19; i >= 0; i-- {
				run(t, "mv", fmt.Sprintf("%s/series/train.tfrecord-%02d-of-20", src, i), fmt.Sprintf("%s/series/train.tfrecord-%02d-of-20", src, i+1))
			}
			return src
		}, 0, false},
		"one more in a series": {func(t *testing.T, src string) string {
			write(t, src+"/series/train.tfrecord-20-of-20", treetest.Bytes(100_000, 99))
			return src
		}, 100_000, false},
		"one of a series": {func(t *testing.T, src string) string {
			write(t, src+"/series/train.tfrecord-07-of-20", treetest.Bytes(200_007, 99))
			return src
		}, 200_007, false},
		"one of a sample": {func(t *testing.T, src string) string { write(t, src+"/samples/07.json", []byte("other")); return src }, 5 + 3007, false},
		"appended to a large file": {func(t *testing.T, src string) string {
			f, err := os.OpenFile(src+"/large", os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.Write([]byte("more"))
			return src
		}, 77 + 4, false},
		"a byte in a large file": {func(t *testing.T, src string) string {
			f, err := os.OpenFile(src+"/large", os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var b [1]byte
			f.ReadAt(b[:], packSize+5)
			b[0]++
			f.WriteAt(b[:], packSize+5)
			return src
		}, packSize, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, src := newVault(t), contentsTree(t)
			_, one := upload(t, v, "d", src)
			src = c.change(t, src)
			plan, _ := upload(t, v, "d", src, func(u *uploader.Options) { u.DryRun = true })
			u, two := upload(t, v, "d", src)
			if got := u.SentBytes; got != c.sent {
				t.Errorf("%d bytes were sent, want %d", got, c.sent)
			}
			if got := plan.SentBytes; got != c.sent {
				t.Errorf("the dry run plans to send %d bytes, want %d", got, c.sent)
			}
			if two.Committed == c.same {
				t.Errorf("version %d after %d, committed: %v", two.Version.Number, one.Version.Number, two.Committed)
			}
			if sum := u.SentBytes + u.SameBytes + u.ResumedBytes; sum < u.Bytes {
				t.Errorf("%d of %d bytes are accounted for", sum, u.Bytes)
			}
			verified(t, two.Version)
			out := t.TempDir()
			restoreTo(t, two.Version, out)
			run(t, "diff", "-r", src, out)
		})
	}
}

// A pack that the vault lacks, or has only the beginning of, is sent again while
// its files are at hand, and nothing else is.
func TestLostPacksAreSentAgain(t *testing.T) {
	for _, cut := range []bool{false, true} {
		for _, of := range []string{"large", "medium", "samples/03.jpg"} {
			t.Run(fmt.Sprintf("%s cut %v", strings.ReplaceAll(of, "/", " "), cut), func(t *testing.T) {
				t.Parallel()
				v, src := newVault(t), contentsTree(t)
				_, one := upload(t, v, "d", src)
				e, err := one.Version.Lookup(ctx, of)
				if err != nil {
					t.Fatal(err)
				}
				pack := filepath.Join(v.Location, open(t, v, "d").PackName(e.Extents[0].Pack.ID))
				in := int64(0)
				for e, err := range one.Version.Entries(ctx) {
					if err != nil {
						t.Fatal(err)
					}
					for _, x := range e.Extents {
						if strings.HasSuffix(pack, x.Pack.ID.String()+".vpk") {
							in += x.Length
						}
					}
				}
				if cut {
					err = os.Truncate(pack, 1000)
				} else {
					err = os.Remove(pack)
				}
				if err != nil {
					t.Fatal(err)
				}
				told := 0
				u, two := upload(t, v, "d", src, func(u *uploader.Options) { u.Warn = func(error) { told++ } })
				if told != 1 || u.SentBytes != in {
					t.Errorf("told %d times, sent %d bytes of the %d in the pack", told, u.SentBytes, in)
				}
				verified(t, two.Version)
				if u, three := upload(t, v, "d", src); three.Committed || u.SentBytes != 0 {
					t.Errorf("a third run sent %d bytes, committed %v", u.SentBytes, three.Committed)
				}
			})
		}
	}
}

// Every file has the sum of each of its extents, after a stream too; and where a
// file holds something else than what was summed, whoever reads it is told.
func TestSumsAreRecorded(t *testing.T) {
	v, src := newVault(t), contentsTree(t)
	_, res := upload(t, v, "files", src)
	stream, err := uploader.UploadStream(ctx, open(t, v, "stream"), strings.NewReader(strings.Repeat("0123456789", packSize/4)), "f",
		uploader.Options{PackSize: packSize})
	if err != nil {
		t.Fatal(err)
	}
	var none envelope.ContentSum
	for _, ver := range []*dataset.Version{res.Version, stream.Version} {
		files := 0
		for e, err := range ver.Entries(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range e.Extents {
				if files++; x.Sum == none {
					t.Errorf("extent %d of %q has no sum", i, e.Path)
				}
			}
		}
		if files == 0 {
			t.Error("no extents")
		}
		verified(t, ver)
	}
}

// Of a file with holes one piece of zeros is sent, whatever its size, and it comes
// back as it was, holes too.
func TestHolesAreNotSent(t *testing.T) {
	race.Skip(t, "it reads hundreds of MiB of nothing")
	v, src := newVault(t), t.TempDir()
	name := filepath.Join(src, "sparse")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 40*packSize + 12345
	if _, err := f.WriteAt([]byte("data"), 7*packSize+100_000); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for try := range 2 {
		u, res := upload(t, v, "d", src)
		if got, most := u.SentBytes, int64(2*packSize+12345); try == 0 && got > most || try == 1 && got > 0 {
			t.Errorf("try %d: %d bytes were sent, at most %d are no holes", try, got, most)
		}
		verified(t, res.Version)
		out := filepath.Join(t.TempDir(), "out")
		restoreTo(t, res.Version, out)
		run(t, "cmp", name, filepath.Join(out, "sparse"))
		if info, err := os.Stat(filepath.Join(out, "sparse")); err != nil || info.Sys().(*syscall.Stat_t).Blocks*512 > packSize {
			t.Errorf("restored it takes %d bytes of disk (%v)", info.Sys().(*syscall.Stat_t).Blocks*512, err)
		}
		now := time.Now()
		if err := os.Chtimes(name, now, now); err != nil {
			t.Fatal(err)
		}
	}
}

// A sample that is taken over from elsewhere in the vault lies in one pack, though
// its label is the same as that of many others.
func TestSamplesStayTogether(t *testing.T) {
	v, src := newVault(t), t.TempDir()
	for i := range 60 {
		write(t, fmt.Sprintf("%s/a/%02d.img", src, i), treetest.Bytes(int64(3000+i), byte(i)))
		write(t, fmt.Sprintf("%s/a/%02d.cls", src, i), []byte{'0' + byte(i%3)})
	}
	small := func(u *uploader.Options) { u.PackSize = 16 << 10 }
	upload(t, v, "d", src, small)
	run(t, "cp", "-r", src+"/a", src+"/b")
	run(t, "mv", src+"/a/07.cls", src+"/a/x07.cls")
	write(t, src+"/b/08.cls", []byte("9"))
	write(t, src+"/c/00.img", treetest.Bytes(3000, 0))
	write(t, src+"/c/00.cls", []byte("2")) // with the image of another label
	u, res := upload(t, v, "d", src, small)
	if most := int64(3100 * 4); u.SentBytes > most {
		t.Errorf("%d bytes were sent, want %d at most", u.SentBytes, most)
	}
	packs := map[string]envelope.ObjectID{}
	for e, err := range res.Version.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if stem, _, ok := strings.Cut(e.Path, "."); ok {
			id := e.Extents[0].Pack.ID
			if other, ok := packs[stem]; ok && other != id {
				t.Errorf("the sample %s is cut", stem)
			}
			packs[stem] = id
		}
	}
	verified(t, res.Version)
	out := t.TempDir()
	restoreTo(t, res.Version, out)
	run(t, "diff", "-r", src, out)
}

// The SHA-256 that is recorded of a large file is that of the bytes that were sent,
// also if it is written to in ways that no time shows.
func TestSHA256IsOfWhatWasSent(t *testing.T) {
	race.Skip(t, "it changes what is being read, which is a race")
	v, src := newVault(t), t.TempDir()
	name := filepath.Join(src, "f")
	write(t, name, treetest.Bytes(4*packSize, 1))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := syscall.Mmap(int(f.Fd()), 0, 4*packSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Skip("no shared mappings here: ", err)
	}
	defer syscall.Munmap(m)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for b := byte(0); ; b++ {
			for i := 0; i < len(m); i += 4096 {
				select {
				case <-stop:
					return
				default:
					m[i] = b
				}
			}
		}
	}()
	for range 5 {
		res, err := uploader.Upload(ctx, open(t, v, "d"), src, uploader.Options{PackSize: packSize, Checksum: true})
		var partial *dataset.PartialError
		if err != nil && !errors.As(err, &partial) {
			t.Fatal(err)
		}
		verified(t, res.Version)
	}
	close(stop)
	<-done
	_, res := upload(t, v, "d", src, func(u *uploader.Options) { u.Checksum = true })
	verified(t, res.Version)
	if e, err := res.Version.Lookup(ctx, "f"); err != nil || e.Sum == nil || e.Flaw != "" {
		t.Errorf("%+v, %v", e, err)
	}
}
