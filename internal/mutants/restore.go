package main

// What changes the user's files, or says that they are right.
var ofRestore = target{
	name:    "restore",
	pkgs:    []string{"./dataset", "./uploader"},
	run:     "^(TestRestore.*|TestFailedSync.*|TestErrorOfClose.*|TestLinksThatLeave|TestVerify.*|TestPacksOfOtherBytesAreRefused)$",
	mutants: restoreMutants,
}

var restoreMutants = []mutant{
	one("files are not synced before they are placed", inDataset+"restore.go", "	if err := syncFS(r.root); err != nil {\n		return fmt.Errorf(\"writing to disk: %w\", err)\n	}\n", "").by("TestRestoredFilesAreSynced.*|TestFailedSync.*"),
	one("an error of the sync is ignored", inDataset+"restore.go", "	if err := syncFS(r.root); err != nil {\n		return fmt", "	if err := syncFS(r.root); err != nil && ctx.Err() != nil {\n		return fmt").by("TestFailedSync.*"),
	one("folders are not synced in the end", inDataset+"restore.go", "	return syncFS(r.root)\n}", "	return nil\n}").by("TestRestoredFilesAreSynced.*|TestFailedSync.*"),
	one("an error of close is ignored", inDataset+"place.go", "err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR)", "err == nil && cerr != nil && errors.Is(cerr, unix.EBADF)").by("TestErrorOfClose.*"),
	one("a link may leave by a later element", inDataset+"restore.go", "depth < 0 || down {", "depth < 0 || down && depth < 0 {").by("TestLinksThatLeave"),
	one("an absolute link does not leave", inDataset+"restore.go", "if filepath.IsAbs(e.Link) {\n		return true", "if filepath.IsAbs(e.Link) {\n		return e.Link == \"/\"").by("TestLinksThatLeave"),
	one("verify skips the versions before", inDataset+"verify.go", "if err == nil && parent.Pin != v.ParentPin {", "if err == nil && parent.Number != v.Parent {").by("TestVerifyLooksAtAncestors"),
	one("verify looks at one version before", inDataset+"verify.go", "		v = parent\n", "		return nil\n").by("TestVerifyLooksAtAncestors"),
	one("verify does not compare the pins of packs", inDataset+"verify.go", "if err == nil && r.Pin() != pack.Pin {", "if err == nil && r.Pin() != r.Pin() {").by("TestPacksOfOtherBytesAreRefused"),
	one("a file of the same size is taken for restored", inDataset+"place.go", " && modTime(&st).Equal(e.ModTime)", ""),
	one("files have their mode as the umask wants", inDataset+"place.go", "func() error { return unix.Fchmod(fd, posixMode(e.Mode)) }", "func() error { return nil }"),
	one("files have the time of the restore", inDataset+"place.go", "	return setTime(r.stageFD, name, e.ModTime)\n}", "	return nil\n}"),
}
