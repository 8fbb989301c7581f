package main

const inProvenance = "trainer/provenance/"

var ofProvenance = target{
	name:    "trainer/provenance",
	pkgs:    []string{"./trainer/provenance"},
	mutants: provenanceMutants,
}

var provenanceMutants = []mutant{
	one("what is behind an archive is not looked at", inProvenance+"files.go", "return zeros(r) // to", "return nil // to"),
	one("the later of two files counts", inProvenance+"files.go", "case twice || linked:", "case linked && !linked && twice:"),
	one("a link to nothing is left out", inProvenance+"files.go", "		if !ok {\n			return malformed", "		if !ok {\n			continue\n		}\n		if !ok {\n			return malformed"),
	one("other entries are left out", inProvenance+"files.go", "		default:\n			return malformed(fmt.Sprintf(\"%q is neither", "		case h.Typeflag == tar.TypeChar:\n		default:\n			return malformed(fmt.Sprintf(\"%q is neither"),
	one("any purpose signs for a job", inProvenance+"verify.go", "if d.Purpose != chain.ForJob {", "if d.Purpose == \"\" {").by("TestTampered"),
	one("the key of one job signs for another", inProvenance+"verify.go", "	if name != job {", "	if name == \"\" {").by("TestTampered"),
	one("an expired key signs", inProvenance+"verify.go", "	return d.Covers(upTo(inputs[0].Dataset, inputs), at)", "	return d.Covers(upTo(inputs[0].Dataset, inputs), d.NotAfter)").by("TestTampered"),
	one("a key signs for later versions", inProvenance+"verify.go", "	return d.Covers(upTo(inputs[0].Dataset, inputs), at)", "	return d.Covers(0, at)").by("TestTampered"),
	one("the tree is not compared", inProvenance+"verify.go", "got != all[0].Tree {", "len(got) != len(all[0].Tree) {").by("TestTampered"),
	one("a statement counts for any host", inProvenance+"verify.go", `if s.Host+".json" != name {`, `if s.Host == "" {`).by("TestTampered"),
	one("statements of several jobs count", inProvenance+"verify.go", "if s.Job != all[0].Job || !slices.Equal(s.Inputs, all[0].Inputs) {", "if s.Job == \"\" {").by("TestTampered"),
	one("no statement is no error", inProvenance+"verify.go", "		return nil, nil, ErrNoStatement", "		return nil, nil, nil").by("TestTampered"),
	one("hosts' files may be missing", inProvenance+"verify.go", "	for _, name := range slices.Sorted(maps.Keys(made)) {", "	for _, name := range slices.Sorted(maps.Keys(made))[len(made):] {").by("TestHosts"),
	one("hosts' files may be changed", inProvenance+"verify.go", "!slices.Contains(sums, file.Sum):", "len(sums) == 0:").by("TestHosts"),
	one("another version in the place of one is not noticed", inProvenance+"verify.go", "case ver.Digest() != in.Digest:", "case ver.Digest() == \"\":").by("TestModel"),
	one("the certificate of another job is taken", inProvenance+"certificate.go", "path.Base(path.Dir(name)) != j.Run.Job || ", "").by("TestSealed"),
	one("a certificate for other versions is taken", inProvenance+"certificate.go", " || !slices.Equal(slices.SortedFunc(slices.Values(inputs), byChannel), slices.SortedFunc(slices.Values(j.Run.Inputs), byChannel)) {", " || byChannel == nil {").by("TestSealed"),
	one("a statement that the model has brought stays", inProvenance+"certificate.go", "root.RemoveAll(Folder)", "root.RemoveAll(Folder + \"/algo-1.json\")").by("TestArchives"),
	one("a record that was moved is believed", inProvenance+"jobs.go", "if l.Err == nil && (l.Job != job || ", "if l.Err == nil && (").by("TestLaunches"),
	one("who was removed is a signer", "internal/chain/delegation.go", "c.Last().Role(by) == None, raw}", "c == nil, raw}").by("TestFormerSigners"),
	// Sealed models.
	one("a sealed file counts in another place", "trainer/sealedmodel/key.go", `envelope.EncryptionContext{"job": job, "path-sha256": hex.EncodeToString(sum[:])}`, `envelope.EncryptionContext{"job": job, "path-sha256": hex.EncodeToString(sum[:0])}`).by("TestForgedModels").in("./trainer/sealedmodel"),
	one("a sealed file counts for another job", "trainer/sealedmodel/key.go", `envelope.EncryptionContext{"job": job, "path`, `envelope.EncryptionContext{"job": "j", "path`).by("TestForgedModels").in("./trainer/sealedmodel"),
	one("a file that is not sealed is taken", "trainer/sealedmodel/open.go", "case h.Typeflag != tar.TypeReg || !strings.HasSuffix(name, Suffix):", "case h.Typeflag == tar.TypeReg && !strings.HasSuffix(name, Suffix):\n\t\tcase h.Typeflag != tar.TypeReg:").by("TestForgedModels").in("./trainer/sealedmodel"),
	one("links of a model may lead out of it", "trainer/sealedmodel/open.go", "if filepath.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {", "if target == \"\" {").by("TestForgedModels").in("./trainer/sealedmodel"),
	one("what could not be sealed stays", "trainer/sealedmodel/seal.go", "errs = append(errs, moveAside(dir, aside, failed))", "_ = moveAside").by("TestWhatCannotBeSealed").in("./trainer/sealedmodel"),
	one("what is no file stays in a model", "trainer/sealedmodel/seal.go", `failed, errs = append(failed, name), append(errs, fmt.Errorf("%s is not a file: the script has to remove it", name))`, `_ = name`).by("TestWhatCannotBeSealed").in("./trainer/sealedmodel"),
}
