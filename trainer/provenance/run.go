// Package provenance records which data a model was made from: a training job signs what it
// was started with and what it made, with a short-lived key certified by a signer of its
// dataset. The statement is an in-toto statement with the predicate SLSA Provenance v1
// (https://slsa.dev/spec/v1.0/provenance) in a DSSE envelope, and is stored in the model
// itself. Signed records next to the datasets say which job was given which version.
package provenance

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/signing"
)

// Types of what is signed.
const (
	predicateType = "https://slsa.dev/provenance/v1"
	buildType     = "https://github.com/vaultpack/vaultpack/training/v1"
	launchType    = "https://github.com/vaultpack/vaultpack/launch/v1"
)

// Builders, which say where jobs run.
const (
	SageMaker = "https://github.com/vaultpack/vaultpack/sagemaker/v1"
	Local     = "https://github.com/vaultpack/vaultpack/local/v1"
)

// An Input is a version of a dataset that a job was given.
type Input struct {
	Channel string `json:"channel"`
	Dataset string `json:"dataset"`
	Version int64  `json:"version"`
	Digest  string `json:"digest"` // of the version's root, SHA-256 in hex
}

// String returns DATASET@VERSION#DIGEST.
func (i Input) String() string { return fmt.Sprintf("%s@%d#%s", i.Dataset, i.Version, i.Digest) }

// A Run is what a training job was started with.
type Run struct {
	Job     string  `json:"job"`
	Builder string  `json:"builder"` // SageMaker or Local
	Inputs  []Input `json:"inputs"`  // the first is the one that certifies
	// Plain maps the channels that are not sealed to their sources.
	Plain map[string]string `json:"plain,omitempty"`
	// Image is the reference of the image, and ImageDigest its SHA-256 in hex, if known.
	Image       string `json:"image,omitempty"`
	ImageDigest string `json:"image_digest,omitempty"`
	// Program is the SHA-256 of vaultpack-run in hex.
	Program string `json:"program,omitempty"`
	// Source is the digest of the script's folder: sha256:HEX of the archive made from
	// it, or vaultpackTree:HEX of its files (see [Files.Tree]).
	Source          string            `json:"source,omitempty"`
	Command         []string          `json:"command,omitempty"`
	Hyperparameters map[string]string `json:"hyperparameters,omitempty"`
	Instances       []string          `json:"instances,omitempty"` // TYPE:COUNT
	Output          string            `json:"output,omitempty"`    // where the model is written
	Launched        time.Time         `json:"launched"`
}

// A Statement is what a job signed about a model.
type Statement struct {
	Run
	Invocation string // the ARN of the job in SageMaker
	Host       string
	Started    time.Time // when the channels were open
	Finished   time.Time
	// Tree is the hash of the model's files (see [Files.Tree]), in hex.
	Tree string
	// Listed are the files that the statement names individually. It is empty if there
	// are too many.
	Listed []File
}

// The predicate, as defined by SLSA.
type predicate struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string     `json:"buildType"`
	ExternalParameters   parameters `json:"externalParameters"`
	ResolvedDependencies []resource `json:"resolvedDependencies"`
}

type parameters struct {
	Image           string            `json:"image,omitempty"`
	Command         []string          `json:"command,omitempty"`
	Hyperparameters map[string]string `json:"hyperparameters,omitempty"`
	Instances       []string          `json:"instances,omitempty"`
	Output          string            `json:"output,omitempty"`
}

