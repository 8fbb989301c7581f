package codec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

const (
	planFormat  = "vaultpack-plan/1"
	shardFormat = "vaultpack-shard/1"

	// MaxShards is the maximum number of shards of a plan: as many as an array job of AWS
	// Batch has.
	MaxShards = 10_000
	// MaxPlan limits a plan, in bytes: it is read before it is known who has signed it.
	MaxPlan   = 16 << 20
	planIDLen = 16
	maxLinks  = 16 // bytes of the name of how links are treated
)

// A Plan divides an upload of a source among workers.
type Plan struct {
	ID      string
	Created time.Time
	// Number is the one after the highest that was taken when the plan was made: a version
	// that it was made into has at least this number.
	Number int64
	// Base is the version that files are compared with, 0 for none, and BasePin the exact
	// bytes of its root.
	Base    int64
	BasePin envelope.Pin
	// Key is the data key that workers seal under.
	Key envelope.KeyID
	// Source is the absolute path of the source where the plan was made, and File says that
	// it is a file and not a folder.
	Source   string
	Links    string
	PackSize int64
	Shuffle  bool
	Checksum bool
	Totals   tree.Totals
	// Pages are lists of everything that the source has, and Shards cut the sequence of all
	// their entries.
	Pages  []tree.Part
	Shards []PlanShard
}

// A PlanShard is a run of entries of a plan.
type PlanShard struct {
	From    string // the path of its first entry
	Entries int64  // 0 for a shard without work
	Files   int64
	Bytes   int64
}

type planJSON struct {
	Format   string          `json:"format"`
	Dataset  string          `json:"dataset"`
	ID       string          `json:"id"`
	Created  time.Time       `json:"created"`
	Number   int64           `json:"number"`
	Base     *parentJSON     `json:"base,omitempty"`
	Key      string          `json:"key_id"`
	Source   string          `json:"source"`
	Source64 []byte          `json:"source64,omitempty"`
	Links    string          `json:"links"`
	PackSize int64           `json:"pack_size"`
	Shuffle  bool            `json:"shuffle,omitempty"`
	Checksum bool            `json:"checksum,omitempty"`
	Totals   tree.Totals     `json:"totals"`
	Pages    []partJSON      `json:"pages"`
	Shards   []planShardJSON `json:"shards"`
}

type planShardJSON struct {
	From    string `json:"from"`
	From64  []byte `json:"from64,omitempty"`
	Entries int64  `json:"entries"`
	Files   int64  `json:"files"`
	Bytes   int64  `json:"bytes"`
}

// CheckPlanID returns an error unless a plan may have the ID: 16 of a to z and 2 to 7.
func CheckPlanID(id string) error {
	ok := len(id) == planIDLen
	for _, c := range []byte(id) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '2' && c <= '7')
	}
	if !ok {
		return fmt.Errorf("%.80q is not the ID of a plan, which has %d characters of a to z and 2 to 7", id, planIDLen)
	}
	return nil
}

// EncodePlan encodes a plan.
func EncodePlan(dataset string, p *Plan) ([]byte, error) {
	j := planJSON{Format: planFormat, Dataset: dataset, ID: p.ID, Created: p.Created, Number: p.Number, Key: p.Key.String(), Links: p.Links,
		PackSize: p.PackSize, Shuffle: p.Shuffle, Checksum: p.Checksum, Totals: p.Totals, Pages: partsJSON(p.Pages), Shards: []planShardJSON{}}
	j.Source, j.Source64 = toUTF8(p.Source)
	if p.Base > 0 {
		j.Base = &parentJSON{p.Base, p.BasePin.Size, hex.EncodeToString(p.BasePin.Digest[:])}
	}
	for _, s := range p.Shards {
		sj := planShardJSON{Entries: s.Entries, Files: s.Files, Bytes: s.Bytes}
		sj.From, sj.From64 = toUTF8(s.From)
		j.Shards = append(j.Shards, sj)
	}
	b, err := json.Marshal(j)
	if err == nil && len(b) > MaxPlan {
		err = fmt.Errorf("a plan of %d pages and %d shards is more than one dataset can hold; split it", len(p.Pages), len(p.Shards))
	}
	return b, err
}

