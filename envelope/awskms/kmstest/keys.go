package kmstest

import (
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/internal/arn"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// find resolves a key ID or ARN, and an alias if the operation accepts one.
func (r *request) find(id string, aliases bool) (*key, error) {
	if len(id) == 0 || len(id) > 2048 {
		return nil, invalid("Value at 'keyId' failed to satisfy constraint: Member must have length between 1 and 2048")
	}
	arn := id
	switch {
	case strings.HasPrefix(id, "arn:"):
		if !regexp.MustCompile(`^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/.+$`).MatchString(id) {
			return nil, fail("InvalidArnException", "%s is not a valid ARN", id)
		}
		if region := field(id, 3); region != r.region {
			return nil, fail("NotFoundException", "Invalid arn %s", region)
		}
	case strings.HasPrefix(id, "alias/"):
		arn = r.arn(id)
	default:
		arn = r.arn("key/" + id)
	}
	if strings.HasPrefix(field(arn, 5), "alias/") {
		a := r.st.Aliases[arn]
		switch {
		case !aliases:
			return nil, fail("NotFoundException", "Invalid keyId '%s'", id)
		case a == nil:
			return nil, fail("NotFoundException", "Alias %s is not found.", arn)
		}
		arn = strings.TrimSuffix(arn, field(arn, 5)) + "key/" + a.KeyID
	}
	k := r.st.Keys[arn]
	if k == nil {
		return nil, fail("NotFoundException", "Key '%s' does not exist", arn)
	}
	return k, nil
}

func (r *request) arn(resource string) string {
	return "arn:" + arn.Partition(r.region) + ":kms:" + r.region + ":" + r.account + ":" + resource
}

// usable is the row of most operations in the table of key states: Enabled and
// Updating only. CreateGrant also accepts Unavailable.
func (k *key) usable(also ...string) error {
	if slices.Contains(also, k.State) {
		return nil
	}
	switch k.State {
	case enabled, updating:
		return nil
	case disabled:
		return fail("DisabledException", "%s is disabled.", k.ARN)
	}
	return k.badState()
}

// alive is the row of operations that fail only for a key pending deletion, or also
// in the given states.
func (k *key) alive(nor ...string) error {
	if k.State == pendingDeletion || k.State == pendingReplicaDeletion || slices.Contains(nor, k.State) {
		return k.badState()
	}
	return nil
}

func (k *key) badState() error {
	what := map[string]string{pendingDeletion: "pending deletion", pendingReplicaDeletion: "pending replica deletion",
		pendingImport: "pending import", unavailable: "unavailable", creating: "creating", updating: "updating"}[k.State]
	return fail("KMSInvalidStateException", "%s is %s.", k.ARN, what)
}

type keyIn struct{ KeyId string }

// admin finds the key of an operation that only the key's account may call.
func (r *request) admin(id string) (*key, error) {
	k, err := r.find(id, false)
	if err != nil {
		return nil, err
	}
	if k.account() != r.account {
		return nil, r.denied(k, "because the operation cannot be used across accounts")
	}
	return k, r.authorize("kms:"+r.op, k, nil)
}

type tag struct{ TagKey, TagValue string }

type createKeyIn struct {
	Description, KeySpec, CustomerMasterKeySpec, KeyUsage, Origin, Policy string
	MultiRegion, BypassPolicyLockoutSafetyCheck                           bool
	Tags                                                                  []tag
}

func (r *request) createKey(in *createKeyIn) (any, error) {
	if !r.iamAllows("kms:CreateKey") {
		return nil, r.deniedWithout("kms:CreateKey")
	}
	k := &key{Description: in.Description, State: enabled, Spec: in.KeySpec, Usage: in.KeyUsage, Origin: in.Origin, Created: r.now()}
	if k.Spec == "" {
		k.Spec = in.CustomerMasterKeySpec
	}
	if k.Spec == "" {
		k.Spec = symmetric
	}
	switch {
	case k.Usage == "" && k.Spec == symmetric:
		k.Usage = encryptDecrypt
	case k.Usage == "":
		return nil, invalid("You must specify a KeyUsage value for a key of spec %s", k.Spec)
	case k.Spec == symmetric && k.Usage != encryptDecrypt:
		return nil, invalid("KeyUsage %s is not compatible with KeySpec %s", k.Usage, k.Spec)
	}
	m := &shared{Versions: []version{newVersion()}, MultiRegion: in.MultiRegion}
	switch k.Origin {
	case "", "AWS_KMS":
		k.Origin = "AWS_KMS"
		if k.Spec == p256 && k.Usage == signVerify {
			m.Versions = []version{newSigningVersion()}
		}
	case "EXTERNAL":
		k.State, m.Versions = pendingImport, nil
	default:
		return nil, fail("UnsupportedOperationException", "kmstest has no custom key stores")
	}
	k.ID = newUUID()
	if in.MultiRegion {
		k.ID = "mrk-" + strings.ReplaceAll(k.ID, "-", "")
	}
	k.ARN = r.arn("key/" + k.ID)
	m.Primary = k.ARN
	if err := r.setPolicy(k, in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
		return nil, err
	}
	if err := k.addTags(in.Tags); err != nil {
		return nil, err
	}
	r.st.Keys[k.ARN], r.st.Materials[k.ID], r.dirty = k, m, true
	return map[string]any{"KeyMetadata": r.metadata(k)}, nil
}

func (r *request) updateKeyDescription(in *struct{ KeyId, Description string }) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	if len([]rune(in.Description)) > 8192 {
		return nil, invalid("Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192")
	}
	k.Description, r.dirty = in.Description, true
	return nil, nil
}