type resource struct {
	Name   string            `json:"name"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type runDetails struct {
	Builder  builder  `json:"builder"`
	Metadata metadata `json:"metadata"`
}

type builder struct {
	ID string `json:"id"`
}

type metadata struct {
	InvocationID string    `json:"invocationId"`
	Job          string    `json:"vaultpack_job"`
	Host         string    `json:"vaultpack_host"`
	Launched     time.Time `json:"vaultpack_launchedOn"`
	StartedOn    time.Time `json:"startedOn"`
	FinishedOn   time.Time `json:"finishedOn"`
}

// Names of dependencies that are not channels. A channel's name begins with channelName.
const (
	channelName = "channel:"
	plainName   = "plain:"
	imageName   = "image"
	programName = "program"
	sourceName  = "source"
)

const datasetScheme = "vaultpack:"

// TreeDigest is the name, in a digest set, of the hash of a tree of files.
const TreeDigest = "vaultpackTree"

// modelName is the subject that stands for all files of a model.
const modelName = "model"

func sha(hex string) map[string]string {
	if hex == "" {
		return nil
	}
	return map[string]string{"sha256": hex}
}

// digestSet returns ALGORITHM:HEX in the form used in statements.
func digestSet(s string) map[string]string {
	alg, h, ok := strings.Cut(s, ":")
	if !ok {
		return nil
	}
	return map[string]string{alg: h}
}

// encode makes the statement that is signed.
func (s *Statement) encode() (*signing.Statement, error) {
	var p predicate
	d := &p.BuildDefinition
	d.BuildType = buildType
	d.ExternalParameters = parameters{s.Image, s.Command, s.Hyperparameters, s.Instances, s.Output}
	for _, in := range s.Inputs {
		d.ResolvedDependencies = append(d.ResolvedDependencies, resource{channelName + in.Channel, fmt.Sprintf("%s%s@%d", datasetScheme, in.Dataset, in.Version), sha(in.Digest)})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Plain)) {
		d.ResolvedDependencies = append(d.ResolvedDependencies, resource{plainName + name, s.Plain[name], nil})
	}
	for _, r := range []resource{{imageName, s.Image, sha(s.ImageDigest)}, {programName, "", sha(s.Program)}, {sourceName, "", digestSet(s.Source)}} {
		if r.URI != "" || r.Digest != nil {
			d.ResolvedDependencies = append(d.ResolvedDependencies, r)
		}
	}
	p.RunDetails = runDetails{builder{s.Builder}, metadata{s.Invocation, s.Job, s.Host, s.Launched, s.Started, s.Finished}}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	st := &signing.Statement{PredicateType: predicateType, Predicate: b,
		Subject: []signing.Subject{{Name: modelName, Digest: map[string]string{TreeDigest: s.Tree}}}}
	for _, f := range s.Listed {
		st.Subject = append(st.Subject, signing.Subject{Name: f.Path, Digest: sha(hex.EncodeToString(f.Sum[:]))})
	}
	return st, nil
}

// decode reads the output of encode.
func (s *Statement) decode(st *signing.Statement) error {
	var p predicate
	if st.PredicateType != predicateType || strict(st.Predicate, &p) != nil || p.BuildDefinition.BuildType != buildType {
		return malformed("it is not a statement of a training job")
	}
	x, m := p.BuildDefinition.ExternalParameters, p.RunDetails.Metadata
	s.Run = Run{Job: m.Job, Builder: p.RunDetails.Builder.ID, Image: x.Image, Command: x.Command, Hyperparameters: x.Hyperparameters, Instances: x.Instances, Output: x.Output, Launched: m.Launched}
	s.Invocation, s.Host, s.Started, s.Finished = m.InvocationID, m.Host, m.StartedOn, m.FinishedOn
	for _, r := range p.BuildDefinition.ResolvedDependencies {
		switch {
		case strings.HasPrefix(r.Name, channelName):
			in, err := inputOf(strings.TrimPrefix(r.Name, channelName), strings.TrimPrefix(r.URI, datasetScheme), r.Digest)
			if err != nil {
				return err
			}
			s.Inputs = append(s.Inputs, in)
		case strings.HasPrefix(r.Name, plainName):
			if s.Plain == nil {
				s.Plain = map[string]string{}
			}
			s.Plain[strings.TrimPrefix(r.Name, plainName)] = r.URI
		case r.Name == imageName:
			s.ImageDigest = r.Digest["sha256"]
		case r.Name == programName:
			s.Program = r.Digest["sha256"]
		case r.Name == sourceName:
			for _, alg := range []string{"sha256", TreeDigest} {
				if h := r.Digest[alg]; h != "" {
					s.Source = alg + ":" + h
				}
			}
		default:
			return malformed("it names a dependency that this version of vaultpack does not know")
		}
	}
	for i, sub := range st.Subject {
		sum, err := hex.DecodeString(sub.Digest["sha256"])
		switch {
		case i == 0 && sub.Name == modelName && len(sub.Digest) == 1 && sub.Digest[TreeDigest] != "":
			s.Tree = sub.Digest[TreeDigest]
		case i == 0 || err != nil || len(sum) != 32 || len(sub.Digest) != 1:
			return malformed("its subject is not a model")
		default:
			s.Listed = append(s.Listed, File{Path: sub.Name, Sum: [32]byte(sum)})
		}
	}
	if len(s.Inputs) == 0 || s.Tree == "" || s.Job == "" || s.Builder != SageMaker && s.Builder != Local {
		return malformed("it names no data, no model or no job, or one that ran where no job of vaultpack does")
	}
	return nil
}

// inputOf reads an input from its form in statements.
func inputOf(channel, version string, digest map[string]string) (Input, error) {
	ref, err := dataset.ParseReference(version + "#" + digest["sha256"])
	if err != nil || ref.Number == 0 || ref.Digest == "" || len(digest) != 1 {
		return Input{}, malformed(fmt.Sprintf("%q is not a version of a dataset with its digest", version))
	}
	return Input{channel, ref.Dataset, ref.Number, ref.Digest}, nil
}