// DecodePlan reads the output of EncodePlan, and checks that the plan is one that can be
// worked on: its shards are all of its entries, in order.
func DecodePlan(dataset, id string, b []byte) (*Plan, error) {
	if len(b) > MaxPlan {
		return nil, Beyond("more bytes", MaxPlan)
	}
	var j planJSON
	if err := decodeExact(b, &j); err != nil || j.Format != planFormat {
		return nil, fmt.Errorf("the plan %s is in a newer format, or of another program: %w", id, envelope.ErrAuthentication)
	}
	bad := func(why string) (*Plan, error) {
		return nil, fmt.Errorf("the plan %s: %s: %w", id, why, envelope.ErrAuthentication)
	}
	if j.Dataset != dataset || j.ID != id || CheckPlanID(id) != nil {
		return bad("it is of another dataset, or another plan")
	}
	if j.Number < 1 || j.Base != nil && (j.Base.Number < 1 || j.Base.Number >= j.Number) || !sound(j.Totals) ||
		j.PackSize < 1 || len(j.Links) > maxLinks || len(j.Shards) < 1 || len(j.Shards) > MaxShards {
		return bad("its numbers are out of range")
	}
	p := &Plan{ID: id, Created: j.Created, Number: j.Number, Source: fromUTF8(j.Source, j.Source64), Links: j.Links,
		PackSize: j.PackSize, Shuffle: j.Shuffle, Checksum: j.Checksum, Totals: j.Totals}
	var err error
	if p.Key, err = envelope.ParseKeyID(j.Key); err != nil {
		return nil, err
	}
	if j.Base != nil {
		p.Base, p.BasePin.Size = j.Base.Number, j.Base.Size
		if p.BasePin.Digest, err = parseDigest(j.Base.Digest); err != nil {
			return nil, err
		}
	}
	if p.Pages, err = partsOf(j.Pages); err != nil {
		return nil, err
	}
	for _, s := range j.Shards {
		p.Shards = append(p.Shards, PlanShard{fromUTF8(s.From, s.From64), s.Entries, s.Files, s.Bytes})
	}
	if why := p.check(); why != "" {
		return bad(why)
	}
	return p, nil
}

// check says why the shards are not the whole of the plan's entries, in order.
func (p *Plan) check() string {
	pages, shards := int64(0), PlanShard{}
	for _, page := range p.Pages {
		pages += int64(page.Entries)
	}
	last, begun := "", false
	for _, s := range p.Shards {
		if s.Entries < 0 || s.Files < 0 || s.Bytes < 0 || s.Files > s.Entries || len(s.From) > tree.MaxPath+1 {
			return "a shard is out of range"
		}
		if s.Entries > 0 && begun && s.From <= last {
			return "its shards are not in order"
		}
		if s.Entries > 0 {
			last, begun = s.From, true
		}
		shards.Entries += s.Entries
		shards.Files += s.Files
		shards.Bytes += s.Bytes
	}
	if t := p.Totals; shards.Entries != pages || shards.Entries != t.Files+t.Folders+t.Links || shards.Files != t.Files || shards.Bytes != t.Bytes {
		return "its shards are not all of it"
	}
	return ""
}

// To returns the path of the first entry after shard n, and false if there is none.
func (p *Plan) To(n int) (string, bool) {
	if p == nil {
		return "", false
	}
	for i, s := range p.Shards {
		if i > n && s.Entries > 0 {
			return s.From, true
		}
	}
	return "", false
}

// Before returns how many entries precede shard n.
func (p *Plan) Before(n int) int64 {
	sum := int64(0)
	if p == nil {
		return sum
	}
	for i, s := range p.Shards {
		if i < n {
			sum += s.Entries
		}
	}
	return sum
}

// A Shard is what a worker has made of a shard of a plan.
type Shard struct {
	// Plan is the SHA-256 of the plan, and Number that of the shard in it, from 0.
	Plan   [32]byte
	Number int
	// Parts are the parts of the index, and Last the path of the last entry.
	Parts  []tree.Part
	Last   string
	Totals tree.Totals
	// Packs are all that the parts name.
	Packs []tree.Object
	// Tree is what the shard adds to the hash of the tree, if HasTree.
	Tree              [][32]byte
	HasTree           bool
	Started, Finished time.Time
	SentBytes         int64
}

