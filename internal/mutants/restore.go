package main

// What changes the user's files, or says that they are right.
var ofRestore = target{
	name:    "restore",
	pkgs:    []string{"./dataset", "./uploader"},
	run:     "^(TestRestore.*|TestFailedSync.*|TestErrorOfClose.*|TestLinksThatLeave|TestVerify.*|TestPacksOfOtherBytesAreRefused)$",
	mutants: restoreMutants,
}

var restoreMutants = []mutant{
	one("files are not synced before they are placed", "dataset/restore.go", "	if err := syncFS(r.root); err != nil {\n		return errors.Join(stopped", "	if err := ctx.Err(); err != nil && stopped == nil {\n		return errors.Join(stopped").by("TestRestoredFilesAreSynced.*|TestFailedSync.*"),
	one("an error of the sync is ignored", "dataset/restore.go", "	if err := syncFS(r.root); err != nil {\n		return errors.Join(stopped", "	if err := syncFS(r.root); err != nil && stopped != nil {\n		return errors.Join(stopped").by("TestFailedSync.*"),
	one("folders are not synced in the end", "dataset/restore.go", "if serr := syncFS(r.root); err == nil && serr != nil {", "if serr := ctx.Err(); err == nil && serr != nil {").by("TestRestoredFilesAreSynced.*|TestFailedSync.*"),
	one("an error of the last sync is ignored", "dataset/restore.go", "if serr := syncFS(r.root); err == nil && serr != nil {", "if serr := syncFS(r.root); err != nil && serr != nil {").by("TestFailedSync.*"),
	one("an error of close is ignored", "dataset/stage.go", "err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR)", "err == nil && cerr != nil && errors.Is(cerr, unix.EBADF)").by("TestErrorOfClose.*"),
	one("a link may leave by a later element", "dataset/links.go", "depth < 0 || down {", "depth < 0 || down && depth < 0 {").by("TestLinksThatLeave"),
	one("an absolute link does not leave", "dataset/links.go", "if filepath.IsAbs(e.Link) {\n		return true", "if filepath.IsAbs(e.Link) {\n		return e.Link == \"/\"").by("TestLinksThatLeave"),
	one("verify skips the versions before", "dataset/verify.go", "	if err := c.ancestors(ctx, v); err != nil {", "	if err := ctx.Err(); err != nil {").by("TestVerifyLooksAtAncestors"),
	one("verify takes another version for the one before", "dataset/verify.go", "if err == nil && parent.Pin != v.ParentPin {", "if err == nil && parent.Number != v.Parent {").by("TestVerifyLooksAtAncestors"),
	one("verify looks at one version before", "dataset/verify.go", "		v = parent\n", "		return nil\n").by("TestVerifyLooksAtAncestors"),
	one("verify reads no pack whole", "dataset/verify.go", "	first := c.packs[id] == packChosen\n", "	first := c.packs[id] == packPassed\n").by("TestPacksOfOtherBytesAreRefused"),
	one("the zero Verify reads no pack", "dataset/verify.go", "if c.Sample == 0 || c.Sample == 1 ||", "if c.Sample == 1 ||"),
	one("a file of the same size is taken for restored", "dataset/place.go", " && r.timeIs(modTime(&st), e.ModTime):", ":"),
	one("files have their mode as the umask wants", "dataset/stage.go", "err = r.chmod(fd, e.Path, r.mode(e))", "err = r.chmod(fd, e.Path, 0o600)"),
	one("files have the time of the restore", "dataset/stage.go", "	return r.setTime(r.stageFD, name, e.ModTime)\n}", "	return nil\n}"),
}
