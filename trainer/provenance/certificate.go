package provenance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/vault"
)

// Names of objects in a job's folder in the vault.
const (
	launchName  = "launch.json" // which versions it was given
	SigningName = "signing.vpk" // its certificate, sealed
)

// maxListed is the most files that a statement names individually, and maxPaths the most
// bytes of their paths: the size of an envelope is limited.
const (
	maxListed = 1000
	maxPaths  = 256 << 10
)

// ErrNoModel is returned if a job made no model to sign a statement about.
var ErrNoModel = errors.New("the job has made no model")

// ErrNotSigner is returned by [Certify] if there is no signing key, or if it is not one
// of the dataset's signers.
var ErrNotSigner = errors.New("there is no signing key that may sign for the job")

// A Certificate authorizes one job to sign its results. It holds a private key and
// must be wiped.
type Certificate struct {
	Run        Run
	Delegation string
	key        *signing.PrivateKey
}

// Check returns an error that wraps [ErrNotSigner] unless the vault's signing key may certify
// jobs on the dataset.
func Check(ctx context.Context, d *dataset.Dataset) error {
	_, _, err := certifier(ctx, d)
	return err
}

// certifier returns the signer that certifies jobs on the dataset, and the chain that entitles
// it to.
func certifier(ctx context.Context, d *dataset.Dataset) (signing.Signer, *chain.Chain, error) {
	if err := given.Check(ctx, d != nil && d.Vault() != nil, errors.New("provenance: no dataset")); err != nil {
		return nil, nil, err
	}
	signer, err := d.Vault().SigningKey(ctx)
	if errors.Is(err, vault.ErrNoSigner) {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotSigner, err)
	}
	if err != nil {
		return nil, nil, notAllowed(err)
	}
	newest, err := d.Latest(ctx)
	if err != nil {
		return nil, nil, err
	}
	c := objects.RootOf(newest).Chain
	if c.Last().Role(signer.Public()) == chain.None {
		return nil, nil, fmt.Errorf("%w: %s is not a signer of dataset %q", ErrNotSigner, signer.Public().ID().Short(), d.Name)
	}
	return signer, c, nil
}

// notAllowed adds to the error for a key that the caller may not use what its signature is for.
func notAllowed(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the job's results are to be certified by the signing key: %w. Without a statement of how the model was made: train --no-provenance", err)
	}
	return err
}

