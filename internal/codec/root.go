package codec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
)

const (
	versionFormat = "vaultpack-version/1"
	MaxRoot       = 32 << 20
	maxParts      = MaxRoot / 256 // no part takes less
)

// rootJSON is the contents of a version root.
type rootJSON struct {
	Format  string      `json:"format"`
	Dataset string      `json:"dataset"`
	Number  int64       `json:"number"`
	Created time.Time   `json:"created"`
	Parent  *parentJSON `json:"parent,omitempty"`
	Totals  tree.Totals `json:"totals"`
	// Signers and Keys are signed envelopes, as they were signed.
	Signers    []json.RawMessage `json:"signers"`
	Keys       []json.RawMessage `json:"keys"`
	Delegation json.RawMessage   `json:"delegation,omitempty"`
	Message    string            `json:"message,omitempty"`
	Plan       *planOfJSON       `json:"plan,omitempty"`
	Tags       []tagJSON         `json:"tags,omitempty"`
	Tree       string            `json:"tree,omitempty"`
	Parts      []partJSON        `json:"parts"`
}

// planOfJSON names the plan that a version was made by.
type planOfJSON struct {
	ID      string `json:"id"`
	Partial bool   `json:"partial,omitempty"`
}

type tagJSON struct {
	Name   string `json:"name"`
	Number int64  `json:"number"`
	Digest string `json:"digest"`
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
	// Sum is the SHA-256 of the part's plaintext. The pin alone does not bind anyone
	// who holds the data key.
	Sum string `json:"sha256"`
}

// sound reports whether these totals are possible for a version.
func sound(t tree.Totals) bool {
	return min(t.Files, t.Folders, t.Links, t.Bytes, t.Packs, t.SealedBytes) >= 0
}

