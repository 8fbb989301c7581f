package trainer

import (
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Binary is the program that runs inside the container.
type Binary struct {
	File string
	// SHA256 is the SHA-256 of the file, in hex.
	SHA256 string
	Size   int64
}

// The programs that can run there: the small one, and the full one.
const (
	module   = "github.com/vaultpack/vaultpack/"
	smallCmd = module + "cmd/vaultpack-run"
	largeCmd = module + "cmd/vaultpack"
)

// FindBinary finds a static program for Linux on the architecture: file, if it is not
// empty; otherwise vaultpack-run-linux-ARCH or vaultpack-run next to the running
// program; otherwise the running program itself; otherwise vaultpack-linux-ARCH next
// to it. A program next to the running one is used only if it has the same version.
func FindBinary(file, arch string) (*Binary, error) {
	if file != "" {
		return readBinary(file, arch)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return nil, err
	}
	return findBinary(self, arch)
}

func findBinary(self, arch string) (*Binary, error) {
	beside := func(name string) string { return filepath.Join(filepath.Dir(self), name) }
	var why []string
	for _, file := range []string{beside("vaultpack-run-linux-" + arch), beside("vaultpack-run"), self, beside("vaultpack-linux-" + arch)} {
		b, err := readBinary(file, arch)
		if err == nil && file != self {
			err = sameVersion(self, file)
		}
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			why = append(why, err.Error())
		}
	}
	return nil, fmt.Errorf("the job needs a static vaultpack-run for linux/%s, and there is none at %s (%s); build it in a clone with make binaries, and set --binary FILE",
		arch, beside("vaultpack-run-linux-"+arch), strings.Join(why, "; "))
}

// sameVersion compares what two programs were built from, as far as they record it.
func sameVersion(self, file string) error {
	of := func(file string) (string, error) {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return "", err
		}
		version := info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
				version += " " + s.Value
			}
		}
		return version, nil
	}
	own, err := of(self)
	if err != nil {
		return err
	}
	got, err := of(file)
	if err == nil && got != own {
		err = fmt.Errorf("%s is of another version (%s) than this program (%s)", file, got, own)
	}
	return err
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

func readBinary(file, arch string) (*Binary, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("the binary for the container: %w", err)
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s is not a binary for Linux", file)
	}
	if e.Machine != machines[arch] {
		return nil, fmt.Errorf("%s is not for %s", file, arch)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is linked dynamically, so it would not run in every image; build it with CGO_ENABLED=0", file)
		}
	}
	info, err := buildinfo.Read(f)
	if err != nil || info.Path != smallCmd && info.Path != largeCmd {
		return nil, fmt.Errorf("%s is not vaultpack-run, nor vaultpack", file)
	}
	h := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	n, err := io.Copy(h, f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return &Binary{File: file, SHA256: hex.EncodeToString(h.Sum(nil)), Size: n}, nil
}

// write writes the file's bytes, and fails if they have changed since.
func (b *Binary) write(w io.Writer) error {
	f, err := os.Open(b.File)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != b.SHA256 {
		return fmt.Errorf("%s was changed while it was sent; try again", b.File)
	}
	return nil
}
