package kmstest

import (
	"regexp"
	"strings"
)

type aliasIn struct{ AliasName, TargetKeyId string }

var aliasName = regexp.MustCompile(`^alias/[A-Za-z0-9/_-]+$`)

func checkAlias(name string) error {
	switch {
	case len(name) > 256 || !aliasName.MatchString(name):
		return fail("InvalidAliasNameException", "%s is not a valid alias name", name)
	case strings.HasPrefix(name, "alias/aws/"):
		return fail("InvalidAliasNameException", "alias/aws/ is reserved for keys of AWS")
	}
	return nil
}

// aliasTarget returns the key that an alias should name from now on.
func (r *request) aliasTarget(in *aliasIn) (*key, error) {
	if err := checkAlias(in.AliasName); err != nil {
		return nil, err
	}
	k, err := r.admin(in.TargetKeyId)
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	n := 0
	for arn, a := range r.st.Aliases {
		if a.KeyID == k.ID && field(arn, 3) == k.region() && a.Name != in.AliasName {
			n++
		}
	}
	if n >= 50 {
		return nil, fail("LimitExceededException", "%s has 50 aliases, which is the limit", k.ARN)
	}
	return k, nil
}

func (r *request) createAlias(in *aliasIn) (any, error) {
	k, err := r.aliasTarget(in)
	if err != nil {
		return nil, err
	}
	arn := r.arn(in.AliasName)
	if r.st.Aliases[arn] != nil {
		return nil, fail("AlreadyExistsException", "An alias with the name %s already exists", arn)
	}
	now := r.now()
	r.st.Aliases[arn], r.dirty = &alias{ARN: arn, Name: in.AliasName, KeyID: k.ID, Created: now, Updated: now}, true
	return nil, nil
}

func (r *request) updateAlias(in *aliasIn) (any, error) {
	k, err := r.aliasTarget(in)
	if err != nil {
		return nil, err
	}
	a, err := r.alias(in.AliasName)
	if err != nil {
		return nil, err
	}
	// A key's aliases are deleted with it, so the key that the alias named exists.
	was := r.st.Keys[r.arn("key/"+a.KeyID)]
	if err := r.authorize("kms:UpdateAlias", was, nil); err != nil {
		return nil, err
	}
	if was.Spec != k.Spec || was.Usage != k.Usage {
		return nil, invalid("the alias can be moved to a key of the same type only")
	}
	a.KeyID, a.Updated, r.dirty = k.ID, r.now(), true
	return nil, nil
}

func (r *request) alias(name string) (*alias, error) {
	a := r.st.Aliases[r.arn(name)]
	if a == nil {
		return nil, fail("NotFoundException", "Alias %s is not found.", r.arn(name))
	}
	return a, nil
}

func (r *request) deleteAlias(in *aliasIn) (any, error) {
	a, err := r.alias(in.AliasName)
	if err != nil {
		return nil, err
	}
	if err := r.authorize("kms:DeleteAlias", r.st.Keys[r.arn("key/"+a.KeyID)], nil); err != nil {
		return nil, err
	}
	delete(r.st.Aliases, a.ARN)
	r.dirty = true
	return nil, nil
}

func (r *request) listAliases(in *struct {
	KeyId string
	pageIn
}) (any, error) {
	if !r.iamAllows("kms:ListAliases") {
		return nil, r.deniedWithout("kms:ListAliases")
	}
	only := ""
	if in.KeyId != "" {
		k, err := r.find(in.KeyId, false)
		if err != nil {
			return nil, err
		}
		only = k.ID
	}
	type entry struct {
		AliasName, AliasArn, TargetKeyId string
		CreationDate, LastUpdatedDate    float64
	}
	var list []entry
	for _, arn := range sorted(r.st.Aliases) {
		a := r.st.Aliases[arn]
		if field(arn, 3) == r.region && field(arn, 4) == r.account && (only == "" || a.KeyID == only) {
			list = append(list, entry{a.Name, arn, a.KeyID, epoch(a.Created), epoch(a.Updated)})
		}
	}
	return page(in.pageIn, 100, 50, "Aliases", list, func(e entry) string { return e.AliasArn })
}
