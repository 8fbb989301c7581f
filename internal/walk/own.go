package walk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/vault"
)

// An Own is something of the vault that lies below a folder: the vault itself, or
// a file with a key.
type Own string

var ErrOwn = errors.New("the vault or one of its keys is there, and those are never replaced or deleted")

func IsOwn(own []Own, p string) bool {
	p = strings.TrimSuffix(p, "/")
	for _, o := range own {
		if p == string(o) || strings.HasPrefix(p, string(o)+"/") {
			return true
		}
	}
	return false
}

// CheckDestination returns an error for a folder that is the vault, lies in it, or
// contains it where files would be written.
func CheckDestination(v *vault.Vault, dir string) error {
	if v.Location == "" || strings.Contains(v.Location, "://") {
		return nil
	}
	rel, err := relative(dir, v.Location)
	switch {
	case err != nil:
		return err
	case rel == ".":
		return fmt.Errorf("%s is the vault itself; choose another folder", dir)
	case strings.Trim(rel, "./") == "":
		return fmt.Errorf("%s lies in the vault %s; choose another folder", dir, v.Location)
	case !strings.Contains(rel, "/"):
		return fmt.Errorf("%s is the folder that holds the vault %s; choose another folder, such as %s", dir, v.Location, filepath.Join(dir, "restored"))
	}
	return nil
}

// relative returns the path from dir to a file, with links resolved.
func relative(dir, name string) (string, error) {
	from, err := realPath(dir)
	if err != nil {
		return "", err
	}
	to, err := realPath(name)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	return filepath.ToSlash(rel), err
}

// OwnBelow finds what lies below dir and belongs to the vault.
func OwnBelow(v *vault.Vault, dir string) (own []Own, err error) {
	names := []string{}
	if v.Location != "" && !strings.Contains(v.Location, "://") {
		names = append(names, v.Location)
	}
	if v.Keys != nil {
		names = append(names, v.Keys.Names...)
	}
	return Below(dir, names)
}

// Below returns those of the files that exist and lie below dir.
func Below(dir string, names []string) (own []Own, err error) {
	for _, name := range names {
		if _, err := os.Stat(name); err != nil {
			continue // the ARN of a KMS key
		}
		rel, err := relative(dir, name)
		if err != nil {
			return nil, err
		}
		if rel != "." && rel != ".." && !strings.HasPrefix(rel, "../") {
			own = append(own, Own(rel))
		}
	}
	return own, nil
}

// realPath returns the absolute path without links of a file that need not exist yet.
func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(abs) == abs {
		return real, err
	}
	above, err := realPath(filepath.Dir(abs))
	return filepath.Join(above, filepath.Base(abs)), err
}

// IsStaging reports whether name, a single path element, is that of a restore's
// staging folder, in use or left behind by a killed one. Its contents are nobody's
// data.
func IsStaging(name string) bool {
	random, ok := strings.CutPrefix(name, StagingPrefix)
	return ok && fsys.IsTemporary(random)
}

// StagingPrefix begins the name of the folder that files are written in first.
const StagingPrefix = ".vaultpack-restore-"
