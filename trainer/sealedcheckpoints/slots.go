package sealedcheckpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// slots are numbers that name files. They are reused, so that what is stored does not
// grow with the length of the training.
type slots struct {
	name func(int) string
	next int
	free map[int]time.Time // since when
}

// number returns the number in a file's name.
func number(name string, named func(int) string) (n int, ok bool) {
	digits := strings.TrimPrefix(strings.TrimSuffix(name, suffix), setPrefix)
	_, err := fmt.Sscanf(digits, "%d", &n)
	return n, err == nil && n > 0 && named(n) == name
}

// beginNames counts what is in the folder.
func (k *Keeper) beginNames() error {
	k.objects = slots{objectName, 1, map[int]time.Time{}}
	k.setNames = slots{setName, 1, map[int]time.Time{}}
	entries, err := os.ReadDir(k.own)
	for _, s := range []*slots{&k.objects, &k.setNames} {
		for _, e := range entries {
			if n, ok := number(e.Name(), s.name); ok {
				s.next = max(s.next, n+1)
			}
		}
	}
	return err
}

// take returns the number for a new file: one that has been free for a while, or a new one.
func (s *slots) take(rest time.Duration) int {
	for _, n := range slices.Sorted(maps.Keys(s.free)) {
		if time.Since(s.free[n]) >= rest {
			delete(s.free, n)
			return n
		}
	}
	s.next++
	return s.next - 1
}

// release frees all numbers except those in use, and removes their files.
func (s *slots) release(dir string, used map[int]bool) error {
	var errs []error
	for n := 1; n < s.next; n++ {
		if _, free := s.free[n]; free || used[n] {
			continue
		}
		s.free[n] = time.Now()
		if err := os.Remove(filepath.Join(dir, s.name(n))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// collect removes what is in neither of the newest two sets. Its copy in S3 stays until
// the name is reused.
func (k *Keeper) collect() error {
	k.sets = k.sets[max(0, len(k.sets)-2):]
	objects, sets := map[int]bool{}, map[int]bool{}
	for _, s := range k.sets {
		sets[s.name] = true
		for _, f := range s.Files {
			objects[f.Object] = true
		}
	}
	for _, h := range k.have {
		if !h.others {
			objects[h.file.Object] = true
		}
	}
	return errors.Join(k.setNames.release(k.own, sets), k.objects.release(k.own, objects))
}
