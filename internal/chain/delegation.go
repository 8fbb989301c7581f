package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// Purposes of delegations.
const (
	ForJob  = "job"  // a training job signs its results
	ForPlan = "plan" // a worker of a plan signs its part
)

// A Delegation certifies a short-lived key: it signs one version, or one job's results,
// in place of a signer, who need not be present.
type Delegation struct {
	Purpose, Name string // the job or the plan
	Key           signing.PublicKey
	NotAfter      time.Time
	// UpTo is the highest number of a version that the key may sign. The holder of the
	// key can set back a clock, but not the version numbers.
	UpTo     int64
	Sequence int
	By       signing.PublicKey
	// Former says that By was a signer then but is none now.
	Former bool
	raw    string
}

// Raw is the signed envelope.
func (d Delegation) Raw() string { return d.raw }

type delegationJSON struct {
	Format   string            `json:"format"`
	Dataset  string            `json:"dataset"`
	ID       string            `json:"id"`
	Purpose  string            `json:"purpose"`
	Name     string            `json:"name"`
	Key      signing.PublicKey `json:"key"`
	NotAfter time.Time         `json:"not_after"`
	UpTo     int64             `json:"up_to"`
	Sequence int               `json:"sequence"`
}

// Delegate certifies the key of d.
func (c *Chain) Delegate(ctx context.Context, s signing.Signer, d Delegation) (Delegation, error) {
	l := c.Last()
	switch {
	case l.Role(s.Public()) == None:
		return d, fmt.Errorf("%s is not a signer of dataset %q and cannot delegate", s.Public().ID().Short(), l.Dataset)
	case l.Role(d.Key) != None:
		return d, errors.New("the key of a delegation is to be a new one, not a signer's")
	}
	payload, err := json.Marshal(delegationJSON{delegationFormat, l.Dataset, l.ID, d.Purpose, d.Name, d.Key,
		d.NotAfter.UTC().Truncate(time.Second), d.UpTo, l.Sequence})
	if err != nil {
		return d, err
	}
	raw, err := signing.Sign(ctx, s, delegationPayload, payload)
	if err != nil {
		return d, err
	}
	return c.ParseDelegation(string(raw))
}

// ParseDelegation reads a delegation by a current signer. Covers reports whether it
// covers what was signed.
func (c *Chain) ParseDelegation(raw string) (Delegation, error) {
	d, err := c.ReadDelegation(raw)
	if err == nil && d.Former {
		err = fmt.Errorf("a delegation of dataset %q: %s is no signer: %w", c.Last().Dataset, d.By.ID().Short(), envelope.ErrAuthentication)
	}
	if err != nil {
		return Delegation{}, err
	}
	return d, nil
}

// DelegationOf returns the dataset of a delegation without verifying it, to find the
// chain for reading it.
func DelegationOf(raw string) (dataset string, err error) {
	_, payload, err := signing.Unverified([]byte(raw))
	if err != nil {
		return "", err
	}
	var j delegationJSON
	if err := decode(payload, &j); err != nil || j.Format != delegationFormat {
		return "", fmt.Errorf("it is no delegation: %w", envelope.ErrAuthentication)
	}
	return j.Dataset, nil
}

// ReadDelegation reads a delegation by somebody who was a signer at the time that it
// states.
func (c *Chain) ReadDelegation(raw string) (Delegation, error) {
	bad := func(why string) (Delegation, error) {
		return Delegation{}, fmt.Errorf("a delegation of dataset %q: %s: %w", c.Last().Dataset, why, envelope.ErrAuthentication)
	}
	var j delegationJSON
	by, why, err := c.open(raw, delegationPayload, &j)
	switch {
	case err != nil:
		return Delegation{}, err
	case why != "":
		return bad(why)
	}
	l := c.At(j.Sequence)
	if l == nil || j.Format != delegationFormat || j.Dataset != l.Dataset || j.ID != l.ID || l.Role(by) == None ||
		j.Purpose != ForJob && j.Purpose != ForPlan || j.NotAfter.Location() != time.UTC {
		return bad("it is not of this chain of signers")
	}
	return Delegation{j.Purpose, j.Name, j.Key, j.NotAfter, j.UpTo, j.Sequence, by, c.Last().Role(by) == None, raw}, nil
}

// Covers returns an error unless the delegation covers a version with this number, made
// at this time.
func (d Delegation) Covers(number int64, at time.Time) error {
	switch {
	case number > d.UpTo:
		return fmt.Errorf("the delegation for %s %s is for versions up to %d, and this is %d: %w", d.Purpose, d.Name, d.UpTo, number, envelope.ErrAuthentication)
	case at.After(d.NotAfter):
		return fmt.Errorf("the delegation for %s %s expired on %s: %w", d.Purpose, d.Name, d.NotAfter.Format(time.RFC3339), envelope.ErrAuthentication)
	}
	return nil
}
