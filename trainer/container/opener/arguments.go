package opener

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/trainer/container"
)

// A list is a flag that may be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// given holds the flags as typed.
type given struct {
	channels, keys, context, sharded          list
	region, format, keyChannel, signing, base string
	modelKey, checkpointsKey, checkpointPath  string
	outputs                                   list
	related, processing                       bool
}

func (g *given) flags(base string) *flag.FlagSet {
	f := flag.NewFlagSet(Command, flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error says everything
	f.Var(&g.channels, "channel", "`NAME=DATASET@VERSION#DIGEST` of a sealed channel; can be repeated")
	f.Var(&g.keys, "kms-key", "`ARN` of a KMS key that may be called; can be repeated")
	f.BoolVar(&g.related, "kms-related", false, "multi-Region keys open what their replicas have wrapped")
	f.Var(&g.context, "context", "`KEY=VALUE` of the encryption context; can be repeated")
	f.StringVar(&g.region, "region", "", "`REGION` of KMS, if the ARN has none")
	f.StringVar(&g.format, "format", "files", "`WHAT` the channels become: files, or tar (small files stay in their tars)")
	f.Var(&g.sharded, "sharded", "the channel `NAME` has only this host's share; can be repeated")
	f.StringVar(&g.keyChannel, "key-channel", "", "a channel `NAME` with a key, instead of KMS")
	f.StringVar(&g.signing, "signing", "", "the `NAME` of the key that signs how the model was made, in channel "+container.MetaChannel)
	f.StringVar(&g.modelKey, "model-key", "", "the `NAME` of the key that the model is sealed under, in channel "+container.MetaChannel)
	f.BoolVar(&g.processing, "processing", false, "the job is a processing job")
	f.Var(&g.outputs, "output", "`NAME=DATASET` of an output that is sealed, of a processing job; can be repeated")
	f.StringVar(&g.checkpointsKey, "checkpoints-key", "", "the `NAME` of the key that checkpoints are sealed under, in channel "+container.MetaChannel)
	f.StringVar(&g.checkpointPath, "checkpoint-path", "", "the `DIR` in which the command has its checkpoints, if they are sealed (default: "+container.BaseDir+"/checkpoints)")
	f.StringVar(&g.base, "base-dir", base, "the `DIR` in place of "+container.BaseDir+"; SAGEMAKER_BASE_DIR names it too")
	return f
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "usage: vaultpack-run %s --channel NAME=DATASET@VERSION#DIGEST --kms-key ARN -- COMMAND...\n\n"+
		"Opens the sealed channels of a training job, then runs the training command.\n"+
		"vaultpack train starts it in containers; see docs/TRAINING.md.\n\n", Command)
	f := new(given).flags(container.BaseDir)
	f.SetOutput(w)
	f.PrintDefaults()
}

// parse reads the arguments; base is the default base directory. On an error it also
// returns what it could read, so that the failure can be reported to SageMaker.
func parse(args []string, base string) (cfg *container.Config, command []string, err error) {
	var g given
	f := g.flags(base)
	err = f.Parse(args)
	cfg = &container.Config{BaseDir: g.base, KMSKeys: g.keys, KMSRelated: g.related, Region: g.region, KeyChannel: g.keyChannel, Signing: g.signing, ModelKey: g.modelKey, CheckpointsKey: g.checkpointsKey, CheckpointPath: g.checkpointPath, Processing: g.processing, Context: envelope.EncryptionContext{}}
	if err != nil {
		return cfg, nil, usagef("the arguments of %s: %w", Command, err)
	}
	if f.NArg() == 0 {
		return cfg, nil, usagef("an argument is missing; usage: %s FLAGS -- COMMAND…", Command)
	}
	switch g.format {
	case "files":
	case "tar":
		cfg.Tars = true
	default:
		return cfg, nil, usagef("--format: %q must be files or tar", g.format)
	}
	sharded := map[string]bool{}
	for _, name := range g.sharded {
		sharded[name] = true
	}
	for _, s := range g.channels {
		ch, err := container.ParseChannel(s)
		if err != nil {
			return cfg, nil, usagef("--channel: %w", err)
		}
		ch.Sharded = sharded[ch.Name]
		delete(sharded, ch.Name)
		cfg.Channels = append(cfg.Channels, ch)
	}
	for name := range sharded {
		return cfg, nil, usagef("--sharded: %q is not a sealed channel", name)
	}
	for _, s := range g.outputs {
		name, _, ok := strings.Cut(s, "=")
		if !ok {
			return cfg, nil, usagef("--output: %q is not NAME=DATASET", s)
		}
		cfg.Outputs = append(cfg.Outputs, name)
	}
	for _, s := range g.context {
		k, v, ok := strings.Cut(s, "=")
		if _, twice := cfg.Context[k]; !ok || twice {
			return cfg, nil, usagef("--context: %q is not KEY=VALUE, or its key is named twice", s)
		}
		cfg.Context[k] = v
	}
	if err := cfg.Check(); err != nil {
		return cfg, nil, usageError{err}
	}
	return cfg, f.Args(), nil
}
