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
)

// A Binary is the vaultpack that runs inside the container.
type Binary struct {
	File string
	// SHA256 is that of the file, in hex.
	SHA256 string
	Size   int64
}

// mainPackage is what a binary must have been built from.
const mainPackage = "github.com/vaultpack/vaultpack/cmd/vaultpack"

// FindBinary finds a static vaultpack for Linux on the architecture: file, if it
// is not empty, else this very program, else a file beside it named
// vaultpack-linux-ARCH.
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
	b, serr := readBinary(self, arch)
	if serr == nil {
		return b, nil
	}
	sibling := filepath.Join(filepath.Dir(self), "vaultpack-linux-"+arch)
	b, err = readBinary(sibling, arch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the job needs a static vaultpack for linux/%s: %v, and there is no %s; make it in a clone with make binaries, and name it with --binary FILE", arch, serr, sibling)
	}
	return b, err
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
		return nil, fmt.Errorf("%s is no binary for Linux", file)
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
	if err != nil || info.Path != mainPackage {
		return nil, fmt.Errorf("%s is not vaultpack", file)
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

// write sends the file's bytes, and fails if they are others by now.
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
