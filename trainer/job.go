// Package trainer runs training jobs on sealed data in Amazon SageMaker: it
// checks a job's description, stages what the job needs next to the data in the
// vault, sends CreateTrainingJob, and follows the job to its end. Inside the
// container, vaultpack sagemaker-run opens the data before the user's own command
// starts (package trainer/container).
//
// The bucket is not trusted: everything that a job trusts comes in the request,
// that is, the digests of the binary, of the source and of each dataset's version,
// and the KMS keys that may be called.
package trainer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A Job describes a training job. Fields are named as in the YAML file; the flags
// of vaultpack train have the same names with hyphens. Empty fields have safe
// defaults, which [Launcher.Plan] fills in.
type Job struct {
	Name string `yaml:"name"`
	// Dataset is NAME or NAME@VERSION. With Distribution it forms the channel
	// "training". Channels has further channels.
	Dataset      string `yaml:"dataset"`
	Distribution string `yaml:"distribution"`
	// AtLeast is the number of a version of Dataset that is known to have existed.
	AtLeast int64 `yaml:"at_least"`
	// AllowIncomplete accepts incomplete versions, some of whose source could not be read.
	AllowIncomplete bool                `yaml:"allow_incomplete"`
	Channels        map[string]*Channel `yaml:"channels"`
	// Format is what sealed channels become: "files", or "tar" for WebDataset shards.
	Format string `yaml:"format"`

	Image string `yaml:"image"`
	// Command is what the image runs. If it is empty, it is looked up in the
	// image's registry.
	Command []string `yaml:"command"`
	Role    string   `yaml:"role"`

	InstanceType   string          `yaml:"instance_type"`
	InstanceCount  int             `yaml:"instance_count"`
	InstanceGroups []InstanceGroup `yaml:"instance_groups"`
	VolumeSize     int             `yaml:"volume_size"`    // GB
	VolumeKMSKey   string          `yaml:"volume_kms_key"` // or "none"
	KeepAlive      Duration        `yaml:"keep_alive"`

	Hyperparameters map[string]Value  `yaml:"hyperparameters"`
	Environment     map[string]string `yaml:"environment"`
	// Source is a directory with the script Entry, for images that support script mode.
	Source string `yaml:"source"`
	Entry  string `yaml:"entry"`
	// Launcher makes the image start the script in several processes on each host:
	// torchrun, mpi or smddp. ProcessesPerHost applies to mpi, and MPIOptions to mpi and
	// smddp. LauncherGroup is the instance group in which mpi starts processes.
	Launcher         string `yaml:"launcher"`
	LauncherGroup    string `yaml:"launcher_group"`
	ProcessesPerHost int    `yaml:"processes_per_host"`
	MPIOptions       string `yaml:"mpi_options"`

	// Outputs maps the outputs of a processing job to the datasets that they become the
	// next versions of. The script finds each as a folder, /opt/ml/processing/output/NAME.
	Outputs map[string]string `yaml:"outputs"`

	Output            string `yaml:"output"`         // an s3:// URI
	OutputKMSKey      string `yaml:"output_kms_key"` // or "none"
	OutputCompression string `yaml:"output_compression"`

	Subnets          []string `yaml:"subnets"`
	SecurityGroups   []string `yaml:"security_groups"`
	NetworkIsolation bool     `yaml:"network_isolation"`
	// KeyChannel is the KMS key that protects the key of a job without network access.
	KeyChannel               string `yaml:"key_channel"`
	InterContainerEncryption *bool  `yaml:"inter_container_encryption"`

	MaxRuntime     Duration `yaml:"max_runtime"`
	MaxPending     Duration `yaml:"max_pending"`
	Spot           bool     `yaml:"spot"`
	MaxWait        Duration `yaml:"max_wait"`
	Checkpoints    string   `yaml:"checkpoints"` // an s3:// URI
	CheckpointPath string   `yaml:"checkpoint_path"`
	Retries        int      `yaml:"retries"`

	// NoProvenance omits the statement of how the model was made, and the record of the
	// versions that the job was given.
	NoProvenance bool `yaml:"no_provenance"`
	// SealModel makes the job seal its model before SageMaker stores it.
	SealModel bool `yaml:"seal_model"`
	// SealCheckpoints makes the job seal its checkpoints before SageMaker stores them.
	SealCheckpoints bool `yaml:"seal_checkpoints"`

	Metrics         []Metric          `yaml:"metrics"`
	Tags            map[string]string `yaml:"tags"`
	TensorBoard     string            `yaml:"tensorboard"` // an s3:// URI
	TensorBoardPath string            `yaml:"tensorboard_path"`
	Profiler        string            `yaml:"profiler"` // an s3:// URI; empty for none

	// Binary is the static vaultpack-run for Arch, which is amd64 or arm64. If
	// either is empty, it is found automatically.
	Binary string `yaml:"binary"`
	Arch   string `yaml:"arch"`

	origin map[string]string // of a field, such as "job.yaml:7" or "--image"
}

