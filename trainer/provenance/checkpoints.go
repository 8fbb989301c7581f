package provenance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/signing"
)

const checkpointsType = "https://github.com/vaultpack/vaultpack/checkpoints/v1"

// checkpointsName is the subject that stands for a set of checkpoints.
const checkpointsName = "checkpoints"

// Checkpoints is what a job signs about a set of its checkpoints.
type Checkpoints struct {
	Job    string
	Host   string
	Number int64 // of the set
	Made   time.Time
	Sum    [sha256.Size]byte // of the set
	Inputs []Input
}

type checkpoints struct {
	Job      string    `json:"job"`
	Host     string    `json:"host"`
	Number   int64     `json:"number"`
	Made     time.Time `json:"made"`
	Channels []string  `json:"channels"` // of the versions, in their order
}

// SignCheckpoints returns a statement about a set of the job's checkpoints, in two lines. The
// job and its inputs are taken from the certificate.
func (c *Certificate) SignCheckpoints(ctx context.Context, s Checkpoints) ([]byte, error) {
	if err := given.Check(ctx, c != nil && c.key != nil, errNoCertificate); err != nil {
		return nil, err
	}
	p := checkpoints{Job: c.Run.Job, Host: s.Host, Number: s.Number, Made: s.Made}
	st := &signing.Statement{PredicateType: checkpointsType, Subject: []signing.Subject{{Name: checkpointsName, Digest: sha(hex.EncodeToString(s.Sum[:]))}}}
	for _, in := range c.Run.Inputs {
		p.Channels = append(p.Channels, in.Channel)
		st.Subject = append(st.Subject, signing.Subject{Name: fmt.Sprintf("%s@%d", in.Dataset, in.Version), Digest: sha(in.Digest)})
	}
	var err error
	if st.Predicate, err = json.Marshal(p); err != nil {
		return nil, err
	}
	return c.sign(ctx, st)
}

// ReadCheckpoints returns what this job itself signed with SignCheckpoints. It does not
// check whether the certificate's signer still is a signer.
func (c *Certificate) ReadCheckpoints(ctx context.Context, b []byte) (*Checkpoints, error) {
	if err := given.Check(ctx, c != nil && c.key != nil, errNoCertificate); err != nil {
		return nil, err
	}
	delegation, rest, _ := bytes.Cut(b, []byte("\n"))
	envelope, ok := bytes.CutSuffix(rest, []byte("\n"))
	if !ok || string(delegation) != c.Delegation {
		return nil, malformed("the checkpoints were signed under another certificate than this job's")
	}
	payload, err := signing.Open(envelope, signing.StatementPayload, c.key.Public())
	if err != nil {
		return nil, err
	}
	st, err := signing.ParseStatement(payload)
	if err != nil {
		return nil, err
	}
	return decodeCheckpoints(st)
}

// Checkpoints verifies and returns a statement about a set of checkpoints.
func (v *Verifier) Checkpoints(ctx context.Context, b []byte) (*Checkpoints, Signature, error) {
	if err := v.ready(ctx); err != nil {
		return nil, Signature{}, err
	}
	job, st, by, d, err := v.verify(ctx, b)
	if err != nil {
		return nil, by, err
	}
	s, err := decodeCheckpoints(st)
	if err != nil {
		return nil, by, err
	}
	return s, by, covers(d, job, s.Job, s.Inputs, s.Made)
}

func decodeCheckpoints(st *signing.Statement) (*Checkpoints, error) {
	var p checkpoints
	if st.PredicateType != checkpointsType || strict(st.Predicate, &p) != nil || len(p.Channels) == 0 || len(st.Subject) != len(p.Channels)+1 {
		return nil, malformed("it is not a statement about checkpoints")
	}
	sum, err := hex.DecodeString(st.Subject[0].Digest["sha256"])
	if err != nil || len(sum) != sha256.Size || st.Subject[0].Name != checkpointsName || len(st.Subject[0].Digest) != 1 {
		return nil, malformed("its subject is not a set of checkpoints")
	}
	s := &Checkpoints{Job: p.Job, Host: p.Host, Number: p.Number, Made: p.Made, Sum: [sha256.Size]byte(sum)}
	for i, sub := range st.Subject[1:] {
		in, err := inputOf(p.Channels[i], sub.Name, sub.Digest)
		if err != nil {
			return nil, err
		}
		s.Inputs = append(s.Inputs, in)
	}
	return s, nil
}
