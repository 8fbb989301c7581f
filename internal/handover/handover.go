// Package handover passes a version of a dataset to another process of the same user, such as
// a Python program: what the version holds, and the data keys that open it. This process
// decides whether to trust the version, and calls the key services; the other one reads the
// packs itself.
//
// No data key is written out. The other process makes a local key and passes it through a
// pipe, and receives keyrings with a slot for that key.
//
// The format of what is written and read here may change: both sides are of the same release.
package handover

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// Format is the format named in the first line.
const Format = "vaultpack-handover/1"

// A header is the first line.
type header struct {
	Format  string                     `json:"format"`
	Vault   string                     `json:"vault"`
	Dataset string                     `json:"dataset"`
	Number  int64                      `json:"number"`
	Digest  string                     `json:"digest"`
	Created time.Time                  `json:"created"`
	Message string                     `json:"message"`
	Signer  string                     `json:"signer"`
	Totals  tree.Totals                `json:"totals"`
	Context envelope.EncryptionContext `json:"context"`
}

// A pack is the line for a pack; it comes before the first entry that names it. Packs
// are numbered from 0 in the order of these lines.
type pack struct {
	Pack   string `json:"pack"`
	KeyID  string `json:"key_id"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

// An entry is the line for a file, folder or link, in the order of the paths.
type entry struct {
	Path    string     `json:"path"`
	Path64  []byte     `json:"path64,omitempty"`
	Size    int64      `json:"size,omitempty"`
	Mode    uint32     `json:"mode"`
	ModTime [2]int64   `json:"mtime"`
	Link    string     `json:"link,omitempty"`
	Link64  []byte     `json:"link64,omitempty"`
	Sum     []byte     `json:"sha256,omitempty"`
	Extents [][3]int64 `json:"extents,omitempty"`
	Sums    [][]byte   `json:"sums,omitempty"` // empty if there is none
	Flaw    tree.Flaw  `json:"flaw,omitempty"`
}

// An end is the last line. Output that ends without it has been cut short.
type end struct {
	End      bool     `json:"end"`
	Entries  int64    `json:"entries"`
	Keyrings []string `json:"keyrings"`
}

// Write writes the version to w, as lines of JSON. The keyrings of its packs' data keys
// have a slot for key. Write holds the list of packs in memory.
func Write(ctx context.Context, w io.Writer, d *dataset.Dataset, v *dataset.Version, key *envelope.LocalKey) error {
	out := bufio.NewWriterSize(w, 256<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	if err := lines.Encode(header{Format: Format, Vault: d.Vault().Location, Dataset: v.Dataset(), Number: v.Number, Digest: v.Digest(), Created: v.Created,
		Message: v.Message, Signer: v.Signer.ID().String(), Totals: v.Totals, Context: objects.Of(d).Context()}); err != nil {
		return err
	}
	packs := map[envelope.ObjectID]int64{}
	last := end{End: true, Keyrings: []string{}}
	var keys []envelope.KeyID
	seen := map[envelope.KeyID]bool{}
	for e, err := range v.Entries(ctx) {
		if err != nil {
			return err
		}
		for _, x := range e.Extents {
			if _, known := packs[x.Pack.ID]; known {
				continue
			}
			packs[x.Pack.ID] = int64(len(packs))
			if err := lines.Encode(pack{x.Pack.ID.String(), x.Pack.KeyID.String(), x.Pack.Pin.Size, fmt.Sprintf("%x", x.Pack.Pin.Digest)}); err != nil {
				return err
			}
			if !seen[x.Pack.KeyID] {
				seen[x.Pack.KeyID] = true
				keys = append(keys, x.Pack.KeyID)
			}
		}
		if err := lines.Encode(entryOf(e, packs)); err != nil {
			return err
		}
		last.Entries++
	}
	for _, id := range keys {
		ring, _, err := d.KeyringFor(ctx, id, key)
		if err != nil {
			return err
		}
		last.Keyrings = append(last.Keyrings, string(ring.Bytes()))
	}
	if err := lines.Encode(last); err != nil {
		return err
	}
	return out.Flush()
}

func entryOf(e *tree.Entry, packs map[envelope.ObjectID]int64) entry {
	out := entry{Path: e.Path, Size: e.Size, Mode: fsys.PosixMode(e.Mode), ModTime: [2]int64{e.ModTime.Unix(), int64(e.ModTime.Nanosecond())},
		Link: e.Link, Sum: e.Sum, Flaw: e.Flaw}
	if !utf8.ValidString(e.Path) {
		out.Path, out.Path64 = "", []byte(e.Path)
	}
	if !utf8.ValidString(e.Link) {
		out.Link, out.Link64 = "", []byte(e.Link)
	}
	sums := false
	for _, x := range e.Extents {
		out.Extents = append(out.Extents, [3]int64{packs[x.Pack.ID], x.Offset, x.Length})
		sums = sums || x.HasSum()
	}
	if sums {
		for _, x := range e.Extents {
			var sum []byte
			if x.HasSum() {
				sum = x.Sum[:]
			}
			out.Sums = append(out.Sums, sum)
		}
	}
	return out
}
