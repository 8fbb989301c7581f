package misuse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack"
	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/dataset/mount"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/samples"
	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/doctor"
	"github.com/vaultpack/vaultpack/serve"
	"github.com/vaultpack/vaultpack/serve/browse"
	"github.com/vaultpack/vaultpack/serve/s3api"
	"github.com/vaultpack/vaultpack/serve/web"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/container/unpack"
	"github.com/vaultpack/vaultpack/trainer/folder"
	"github.com/vaultpack/vaultpack/trainer/launcher"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/trainer/metrics"
	"github.com/vaultpack/vaultpack/trainer/outputs"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/report"
	"github.com/vaultpack/vaultpack/trainer/sealedcheckpoints"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
	"github.com/vaultpack/vaultpack/trainer/sealedoutput"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// types are those whose methods do something, or tell what was done.
var types = []any{
	dataset.Dataset{}, dataset.Version{}, commit.Lease{}, commit.Pending{}, commit.Index{}, commit.Plan{}, commit.Draft{}, commit.Shard{},
	dataset.File{}, cache.Cache{}, view.View{}, view.File{}, serve.Catalog{}, serve.Endpoint{}, mount.Mount{}, samples.Plan{}, vaultpack.Vault{}, unpack.Job{},
	uploader.Filter{}, ingest.Writer{}, ingest.File{}, ingest.Sample{},
	trainer.Launcher{}, trainer.Plan{}, trainer.ProcessingPlan{}, trainer.Watcher{}, trainer.Logs{}, trainer.Job{}, metrics.Collector{}, metrics.Lines{}, report.Report{}, report.Dir{},
	container.Config{}, container.Tasks{}, sealedcheckpoints.Opener{}, local.Job{}, provenance.Certificate{}, provenance.Verifier{}, awskms.Signer{},
	provision.Provisioner{}, provision.Target{},
	config.Config{}, s3store.Store{}, s3store.Source{},
}

// functions are the entry points that are no methods.
var functions = map[string]any{
	"uploader.Upload": uploader.Upload, "uploader.UploadStream": uploader.UploadStream, "uploader.Count": uploader.Count, "ingest.New": ingest.New,
	"uploader.Walk": uploader.Walk, "uploader.WalkBucket": uploader.WalkBucket, "uploader.UploadBucket": uploader.UploadBucket, "uploader.UploadBucketShard": uploader.UploadBucketShard, "plans.MakeOfBucket": plans.MakeOfBucket, "uploader.UploadShard": uploader.UploadShard, "plans.Make": plans.Make, "plans.Work": plans.Work, "plans.Commit": plans.Commit,
	"plans.ReadStatus": plans.ReadStatus, "plans.GiveUp": plans.GiveUp, "plans.ParseReference": plans.ParseReference,
	"dataset.Open": dataset.Open, "cache.Open": cache.Open, "view.Open": view.Open, "serve.Open": serve.Open, "serve.Listen": serve.Listen, "s3api.New": s3api.New, "web.New": web.New, "browse.New": browse.New, "mount.Start": mount.Start, "samples.New": samples.New, "samples.Merge": samples.Merge, "samples.ParsePosition": samples.ParsePosition, "dataset.List": dataset.List, "dataset.Diff": dataset.Diff, "dataset.DiffEntries": dataset.DiffEntries,
	"restore.Run": restore.Run, "verify.Run": verify.Run, "verify.Against": verify.Against, "verify.Join": verify.Join, "verify.PartOf": verify.PartOf, "verify.ReadPart": verify.ReadPart, "shards.Cut": shards.Cut, "rekey.Rotate": rekey.Rotate, "rekey.Reseal": rekey.Reseal,
	"unpack.Prepare": unpack.Prepare, "doctor.Run": doctor.Run,
	"vaultpack.Open": vaultpack.Open, "vaultpack.Create": vaultpack.Create, "vaultpack.OpenConfigured": vaultpack.OpenConfigured, "vaultpack.New": vaultpack.New,
	"launcher.Open": launcher.Open, "launcher.Connect": launcher.Connect,
	"trainer.Describe": trainer.Describe, "trainer.List": trainer.List, "trainer.RemoveKey": trainer.RemoveKey, "trainer.Stop": trainer.Stop,
	"trainer.ReadJob": trainer.ReadJob, "trainer.Summarize": trainer.Summarize, "trainer.DescribeProcessing": trainer.DescribeProcessing,
	"outputs.Find": outputs.Find, "outputs.Commit": outputs.Commit, "sealedoutput.Seal": sealedoutput.Seal, "sealedoutput.Read": sealedoutput.Read,
	"folder.Open":    folder.Open,
	"container.Open": container.Open, "local.Stage": local.Stage, "local.PutTo": local.PutTo, "local.PutCheckpoints": local.PutCheckpoints,
	"provenance.Certify": provenance.Certify, "provenance.Check": provenance.Check, "provenance.Open": provenance.Open, "provenance.Datasets": provenance.Datasets,
	"provenance.ReadFolder": provenance.ReadFolder, "provenance.ReadArchive": provenance.ReadArchive,
	"sealedmodel.NewKey": sealedmodel.NewKey, "sealedmodel.OpenKey": sealedmodel.OpenKey, "sealedmodel.KeyOf": sealedmodel.KeyOf,
	"sealedcheckpoints.Open": sealedcheckpoints.Open, "sealedcheckpoints.ReadMark": sealedcheckpoints.ReadMark,
	"sealedmodel.Seal": sealedmodel.Seal, "sealedmodel.Open": sealedmodel.Open,
	"awskms.NewSigner": awskms.NewSigner, "signing.AgentKey": signing.AgentKey,
	"config.Open": config.Open, "config.Init": config.Init, "config.OpenForWriting": config.OpenForWriting, "config.OpenPublic": config.OpenPublic, "config.OpenBucket": config.OpenBucket,
	"config.ReadKeys": config.ReadKeys, "config.ReadableKeys": config.ReadableKeys,
	"s3store.Open": s3store.Open, "s3store.OpenSource": s3store.OpenSource, "config.OpenSource": config.OpenSource, "vault.OpenDir": vault.OpenDir,
}