type shardJSON struct {
	Format   string       `json:"format"`
	Dataset  string       `json:"dataset"`
	Plan     string       `json:"plan"`
	Number   int          `json:"number"`
	Parts    []partJSON   `json:"parts"`
	Last     string       `json:"last"`
	Last64   []byte       `json:"last64,omitempty"`
	Totals   tree.Totals  `json:"totals"`
	Packs    []objectJSON `json:"packs"`
	Tree     []string     `json:"tree"` // null if it is not known
	Started  time.Time    `json:"started"`
	Finished time.Time    `json:"finished"`
	Sent     int64        `json:"sent_bytes"`
}

// EncodeShard encodes what a worker has made.
func EncodeShard(dataset string, s *Shard) ([]byte, error) {
	j := shardJSON{Format: shardFormat, Dataset: dataset, Plan: hex.EncodeToString(s.Plan[:]), Number: s.Number, Parts: partsJSON(s.Parts),
		Totals: s.Totals, Packs: []objectJSON{}, Started: s.Started, Finished: s.Finished, Sent: s.SentBytes}
	j.Last, j.Last64 = toUTF8(s.Last)
	for _, o := range s.Packs {
		j.Packs = append(j.Packs, objectOf(o))
	}
	if s.HasTree {
		j.Tree = []string{}
		for _, sum := range s.Tree {
			j.Tree = append(j.Tree, hex.EncodeToString(sum[:]))
		}
	}
	return json.Marshal(j)
}

// DecodeShard reads the output of EncodeShard.
func DecodeShard(dataset string, b []byte) (*Shard, error) {
	var j shardJSON
	if err := decodeExact(b, &j); err != nil || j.Format != shardFormat || j.Dataset != dataset || !sound(j.Totals) {
		return nil, fmt.Errorf("it is no shard of dataset %q: %w", dataset, envelope.ErrAuthentication)
	}
	s := &Shard{Number: j.Number, Last: fromUTF8(j.Last, j.Last64), Totals: j.Totals, Started: j.Started, Finished: j.Finished, SentBytes: j.Sent, HasTree: j.Tree != nil}
	var err error
	if s.Plan, err = parseDigest(j.Plan); err != nil {
		return nil, err
	}
	if s.Parts, err = partsOf(j.Parts); err != nil {
		return nil, err
	}
	for _, o := range j.Packs {
		pack, err := o.object()
		if err != nil {
			return nil, err
		}
		s.Packs = append(s.Packs, pack)
	}
	for _, text := range j.Tree {
		sum, err := parseDigest(text)
		if err != nil {
			return nil, err
		}
		s.Tree = append(s.Tree, sum)
	}
	return s, nil
}

// decodeExact decodes JSON that has no fields but those of v. What holds it was
// authenticated, and its size was limited.
func decodeExact(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return envelope.ErrAuthentication
	}
	return nil
}

// A State is what is shown of the worker of a shard. Nothing relies on it.
type State struct {
	Worker      string
	Started, At time.Time
	// Files and Bytes are done.
	Files, Bytes int64
	// Error is why the worker has failed; empty while it has not.
	Error string
}

type stateJSON struct {
	Format  string    `json:"format"`
	Worker  string    `json:"worker"`
	Started time.Time `json:"started"`
	At      time.Time `json:"at"`
	Files   int64     `json:"files"`
	Bytes   int64     `json:"bytes"`
	Error   string    `json:"error,omitempty"`
}

const (
	stateFormat = "vaultpack-state/1"
	// MaxState limits a state, and maxStateError its error, in bytes.
	MaxState      = 64 << 10
	maxStateError = 4 << 10
)

// EncodeState encodes a state.
func EncodeState(s State) ([]byte, error) {
	return json.Marshal(stateJSON{stateFormat, s.Worker, s.Started, s.At, s.Files, s.Bytes, s.Error[:min(len(s.Error), maxStateError)]})
}

// DecodeState reads the output of EncodeState.
func DecodeState(b []byte) (State, error) {
	var j stateJSON
	if err := decodeExact(b, &j); err != nil || j.Format != stateFormat {
		return State{}, fmt.Errorf("it is no state of a worker: %w", envelope.ErrAuthentication)
	}
	return State{j.Worker, j.Started, j.At, j.Files, j.Bytes, j.Error}, nil
}
