package main

const inContainer = "trainer/container/"

var ofContainer = target{
	name:    "trainer/container",
	pkgs:    []string{"./trainer/container"},
	mutants: containerMutants,
}

const (
	keyTests     = "TestKeyChannelIsEmptied|TestKeyOfAFailedRunStays"
	channelTests = "TestParseChannel.*|TestConfigCheck"
)

var containerMutants = []mutant{
	one("the key file is not overwritten", inContainer+"keys.go", "f.Write(make([]byte, min(info.Size(), 1<<20)))", "f.Write(make([]byte, min(info.Size(), 0)))").by(keyTests),
	one("only the first key file is overwritten", inContainer+"keys.go", "		return errors.Join(err, f.Sync())\n", "		return errors.Join(err, f.Sync(), fs.SkipAll)\n").by(keyTests),
	one("the key channel is not emptied", inContainer+"keys.go", "err = errors.Join(err, root.RemoveAll(e.Name()))", "err = errors.Join(err, root.Chmod(e.Name(), 0o700))").by(keyTests),
	one("only the key goes from the key channel", inContainer+"keys.go", "	for _, e := range entries {\n		err", "	for _, e := range entries {\n		if e.Name() != LocalKeyName {\n			continue\n		}\n		err").by(keyTests),
	one("the key stays once all is open", inContainer+"open.go", "		err = c.emptyKeyChannel()\n", "		err = nil\n").by(keyTests),
	one("a failed run removes the key", inContainer+"open.go", "	if err = c.unpack(ctx, versions); err == nil && ctx.Err() != nil {", "	if err = c.unpack(ctx, versions); err != nil {\n		c.emptyKeyChannel()\n	} else if ctx.Err() != nil {").by(keyTests),
	one("the version's digest is not compared", inContainer+"open.go", "if ver.Digest() != ch.Digest {", "if len(ver.Digest()) != len(ch.Digest) {").by("TestTampered"),
	one("records are found anywhere", inContainer+"store.go", "|| isRecord(name) {", "{"),
	one("files are not found by their base names", inContainer+"store.go", "n > most {", "n > most && n > 1<<20 {"),
	one("the first file of a base name is taken", inContainer+"store.go", "n > most {", "most < 0 && n >= 0 {"),
	one("keyrings of the key channel are not looked at", inContainer+"store.go", "if s.keys != nil && strings.Contains(name, \"/keys/\") {", "if s.keys != nil && strings.Contains(name, \"/keyring/\") {").by(keyTests),
	one("the channel takes writes of versions", inContainer+"store.go", "Create(context.Context, string, []byte) error { return errReadOnly }", "Create(context.Context, string, []byte) error { return nil }").by("TestChannelStore"),
	one("a channel may be named twice", inContainer+"container.go", "if seen[ch.Name] {", "if seen[ch.Name] && ch.Sharded {").by(channelTests),
	one("a channel may have the name of the metadata", inContainer+"container.go", "!IsChannelName(name) || name == MetaChannel {", "!IsChannelName(name) {").by(channelTests),
	one("a channel's version may be 0", inContainer+"container.go", "if r.Number == 0 {", "if r.Number < 0 {").by(channelTests),
	one("a digest may be in capitals", "dataset/ref.go", " || s != strings.ToLower(s) {", " {").by(channelTests),
	one("a digest may be short", "dataset/ref.go", "err != nil || len(b) != 32 ||", "err != nil || len(b) > 32 ||").by(channelTests),
	one("what is no key of KMS is called", inContainer+"container.go", "if !keyservice.Fixed(name) {", "if !keyservice.Fixed(name) && name == \"\" {").by(channelTests),
	one("the key channel may be a sealed one", inContainer+"container.go", " || c.KeyChannel == MetaChannel || seen[c.KeyChannel]) {", " || c.KeyChannel == MetaChannel) {").by(channelTests),
	one("both kinds of keys may be named", inContainer+"container.go", "case kinds > 1:", "case kinds > 2:").by(channelTests),
	one("no key needs to be named", inContainer+"container.go", "case kinds == 0:", "case kinds < 0:").by(channelTests),
	one("the context is not checked", inContainer+"container.go", "	return c.Context.Check()\n", "	return nil\n").by(channelTests),
	one("a failure may be longer than is shown", inContainer+"container.go", "if len(line) > maxFailure {", "if len(line) > 2*maxFailure {").by("TestFailureFile"),
}
