package codec

import (
	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A Planned is an entry of a plan: what the source had when the plan was made.
type Planned struct {
	*tree.Entry // without contents
	// More says that a later file belongs to the same sample.
	More bool
}

// EncodePage encodes a list of what a source has.
func EncodePage(dataset string, page []Planned) ([]byte, error) {
	entries := make([]*tree.Entry, len(page))
	for i, e := range page {
		entries[i] = e.Entry
	}
	return encodeList(PageFormat, dataset, "", entries, func(i int) bool { return page[i].More })
}

// DecodePage reads the output of EncodePage.
func DecodePage(dataset string, b []byte) ([]Planned, error) {
	var more []bool
	_, entries, err := decodeList(PageFormat, dataset, b, func(m bool) { more = append(more, m) })
	if err != nil {
		return nil, err
	}
	page := make([]Planned, len(entries))
	for i, e := range entries {
		page[i] = Planned{e, more[i]}
	}
	return page, nil
}
