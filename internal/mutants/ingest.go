package main

const inIngest = "ingest/"

var ofIngest = target{
	name:    "ingest",
	pkgs:    []string{"./ingest"},
	mutants: ingestMutants,
}

var ingestMutants = []mutant{
	one("a file is complete though its reader failed", inIngest+"file.go", "			if f.state == writing {\n				f.fail(err)\n			}\n", "			if f.state == writing && false {\n				f.fail(err)\n			}\n").by("TestFilesThatAreNotComplete"),
	one("a file is complete though its owner unwinds", inIngest+"file.go", "	if unwind.Count() > f.born && f.state == writing {", "	if unwind.Count() > f.born && f.state == dropped {").by("TestFilesThatAreNotComplete"),
	one("the files of a sample may lie in two packs", inIngest+"sample.go", "		w.put(files)\n", "		for _, f := range files {\n			w.put([]*File{f})\n		}\n").by("TestSamplesStayTogether"),
	one("a version may lack what the last one lacked, unsaid", inIngest+"commit.go", "max(prev.Totals.Flaws-m.flawed, 0)", "max(prev.Totals.Flaws-m.flawed, 0) * 0").by("TestIncompleteBase"),
	one("records of a version that was made are taken up", inIngest+"resume.go", "		if there != nil && sameContents(e, there) {\n			return true, nil", "		if there != nil && sameContents(e, there) {\n			return false, nil").by("TestRecordsOfACommittedWriter"),
	one("a file may take the place of one of the last version", inIngest+"base.go", "		if e != nil && !w.isRemoved(path) {\n			return fmt.Errorf(\"version", "		if e != nil && w.isRemoved(path) {\n			return fmt.Errorf(\"version").by("TestPathsThatAreTaken"),
}