// allowed are methods that need not fail: there is nothing to do, or to tell.
var allowed = map[string]string{
	"zero *config.Config.AWS":       "a configuration of nothing is AWS's own",
	"zero *config.Config.Pinned":    "there is nothing to pin",
	"zero *config.Config.Resolved":  "there is no name in it to look up",
	"zero *local.Job.CheckLauncher": "no launcher is to be used",
	"zero *local.Job.Reach":         "nothing of it is in S3",
	"zero *config.Config.S3Options": "it is called by the SDK, with options",

	"zero *container.Tasks.KeepCheckpoints": "there are no checkpoints to keep",
	"nil *container.Tasks.KeepCheckpoints":  "there are no tasks, so no checkpoints",

	"nil *provision.Provisioner.RolePolicy": "it is that of the Target in it",
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// A zero value, a nil pointer and a nil context are told in an error: nothing panics, and
// nothing that returns an error does as if it had worked.
func TestZeroValues(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	contexts := map[string]context.Context{"": t.Context(), " with a nil context": nil, " with a cancelled context": cancelled}
	calls := 0
	try := func(name string, f reflect.Value, receiver []reflect.Value) {
		for how, ctx := range contexts {
			in := append([]reflect.Value(nil), receiver...)
			takes := false
			for i := len(in); i < f.Type().NumIn(); i++ {
				if f.Type().IsVariadic() && i == f.Type().NumIn()-1 {
					break
				}
				if p := f.Type().In(i); p == contextType && ctx != nil {
					takes = true
					in = append(in, reflect.ValueOf(&ctx).Elem())
				} else {
					takes = takes || p == contextType
					in = append(in, reflect.Zero(p))
				}
			}
			if how != "" && !takes {
				continue
			}
			calls++
			if err := fails(f, in); err != nil && allowed[name] == "" {
				t.Errorf("%s%s: %v", name, how, err)
			}
		}
	}
	for _, v := range types {
		typ := reflect.PointerTo(reflect.TypeOf(v))
		for i := range typ.NumMethod() {
			m := typ.Method(i)
			try(fmt.Sprintf("zero %v.%s", typ, m.Name), m.Func, []reflect.Value{reflect.New(typ.Elem())})
			if tells(m.Type) {
				try(fmt.Sprintf("nil %v.%s", typ, m.Name), m.Func, []reflect.Value{reflect.Zero(typ)})
			}
		}
	}
	for name, f := range functions {
		try(name, reflect.ValueOf(f), nil)
	}
	t.Logf("%d calls", calls)
}

// tells reports whether a function can say what is wrong.
func tells(f reflect.Type) bool {
	n := f.NumOut()
	return n > 0 && (f.Out(n-1) == errorType || f.Out(n-1).Kind() == reflect.Func)
}

// fails calls f, and says what is wrong where it panics or has no error to return.
func fails(f reflect.Value, in []reflect.Value) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v at %s", v, where())
		}
	}()
	out := f.Call(in)
	for _, o := range out {
		if e := erred(o); e != nil {
			if text := (*e).Error(); text == "" || strings.Contains(text, "nil pointer") {
				return fmt.Errorf("the error says %q", text)
			}
			return nil
		}
	}
	if tells(f.Type()) {
		return errors.New("no error")
	}
	return nil
}

// erred is the error that is in a result: it is one, or comes from a sequence.
func erred(o reflect.Value) *error {
	switch v := o.Interface().(type) {
	case error:
		return &v
	case iter.Seq2[*tree.Entry, error]:
		for _, err := range v {
			if err != nil {
				return &err
			}
		}
	case iter.Seq2[*commit.Record, error]:
		for _, err := range v {
			if err != nil {
				return &err
			}
		}
	case iter.Seq2[*samples.Sample, error]:
		for _, err := range v {
			if err != nil {
				return &err
			}
		}
	case iter.Seq2[dataset.Change, error]:
		for _, err := range v {
			if err != nil {
				return &err
			}
		}
	case iter.Seq2[vault.Pinned, error]:
		for _, err := range v {
			if err != nil {
				return &err
			}
		}
	case iter.Seq2[vault.Object, error]:
		for _, err := range v {
			if err != nil {
				return &err
			}
		}
	}
	return nil
}

// where is the place of a panic.
func where() string {
	lines := strings.Split(string(debug.Stack()), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic(") {
			for _, l := range lines[i+2:] {
				if strings.Contains(l, ".go:") && !strings.Contains(l, "/runtime/") {
					return strings.TrimSpace(l)
				}
			}
		}
	}
	return "?"
}
