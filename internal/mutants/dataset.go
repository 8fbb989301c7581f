package main

const inDataset = "dataset/"

var ofDataset = target{
	name:    "dataset",
	pkgs:    []string{"./dataset", "./internal/codec", "./uploader", "./trainer/container"},
	run:     "AreRefused$|ThatCannotBeRestored$|LooksAtAncestors$",
	mutants: datasetMutants,
}

const (
	rootTests = "TestRootsOfOthersAreRefused"
	partTests = "TestIndexPartsOfOtherBytesAreRefused"
	packTests = "TestPacksOfOtherBytesAreRefused"
)

var datasetMutants = []mutant{
	// Version roots.
	one("a root of another dataset is accepted", "internal/codec/root.go", "j.Dataset != dataset || j.Number != number", "j.Number != number").by(rootTests),
	one("a root of another number is accepted", "internal/codec/root.go", "j.Dataset != dataset || j.Number != number", "j.Dataset != dataset").by(rootTests),
	one("a version may be made after itself", "internal/codec/root.go", "j.Parent.Number >= number", "j.Parent.Number > number").by(rootTests),
	one("a version may be made after none", "internal/codec/root.go", "j.Parent.Number < 1 ||", "j.Parent.Number < 0 ||").by(rootTests),
	one("totals may be below zero", "internal/codec/root.go", " || !sound(j.Totals)", "").by(rootTests),
	one("a keyring in a root's header is accepted", "internal/objects/version.go", "if h.Keyring != nil {", "if h.Keyring != nil && number < 0 {").by("TestKeyringsInHeadersAreRefused"),
	one("a root may be of any kind", "internal/objects/version.go", "h.Open(src, envelope.KindVersion, key)", "h.Open(src, h.Kind, key)").by(rootTests),
	one("a root may be of any format", "internal/codec/root.go", "|| j.Format != versionFormat {", "|| j.Format == \"\" {").by(rootTests),
	one("the parent's digest may be missing", "internal/codec/root.go", "r.ParentPin.Digest, err = parseDigest(j.Parent.Digest); err != nil {", "r.ParentPin.Digest, err = parseDigest(j.Parent.Digest); err != nil && number < 0 {").by(rootTests),
	one("the size of the parent's root is forgotten", "internal/codec/root.go", "r.Parent, r.ParentPin.Size = j.Parent.Number, j.Parent.Size", "r.Parent = j.Parent.Number").by(rootTests),
	one("a part may come twice", "internal/codec/part.go", "first <= parts[len(parts)-1].First", "first < parts[len(parts)-1].First").by("TestRootsOfMuchMemory"),
	one("a part may be of no entries", "internal/codec/part.go", "case p.Entries < 1 ||", "case p.Entries < 0 ||").by("TestRootsOfMuchMemory"),
	one("any object of the folder is a version", "internal/objects/numbers.go", "if err != nil || n <= 0 || s.VersionName(n) != o.Name {", "if err != nil || n <= 0 {").by("TestStrayObjectsAreNoVersions").in("./dataset"),

	// Parts of the index.
	one("the pin of an index part is not compared", "internal/objects/read.go", "int64(b.Len()) != size || r.Pin() != o.Pin", "int64(b.Len()) != size").by(partTests),
	one("an index part longer than pinned is accepted", "internal/objects/read.go", "int64(b.Len()) != size || r.Pin() != o.Pin", "int64(b.Len()) < size || r.Pin().Digest != o.Pin.Digest").by(partTests),
	one("an index part begins elsewhere", inDataset+"version.go", "last < 0 || entries[0].Path != part.First ||", "last < 0 ||").by(partTests),
	one("an index part has other entries than the root says", inDataset+"version.go", " || len(entries) != part.Entries ||", " ||").by(partTests),
	one("index parts overlap", inDataset+"version.go", "entries[last].Path >= v.Parts[i+1].First {", "entries[last].Path > v.Parts[i+1].First {").by("TestPartsThatOverlapAreRefused").in("./dataset"),
	one("a list of another dataset is accepted", "internal/codec/list.go", "header.Format != format || header.Dataset != dataset", "header.Format != format").by("TestListRoundTrip").in("./internal/codec"),
	one("a record is taken for a part of an index", "internal/codec/list.go", "header.Format != format || header.Dataset != dataset", "header.Dataset != dataset").by("TestListRoundTrip").in("./internal/codec"),
	one("a list may have a path twice", "internal/codec/list.go", "entries[n-1].Path >= e.Path {", "entries[n-1].Path > e.Path {").by("TestListsThatAreRefused").in("./internal/codec"),
	one("a list may lack sums of extents", "internal/codec/list.go", "len(sums) > 0 && len(sums) != len(e.Extents)", "len(sums) > len(e.Extents)").by("TestListsThatAreRefused").in("./internal/codec"),
	one("an extent may end behind its pack", "internal/codec/check.go", "x.Offset > size-x.Length {", "x.Offset > size {").by("TestEntriesThatCannotBeRestored").in("./internal/codec"),
	one("extents may leave gaps", "internal/codec/check.go", "err != nil || x.At != at ||", "err != nil ||").by("TestEntriesThatCannotBeRestored").in("./internal/codec"),
	one("extents may be less than the file", "internal/codec/check.go", "if e.IsFile() && at != e.Size {", "if e.IsFile() && at > e.Size {").by("TestEntriesThatCannotBeRestored").in("./internal/codec"),
	one("a path may lead upwards", "dataset/tree/entry.go", "elem == \".\" || elem == \"..\" ||", "elem == \".\" ||").by("TestEntriesThatCannotBeRestored"),
	one("a path may be absolute", "dataset/tree/entry.go", "if elem == \"\" || elem == \".\"", "if elem == \".\"").by("TestEntriesThatCannotBeRestored"),

	// Packs.
	one("the pin of a pack is not compared", "internal/packs/read.go", "if r.Pin() != pack.Pin {", "if r.Pin() != pack.Pin && done < 0 {").by(packTests),
	one("a pack that is wrong becomes a tar", "trainer/container/unpack/tar.go", "if err = cmp.Or(err, failed); err != nil {", "if err = cmp.Or(failed, nil); err != nil {").by(packTests),
	one("a sum is not compared in a restore", "internal/packs/read.go", "src.sum != nil && src.sum.Sum() != p.Extent.Sum {", "src.sum != nil && src.n < 0 {"),
	one("a sum is not compared for one file", "internal/packs/read.go", "sum != nil && sum.Sum() != x.Sum {", "sum != nil && n < 0 {"),
	one("a file that fails is not told", "internal/packs/read.go", "\tfor _, p := range pieces {\n\t\tfailed(p.Entry, err)\n\t}\n}", "\tfor _, p := range pieces {\n\t\tif err == nil {\n\t\t\tfailed(p.Entry, err)\n\t\t}\n\t}\n}"),
	one("the context may name another dataset", "internal/objects/keys.go", "\tmaps.Copy(ec, s.Vault.Context)\n\tec[envelope.ContextDataset] = s.Name // whatever the user's part says\n", "\tec[envelope.ContextDataset] = s.Name\n\tmaps.Copy(ec, s.Vault.Context)\n").by("TestContextNamesTheDataset"),
	one("a keyring of another data key is accepted", "internal/objects/keys.go", "if err == nil && ring.ID() != id {", "if err == nil && ring.ID() != id && len(b) == 0 {").by("TestKeyringsOfOtherKeysAreRefused").in("./dataset"),
	one("a removed slot stays in other keyrings", inDataset+"slots.go", "if hasSlot(ring, kind, key) {\n			return fmt.Errorf", "if hasSlot(ring, kind, key) && len(rings) == 0 {\n			return fmt.Errorf").by("TestSlotsThatComeBackAreTold").in("./dataset"),

	// Unfinished uploads.
	one("a keyring in a record's header is accepted", "internal/objects/read.go", "if header.Keyring != nil {", "if header.Keyring != nil && name == \"\" {").by("TestKeyringsInHeadersAreRefused"),
	one("the records of all sources are removed", "internal/commit/pending.go", "if l.source == source {", "if l.source == source || l.name != \"\" {").by("TestRecordsOfOtherSourcesStay").in("./dataset"),

	// Opening in place.
	one("records of another version are believed", "trainer/container/unpack/record.go", "private, ok := strings.CutSuffix(h.Source, \" \"+u.version.Digest())", "private, _, ok := strings.Cut(h.Source, \" \")").by("TestRecordsOfAnotherVersion").in("./trainer/container"),
	one("a file that was touched is believed", "trainer/container/unpack/record.go", "now.Inode == e.Seen.Inode && now.ChangeTime.Equal(e.Seen.ChangeTime)", "now.Inode == e.Seen.Inode").by("TestRecords").in("./trainer/container"),
	one("what does not belong is left", "trainer/container/unpack/record.go", "		default:\n			if err := u.root.Remove(name); err != nil {", "		default:\n			if err := u.root.Chmod(name, 0o600); err != nil {").by("TestWhatDoesNotBelong").in("./trainer/container"),
	one("a pack may be missing", "trainer/container/unpack/survey.go", "if s.missing != nil && !u.opts.Partial {", "if s.missing != nil && u.opts.Tars {").by("TestTampered").in("./trainer/container"),
	one("a file of several packs goes to several hosts", "trainer/container/unpack/survey.go", "case u.opts.Partial && s.split != \"\":", "case u.opts.Partial && s.split == \"\\x00\":").by("TestSharded").in("./trainer/container"),
	one("a file may have the name of the private folder", "trainer/container/unpack/record.go", "if strings.HasPrefix(e.Path, privatePrefix) {", "if e.Path == privatePrefix {").by("TestNamesOfItsOwn").in("./trainer/container"),
}