// A Channel is an input channel: a sealed dataset, or unsealed data in S3.
type Channel struct {
	Dataset string `yaml:"dataset"` // NAME or NAME@VERSION
	S3      string `yaml:"s3"`      // an s3:// URI
	// Folder is a folder on this machine, for a job that runs here. It cannot be set in a
	// file.
	Folder string `yaml:"-"`

	Distribution   string   `yaml:"distribution"`
	InputMode      string   `yaml:"input_mode"`
	DataType       string   `yaml:"data_type"`
	ContentType    string   `yaml:"content_type"`
	Compression    string   `yaml:"compression"`
	RecordWrapper  string   `yaml:"record_wrapper"`
	ShuffleSeed    *int64   `yaml:"shuffle_seed"`
	Attributes     []string `yaml:"attributes"`
	InstanceGroups []string `yaml:"instance_groups"`
}

// ParseChannel parses a channel as on the command line: DATASET[@VERSION] or s3://…,
// followed by any of ,distribution= ,input_mode= ,data_type= ,content_type=
// ,compression= ,record_wrapper=.
func ParseChannel(s string) (*Channel, error) {
	place, rest, more := strings.Cut(s, ",")
	c := &Channel{Dataset: place}
	if strings.Contains(place, "://") {
		c.Dataset, c.S3 = "", place
	}
	fields := map[string]*string{"distribution": &c.Distribution, "input_mode": &c.InputMode, "data_type": &c.DataType,
		"content_type": &c.ContentType, "compression": &c.Compression, "record_wrapper": &c.RecordWrapper}
	for more {
		var pair string
		pair, rest, more = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(pair, "=")
		if fields[name] == nil || value == "" {
			return nil, fmt.Errorf("%q is not one of distribution, input_mode, data_type, content_type, compression and record_wrapper with a value; the rest of a channel's fields can be said in a file (-f)", pair)
		}
		*fields[name] = value
	}
	return c, nil
}

// An InstanceGroup is a part of a heterogeneous cluster.
type InstanceGroup struct {
	Name  string `yaml:"name"`
	Type  string `yaml:"type"`
	Count int    `yaml:"count"`
}

// A Metric is a value that SageMaker extracts from the job's log.
type Metric struct {
	Name  string `yaml:"name"`
	Regex string `yaml:"regex"`
}

// A Duration is written as 90m or 24h, or as a number of seconds.
type Duration time.Duration

var secondsOnly = regexp.MustCompile(`^[0-9]+$`)

