package doctor

import (
	"context"
	"slices"

	"github.com/vaultpack/vaultpack/vault"
)

// abilities are the checks of a file system, with what each reports if all is well.
var abilities = []struct{ name, fine string }{
	{vault.NoExclusion, "of two processes that create the same file, one fails"},
	{vault.NoLinks, "hard links work, and versions are committed with them"},
	{vault.NoLocks, "files can be locked; whether other machines see the locks cannot be tested, and nothing relies on that"},
	{vault.NoFolderSync, "files and folders can be synced"},
	{vault.CoarseTimes, "times are kept, and the clocks agree"},
	{vault.NoCase, "names that differ only in letter case are different"},
}

// fileSystemChecks report what the file system of a vault in a directory lacks. It
// is a failure only if it cannot keep two writers apart: everything else has a
// workaround, and the checks say what is then weaker.
func (d *doctor) fileSystemChecks() []check {
	var all []check
	for i, a := range abilities {
		needs := []string{abilities[0].name}
		run := func(context.Context) Finding { return d.ability(a.name, a.fine) }
		if i == 0 {
			needs = []string{"directory"}
			run = func(ctx context.Context) Finding { return d.fileSystem(ctx, a.name, a.fine) }
		}
		all = append(all, check{name: a.name, needs: needs, run: run})
	}
	return all
}

// fileSystem tests the file system.
func (d *doctor) fileSystem(ctx context.Context, name, fine string) Finding {
	p, ok := vault.As[vault.Prober](d.store)
	if !ok {
		f := skipped("this store cannot tell")
		f.blocks = true
		return f
	}
	found, err := p.Abilities(ctx)
	if err != nil {
		return broken(d.advice(), err)
	}
	d.weak = found.Weaknesses()
	return d.ability(name, fine)
}

func (d *doctor) ability(name, fine string) Finding {
	i := slices.IndexFunc(d.weak, func(w vault.Weakness) bool { return w.What == name })
	if i < 0 {
		return ok("%s", fine)
	}
	f := warning(d.weak[i].Fix, "%s", d.weak[i].Says)
	if d.weak[i].Unsafe {
		f.Result = Failed
	}
	return f
}
