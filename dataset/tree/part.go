package tree

// Totals summarizes a version.
type Totals struct {
	Files   int64 `json:"files"`
	Folders int64 `json:"folders"`
	Links   int64 `json:"links"`
	Bytes   int64 `json:"bytes"`
	Packs   int64 `json:"packs"`
	// SealedBytes is the size of the packs in the vault.
	SealedBytes int64 `json:"sealed_bytes"`
	// Flaws is the number of entries with a [Flaw], plus the number of paths of the
	// source that could not be read and are not in the version. The version is
	// complete if Flaws is 0.
	Flaws int64 `json:"flaws,omitempty"`
}

// Count counts an entry as what it is: a file, a folder or a link.
func (t *Totals) Count(e *Entry) {
	switch {
	case e.IsDir():
		t.Folders++
	case e.IsLink():
		t.Links++
	default:
		t.Files++
		t.Bytes += e.Size
	}
}

// A Part is one part of a version's index.
type Part struct {
	Object
	First   string // the path of its first entry
	Entries int
	// Sum is the SHA-256 of the plaintext of the part.
	Sum [32]byte
}
