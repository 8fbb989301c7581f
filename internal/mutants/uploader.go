package main

const inUploader = "uploader/"

var ofUploader = target{
	name:    "uploader",
	pkgs:    []string{"./uploader"},
	mutants: uploaderMutants,
}

var uploaderMutants = []mutant{
	one("a link in a file's place is followed", inUploader+"read.go", "os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)", "os.O_RDONLY|syscall.O_NONBLOCK, 0)").by("TestWhatTookAFilesPlaceIsNotRead"),
	one("a pack that a record names is not looked for", inUploader+"known.go", "return ok && size == o.Pin.Size", "return !ok || size == o.Pin.Size").by("TestRecordedPacksAreLookedFor"),
	one("a pack that was cut is counted on", inUploader+"known.go", "return ok && size == o.Pin.Size", "return ok && size > 0").by("TestRecordedPacksAreLookedFor"),
	one("a file that changes while it is read is taken for stable", inUploader+"read.go", "	if sameFile(now, it.entry) {\n		return nil\n	}\n	if it.torn {", "	if sameFile(now, it.entry) || !it.torn {\n		return nil\n	}\n	if it.torn {").by("TestFilesThatChange"),
	one("what is torn is not told", inUploader+"read.go", "\tif it.torn {\n\t\tit.entry.Flaw = tree.FlawTorn\n\t\treturn nil\n", "	if it.torn {\n		return nil\n"),
	one("a file that was just written is trusted", inUploader+"known.go", " && !then.Recent && sameFile(now, then)", " && sameFile(now, then)").by("TestTrust|TestRecentFiles"),
	one("an entry with a flaw is trusted", inUploader+"known.go", " && then.Flaw == \"\" && ", " && ").by("TestTrust|TestFilesThatChange"),
	one("times are trusted with --checksum", inUploader+"known.go", "return !u.Checksum && then.Flaw", "return then.Flaw").by("TestTrust|TestChecksum|TestResumeByChecksum"),
	one("the inode does not count", inUploader+"walk.go", "\t\tthen.Seen.Inode == now.Seen.Inode && then", "\t\tthen"),
	one("the change time does not count", inUploader+"walk.go", "\t\tthen.Seen.Inode == now.Seen.Inode && then.Seen.ChangeTime.Equal(now.Seen.ChangeTime)", "\t\tthen.Seen.Inode == now.Seen.Inode"),
	one("a bucket's tag does not count", inUploader+"walk.go", "then.Seen.Host == now.Seen.Host && then.Seen.Inode == now.Seen.Inode && then", "then.Seen.Host == now.Seen.Host && then"),
	one("a file with holes in its extents is known", inUploader+"known.go", "		if x.At != at {\n			return false\n		}\n", ""),
	one("part of a file is taken for all of it", inUploader+"known.go", "return len(e.Extents) > 0 && at == e.Size", "return len(e.Extents) > 0"),
	one("the vault's own files are sealed", inUploader+"walk.go", "if w.isOwn(info) || ", "if false || "),
	one("folders are walked out of order", inUploader+"walk.go", "		return '/'\n", "		return 0\n").by("TestFoldersStandInTheOrderOfPaths"),
	one("a pack has no room for the end of a tar", "internal/tarpack/tarpack.go", "const End = 1024", "const End = 0").by("TestPacksInOrderAndInBounds"),
	one("odd times take no room in a tar", "internal/tarpack/tarpack.go", " || t < 0 || t >= latest {", " || t < 0 && t >= latest {").by("TestPacksInOrderAndInBounds"),
	one("what could not be read is taken for deleted", inUploader+"plan.go", "	p.unread[path] = true\n", "	p.unread[path] = false\n"),
	one("what was kept looks whole", inUploader+"plan.go", "\te.Flaw = tree.FlawKept\n", "	e.Flaw = \"\"\n"),
	one("a piece has no sum", inUploader+"pack.go", "At: j.off, Sum: sum.Sum()}", "At: j.off}"),
}
