package codec

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

const (
	versionFormat = "vaultpack-version/1"
	MaxRoot       = 32 << 20
	maxParts      = MaxRoot / 256 // none takes less
)

// rootJSON is the contents of a version root.
type rootJSON struct {
	Format  string      `json:"format"`
	Dataset string      `json:"dataset"`
	Number  int64       `json:"number"`
	Created time.Time   `json:"created"`
	Parent  *parentJSON `json:"parent,omitempty"`
	Totals  tree.Totals `json:"totals"`
	Parts   []partJSON  `json:"parts"`
}

type parentJSON struct {
	Number int64  `json:"number"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

type partJSON struct {
	objectJSON
	First   string `json:"first"`
	First64 []byte `json:"first64,omitempty"`
	Entries int    `json:"entries"`
}

// sound reports whether the totals can be those of any version.
func sound(t tree.Totals) bool {
	return min(t.Files, t.Folders, t.Links, t.Bytes, t.Packs, t.SealedBytes) >= 0
}

// readRoot reads a root's JSON. The parts are read one by one, each checked before
// the next: in memory they take many times the shortest text.
func readRoot(b []byte) (j rootJSON, parts []tree.Part, err error) {
	field := func(v any) func(*json.Decoder) error { return func(d *json.Decoder) error { return d.Decode(v) } }
	err = readObject(b, map[string]func(*json.Decoder) error{
		"format": field(&j.Format), "dataset": field(&j.Dataset), "number": field(&j.Number), "created": field(&j.Created),
		"parent": field(&j.Parent), "totals": field(&j.Totals),
		"parts": func(d *json.Decoder) error {
			return readArray(d, func() error {
				var p partJSON
				if err := d.Decode(&p); err != nil {
					return err
				}
				o, err := p.object()
				if err != nil {
					return err
				}
				first := fromUTF8(p.First, p.First64)
				switch {
				case len(first) > tree.MaxPath+1:
					return fmt.Errorf("a part begins with a path of %d bytes: %w", len(first), envelope.ErrAuthentication)
				case p.Entries < 1 || p.Entries > maxEntries:
					return fmt.Errorf("a part of %d entries, and the bound is %d: %w", p.Entries, maxEntries, envelope.ErrAuthentication)
				case len(parts) == maxParts:
					return fmt.Errorf("more parts than %d: %w", maxParts, envelope.ErrAuthentication)
				case len(parts) > 0 && first <= parts[len(parts)-1].First:
					return fmt.Errorf("the parts are not sorted at %q: %w", first, envelope.ErrAuthentication)
				}
				parts = append(parts, tree.Part{Object: o, First: first, Entries: p.Entries})
				return nil
			})
		},
	})
	return j, parts, err
}

// A Root is what the root of a version says.
type Root struct {
	Number  int64
	Created time.Time
	Totals  tree.Totals
	Parts   []tree.Part
	// Parent is the number of the version before, 0 for the first, and ParentPin the
	// exact bytes of its root.
	Parent    int64
	ParentPin envelope.Pin
}

// EncodeRoot makes the contents of the root of a version.
func EncodeRoot(dataset string, r *Root) ([]byte, error) {
	j := rootJSON{Format: versionFormat, Dataset: dataset, Number: r.Number, Created: r.Created, Totals: r.Totals, Parts: []partJSON{}}
	if r.Parent > 0 {
		j.Parent = &parentJSON{r.Parent, r.ParentPin.Size, hex.EncodeToString(r.ParentPin.Digest[:])}
	}
	for _, p := range r.Parts {
		pj := partJSON{objectJSON: objectOf(p.Object), Entries: p.Entries}
		pj.First, pj.First64 = toUTF8(p.First)
		j.Parts = append(j.Parts, pj)
	}
	b, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > MaxRoot/2 {
		return nil, fmt.Errorf("a version of %d index parts is more than one dataset can hold; split it", len(r.Parts))
	}
	return b, nil
}

// DecodeRoot reads what EncodeRoot made of a version of the number.
func DecodeRoot(dataset string, number int64, b []byte) (*Root, error) {
	j, parts, err := readRoot(b)
	if errors.Is(err, envelope.ErrAuthentication) {
		return nil, err
	}
	if err != nil || j.Format != versionFormat {
		return nil, fmt.Errorf("version %d is in a newer format, or of another program", number)
	}
	if j.Dataset != dataset || j.Number != number || j.Parent != nil && (j.Parent.Number < 1 || j.Parent.Number >= number) || !sound(j.Totals) {
		return nil, envelope.ErrAuthentication // another's root under this name
	}
	r := &Root{Number: number, Created: j.Created, Totals: j.Totals, Parts: parts}
	if j.Parent != nil {
		r.Parent, r.ParentPin.Size = j.Parent.Number, j.Parent.Size
		if r.ParentPin.Digest, err = parseDigest(j.Parent.Digest); err != nil {
			return nil, err
		}
	}
	return r, nil
}
