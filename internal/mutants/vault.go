package main

const (
	inVault  = "vault/"
	inS3     = "vault/s3/"
	inConfig = "config/"
	inAtomic = "internal/atomicfile/folder.go"
)

var ofVault = target{
	name:    "vault",
	pkgs:    []string{"./vault", "./vault/s3", "./config", "./internal/atomicfile"},
	mutants: vaultMutants,
}

const (
	syncTests = "TestObjectsAreSynced.*|TestErrorsOfSyncs.*"
	getTests  = "TestAnswersToGet.*|TestS3Requests"
	sseTests  = "TestS3Requests|TestReplace.*|TestSSE.*"
)

var vaultMutants = []mutant{
	// The store in a directory.
	one("an object is not synced before it is named", inAtomic, "if _, err := d.Calls.Sync(f.file); err != nil {", "if f.file == nil {").by(syncTests),
	one("an error of the sync is ignored", inAtomic, "if _, err := d.Calls.Sync(f.file); err != nil {", "if _, err := d.Calls.Sync(f.file); err != nil && ctx.Err() != nil {").by(syncTests),
	one("an object's folder is not synced", inAtomic, "	_, err = d.Calls.SyncFolder(d.Root, path.Dir(name))\n	return err", "	return nil").by(syncTests),
	one("new folders are not synced", inAtomic, "	_, err = d.Calls.SyncFolder(d.Root, path.Dir(dir))\n	return err", "	return nil").by(syncTests),
	one("an error of close is ignored", inAtomic, "if err := f.flush(); err != nil {", "if err := f.flush(); err != nil && ctx.Err() != nil {"),
	one("Create replaces what is there", inAtomic, "	linked, err := d.Calls.HardLink(d.Root, tmp, name)\n", "	linked, err := true, d.Calls.Move(d.Root, tmp, name)\n").by("TestDirStore|TestCreateAndReplace"),
	one("Replace does not compare", inAtomic, "if err == nil && !bytes.Equal(b, old) {", "if err == nil && bytes.Equal(b, nil) {").by("TestDirStore|TestCreateAndReplace"),
	one("a cancelled write is stored", inAtomic, "	if err := ctx.Err(); err != nil {\n		return err\n	}\n	if err := publish", "	if err := publish").by("TestDirStore"),
	one("a failed write leaves its file", inAtomic, "			d.Root.Remove(tmp)\n		}\n	}()", "			_ = tmp\n		}\n	}()").by("TestDirStore|TestErrorsOfSyncs.*"),
	one("files being written are listed", inVault+"dir.go", "if strings.HasPrefix(e.Name(), tmpPrefix) || !e.Type().IsRegular() {", "if !e.Type().IsRegular() {"),
	one("objects are listed out of order", inVault+"dir.go", "		return e.Name() + \"/\"\n", "		return e.Name()\n").by("TestDirStore"),
	one("a pipe may be in an object's place", "internal/fsys/regular.go", "os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)", "os.O_RDONLY|syscall.O_CLOEXEC|flags, 0)").by("TestNoObjectInAnObjectsPlace"),
	one("a range has no end", inVault+"dir.go", "io.NewSectionReader(f, off, n)", "io.NewSectionReader(f, off, 1<<40)").by("TestDirStore"),
	one("a range begins at the start", inVault+"dir.go", "io.NewSectionReader(f, off, n)", "io.NewSectionReader(f, off-off, n)").by("TestDirStore"),

	// What others can write is not believed.
	one("a configuration of others is believed", inConfig+"trust.go", "if !trustedOwner(st.Uid) && ", "if st.Uid > 1<<31 && ").by("TestConfigOfOthers").in("./config"),
	one("a configuration that all can write is believed", inConfig+"trust.go", "case mode.Perm()&0o002 != 0:", "case mode.Perm()&0o004 == 0 && mode.Perm()&0o002 != 0:").by("TestConfigOfOthers").in("./config"),
	one("others may read a secret", inConfig+"keys.go", "mode.Perm()&0o077 != 0 {", "mode.Perm()&0o007 != 0 {").by("TestKeysOfOthers").in("./config"),
	one("a key is made beside data", inConfig+"keys.go", "if strings.Contains(o.Name, \"/keys/\") {", "if strings.Contains(o.Name, \"/keyrings/\") {").by("TestKeyIsMadeBesideNoData").in("./config"),
	one("the default key opens what is in KMS", inConfig+"keys.go", "case c.DefaultKey && len(c.KMSKeys) > 0:", "case c.DefaultKey && len(c.KMSKeys) > 99:").by("TestLocalKeyBesideKMS").in("./config"),

	// Reading from S3.
	one("another range than asked for is accepted", inS3+"get.go", "err != nil || from != b.off || to-from+1 != length {", "err != nil || to-from+1 != length {").by(getTests).in("./vault/s3"),
	one("less than was asked for is accepted", inS3+"get.go", "end != size && end != b.end {", "end > size && end != b.end {").by(getTests).in("./vault/s3"),
	one("more than asked for is accepted", inS3+"get.go", "if b.end >= 0 && end > b.end {", "if b.end >= 0 && end > b.end+1<<40 {").by(getTests).in("./vault/s3"),
	one("an object that was replaced is read on", inS3+"get.go", "if end != b.end || deref(out.ETag) != b.etag {", "if end != b.end {").by(getTests).in("./vault/s3"),
	one("the object is not named when a read goes on", inS3+"get.go", "		in.IfMatch = &b.etag\n", "		_ = b.etag\n").by(getTests).in("./vault/s3"),
	one("the checksum of an object is not compared", inS3+"get.go", "if b.want != \"\" && encodeCRC(b.crc) != b.want {", "if b.want != \"\" && encodeCRC(b.crc) == \"\" {").by(getTests).in("./vault/s3"),
	one("a body that breaks off is whole", inS3+"get.go", "		if err != nil && b.off < b.end {\n			b.failed(err)\n		}\n", "		if err == io.EOF {\n			b.err = err\n		} else if err != nil && b.off < b.end {\n			b.failed(err)\n		}\n").by(getTests).in("./vault/s3"),
	one("reads are resumed for ever", inS3+"get.go", "if b.off >= b.failedAt+progress {", "if b.off >= b.failedAt {").by(getTests).in("./vault/s3"),

	// Writing to S3.
	one("SSE-KMS is not asked for", inS3+"put.go", "		in.ServerSideEncryption = types.ServerSideEncryptionAwsKms\n", "		in.ServerSideEncryption = \"\"\n").by(sseTests).in("./vault/s3"),
	one("another KMS key is accepted", inS3+"put.go", "return got != \"\" && (got == want ||", "return got != \"\" && (got != \"\" ||").by(sseTests).in("./vault/s3"),
	one("the size that was stored is not compared", inS3+"put.go", "got := deref(head.ContentLength); got != size {", "got := deref(head.ContentLength); got < 0 {").by(sseTests).in("./vault/s3"),
	one("a new object replaces another", inS3+"create.go", "IfNoneMatch", "IfMatch").by("TestS3Requests").in("./vault/s3"),
}