// Certify makes the certificate of a job whose first input is a version of d. The vault's
// signing key must be one of the dataset's signers, and signs once. The certificate is valid
// for results until the given time.
func Certify(ctx context.Context, d *dataset.Dataset, run Run, until time.Time) (*Certificate, error) {
	signer, c, err := certifier(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(run.Inputs) == 0 || run.Inputs[0].Dataset != d.Name {
		return nil, fmt.Errorf("provenance: a run whose first input is no version of dataset %q", d.Name)
	}
	run.Launched = time.Now().UTC().Truncate(time.Second)
	key := signing.GenerateKey()
	del, err := c.Delegate(ctx, signer, chain.Delegation{Purpose: chain.ForJob, Name: run.Job, Key: key.Public(), NotAfter: until, UpTo: upTo(d.Name, run.Inputs)})
	if err != nil {
		return nil, notAllowed(err)
	}
	return &Certificate{Run: run, Delegation: del.Raw(), key: key}, nil
}

// upTo returns the newest version of the dataset among the inputs. The key cannot sign
// for a later one.
func upTo(name string, inputs []Input) (n int64) {
	for _, in := range inputs {
		if in.Dataset == name {
			n = max(n, in.Version)
		}
	}
	return n
}

var errNoCertificate = errors.New("provenance: no certificate, or no vault or version that it is for")

// Wipe overwrites the key. Every later use of the certificate fails.
func (c *Certificate) Wipe() {
	if c != nil {
		c.key.Wipe()
	}
}

// A launch is what a job's launch record says in addition to the versions.
type launch struct {
	Job      string    `json:"job"`
	Builder  string    `json:"builder"`
	Channels []string  `json:"channels"` // of the versions, in their order
	Image    string    `json:"image,omitempty"`
	Output   string    `json:"output,omitempty"`
	Launched time.Time `json:"launched"`
}

// Record stores, under each dataset that the job reads, a record of the versions that the
// job is given. The record is signed but not sealed, so that it can be read after the data
// key is gone. Record returns the names of the objects that it stored, even with an error.
func (c *Certificate) Record(ctx context.Context, v vault.Store) (stored []string, err error) {
	if err := given.Check(ctx, c != nil && c.key != nil && v != nil, errNoCertificate); err != nil {
		return nil, err
	}
	l := launch{Job: c.Run.Job, Builder: c.Run.Builder, Image: c.Run.Image, Output: c.Run.Output, Launched: c.Run.Launched}
	st := &signing.Statement{PredicateType: launchType}
	for _, in := range c.Run.Inputs {
		l.Channels = append(l.Channels, in.Channel)
		st.Subject = append(st.Subject, signing.Subject{Name: fmt.Sprintf("%s@%d", in.Dataset, in.Version), Digest: sha(in.Digest)})
	}
	if st.Predicate, err = json.Marshal(l); err != nil {
		return nil, err
	}
	b, err := c.sign(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, name := range datasetsOf(c.Run.Inputs) {
		object := objects.JobFolder(name, c.Run.Job) + launchName
		stored = append(stored, object)
		if err := v.Create(ctx, object, b); err != nil {
			stored = stored[:len(stored)-1]
			if errors.Is(err, fs.ErrExist) {
				err = fmt.Errorf("there was a job of that name before, choose another: %w", err)
			}
			return stored, fmt.Errorf("recording which versions job %s is given: %w", c.Run.Job, err)
		}
	}
	return stored, nil
}

func datasetsOf(inputs []Input) (names []string) {
	for _, in := range inputs {
		if !slices.Contains(names, in.Dataset) {
			names = append(names, in.Dataset)
		}
	}
	return names
}

// sign makes the text of a statement: the delegation on one line, the statement on another.
func (c *Certificate) sign(ctx context.Context, st *signing.Statement) ([]byte, error) {
	signed, err := signing.SignStatement(ctx, c.key, st)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{[]byte(c.Delegation), signed, nil}, []byte("\n")), nil
}

const certificateFormat = "vaultpack-job-signing-1"

type certificateJSON struct {
	Format     string `json:"format"`
	Run        Run    `json:"run"`
	Delegation string `json:"delegation"`
	Key        []byte `json:"key"`
}

// Seal stores the certificate under the data key of the version, for the job to read with
// [Open], and returns its name. Anyone who can open the version and read the job's
// objects can then sign for the job.
func (c *Certificate) Seal(ctx context.Context, v *dataset.Version) (name string, err error) {
	if err := given.Check(ctx, c != nil && c.key != nil && v != nil && objects.Of(v) != nil, errNoCertificate); err != nil {
		return "", err
	}
	secret := c.key.EncodeSecret()
	defer clear(secret)
	b, err := json.Marshal(certificateJSON{certificateFormat, c.Run, c.Delegation, secret})
	if err != nil {
		return "", err
	}
	defer clear(b)
	set := objects.Of(v)
	key, err := set.Key(ctx, v.KeyID)
	if err != nil {
		return "", err
	}
	name = objects.JobFolder(set.Name, c.Run.Job) + SigningName
	if err := set.SealData(ctx, key, name, b); err != nil {
		return name, fmt.Errorf("sealing the job's signing key: %w", err)
	}
	return name, nil
}

// Open reads the certificate of a job that Seal stored under the name, with the data key of
// the version. It returns an error if the certificate is for another job or for other
// versions.
func Open(ctx context.Context, v *dataset.Version, name string, inputs []Input) (*Certificate, error) {
	if err := given.Check(ctx, v != nil && objects.Of(v) != nil, errNoCertificate); err != nil {
		return nil, err
	}
	b, _, err := objects.Of(v).ReadSealed(ctx, name, maxStatement)
	if err != nil {
		return nil, fmt.Errorf("the job's signing key: %w", err)
	}
	defer clear(b)
	var j certificateJSON
	if err := strict(b, &j); err != nil || j.Format != certificateFormat {
		return nil, malformed("the object in the place of the job's signing key is not a key")
	}
	defer clear(j.Key)
	byChannel := func(a, b Input) int { return cmp.Compare(a.Channel, b.Channel) }
	if path.Base(path.Dir(name)) != j.Run.Job || !slices.Equal(slices.SortedFunc(slices.Values(inputs), byChannel), slices.SortedFunc(slices.Values(j.Run.Inputs), byChannel)) {
		return nil, malformed("the job's signing key is that of another job, or for other versions")
	}
	key, err := signing.ParsePrivateKey(j.Key)
	if err != nil {
		return nil, malformed(err.Error())
	}
	return &Certificate{Run: j.Run, Delegation: j.Delegation, key: key}, nil
}

// A Made says when and where a job made a model.
type Made struct {
	Invocation, Host  string
	Started, Finished time.Time
}

// Sign writes a statement about the model in a folder to that folder, and replaces
// existing statements. If the folder is empty, it returns [ErrNoModel].
func (c *Certificate) Sign(ctx context.Context, dir string, made Made) error {
	if err := given.Check(ctx, c != nil && c.key != nil, errNoCertificate); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(Folder); err != nil { // of a model that this one was made from
		return err
	}
	files, err := ReadFolder(ctx, dir)
	if err != nil {
		return err
	}
	if len(files.List) == 0 {
		return ErrNoModel
	}
	s := &Statement{Run: c.Run, Invocation: made.Invocation, Host: made.Host, Tree: files.Tree(),
		Started: made.Started.UTC().Truncate(time.Second), Finished: made.Finished.UTC().Truncate(time.Second)}
	paths := 0
	for _, f := range files.List {
		paths += len(f.Path)
	}
	if len(files.List) <= maxListed && paths <= maxPaths {
		s.Listed = files.List
	}
	st, err := s.encode()
	if err != nil {
		return err
	}
	b, err := c.sign(ctx, st)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(Folder, 0o755); err != nil {
		return err
	}
	return root.WriteFile(path.Join(Folder, made.Host+".json"), b, 0o644)
}

func malformed(why string) error { return fmt.Errorf("%s: %w", why, envelope.ErrAuthentication) }

// strict decodes JSON without unknown fields or trailing data.
func strict(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is data after it")
	}
	return nil
}