// readRoot reads a root's JSON. The parts are read one by one, each checked before the
// next: they can take far more memory than their text.
func readRoot(b []byte) (j rootJSON, parts []tree.Part, err error) {
	field := func(v any) func(*json.Decoder) error { return func(d *json.Decoder) error { return d.Decode(v) } }
	err = readObject(b, map[string]func(*json.Decoder) error{
		"format": field(&j.Format), "dataset": field(&j.Dataset), "number": field(&j.Number), "created": field(&j.Created),
		"parent": field(&j.Parent), "totals": field(&j.Totals),
		"signers": rawArray(&j.Signers, chain.MaxLinks), "keys": rawArray(&j.Keys, chain.MaxGrants),
		"delegation": field(&j.Delegation), "message": field(&j.Message), "plan": field(&j.Plan), "tree": field(&j.Tree),
		"tags": func(d *json.Decoder) error {
			return readArray(d, func() error {
				var t tagJSON
				if len(j.Tags) == MaxTags {
					return fmt.Errorf("more tags than %d: %w", MaxTags, envelope.ErrAuthentication)
				}
				err := d.Decode(&t)
				j.Tags = append(j.Tags, t)
				return err
			})
		},
		"parts": func(d *json.Decoder) error {
			return readArray(d, func() error {
				var p partJSON
				if err := d.Decode(&p); err != nil {
					return err
				}
				parts, err = appendPart(parts, p)
				return err
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
	// Signers is the chain of signers, and Keys are the grants of data keys: signed
	// envelopes. Delegation certifies the key that signed the version, if it is not
	// a signer's.
	Signers, Keys []string
	Delegation    string
	// Message is what the version's author says about it.
	Message string
	// Plan is the ID of the plan that the version was made by, empty if there was none.
	// Partial says that shards of it are missing.
	Plan    string
	Partial bool
	// Tags are names of versions, sorted.
	Tags []Tag
	// Tree is the hash of the plaintext files, if HasTree: see tree.Merkle.
	Tree    [32]byte
	HasTree bool
	// Sum is the SHA-256 of these contents as stored in the vault.
	Sum [32]byte
}

// A Tag is a name of a version.
type Tag struct {
	Name   string
	Number int64
	Digest [32]byte // SHA-256 of the version's root
}

// MaxTags is the most tags of a version, and MaxMessage the longest message, in bytes.
const (
	MaxTags    = 1024
	MaxMessage = 4096
)

// EncodeRoot encodes the contents of the root of a version, and sets its Sum.
func EncodeRoot(dataset string, r *Root) ([]byte, error) {
	j := rootJSON{Format: versionFormat, Dataset: dataset, Number: r.Number, Created: r.Created, Totals: r.Totals}
	if r.Parent > 0 {
		j.Parent = &parentJSON{r.Parent, r.ParentPin.Size, hex.EncodeToString(r.ParentPin.Digest[:])}
	}
	j.Signers, j.Keys, j.Message = rawMessages(r.Signers), rawMessages(r.Keys), r.Message
	if r.Delegation != "" {
		j.Delegation = json.RawMessage(r.Delegation)
	}
	if r.Plan != "" {
		j.Plan = &planOfJSON{r.Plan, r.Partial}
	}
	for _, t := range r.Tags {
		j.Tags = append(j.Tags, tagJSON{t.Name, t.Number, hex.EncodeToString(t.Digest[:])})
	}
	if r.HasTree {
		j.Tree = hex.EncodeToString(r.Tree[:])
	}
	j.Parts = partsJSON(r.Parts)
	b, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > MaxRoot/2 {
		return nil, fmt.Errorf("a version of %d index parts is more than one dataset can hold; split it", len(r.Parts))
	}
	r.Sum = sha256.Sum256(b)
	return b, nil
}

func rawMessages(raw []string) []json.RawMessage {
	all := make([]json.RawMessage, 0, len(raw))
	for _, r := range raw {
		all = append(all, json.RawMessage(r))
	}
	return all
}

func texts(raw []json.RawMessage) []string {
	all := make([]string, 0, len(raw))
	for _, r := range raw {
		all = append(all, string(r))
	}
	return all
}

// rawArray reads an array of objects, each kept as it was encoded.
func rawArray(to *[]json.RawMessage, most int) func(*json.Decoder) error {
	return func(d *json.Decoder) error {
		return readArray(d, func() error {
			if len(*to) == most {
				return fmt.Errorf("a list of more than %d: %w", most, envelope.ErrAuthentication)
			}
			var r json.RawMessage
			err := d.Decode(&r)
			*to = append(*to, r)
			return err
		})
	}
}

// DecodeRoot reads the output of EncodeRoot for the version with this number.
func DecodeRoot(dataset string, number int64, b []byte) (*Root, error) {
	j, parts, err := readRoot(b)
	if errors.Is(err, envelope.ErrAuthentication) {
		return nil, err
	}
	if err != nil || j.Format != versionFormat {
		return nil, fmt.Errorf("version %d is in a newer format, or of another program", number)
	}
	if j.Dataset != dataset || j.Number != number || j.Parent != nil && (j.Parent.Number < 1 || j.Parent.Number >= number) || !sound(j.Totals) {
		return nil, envelope.ErrAuthentication // another root under this name
	}
	r := &Root{Number: number, Created: j.Created, Totals: j.Totals, Parts: parts, Signers: texts(j.Signers), Keys: texts(j.Keys),
		Delegation: string(j.Delegation), Message: j.Message, Sum: sha256.Sum256(b)}
	if len(j.Message) > MaxMessage {
		return nil, envelope.ErrAuthentication
	}
	if j.Plan != nil {
		if CheckPlanID(j.Plan.ID) != nil {
			return nil, envelope.ErrAuthentication
		}
		r.Plan, r.Partial = j.Plan.ID, j.Plan.Partial
	}
	if j.Tree != "" {
		r.HasTree = true
		if r.Tree, err = parseDigest(j.Tree); err != nil {
			return nil, err
		}
	}
	if r.Tags, err = tagsOf(j.Tags, number); err != nil {
		return nil, err
	}
	if j.Parent != nil {
		r.Parent, r.ParentPin.Size = j.Parent.Number, j.Parent.Size
		if r.ParentPin.Digest, err = parseDigest(j.Parent.Digest); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// tagsOf checks the tags of a version: they name it or earlier versions, and no tag occurs
// twice.
func tagsOf(all []tagJSON, number int64) ([]Tag, error) {
	var tags []Tag
	for i, t := range all {
		if CheckTag(t.Name) != nil || t.Number < 1 || t.Number >= number || i > 0 && t.Name <= all[i-1].Name {
			return nil, fmt.Errorf("the tag %.100q: %w", t.Name, envelope.ErrAuthentication)
		}
		digest, err := parseDigest(t.Digest)
		if err != nil {
			return nil, err
		}
		tags = append(tags, Tag{t.Name, t.Number, digest})
	}
	return tags, nil
}

// CheckTag returns an error unless the name may be a tag: 1 to 100 letters, digits,
// dots, hyphens and underscores, the first a letter, so that no tag looks like a number.
func CheckTag(name string) error {
	ok := name != "" && len(name) <= 100
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		ok = ok && (letter || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'))
	}
	if !ok {
		return fmt.Errorf("%.100q is not a valid tag: use 1 to 100 letters, digits, dots, hyphens and underscores, starting with a letter", name)
	}
	return nil
}
