package main

const (
	inChain   = "internal/chain/"
	inBelief  = "internal/objects/"
	inSigning = "signing/"
)

var ofSigners = target{
	name:    "signers",
	pkgs:    []string{"./internal/chain", "./internal/objects", "./dataset/signers", "./dataset", "./signing", "./internal/commit"},
	mutants: signersMutants,
}

const (
	second   = "TestSecondVerifier"
	ofChain  = "TestLinks|TestOneEncoding|TestGrants|TestDelegations"
	ofModel  = "TestSignersAgainstAModel"
	envelops = "TestEnvelopes"
)

var signersMutants = []mutant{
	// Links.
	one("a writer changes the signers", inChain+"chain.go", "may = c.Last().Owners", "may = slices.Concat(c.Last().Owners, c.Last().Writers)").by(second),
	one("anybody changes the signers", inChain+"chain.go", "at := slices.IndexFunc(may, func(k signing.PublicKey) bool { return k.ID() == id })", "if len(c.links) > 0 {\n		l, _, _ := decodeLink(said)\n		may = slices.Concat(may, l.Owners)\n	}\n	at := slices.IndexFunc(may, func(k signing.PublicKey) bool { return k.ID() == id })").by(ofChain),
	one("links of another dataset count", inChain+"chain.go", "ok := l.Dataset == dataset && ", "ok := ").by(ofChain),
	one("links need not follow each other", inChain+"chain.go", "previous == c.previous() && ", "(previous == c.previous() || previous != \"\") && ").by(ofChain),
	one("links need not be counted", inChain+"chain.go", " && l.Sequence == len(c.links)+1", "").by(ofChain),
	one("a link of another chain of the name counts", inChain+"chain.go", "l.ID == last.ID && ", "").by(ofChain),
	one("after may go back", inChain+"chain.go", "l.After >= last.After && ", "").by(ofChain),
	one("an epoch may go back", inChain+"chain.go", " && l.Epoch >= last.Epoch", "").by(ofChain),
	one("the first link may have writers", inChain+"chain.go", " && len(l.Writers) == 0", "").by(ofChain),
	one("the first link may come after versions", inChain+"chain.go", "ok = ok && l.After == 0 && l.Epoch == 0", "ok = ok && l.Epoch == 0").by(ofChain),
	one("a set may be without an owner", inChain+"encoding.go", "case len(j.Owners) == 0:", "case len(j.Owners) == 0 && len(j.Writers) == 0:").by(ofChain),
	one("a signer may be there twice", inChain+"encoding.go", "if k.IsZero() || slices.Contains(all[:i], k) {", "if k.IsZero() || i < 0 {").by(ofChain),
	one("signers need not be sorted", inChain+"encoding.go", "if !ordered(j.Owners) || !ordered(j.Writers) {", "if !ordered(j.Owners) {").by(ofChain),
	one("payloads may be encoded otherwise", inChain+"encoding.go", "if err != nil || !bytes.Equal(again, payload) {", "if err != nil || len(again) > len(payload) && bytes.Equal(again, nil) {").by(ofChain),
	// Grants.
	one("a grant of another dataset counts", inChain+"grant.go", "j.Dataset != l.Dataset || ", "").by(second),
	one("a grant of another chain counts", inChain+"grant.go", "j.ID != l.ID || ", "").by(ofChain),
	one("a grant of another epoch counts", inChain+"grant.go", "j.Epoch != l.Epoch || ", "").by(second),
	one("a grant by one who was no signer then counts", inChain+"grant.go", " || l.Role(by) == None {\n		return bad(\"the grant", " {\n		return bad(\"the grant").by(second),
	one("a read-only grant is sealed under", inChain+"grant.go", "return !g.ReadOnly && ", "return ").by(ofChain),
	one("an earlier epoch is sealed under", inChain+"grant.go", "g.Epoch == l.Epoch && (", "(").by(ofChain),
	one("another writer's key is sealed under", inChain+"grant.go", "l.Role(g.By) == Owner)", "l.Role(g.By) != None)").by(ofModel),
	// Delegations.
	one("a delegation signs for later versions", inChain+"delegation.go", "case number > d.UpTo:", "case number > d.UpTo+1000:").by(second),
	one("a delegation signs after its time", inChain+"delegation.go", "case at.After(d.NotAfter):", "case at.After(d.NotAfter) && d.UpTo == 0:").by(second),
	one("a former signer delegates", inChain+"delegation.go", "if err == nil && d.Former {", "if err == nil && d.Former && d.UpTo == 0 {").by(second),
	// Statements and roots.
	one("a root may be signed by a former signer", inBelief+"statement.go", "range slices.Concat(c.Last().Owners, c.Last().Writers) {", "range slices.Concat(c.Links()[0].Owners, c.Last().Owners, c.Last().Writers) {").by("TestFormerSignersSignNothing"),
	one("the statement may be about something else", inBelief+"statement.go", "if !bytes.Equal(said, want) {", "if len(said) != len(want) {").by(second),
	one("a data key may be granted twice", inBelief+"statement.go", "if r.granted[g.KeyID] != nil {", "if len(r.granted) > 1000 {").by(second),
	one("parts may be under a key that is not granted", inBelief+"statement.go", "		if err := r.Names(p.KeyID); err != nil {", "		if err := r.Names(p.KeyID); err != nil && len(r.granted) == 0 {").by("TestGrantedKeys"),
	// Whom to believe.
	one("other signers are believed", inBelief+"belief.go", "		if links[i].Digest == known[i].Digest {", "		if links[i].Digest == known[i].Digest || i == 0 {").by(ofModel),
	one("a cut chain is believed", inBelief+"belief.go", "number > known[n].After {", "number > known[n].After+1000 {").by(ofModel),
	one("a version may be another than was seen", inBelief+"belief.go", "	if seen != \"\" && seen != digest {\n		return &UntrustedError{s.Name, r.Number, fmt.Sprintf(\"its digest is %s, but", "	if seen != \"\" && seen == digest+\"x\" {\n		return &UntrustedError{s.Name, r.Number, fmt.Sprintf(\"its digest is %s, but").by("TestOneVersionOfANumber"),
	one("pinned signers are not asked for", inBelief+"belief.go", "if len(known.Signers) > 0 && !slices.Contains(known.Signers, r.Signer)", "if len(known.Signers) > 1000 && !slices.Contains(known.Signers, r.Signer)").by("TestNamedSigners"),
	one("what a reader has missed is not looked at", inBelief+"belief.go", "	return s.follows(r.Number, r.Chain.Seen(), before.Chain.Seen())", "	return nil").by("TestReaderWhoMissedARemoval"),
	one("first contact compares nothing", inBelief+"belief.go", "	for _, n := range others {", "	for _, n := range others[len(others):] {").by(ofModel),
	one("a later version need not be the one that was seen", inBelief+"belief.go", "later == nil || later.digest() != digest || later.Parent == 0", "later == nil || later.Parent == 0").by("TestWhatLeadsToAVersion"),
	one("a data key need not be the granted one", inBelief+"keys.go", "	if err == nil && got != want {\n		err", "	if err == nil && got == [32]byte{} {\n		err").by("TestGrantedKeys"),
	// Envelopes.
	one("an envelope may be encoded otherwise", inSigning+"dsse.go", "if err != nil || !bytes.Equal(again, b) {", "if err != nil || bytes.Equal(again, nil) {").by(envelops),
	one("an envelope may have two signatures", inSigning+"dsse.go", "|| len(env.Signatures) != 1 {", "|| len(env.Signatures) == 0 {").by("TestTwoSignatures"),
	one("an envelope may be of another type", inSigning+"dsse.go", "if env.PayloadType != payloadType || key.IsZero() {", "if key.IsZero() {").by(envelops),
	one("what a signer returns is not looked at", inSigning+"dsse.go", "if _, err := Open(b, payloadType, s.Public()); err != nil {", "if _, err := parseEnvelope(b); err != nil {").by("TestSignersThatFail"),
	// Who may make a version.
	one("who is no signer makes versions", "internal/commit/authority.go", "if l.auth.chain.Last().Role(signer.Public()) == chain.None {", "if signer == nil {").by(ofModel),
	one("records of others are believed", "internal/commit/authority.go", "		if begun.Last().Role(l.auth.signer.Public()) != chain.Owner {", "		if begun.Last().Role(l.auth.signer.Public()) == chain.Owner && l.auth.signer == nil {").by("TestWhichRecordsAreUsed"),
	one("records need no signature", "internal/commit/authority.go", "	return c, other, of.CheckRecord(r.Upload, r.Signed, upload, number, r.Sum())", "	if err := of.CheckRecord(r.Upload, r.Signed, upload, number, r.Sum()); len(r.List) == 0 {\n		return nil, nil, err\n	}\n	return c, other, nil").by("TestPlantedRecords").in("./ingest"),
	one("a record may be exchanged after it was looked at", "internal/commit/pending.go", "if err == nil && r.Sum() != l.sum {", "if err == nil && len(r.List) == 0 {").by("TestRecordExchangedMeanwhile"),
	one("who was removed records", inChain+"upload.go", "case c.Last().Role(by) == None:", "case false:").by("TestWhichRecordsAreUsed"),
	one("who was no signer then records", inChain+"upload.go", " || l.Role(by) == None || j.Upload", " || j.Upload").by("TestWhichRecordsAreUsed"),
	one("a record counts under the name of another upload", inChain+"upload.go", "r.Format != recordFormat || r.Upload != upload || ", "r.Format != recordFormat || ").by("TestRecordsOfAnotherUpload"),
	one("a certificate counts for other uploads", inChain+"upload.go", " || j.Upload != upload {", " {").by("TestRecordsOfAnotherUpload"),
	one("a record counts under another number", inChain+"upload.go", "r.Number != number || ", "").by("TestWhichRecordsAreUsed"),
	one("a record counts with another list", inChain+"upload.go", "r.Number != number || r.SHA256 != hex.EncodeToString(sum[:])", "r.Number != number").by("TestWhichRecordsAreUsed"),
	one("a record of another dataset of the name counts", inChain+"upload.go", "j.Dataset != l.Dataset || j.ID != l.ID || ", "").by("TestRecordsOfAnotherUpload"),
	one("records name packs under any key", "internal/commit/authority.go", "		if !granted[key] {", "		if !granted[key] && len(granted) == 0 {").by("TestWhichRecordsAreUsed"),
}
