package doctor_test

import (
	"context"
	"errors"
	"time"

	"github.com/vaultpack/vaultpack/provision/doctor"
	"github.com/vaultpack/vaultpack/vault"
)

// weaker is a store on a file system that can do less.
type weaker struct {
	vault.Store
	change func(*vault.Abilities) error
}

func (s weaker) Unwrap() vault.Store { return s.Store }

func (s weaker) Abilities(ctx context.Context) (vault.Abilities, error) {
	p, ok := vault.As[vault.Prober](s.Store)
	if !ok {
		return vault.Abilities{}, errors.ErrUnsupported
	}
	a, err := p.Abilities(ctx)
	return a, errors.Join(err, s.change(&a))
}

func (w *world) lacks(change func(*vault.Abilities)) {
	w.doc.Through(func(s vault.Store) vault.Store {
		return weaker{s, func(a *vault.Abilities) error { change(a); return nil }}
	})
}

var fileSystemCases = []testCase{
	{"exclusive creation", "directory", doctor.Failed, "one could undo the other", "another file system", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.Exclusive = false })
	}},
	{"exclusive creation", "directory", doctor.Failed, "the disk broke", "writable and healthy", "", func(w *world) {
		w.doc.Through(func(s vault.Store) vault.Store {
			return weaker{s, func(*vault.Abilities) error { return errors.New("the disk broke") }}
		})
	}},
	{"exclusive creation", "directory", doctor.Skipped, "cannot tell", "", "", func(w *world) {
		w.doc.Through(func(s vault.Store) vault.Store { return struct{ vault.Store }{s} })
	}},
	{"hard links", "directory", doctor.Warning, "a rename that replaces nothing", "a local disk", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.Links = false })
	}},
	{"hard links", "directory", doctor.Warning, "for two minutes", "a local disk", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.Links, a.RenameNew = false, false })
	}},
	{"file locks", "directory", doctor.Warning, "locks are not supported here", "a local disk", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.Locks = false })
	}},
	{"folder sync", "directory", doctor.Warning, "folders cannot be synced", "vaultpack verify", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.FolderSync = false })
	}},
	{"folder sync", "directory", doctor.Warning, "files cannot be synced", "vaultpack verify", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.FileSync = false })
	}},
	{"file times", "directory", doctor.Warning, "to 2s only", "nothing to do", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.Coarse = 1987 * time.Millisecond })
	}},
	{"file times", "directory", doctor.Warning, "this machine's by 1h0m0s", "NTP", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.Ahead = -time.Hour })
	}},
	{"letter case", "directory", doctor.Warning, "Scans and scans", "differ in more", "", func(w *world) {
		w.lacks(func(a *vault.Abilities) { a.Case = false })
	}},
}