// epoch is a time as in AWS JSON.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (r *request) metadata(k *key) map[string]any {
	m := r.st.Materials[k.ID]
	out := map[string]any{
		"AWSAccountId": k.account(), "Arn": k.ARN, "KeyId": k.ID, "CreationDate": epoch(k.Created),
		"Description": k.Description, "Enabled": k.State == enabled || k.State == updating, "KeyManager": "CUSTOMER", "KeySpec": k.Spec,
		"CustomerMasterKeySpec": k.Spec, "KeyState": k.State, "KeyUsage": k.Usage, "Origin": k.Origin, "MultiRegion": m.MultiRegion,
	}
	if k.Spec == symmetric {
		out["EncryptionAlgorithms"] = []string{symmetric}
		if n := len(m.Versions); n > 0 {
			out["CurrentKeyMaterialId"] = m.Versions[n-1].ID
		}
	}
	if k.Spec == p256 && k.Usage == signVerify {
		out["SigningAlgorithms"] = []string{ecdsaSHA256}
	}
	if k.State == pendingDeletion {
		out["DeletionDate"] = epoch(k.Deletion)
	}
	if k.State == pendingReplicaDeletion {
		out["PendingDeletionWindowInDays"] = k.Window
	}
	if m.MultiRegion {
		kind, replicas := "REPLICA", []map[string]string{}
		for _, o := range r.related(k.ID) {
			if o.ARN != m.Primary {
				replicas = append(replicas, map[string]string{"Arn": o.ARN, "Region": o.region()})
			}
		}
		if k.ARN == m.Primary {
			kind = "PRIMARY"
		}
		out["MultiRegionConfiguration"] = map[string]any{"MultiRegionKeyType": kind, "ReplicaKeys": replicas,
			"PrimaryKey": map[string]string{"Arn": m.Primary, "Region": field(m.Primary, 3)}}
	}
	return out
}

func (r *request) describeKey(in *keyIn) (any, error) {
	k, err := r.find(in.KeyId, true)
	if err != nil {
		return nil, err
	}
	if err := r.authorize("kms:DescribeKey", k, nil); err != nil {
		return nil, err
	}
	return map[string]any{"KeyMetadata": r.metadata(k)}, nil
}

// pageIn is the input of the operations that list.
type pageIn struct {
	Limit  *int
	Marker string
}

// page cuts a page from a list that is sorted by name.
func page[T any](in pageIn, most, usual int, what string, list []T, name func(T) string) (map[string]any, error) {
	limit := usual
	if in.Limit != nil {
		if limit = *in.Limit; limit < 1 || limit > most {
			return nil, invalid("Value '%d' at 'limit' failed to satisfy constraint: Member must have value between 1 and %d", limit, most)
		}
	}
	after, err := base64.StdEncoding.DecodeString(in.Marker)
	if err != nil {
		return nil, fail("InvalidMarkerException", "the marker is not valid")
	}
	start := 0
	for in.Marker != "" && start < len(list) && name(list[start]) <= string(after) {
		start++
	}
	end := min(start+limit, len(list))
	out := map[string]any{what: append([]T{}, list[start:end]...), "Truncated": end < len(list)}
	if end < len(list) {
		out["NextMarker"] = base64.StdEncoding.EncodeToString([]byte(name(list[end-1])))
	}
	return out, nil
}

