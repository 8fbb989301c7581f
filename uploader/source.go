package uploader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// ErrEmptied is returned for an empty stream, and for a source without files if
// the last version has some. A folder whose file system is not mounted is such a
// source.
var ErrEmptied = errors.New("there is nothing to upload")

// ErrNoMatch is returned if include patterns match nothing in the source.
var ErrNoMatch = errors.New("matches nothing in the source")

// newWalker returns a walker over the upload's source.
func (u *upload) newWalker(yield func(found) error) *walker {
	return &walker{filter: u.Filter, links: u.Links, own: ownFiles(u.ownNames()), host: u.host, failed: u.fail, skipped: u.skip,
		linked: u.linked, yield: yield}
}

// linked counts a link that is kept, and remembers some of those that lead out.
func (u *upload) linked(path string, out bool) {
	u.KeptLinks.Add(1)
	if !out {
		return
	}
	u.LinksOut.Add(1)
	if len(u.out) < maxNamed {
		u.out = append(u.out, path)
	}
}

// maxNamed is the number of paths that a message names.
const maxNamed = 5

// named lists some of n paths.
func named(some []string, n int64) string {
	quoted := make([]string, len(some))
	for i, s := range some {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	text := strings.Join(quoted, ", ")
	if more := n - int64(len(some)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// checkWalk is called after the whole source has been seen. It returns an error if the
// result would be a version that nobody wants, and warns about possible mistakes.
func (u *upload) checkWalk() error {
	include, exclude := u.Filter.Unmatched()
	if len(include) > 0 {
		return fmt.Errorf("the include pattern %s %w, %s; no version was created", named(include, int64(len(include))), ErrNoMatch, u.path)
	}
	for _, p := range exclude {
		u.Warn(fmt.Errorf("the exclude pattern %q %w", p, ErrNoMatch))
	}
	if n := u.LinksOut.Load(); n > 0 {
		what := fmt.Sprintf("%d links lead out of the folder", n)
		if n == 1 {
			what = "1 link leads out of the folder"
		}
		what += " (" + named(u.out, n) + ")"
		if u.Links == ForbidLinks {
			return fmt.Errorf("%s: %w; no version was created. --links follow stores the targets instead", what, ErrLinksOut)
		}
		u.Warn(fmt.Errorf("%s: %w. --links follow stores the targets instead", what, ErrLinksOut))
	}
	return u.checkRemoved()
}

// checkResent warns about packs that should be sent again but were not found in the last
// version.
func (u *upload) checkResent() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range u.Resend {
		if !u.lost[id] {
			u.Warn(fmt.Errorf("no unchanged file of the source is in pack %s in the newest version, so nothing is uploaded again for it", id))
		}
	}
}

// checkRemoved checks how much of the last version is gone.
func (u *upload) checkRemoved() error {
	if u.bucket != nil && u.Files.Load() == 0 && !u.AllowEmpty {
		return fmt.Errorf("%w: there are no objects below %s. No version was created; if there should be none, use --allow-empty", ErrEmptied, u.bucket)
	}
	if u.prev == nil || u.AllowEmpty {
		return nil
	}
	before, removed := u.prev.Totals.Files, u.Removed.Load()
	if before > 0 && u.Files.Load() == 0 {
		return fmt.Errorf("%w: %s has no files, but version %d has %d. Is it mounted, and is it the right folder? No version was created; if it should be empty, use --allow-empty",
			ErrEmptied, u.path, u.prev.Number, before)
	}
	if info, err := os.Stat(u.path); u.bucket == nil && err == nil && !info.IsDir() && removed > 0 {
		u.Warn(fmt.Errorf("the file %s replaces all files of version %d: %d of them are not in the new version; to add it to them, put it into their folder and upload that",
			u.path, u.prev.Number, removed))
		return nil
	}
	if removed >= 10 && removed*10 >= before*9 {
		u.Warn(fmt.Errorf("%d of the %d files of version %d are no longer there", removed, before, u.prev.Number))
	}
	return nil
}

// leftover describes a file or folder that a killed process left behind, and returns ""
// for all others. The random part of such names keeps users' files from being mistaken
// for them.
func leftover(name string) string {
	for prefix, what := range map[string]string{
		".vaultpack-restore-": "leftover of a restore that was killed",
		".vaultpack-open-":    "leftover of a job that was killed",
		".vaultpack-":         "leftover of a write that was killed",
	} {
		if random, ok := strings.CutPrefix(name, prefix); ok && (fsys.IsTemporary(random) || prefix == ".vaultpack-" && isClaim(random)) {
			return what
		}
	}
	return ""
}

// isClaim reports whether the rest of a name is that of a claim to another name.
func isClaim(s string) bool {
	kind, hash, _ := strings.Cut(s, "-")
	return (kind == "claim" || kind == "break") && len(hash) == 20 && strings.Trim(hash, "0123456789abcdef") == ""
}

// absolute returns the absolute path, or the path itself if that is unknown.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