// ParseDuration parses a Duration.
func ParseDuration(s string) (Duration, error) {
	if secondsOnly.MatchString(s) {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d%time.Second != 0 {
		return 0, fmt.Errorf("%q is not a duration: write 90m, 24h, or whole seconds", s)
	}
	return Duration(d), nil
}

// UnmarshalYAML decodes a Duration.
func (d *Duration) UnmarshalYAML(n *yaml.Node) (err error) {
	if *d, err = ParseDuration(n.Value); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return nil
}

func (d Duration) seconds() *int32 {
	if d == 0 {
		return nil
	}
	s := int32(time.Duration(d) / time.Second)
	return &s
}

// maxJobFile limits the size of a job's file, which is read into memory.
const maxJobFile = 1 << 20

// ReadJob reads a job's description from a YAML file. Unknown fields are errors,
// and paths are relative to the file's folder.
func ReadJob(file string) (*Job, error) {
	b, err := fsys.ReadSmall(file, maxJobFile)
	if err != nil {
		return nil, fmt.Errorf("reading the job: %w", err)
	}
	j, err := parseJob(filepath.Base(file), b)
	if err != nil {
		return nil, err
	}
	for _, p := range []*string{&j.Source, &j.Binary} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(file), *p)
		}
	}
	return j, nil
}

func parseJob(name string, b []byte) (*Job, error) {
	j := &Job{origin: map[string]string{}}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(j); err != nil && err != io.EOF {
		return nil, yamlError(name, err)
	}
	if err := d.Decode(new(yaml.Node)); err != io.EOF {
		return nil, fmt.Errorf("%s holds more than one YAML document; a job is one", name)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil {
		return nil, yamlError(name, err)
	}
	for _, n := range root.Content {
		j.note(name, "", n)
	}
	for ch, c := range j.Channels {
		if c == nil {
			return nil, &FieldError{Field: "channels." + ch, Origin: j.where("channels." + ch), Problem: "has neither dataset nor s3"}
		}
	}
	return j, nil
}

// note records the line numbers of the fields.
func (j *Job) note(file, path string, n *yaml.Node) {
	if path != "" {
		j.origin[path] = file + ":" + strconv.Itoa(n.Line)
		path += "."
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			j.note(file, path+key.Value, n.Content[i+1])
			j.origin[path+key.Value] = file + ":" + strconv.Itoa(key.Line)
		}
	case yaml.SequenceNode:
		for i, e := range n.Content {
			j.note(file, path+strconv.Itoa(i), e)
		}
	}
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line ([0-9]+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (.*) not found in type trainer\.(\w+)$`)
)

// yamlError says where in the file the mistakes are, without mentioning Go types.
func yamlError(name string, err error) error {
	texts := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		texts = te.Errors
	}
	var all []error
	for _, s := range texts {
		where := name
		if m := yamlLine.FindStringSubmatch(s); m != nil {
			where, s = name+":"+m[1], m[2]
		}
		if m := yamlUnknown.FindStringSubmatch(s); m != nil {
			s = fmt.Sprintf("there is no field %q here", m[1])
		}
		all = append(all, fmt.Errorf("%s: %s", where, strings.TrimPrefix(s, "yaml: ")))
	}
	return errors.Join(all...)
}

// Given records that a field was set by a flag.
func (j *Job) Given(field, flag string) {
	if j.origin == nil {
		j.origin = map[string]string{}
	}
	j.origin[field] = flag
}

// given reports whether the field was set.
func (j *Job) given(field string) bool { return j.origin[field] != "" }

// where returns the place from which a field, or what it is part of, was read.
func (j *Job) where(field string) string {
	for {
		if o := j.origin[field]; o != "" {
			return o
		}
		i := strings.LastIndexByte(field, '.')
		if i < 0 {
			return ""
		}
		field = field[:i]
	}
}

// A FieldError reports a mistake in a job's description.
type FieldError struct {
	Field   string // as in YAML: "channels.labels.s3"
	Origin  string // "job.yaml:7", "--image"; empty if the field was not set
	Problem string
}

func (e *FieldError) Error() string {
	if e.Origin == "" {
		return e.Field + ": " + e.Problem
	}
	return e.Origin + ": " + e.Field + ": " + e.Problem
}