func (r *request) listKeys(in *pageIn) (any, error) {
	if !r.iamAllows("kms:ListKeys") {
		return nil, r.deniedWithout("kms:ListKeys")
	}
	type entry struct{ KeyId, KeyArn string }
	var list []entry
	for _, arn := range sorted(r.st.Keys) {
		if k := r.st.Keys[arn]; k.region() == r.region && k.account() == r.account {
			list = append(list, entry{k.ID, k.ARN})
		}
	}
	return page(*in, 1000, 100, "Keys", list, func(e entry) string { return e.KeyArn })
}

func (r *request) enableKey(in *keyIn) (any, error)  { return r.setState(in.KeyId, enabled) }
func (r *request) disableKey(in *keyIn) (any, error) { return r.setState(in.KeyId, disabled) }

func (r *request) setState(id, to string) (any, error) {
	k, err := r.admin(id)
	if err != nil {
		return nil, err
	}
	if err := k.alive(pendingImport, creating, updating); err != nil {
		return nil, err
	}
	if k.State != unavailable { // then nothing changes until it is available
		k.State, r.dirty = to, true
	}
	return nil, nil
}

func (r *request) scheduleKeyDeletion(in *struct {
	KeyId               string
	PendingWindowInDays *int
}) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	days := 30
	if in.PendingWindowInDays != nil {
		if days = *in.PendingWindowInDays; days < 7 || days > 30 {
			return nil, invalid("Value '%d' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value between 7 and 30", days)
		}
	}
	if err := k.alive(updating); err != nil {
		return nil, err
	}
	k.Window, r.dirty = days, true
	out := map[string]any{"KeyId": k.ARN, "PendingWindowInDays": days}
	if m := r.st.Materials[k.ID]; k.ARN == m.Primary && len(r.related(k.ID)) > 1 {
		k.State = pendingReplicaDeletion
	} else {
		k.State, k.Deletion = pendingDeletion, r.now().AddDate(0, 0, days)
		out["DeletionDate"] = epoch(k.Deletion)
	}
	out["KeyState"] = k.State
	return out, nil
}

func (r *request) cancelKeyDeletion(in *keyIn) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	if k.alive() == nil {
		return nil, fail("KMSInvalidStateException", "%s is not pending deletion.", k.ARN)
	}
	k.State, k.Deletion, k.Window, r.dirty = disabled, time.Time{}, 0, true
	return map[string]any{"KeyId": k.ARN}, nil
}

// tagText matches what AWS accepts in tags.
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func (k *key) addTags(tags []tag) error {
	for _, t := range tags {
		switch {
		case len(t.TagKey) == 0 || len([]rune(t.TagKey)) > 128 || len([]rune(t.TagValue)) > 256 || !tagText.MatchString(t.TagKey+t.TagValue) || strings.HasPrefix(t.TagKey, "aws:"):
			return fail("TagException", "the tag %q is not valid", t.TagKey)
		case k.Tags == nil:
			k.Tags = map[string]string{}
		}
		k.Tags[t.TagKey] = t.TagValue
	}
	if len(k.Tags) > 50 {
		return fail("LimitExceededException", "a key has at most 50 tags")
	}
	return nil
}

func (r *request) tagResource(in *struct {
	KeyId string
	Tags  []tag
}) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	next := *k
	next.Tags = maps.Clone(k.Tags)
	if err := next.addTags(in.Tags); err != nil {
		return nil, err
	}
	*k, r.dirty = next, true
	return nil, nil
}

func (r *request) untagResource(in *struct {
	KeyId   string
	TagKeys []string
}) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	for _, t := range in.TagKeys {
		delete(k.Tags, t)
	}
	r.dirty = true
	return nil, nil
}

func (r *request) listResourceTags(in *struct {
	KeyId string
	pageIn
}) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	var list []tag
	for _, t := range sorted(k.Tags) {
		list = append(list, tag{t, k.Tags[t]})
	}
	return page(in.pageIn, 50, 50, "Tags", list, func(t tag) string { return t.TagKey })
}
