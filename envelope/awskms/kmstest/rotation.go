package kmstest

import "github.com/vaultpack/vaultpack/internal/arn"

// rotated is a key whose material an operation may rotate: symmetric, not
// imported, and not a replica, which follows its primary key.
func (r *request) rotated(id string) (*key, *shared, error) {
	k, err := r.admin(id)
	if err != nil {
		return nil, nil, err
	}
	m := r.st.Materials[k.ID]
	switch {
	case k.Origin != "AWS_KMS":
		return nil, nil, fail("UnsupportedOperationException", "%s origin is %s which is not valid for this operation.", k.ARN, k.Origin)
	case k.Spec != symmetric:
		return nil, nil, fail("UnsupportedOperationException", "%s is not a symmetric encryption key.", k.ARN)
	}
	return k, m, nil
}

// rotatable is like rotated, for an operation that changes the rotation.
func (r *request) rotatable(id string) (*key, *shared, error) {
	k, m, err := r.rotated(id)
	if err != nil {
		return nil, nil, err
	}
	if k.ARN != m.Primary {
		return nil, nil, fail("UnsupportedOperationException", "%s is a replica key: rotate its primary key.", k.ARN)
	}
	return k, m, k.usable()
}

func (r *request) enableKeyRotation(in *struct {
	KeyId                string
	RotationPeriodInDays *int
}) (any, error) {
	_, m, err := r.rotatable(in.KeyId)
	if err != nil {
		return nil, err
	}
	days := 365
	if in.RotationPeriodInDays != nil {
		if days = *in.RotationPeriodInDays; days < 90 || days > 2560 {
			return nil, invalid("Value '%d' at 'rotationPeriodInDays' failed to satisfy constraint: Member must have value between 90 and 2560", days)
		}
	}
	m.Period, m.Next, r.dirty = days, r.now().AddDate(0, 0, days), true
	return nil, nil
}

func (r *request) disableKeyRotation(in *keyIn) (any, error) {
	_, m, err := r.rotatable(in.KeyId)
	if err != nil {
		return nil, err
	}
	m.Period, r.dirty = 0, true
	return nil, nil
}

func (r *request) getKeyRotationStatus(in *keyIn) (any, error) {
	k, m, err := r.rotated(in.KeyId)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"KeyId": k.ID, "KeyRotationEnabled": m.Period > 0}
	if m.Period > 0 {
		out["RotationPeriodInDays"], out["NextRotationDate"] = m.Period, epoch(m.Next)
	}
	return out, nil
}

func (r *request) rotateKeyOnDemand(in *keyIn) (any, error) {
	k, m, err := r.rotatable(in.KeyId)
	if err != nil {
		return nil, err
	}
	if m.OnDemand == 25 {
		return nil, fail("LimitExceededException", "%s was rotated on demand 25 times, which is the limit", k.ARN)
	}
	m.OnDemand++
	m.Versions, r.dirty = append(m.Versions, newVersion()), true
	return map[string]any{"KeyId": k.ID}, nil
}

func (r *request) replicateKey(in *struct {
	KeyId, ReplicaRegion, Description, Policy string
	BypassPolicyLockoutSafetyCheck            bool
	Tags                                      []tag
}) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	m := r.st.Materials[k.ID]
	switch {
	case k.ARN != m.Primary || !m.MultiRegion:
		return nil, fail("UnsupportedOperationException", "%s is not a multi-Region primary key.", k.ARN)
	case !r.iamAllows("kms:CreateKey"):
		return nil, r.deniedWithout("kms:CreateKey")
	case k.State == updating:
		return nil, k.badState()
	case in.ReplicaRegion == "" || arn.Partition(in.ReplicaRegion) != arn.Partition(r.region):
		return nil, invalid("Value '%s' at 'replicaRegion' is not a Region of the partition", in.ReplicaRegion)
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	there := *r
	there.region = in.ReplicaRegion
	c := &key{ID: k.ID, ARN: there.arn("key/" + k.ID), Description: in.Description, State: enabled,
		Spec: k.Spec, Usage: k.Usage, Origin: k.Origin, Created: r.now()}
	if r.st.Keys[c.ARN] != nil {
		return nil, fail("AlreadyExistsException", "%s already exists.", c.ARN)
	}
	if err := there.setPolicy(c, in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
		return nil, err
	}
	if err := c.addTags(in.Tags); err != nil {
		return nil, err
	}
	r.st.Keys[c.ARN], r.dirty = c, true
	return map[string]any{"ReplicaKeyMetadata": r.metadata(c), "ReplicaPolicy": c.Policy, "ReplicaTags": append([]tag{}, in.Tags...)}, nil
}
