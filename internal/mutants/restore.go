package main

// Code that changes the user's files, or says that they are right.
var ofRestore = target{
	name:    "restore",
	pkgs:    []string{"./dataset", "./dataset/restore", "./internal/place", "./uploader"},
	run:     "^(TestRestore.*|TestFailedSync.*|TestErrorOfClose.*|TestLinksThatLeave|TestVerify.*|TestPacksOfOtherBytesAreRefused)$",
	mutants: restoreMutants,
}

var restoreMutants = []mutant{
	one("files are not synced before they are placed", "dataset/restore/window.go", "\tif err := syncFS(r.to.Root); err != nil {\n\t\treturn errors.Join(stopped", "	if err := ctx.Err(); err != nil && stopped == nil {\n		return errors.Join(stopped").by("TestRestoredFilesAreSynced.*|TestFailedSync.*"),
	one("an error of the sync is ignored", "dataset/restore/window.go", "\tif err := syncFS(r.to.Root); err != nil {\n\t\treturn errors.Join(stopped", "\tif err := syncFS(r.to.Root); err != nil && stopped != nil {\n\t\treturn errors.Join(stopped").by("TestFailedSync.*"),
	one("folders are not synced in the end", "dataset/restore/restore.go", "if serr := syncFS(r.to.Root); err == nil && serr != nil {", "if serr := ctx.Err(); err == nil && serr != nil {").by("TestRestoredFilesAreSynced.*|TestFailedSync.*"),
	one("an error of the last sync is ignored", "dataset/restore/restore.go", "if serr := syncFS(r.to.Root); err == nil && serr != nil {", "if serr := syncFS(r.to.Root); err != nil && serr != nil {").by("TestFailedSync.*"),
	one("an error of close is ignored", "internal/place/stage.go", "err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR)", "err == nil && cerr != nil && errors.Is(cerr, unix.EBADF)").by("TestErrorOfClose.*"),
	one("a link may leave by a later element", "internal/place/links.go", "depth < 0 || down {", "depth < 0 || down && depth < 0 {").by("TestLinksThatLeave"),
	one("an absolute link does not leave", "internal/place/links.go", "if filepath.IsAbs(e.Link) {\n		return true", "if filepath.IsAbs(e.Link) {\n		return e.Link == \"/\"").by("TestLinksThatLeave"),
	one("verify skips the versions before", "dataset/verify/verify.go", "	if err := c.ancestors(ctx, v); err != nil {", "	if err := ctx.Err(); err != nil {").by("TestVerifyLooksAtAncestors"),
	one("verify takes another version for the one before", "dataset/verify/verify.go", "if err == nil && parent.Pin != v.ParentPin {", "if err == nil && parent.Number != v.Parent {").by("TestVerifyLooksAtAncestors"),
	one("verify looks at one version before", "dataset/verify/verify.go", "		v = parent\n", "		return nil\n").by("TestVerifyLooksAtAncestors"),
	one("verify reads no pack whole", "dataset/verify/verify.go", "	first := c.packs[id] == packChosen\n", "	first := c.packs[id] == packPassed\n").by("TestPacksOfOtherBytesAreRefused"),
	one("the zero Verify reads no pack", "dataset/verify/verify.go", "if c.Sample == 0 || c.Sample == 1 ||", "if c.Sample == 1 ||"),
	one("a file of the same size is taken for restored", "dataset/restore/look.go", " && r.timeIs(place.ModTime(&st), e.ModTime):", ":"),
	one("files have their mode as the umask wants", "internal/place/stage.go", "err = d.Chmod(fd, e.Path, d.mode(e))", "err = d.Chmod(fd, e.Path, 0o600)"),
	one("files have the time of the restore", "internal/place/stage.go", "	return d.setTime(d.StageFD, name, e.ModTime)\n}", "	return nil\n}"),
}
