// Package sealedcheckpoints seals a training job's checkpoints while the job runs, and opens
// them again after a restart. The script writes to its own folder, which is not stored;
// finished files are sealed into a second folder, which SageMaker stores in S3 file by file.
// Whatever part of that has reached S3 when the instance is lost, the last set of files that
// is complete there is restored, and no other.
package sealedcheckpoints

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
)

// Names in the folder of a host, which is named after the host.
const (
	// MarkName is the file that says which job the checkpoints belong to.
	MarkName  = "sealed-checkpoints.json"
	suffix    = ".vpk"
	setPrefix = "set-"
	// temporary is the file being written, if it cannot be written elsewhere.
	temporary = "unfinished"
)

const (
	setFormat  = "vaultpack-checkpoints/1"
	markFormat = "vaultpack-sealed-checkpoints/1"
	// maxSet limits the size of a set, in bytes, and with it the number of files.
	maxSet  = 64 << 20
	maxMark = 4096
)

// A Mark says that checkpoints are sealed, and where their key is. It is not authenticated:
// the key then opens them or does not.
type Mark struct {
	Format  string `json:"format"`
	Job     string `json:"job"`
	Dataset string `json:"dataset"` // the dataset of the job
}

func (m Mark) ok() bool {
	return m.Format == markFormat && m.Job != "" && m.Dataset != "" && !strings.Contains(m.Job, "/")
}

// A Set holds the files that a host had at one point in time.
type Set struct {
	Format string    `json:"format"`
	Job    string    `json:"job"`
	Host   string    `json:"host"`
	Number int64     `json:"number"` // from 1, in the order in which they were made
	Made   time.Time `json:"made"`
	Files  []File    `json:"files"`

	name int // the number that names the sealed file
}

// A File is a file or a link of a set.
type File struct {
	// Path is slash-separated. It need not be UTF-8, so JSON has it in base64.
	Path     []byte    `json:"path"`
	Mode     uint32    `json:"mode,omitempty"` // permissions
	Modified time.Time `json:"modified,omitzero"`
	// Link is the target of a link, relative to its folder. The remaining fields are only for
	// files.
	Link   []byte `json:"link,omitempty"`
	Size   int64  `json:"size"`
	Object int    `json:"object,omitempty"` // the number that names the sealed file
	Sealed int64  `json:"sealed,omitempty"` // its size
	Digest string `json:"digest,omitempty"` // of its pin, in hex
}

func (f *File) pinned(p envelope.Pin) bool {
	return p.Size == f.Sealed && hex.EncodeToString(p.Digest[:]) == f.Digest
}

// Bytes is the size of all files.
func (s *Set) Bytes() (n int64) {
	for _, f := range s.Files {
		n += f.Size
	}
	return n
}

// Is reports whether a statement with these values is about the set.
func (s *Set) Is(job, host string, number int64, made time.Time) bool {
	return job == s.Job && host == s.Host && number == s.Number && made.Equal(s.Made)
}

func setName(n int) string { return fmt.Sprintf("%s%06d%s", setPrefix, n, suffix) }

func objectName(n int) string { return fmt.Sprintf("%06d%s", n, suffix) }

// contextOf returns what a sealed file is bound to: the job, the host, and its name there.
func contextOf(job, host, name string) envelope.EncryptionContext {
	return envelope.EncryptionContext{"job": job, "host": host, "checkpoint": name}
}

// encode makes the plaintext of a set: the statement that signs it, in two lines, and the
// set. sign receives the digest of the set; it is nil if nothing is signed.
func (s *Set) encode(sign func(sum [sha256.Size]byte) ([]byte, error)) ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	head := []byte("\n\n")
	if sign != nil {
		if head, err = sign(sha256.Sum256(b)); err != nil {
			return nil, fmt.Errorf("signing the checkpoints: %w", err)
		}
	}
	if len(head)+len(b) > maxSet {
		return nil, fmt.Errorf("%d files are too many for one set of checkpoints", len(s.Files))
	}
	return append(head, b...), nil
}

var errMalformed = fmt.Errorf("a set of checkpoints is malformed: %w", envelope.ErrAuthentication)

// decode reads the output of encode. signed is empty if nothing was signed.
func decode(b []byte) (s *Set, signed []byte, sum [sha256.Size]byte, err error) {
	first := bytes.IndexByte(b, '\n')
	second := bytes.IndexByte(b[first+1:], '\n') // behind the first
	if first < 0 || second < 0 {
		return nil, nil, sum, errMalformed
	}
	signed, rest := b[:first+second+2], b[first+second+2:]
	if len(signed) == 2 {
		signed = nil
	}
	s = &Set{}
	d := json.NewDecoder(bytes.NewReader(rest))
	d.DisallowUnknownFields()
	if d.Decode(s) != nil || d.More() || s.check() != nil {
		return nil, nil, sum, errMalformed
	}
	return s, signed, sha256.Sum256(rest), nil
}

// check returns an error unless all files would be created inside the folder.
func (s *Set) check() error {
	if s.Format != setFormat || s.Number < 1 {
		return errMalformed
	}
	seen := map[string]bool{}
	for _, f := range s.Files {
		name := string(f.Path)
		if !filepath.IsLocal(name) || name == "." || path.Clean(name) != name || seen[name] || name == opening || strings.HasPrefix(name, opening+"/") {
			return errMalformed
		}
		seen[name] = true
		switch {
		case len(f.Link) > 0:
			if !staysInside(name, string(f.Link)) {
				return errMalformed
			}
		case f.Object < 1 || f.Size < 0 || f.Sealed < 1:
			return errMalformed
		}
	}
	return nil
}

// staysInside reports whether a link leads to a place inside the folder that contains it.
func staysInside(name, target string) bool {
	return target != "" && !path.IsAbs(target) && filepath.IsLocal(path.Join(path.Dir(name), target))
}

// ErrNone is returned by [Restore] if there are no sealed checkpoints.
var ErrNone = errors.New("there are no sealed checkpoints")
