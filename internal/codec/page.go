package codec

import (
	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A Planned is an entry of a plan: what the source had when the plan was made.
type Planned struct {
	*tree.Entry // without contents
	// More says that a later file belongs to the same sample.
	More bool
	// ETag and Version pin an object of a bucket. Version is empty if the bucket keeps none.
	ETag, Version string
}

// EncodePage encodes a list of what a source has.
func EncodePage(dataset string, page []Planned) ([]byte, error) {
	entries := make([]*tree.Entry, len(page))
	for i, e := range page {
		entries[i] = e.Entry
	}
	return encodeList(PageFormat, dataset, "", entries, func(i int, j *entryJSON) {
		j.More, j.ETag, j.Version = page[i].More, page[i].ETag, page[i].Version
	})
}

// DecodePage reads the output of EncodePage.
func DecodePage(dataset string, b []byte) ([]Planned, error) {
	var page []Planned
	_, entries, err := decodeList(PageFormat, dataset, b, func(j *entryJSON) {
		page = append(page, Planned{More: j.More, ETag: j.ETag, Version: j.Version})
	})
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		page[i].Entry = e
	}
	return page, nil
}
