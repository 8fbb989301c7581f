package trainer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// Names of what jobs keep in a vault, next to the datasets.
const (
	binaries  = "_vaultpack/bin/"
	manifests = "_vaultpack/manifests/"
	// ownManifest is the manifest of vaultpack's own channel, in the folder of a job
	// that has objects there that are not for other jobs.
	ownManifest = "vaultpack.manifest"
)

// A Sealed is a channel of a sealed dataset, with the version that the job will
// open.
type Sealed struct {
	Channel  string
	Version  *dataset.Version
	Contents *dataset.Contents
	Sharded  bool
	set      *dataset.Dataset
	groups   []string
}

// openSealed reads the versions that the job names. The caller closes the datasets,
// which are returned even with an error.
func (l *Launcher) openSealed(ctx context.Context, j *Job) (sealed []*Sealed, err error) {
	all := j.channels()
	p := &problems{job: j}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		ch := all[name]
		if ch.Dataset == "" {
			continue
		}
		ref, err := dataset.ParseReference(ch.Dataset)
		if err != nil {
			return sealed, err
		}
		d, err := dataset.Open(l.Vault, ref.Dataset)
		if err != nil {
			return sealed, err
		}
		s := &Sealed{Channel: name, set: d, Sharded: ch.Distribution == "ShardedByS3Key", groups: ch.InstanceGroups}
		sealed = append(sealed, s)
		choice := ref.Choice()
		if j.Channels[name] == nil {
			choice.AtLeast = j.AtLeast
		}
		if s.Version, err = d.Choose(ctx, choice); err != nil {
			return sealed, err
		}
		if s.Contents, err = s.Version.Contents(ctx); err != nil {
			return sealed, err
		}
		field := "channels." + name
		if j.Channels[name] == nil {
			field = "dataset"
		}
		if err := s.Version.CheckComplete(); err != nil && !j.AllowIncomplete {
			return sealed, fmt.Errorf("%w; upload it again, choose another version, or set allow_incomplete (--allow-incomplete)", err)
		}
		p.check(len(s.Contents.Packs) > 0, field, "version %d of %s has no contents to train on", s.Version.Number, ref.Dataset)
		if s.Sharded {
			n := j.hosts(ch.InstanceGroups)
			p.check(s.Contents.Split == "", field, "%q is larger than a pack, and with ShardedByS3Key no host would get all of it; use FullyReplicated, or upload with a larger --pack-size", s.Contents.Split)
			p.check(len(s.Contents.Packs) >= n, field, "version %d of %s has %d packs for %d hosts, so with ShardedByS3Key some would get nothing; use fewer hosts, or upload with a smaller --pack-size",
				s.Version.Number, ref.Dataset, len(s.Contents.Packs), n)
		}
	}
	return sealed, errors.Join(p.errs...)
}

// hosts returns how many instances get a channel.
func (j *Job) hosts(groups []string) int {
	if len(groups) == 0 {
		return j.instances()
	}
	n := 0
	for _, g := range j.InstanceGroups {
		if slices.Contains(groups, g.Name) {
			n += g.Count
		}
	}
	return n
}

// size returns how many bytes the channel takes on a host's disk when it is fetched.
func (s *Sealed) size() (n int64) {
	for _, p := range s.Contents.Packs {
		n += p.Pin.Size
	}
	return n
}

// kmsKeys returns the configured KMS keys that open the channels' data keys. related
// says that one of them has to do so as a replica of the key that wrapped it. Each
// data key must have one: the container has no other keys.
func (l *Launcher) kmsKeys(sealed []*Sealed) (used []string, related bool, err error) {
	var keys []envelope.ServiceKey
	var configured []string
	for _, w := range l.Vault.Keys.Open {
		if k, ok := w.(envelope.ServiceKey); ok {
			_, key := k.Describe()
			keys, configured = append(keys, k), append(configured, key)
		}
	}
	for _, s := range sealed {
		rings := map[envelope.KeyID]*envelope.Keyring{}
		for _, r := range s.Contents.Keyrings {
			rings[r.ID()] = r
		}
		for _, id := range s.Contents.Keys {
			var own, replicas []string
			for _, slot := range rings[id].Slots() {
				for i, k := range keys {
					switch {
					case !k.Matches(slot):
					case slot.Key == configured[i]:
						own = append(own, configured[i])
					default:
						replicas = append(replicas, configured[i])
					}
				}
			}
			switch {
			case len(own) > 0:
				used = append(used, own...)
			case len(replicas) > 0:
				used, related = append(used, replicas...), true
			default:
				return nil, false, fmt.Errorf("the data key %s of dataset %s is wrapped with none of the configured KMS keys (%s), so the job could not open it: "+
					"add one with vaultpack keys add %s --new-kms-key ARN, and configure it (kms_keys)", id, s.set.Name, orNone(configured), s.set.Name)
			}
		}
	}
	slices.SortStableFunc(used, func(a, b string) int { return slices.Index(configured, a) - slices.Index(configured, b) })
	return slices.Compact(used), related, nil
}

func orNone(s []string) string {
	if len(s) == 0 {
		return "there is none"
	}
	return strings.Join(s, ", ")
}

// A manifest is a list of objects for SageMaker to fetch:
// https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html
type manifest struct {
	name string // in the vault, named after its contents
	data []byte
}

func newManifest(prefix string, names []string) (manifest, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	list := []any{map[string]string{"prefix": prefix}}
	for _, n := range names {
		list = append(list, n)
	}
	if err := enc.Encode(list); err != nil {
		return manifest{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	return manifest{name: manifests + hex.EncodeToString(sum[:]) + ".manifest", data: b.Bytes()}, nil
}

// packManifest lists the packs of a sealed channel.
func (s *Sealed) packManifest(root string) (manifest, error) {
	var names []string
	for _, p := range s.Contents.Packs {
		names = append(names, p.ID.String()+".vpk")
	}
	return newManifest(root+s.set.Name+"/packs/", names)
}

// flag returns the flag of sagemaker-run for the channel.
func (s *Sealed) flags() []string {
	f := []string{"--channel", s.Channel + "=" + s.Version.Reference().String()}
	if s.Sharded {
		f = append(f, "--sharded", s.Channel)
	}
	return f
}
