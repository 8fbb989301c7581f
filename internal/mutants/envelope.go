package main

const (
	cobblestone = "envelope/internal/cobblestone/cobblestone.go"
	envelope    = "envelope/"
)

var ofEnvelope = target{
	name: "envelope",
	pkgs: []string{"./envelope/..."},
	// The tests that kill most of them come first.
	run:     "^(TestTestkit|TestVectors|TestSizes|TestSaltsDiffer|TestOpenClearsOnFailure)$",
	skip:    "^(TestTestkit|TestVectors|Fuzz.*)$",
	mutants: envelopeMutants,
}

var envelopeMutants = []mutant{
	// The primitive.
	one("the chunk number is not in the nonce", cobblestone, "binary.BigEndian.Uint64(tail)^n", "binary.BigEndian.Uint64(tail)"),
	one("the chunk number is at the wrong end of the nonce", cobblestone, "m.nonce[nonceSize-8:]", "m.nonce[:8]"),
	one("the commitment is not checked", cobblestone, "header[SaltSize:HeaderSize]) != 1", "header[SaltSize:HeaderSize]) > 1"),
	one("only the start of the commitment is checked", cobblestone, "ConstantTimeCompare(commitment[:], header[SaltSize:HeaderSize])", "ConstantTimeCompare(commitment[:31], header[SaltSize:HeaderSize-1])"),
	one("the salt is always the same", cobblestone, "rand.Read(salt[:])", "rand.Read(salt[:0])"),
	one("the salt does not change the key", cobblestone, "append(info, salt...)", "append(info, salt[:0]...)"),
	one("the context does not change the key", cobblestone, "append(info, context...)", "append(info, context[:0]...)"),
	one("the last chunk may be full", cobblestone, "for ; len(plaintext) >= ChunkSize; n++", "for ; len(plaintext) > ChunkSize; n++"),
	one("a cut tag has a size", cobblestone, "body < TagSize || last < TagSize", "body < TagSize || last < TagSize-1"),
	one("a whole number of full chunks has a size", cobblestone, "body < TagSize || last < TagSize", "body < TagSize || last < TagSize && last > 0"),
	one("a failed Open leaves plaintext in the buffer", cobblestone, "clear(dst[start : int64(start)+size])", "_ = start"),

	// Keys and what they are bound to.
	one("the kind is not bound", envelope+"datakey.go", "info := h.appendBound(", "h.Kind = KindFile\n\tinfo := h.appendBound("),
	one("the key ID is not bound", envelope+"datakey.go", "info := h.appendBound(", "h.KeyID = KeyID{}\n\tinfo := h.appendBound("),
	one("the object ID is not bound", envelope+"datakey.go", "info := h.appendBound(", "h.ObjectID = ObjectID{}\n\tinfo := h.appendBound("),
	one("the object ID is always the same", envelope+"header.go", "rand.Read(h.ObjectID[:])", "rand.Read(h.ObjectID[:0])"),
	one("the segment number is not bound", envelope+"segment.go", "AppendUint64([]byte(labelSegment), i)", "AppendUint64([]byte(labelSegment), i-i)"),
	one("the keyring's commitment is not checked", envelope+"datakey.go", "commitment(id, own), want) != 1", "commitment(id, own), want) > 1"),
	one("the keyring's commitment does not name the key ID", envelope+"datakey.go", "labelCommitment+string(id[:])", "labelCommitment+string(id[:0])"),
	one("the key ID is not in the encryption context", envelope+"context.go", "full[ContextKeyID] = id.String()", "full[ContextKeyID] = \"\""),
	one("the context's values are not bound", envelope+"context.go", "put(ec[k])", "put(\"\")"),
	one("the context is not sorted", envelope+"context.go", "range slices.Sorted(maps.Keys(ec))", "range slices.Collect(maps.Keys(ec))"),
	{name: "a local slot does not bind the context", edits: []edit{
		{envelope + "localkey.go", "key, ec.Canonical(), dataKey", "key, nil, dataKey"},
		{envelope + "localkey.go", "key, ec.Canonical(), slot.Wrapped", "key, nil, slot.Wrapped"},
	}},
	{name: "a passphrase slot does not bind the context", edits: []edit{
		{envelope + "passphrase.go", "key, ec.Canonical(), dataKey", "key, nil, dataKey"},
		{envelope + "passphrase.go", "key, ec.Canonical(), slot.Wrapped", "key, nil, slot.Wrapped"},
	}},
	one("an hpke slot does not bind the context", envelope+"hpke.go", "ec.Canonical()...", "ec.Canonical()[:0]..."),
	one("a passphrase slot may ask for any work", envelope+"passphrase.go", "|| a.work() > maxSlotWork", "|| a.work() > 8*maxSlotWork"),
	one("a keyring's passphrase slots may ask for any work", envelope+"passphrase.go", "total > maxKeyringWork", "total > 8*maxKeyringWork"),

	one("a wiped key is used as zeros", envelope+"secret.go", "\ts.p.b = nil\n", ""),
	one("a copy of a key is used", envelope+"secret.go", "case self != key:", "case self == nil && self != key:"),
	one("a key of zeros is taken from a key service", envelope+"datakey.go", "make([]byte, DataKeySize)) == 1 {", "make([]byte, DataKeySize)) > 1 {"),

	// Headers and keyrings.
	one("a file opens as another kind", envelope+"reader.go", "if h.Kind != kind {", "if h.Kind != kind && !kind.valid() {"),
	one("a file opens at random as another kind", envelope+"readerat.go", "if h.Kind != kind {", "if h.Kind != kind && !kind.valid() {"),
	one("a keyring has many encodings", envelope+"keyring.go", "if !bytes.Equal(k.Bytes(), b) {", "if !bytes.Equal(k.Bytes(), k.Bytes()) {"),
	one("a keyring may have a newline after it", envelope+"keyring.go", "if !bytes.Equal(k.Bytes(), b) {", "if !bytes.HasPrefix(b, k.Bytes()) {"),
	one("a keyring of another key stands in a header", envelope+"header.go", "if ring.ID() != h.KeyID {", "if ring.ID() != h.KeyID && len(b) == 0 {"),
	one("a file exactly known may have another object ID", envelope+"reader.go", "!bytes.Equal(got, want)", "!bytes.Equal(got[:28], want[:28])"),

	// Streaming.
	one("a file may end without a short segment", envelope+"reading.go", "\t\tj.size = want\n", "\t\tif j.size = want; want == 0 && r.next > 0 {\n\t\t\tr.srcErr = io.EOF\n\t\t\tj.release()\n\t\t\treturn\n\t\t}\n"),
	one("a full last segment is not followed by an empty one", envelope+"writing.go", "j.plain = w.next, j.plain[:w.n]\n", "j.plain = w.next, j.plain[:w.n]\n\t\tif w.n == 0 && w.next > 0 {\n\t\t\tw.drain(0)\n\t\t\treturn\n\t\t}\n"),
	one("an error is forgotten", envelope+"reading.go", "\treturn r.err\n}\n\n// fail ends", "\terr := r.err\n\tif err != io.EOF {\n\t\tr.err = nil\n\t}\n\treturn err\n}\n\n// fail ends"),
	one("a failed segment is passed over", envelope+"reading.go", "\t\t\tj.release()\n\t\t\tr.fail(err)\n\t\t\tif panicked", "\t\t\tj.release()\n\t\t\tif r.srcErr == nil && panicked == nil {\n\t\t\t\tcontinue\n\t\t\t}\n\t\t\tr.fail(err)\n\t\t\tif panicked"),
	one("plaintext after a fault is left in the destination's buffer", envelope+"reading.go", "clear(j.plain) // authentic", "_ = j // authentic"),
	one("plaintext of a failed segment is left in the destination's buffer", envelope+"source.go", "clear(dst[start : start+int(size)])", "_, _ = start, size"),
	one("a broken source is taken for its end", envelope+"io.go", "\treturn n, err\n}\n\n// writeFull", "\tif err == io.ErrUnexpectedEOF {\n\t\terr = io.EOF\n\t}\n\treturn n, err\n}\n\n// writeFull"),
	one("a short write is believed", envelope+"io.go", "if err == nil && n < len(p) {", "if err == nil && n < 0 {"),
	one("a failed Write leaves segments in flight", envelope+"writing.go", "keep = 0 // the others", "_ = keep // the others"),
	one("an error with the last bytes of a segment is dropped", envelope+"io.go", "\treturn n, err\n}\n\n// writeFull", "\tif n == len(p) {\n\t\terr = nil\n\t}\n\treturn n, err\n}\n\n// writeFull"),
	one("an impossible count of a source is believed", envelope+"io.go", "if m < 0 || m > len(p)-n {", "if m > len(p) {"),
	one("a panic does not stay in the Writer", envelope+"writing.go", "w.fail(interrupted(\"the Writer\"))", "_ = interrupted"),
	one("a Close completes a file while its owner unwinds", envelope+"writer.go", "if unwind.Count() > w.born {", "if unwind.Count() < 0 {"),
	one("a Writer is not told of the failure of its Reader", envelope+"reader.go", "sealing.sourceFailed(err)", "_ = sealing"),
	one("an aborted file is completed", envelope+"writer.go", "w.fail(ErrAborted)", "_ = ErrAborted"),
	one("a Writer may be used by two", envelope+"writer.go", "if w.turn.missed() {", "if w.turn.missed() && w.dst == nil {"),
	one("a Writer forgets its error", envelope+"writing.go", "\treturn w.err\n}\n\n// space is", "\tw.err = nil\n\treturn nil\n}\n\n// space is"),

	// Random access.
	one("the size is not proven", envelope+"readerat.go", "last*cobblestone.ChunkSize)\n\tif err != nil {", "last*cobblestone.ChunkSize)\n\tif err != nil && r.size < 0 {"),
	one("an error at random is forgotten", envelope+"readerat.go", "r.failed.Store(true)", "r.failed.Store(false)"),
	one("plaintext of a failed range is left", envelope+"readerat.go", "clear(all)", "_ = all"),
	one("plaintext after a failed segment is left", envelope+"readerat.go", "clear(p[from:])", "_ = p[from:]"),
	one("a cached key serves another segment", envelope+"readerat.go", "s != nil && s.number == i", "s != nil"),
	one("the empty last chunk is not opened", envelope+"readerat.go", "lastChunk++ // the short one", "_ = plain // the short one"),
	one("chunks are opened as if the first were number 0", envelope+"readerat.go", "for n := first; len(body) > 0; n++ {", "for n := first - first; len(body) > 0; n++ {"),

	// Pins.
	one("a pin covers the salts only", envelope+"segment.go", "head := sealed[:cobblestone.HeaderSize]", "head := sealed[:cobblestone.SaltSize]"),
	one("a pin covers the last segment only", envelope+"segment.go", "p.sum.Write(head)", "p.sum.Reset()\n\tp.sum.Write(head)"),
	one("a pin has no size", envelope+"segment.go", "p.size += size", "p.size += size - size"),
}
