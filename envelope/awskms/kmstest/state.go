package kmstest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The key states.
const (
	enabled                = "Enabled"
	disabled               = "Disabled"
	pendingDeletion        = "PendingDeletion"
	pendingReplicaDeletion = "PendingReplicaDeletion"
	pendingImport          = "PendingImport"
	unavailable            = "Unavailable"
	creating               = "Creating"
	updating               = "Updating"
)

// The state is what a file keeps.
type state struct {
	Keys      map[string]*key    `json:"keys"`      // by key ARN
	Materials map[string]*shared `json:"materials"` // by key ID
	Aliases   map[string]*alias  `json:"aliases"`   // by alias ARN
	Grants    []*grant           `json:"grants"`
}

// A key is one KMS key in one Region.
type key struct {
	ID          string            `json:"id"`
	ARN         string            `json:"arn"`
	Description string            `json:"description"`
	State       string            `json:"state"`
	Spec        string            `json:"spec"`
	Usage       string            `json:"usage"`
	Origin      string            `json:"origin"`
	Created     time.Time         `json:"created"`
	Deletion    time.Time         `json:"deletion,omitzero"`
	Window      int               `json:"window,omitempty"` // days
	Policy      string            `json:"policy"`
	Tags        map[string]string `json:"tags,omitempty"`
}

func (k *key) region() string  { return field(k.ARN, 3) }
func (k *key) account() string { return field(k.ARN, 4) }

// What is shared by the keys of one ID: one, or the related multi-Region keys.
type shared struct {
	Versions    []version `json:"versions"`
	MultiRegion bool      `json:"multi_region,omitempty"`
	Primary     string    `json:"primary,omitempty"`  // the ARN of the primary key
	Period      int       `json:"period,omitempty"`   // of automatic rotation, in days; 0: off
	Next        time.Time `json:"next,omitzero"`      // automatic rotation
	OnDemand    int       `json:"on_demand,omitzero"` // rotations on demand so far
}

// A version is key material: AES-256. A rotated key keeps its earlier material.
type version struct {
	ID     string `json:"id"`
	Secret []byte `json:"secret"`
}

type alias struct {
	ARN     string    `json:"arn"`
	Name    string    `json:"name"`
	KeyID   string    `json:"key_id"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newState() state {
	return state{Keys: map[string]*key{}, Materials: map[string]*shared{}, Aliases: map[string]*alias{}}
}

func newVersion() version {
	b := make([]byte, 64)
	rand.Read(b)
	return version{ID: hex.EncodeToString(b[:32]), Secret: b[32:]}
}

// Open returns a server that keeps its keys in a file, so that ciphertexts
// survive the server. If the file does not exist, it is created with the first
// key. It holds the key material unencrypted, readable only by its owner, and is
// replaced as a whole with every change. Principals, IAM, faults and calls are
// not stored.
func Open(file string, opts ...Option) (*Server, error) {
	s := NewServer(opts...)
	s.file = file
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s.st)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	return s, nil
}

func (s *Server) save() (err error) {
	s.dirty = false
	if s.file == "" {
		return nil
	}
	b, err := json.MarshalIndent(s.st, "", "\t")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(s.file), ".kmstest-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(b); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), s.file)
}

// expire carries out what is due: deletions and automatic rotations.
func (s *Server) expire() {
	now := s.now()
	for _, k := range s.st.Keys {
		if k.State == pendingDeletion && !now.Before(k.Deletion) {
			s.delete(k)
		}
	}
	for _, m := range s.st.Materials {
		for m.Period > 0 && !now.Before(m.Next) {
			m.Versions = append(m.Versions, newVersion())
			m.Next = m.Next.AddDate(0, 0, m.Period)
			s.dirty = true
		}
	}
}

// delete removes a key with its aliases and grants. The waiting period of a
// primary key begins when the last of its replicas is gone.
func (s *Server) delete(k *key) {
	s.dirty = true
	delete(s.st.Keys, k.ARN)
	for arn, a := range s.st.Aliases {
		if a.KeyID == k.ID && field(arn, 3) == k.region() {
			delete(s.st.Aliases, arn)
		}
	}
	s.st.Grants = slices.DeleteFunc(s.st.Grants, func(g *grant) bool { return g.KeyARN == k.ARN })
	rest := s.related(k.ID)
	if len(rest) == 0 {
		delete(s.st.Materials, k.ID)
	}
	if len(rest) == 1 && rest[0].State == pendingReplicaDeletion {
		rest[0].State = pendingDeletion
		rest[0].Deletion = k.Deletion.AddDate(0, 0, rest[0].Window)
	}
}

// related returns the keys with one ID, sorted by ARN.
func (s *Server) related(id string) (out []*key) {
	for _, arn := range sorted(s.st.Keys) {
		if k := s.st.Keys[arn]; k.ID == id {
			out = append(out, k)
		}
	}
	return out
}
