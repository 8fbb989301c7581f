package provenance_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/signers"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

// A world is a dataset with two versions, and signers.
type world struct {
	t        *testing.T
	d        *dataset.Dataset
	v1, v2   *dataset.Version
	owner    *signing.PrivateKey
	verifier *provenance.Verifier
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, d: datasettest.New(t), owner: signing.GenerateKey()}
	w.d.Vault().Signer = w.owner
	w.v1 = datasettest.Packed(t, w.d, []string{"a"}, map[string]string{"a": "1"})
	w.v2 = datasettest.Packed(t, w.d, []string{"a"}, map[string]string{"a": "2"})
	w.forget()
	return w
}

// forget begins to verify anew.
func (w *world) forget() {
	if w.verifier != nil {
		w.verifier.Close()
	}
	w.verifier = provenance.NewVerifier(w.d.Vault())
	w.t.Cleanup(w.verifier.Close)
}

func input(channel string, v *dataset.Version) provenance.Input {
	return provenance.Input{Channel: channel, Dataset: v.Dataset(), Version: v.Number, Digest: v.Digest()}
}

func (w *world) run(job string, inputs ...provenance.Input) provenance.Run {
	return provenance.Run{Job: job, Builder: provenance.SageMaker, Inputs: inputs, Plain: map[string]string{"labels": "s3://l/<&>"}, Image: "img:1", ImageDigest: strings.Repeat("ab", 32),
		Program: strings.Repeat("cd", 32), Source: "sha256:" + strings.Repeat("ef", 32), Command: []string{"python3", "train.py", "<&>\u2028"}, Hyperparameters: map[string]string{"epochs": "3"},
		Instances: []string{"ml.m5.xlarge:1"}, Output: "s3://b/jobs/" + job + "/output/"}
}

func (w *world) certify(run provenance.Run, until time.Duration) *provenance.Certificate {
	w.t.Helper()
	c, err := provenance.Certify(w.t.Context(), w.d, run, time.Now().Add(until))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Wipe)
	return c
}

// model makes a model's folder of files, and signs it.
func (w *world) model(c *provenance.Certificate, host string, files map[string]string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := c.Sign(w.t.Context(), dir, provenance.Made{Invocation: "arn:aws:sagemaker:job", Host: host, Started: time.Now().Add(-time.Hour), Finished: time.Now()}); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *world) files(dir string) *provenance.Files {
	w.t.Helper()
	f, err := provenance.ReadFolder(w.t.Context(), dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) verify(f *provenance.Files) error {
	_, _, err := w.verifier.Model(w.t.Context(), f)
	return err
}

// What was signed is what is read, for a signer that may sign and with all that a run has.
func TestModel(t *testing.T) {
	w := newWorld(t)
	run := w.run("job-1", input("training", w.v2), input("old", w.v1))
	dir := w.model(w.certify(run, time.Hour), "algo-1", map[string]string{"m": "model", "x/y": "", "x/z": "more"})
	all, by, err := w.verifier.Model(t.Context(), w.files(dir))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	s := all[0]
	run.Launched = s.Launched
	if fmt.Sprint(s.Run) != fmt.Sprint(run) || time.Since(run.Launched) > time.Minute || s.Host != "algo-1" || s.Invocation != "arn:aws:sagemaker:job" || len(s.Listed) != 3 {
		t.Errorf("%+v", s)
	}
	if by[0].By != w.owner.Public() || by[0].Former || by[0].Dataset != w.d.Name {
		t.Errorf("%+v", by)
	}
	for _, in := range s.Inputs {
		if state, err := w.verifier.Input(t.Context(), in); err != nil || state != provenance.InVault {
			t.Error(in, state, err)
		}
	}
	wrong := s.Inputs[0]
	wrong.Digest = s.Inputs[1].Digest
	if _, err := w.verifier.Input(t.Context(), wrong); !errors.Is(err, envelope.ErrAuthentication) {
		t.Error(err)
	}
	wrong.Version = 9
	if state, err := w.verifier.Input(t.Context(), wrong); err != nil || state != provenance.Removed {
		t.Error(state, err)
	}
	// Other tools find the files by their SHA-256, and SLSA's predicate.
	var env struct{ Payload []byte }
	_, line, _ := bytes.Cut(w.files(dir).Statements["algo-1.json"], []byte("\n"))
	var st struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Name   string
			Digest map[string]string
		}
	}
	if err := errors.Join(json.Unmarshal(line, &env), json.Unmarshal(env.Payload, &st)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("model")))
	if st.Type != "https://in-toto.io/Statement/v1" || st.PredicateType != "https://slsa.dev/provenance/v1" || st.Subject[1].Name != "m" || st.Subject[1].Digest["sha256"] != want {
		t.Errorf("%+v", st)
	}
}

// A model of which anything was changed is not what the job made, and a statement that
// nobody who was allowed to has signed is none.
func TestTampered(t *testing.T) {
	w := newWorld(t)
	base := map[string]string{"m": "model", "x/y": "y"}
	cert := w.certify(w.run("job-1", input("training", w.v2)), time.Hour)
	other := w.certify(w.run("job-2", input("training", w.v1)), time.Hour)
	stranger := signing.GenerateKey()
	c := objects.RootOf(w.v2).Chain
	// forge signs what the certificate says with another delegation.
	forge := func(d chain.Delegation, by signing.Signer, run provenance.Run) func(dir string) {
		return func(dir string) {
			key := signing.GenerateKey()
			d.Key = key.Public()
			raw := "{}"
			if by != nil {
				got, err := c.Delegate(t.Context(), by, d)
				if err != nil {
					t.Fatal(err)
				}
				raw = got.Raw()
			}
			if err := provenance.NewCertificate(run, raw, key).Sign(t.Context(), dir, provenance.Made{Host: "algo-1", Finished: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	good := chain.Delegation{Purpose: chain.ForJob, Name: "job-1", NotAfter: time.Now().Add(time.Hour), UpTo: 2}
	with := func(change func(*chain.Delegation)) chain.Delegation { d := good; change(&d); return d }
	statement := func(dir string) string { return filepath.Join(dir, provenance.Folder, "algo-1.json") }
	write := func(file, content string) {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(dir string){
		"a file changed":        func(dir string) { write(filepath.Join(dir, "m"), "Model") },
		"a file added":          func(dir string) { write(filepath.Join(dir, "n"), "") },
		"a file removed":        func(dir string) { os.Remove(filepath.Join(dir, "x", "y")) },
		"a file renamed":        func(dir string) { os.Rename(filepath.Join(dir, "m"), filepath.Join(dir, "n")) },
		"hidden as a statement": func(dir string) { write(filepath.Join(dir, provenance.Folder, "m.txt"), "x") },
		"no statement":          func(dir string) { os.RemoveAll(filepath.Join(dir, provenance.Folder)) },
		"an empty statement":    func(dir string) { write(statement(dir), "") },
		"a statement of a host": func(dir string) { os.Rename(statement(dir), filepath.Join(dir, provenance.Folder, "algo-2.json")) },
		"another job's": func(dir string) {
			copyFile(t, statement(w.model(other, "algo-1", map[string]string{"o": "o"})), statement(dir))
		},
		"and another job's": func(dir string) {
			copyFile(t, filepath.Join(w.model(other, "algo-2", base), provenance.Folder, "algo-2.json"), filepath.Join(dir, provenance.Folder, "algo-2.json"))
		},
		"a launch record":        func(dir string) { write(statement(dir), string(w.record(other))) },
		"no delegation":          forge(good, nil, cert.Run),
		"delegated for a plan":   forge(with(func(d *chain.Delegation) { d.Purpose = chain.ForPlan }), w.owner, cert.Run),
		"delegated to another":   forge(with(func(d *chain.Delegation) { d.Name = "job-2" }), w.owner, cert.Run),
		"expired":                forge(with(func(d *chain.Delegation) { d.NotAfter = time.Now().Add(-time.Hour) }), w.owner, cert.Run),
		"of an earlier version":  forge(with(func(d *chain.Delegation) { d.UpTo = 1 }), w.owner, cert.Run),
		"signed by the delegate": func(dir string) { write(statement(dir), w.resigned(cert, dir, stranger)) },
	} {
		dir := w.model(cert, "algo-1", base)
		if err := w.verify(w.files(dir)); err != nil {
			t.Fatal(err)
		}
		if change(dir); w.verify(w.files(dir)) == nil {
			t.Errorf("%s: the model is believed", name)
		} else if err := w.verify(w.files(dir)); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := w.model(cert, "algo-1", base)
	forge(good, w.owner, cert.Run)(dir)
	if err := w.verify(w.files(dir)); err != nil {
		t.Errorf("the forger is right, and is refused: %v", err)
	}
	// Each byte of a statement counts.
	f := w.files(w.model(cert, "algo-1", base))
	b := f.Statements["algo-1.json"]
	for i := range b {
		was := b[i]
		for _, x := range []byte{was ^ 1, was ^ 0x20, ' '} {
			if b[i] = x; x != was && w.verify(f) == nil {
				t.Errorf("byte %d (%q for %q) does not count", i, x, was)
			}
		}
		b[i] = was
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// record is the launch record of a certificate.
func (w *world) record(c *provenance.Certificate) []byte {
	w.t.Helper()
	stored, err := c.Record(w.t.Context(), w.d.Vault())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.d.Vault().Get(w.t.Context(), stored[0], 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range stored {
		if err := w.d.Vault().Delete(w.t.Context(), name); err != nil {
			w.t.Fatal(err)
		}
	}
	return b
}

// resigned is the statement of a model with its delegation, signed by another key.
func (w *world) resigned(c *provenance.Certificate, dir string, key *signing.PrivateKey) string {
	_, line, _ := strings.Cut(string(w.files(dir).Statements["algo-1.json"]), "\n")
	var env struct{ Payload string }
	if err := json.Unmarshal([]byte(line), &env); err != nil {
		w.t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(env.Payload)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := signing.Sign(w.t.Context(), key, signing.StatementPayload, payload)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Delegation + "\n" + string(b) + "\n"
}

// What several hosts have made comes together in one model.
func TestHosts(t *testing.T) {
	w := newWorld(t)
	cert := w.certify(w.run("job-1", input("training", w.v2)), time.Hour)
	join := func(hosts ...map[string]string) *provenance.Files {
		all := &provenance.Files{Statements: map[string][]byte{}}
		files := map[string]provenance.File{}
		for i, h := range hosts {
			f := w.files(w.model(cert, fmt.Sprintf("algo-%d", i+1), h))
			maps.Copy(all.Statements, f.Statements)
			for _, one := range f.List {
				files[one.Path] = one
			}
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			all.List = append(all.List, files[name])
		}
		return all
	}
	a, b := map[string]string{"m": "1", "both": "a"}, map[string]string{"n": "2", "both": "b"}
	if err := w.verify(join(a, b)); err != nil {
		t.Error(err)
	}
	f := join(a, b)
	f.List = f.List[1:]
	if err := w.verify(f); err == nil || !strings.Contains(err.Error(), `"both" is missing`) {
		t.Error(err)
	}
	f = join(a, b)
	f.List[0].Sum[0] ^= 1
	if err := w.verify(f); err == nil || !strings.Contains(err.Error(), `"both" was changed`) {
		t.Error(err)
	}
	many := map[string]string{}
	for i := range 1001 {
		many[fmt.Sprint(i)] = ""
	}
	if err := w.verify(join(many)); err != nil {
		t.Error(err)
	}
	long := map[string]string{}
	for i := range 900 {
		long[strings.Repeat(strings.Repeat("<", 200)+"/", 5)+fmt.Sprint(i)] = ""
	}
	if err := w.verify(join(long)); err != nil {
		t.Errorf("long paths: %v", err)
	}
	if err := w.verify(join(many, b)); err == nil || !strings.Contains(err.Error(), "more than 1000") {
		t.Error(err)
	}
}

// A signer who was removed may have made a statement since, which nothing can tell: it is
// read, and said to be so. One who never was a signer certifies nothing.
func TestFormerSigners(t *testing.T) {
	w := newWorld(t)
	v := w.d.Vault()
	writer := signing.GenerateKey()
	if _, err := signers.AddWriter(t.Context(), w.d, writer.Public()); err != nil {
		t.Fatal(err)
	}
	v.Signer = writer
	cert := w.certify(w.run("job-1", input("training", w.v2)), time.Hour)
	f := w.files(w.model(cert, "algo-1", map[string]string{"m": "1"}))
	former := func() bool {
		w.forget()
		_, by, err := w.verifier.Model(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return by[0].Former
	}
	if former() {
		t.Error("a signer is said to be none")
	}
	v.Signer = w.owner
	if _, err := signers.Remove(t.Context(), w.d, writer.Public().ID().String()); err != nil {
		t.Fatal(err)
	}
	if !former() {
		t.Error("who was removed is said to be a signer")
	}
	for what, s := range map[string]signing.Signer{"removed": writer, "a stranger": signing.GenerateKey()} {
		v.Signer = s
		if _, err := provenance.Certify(t.Context(), w.d, cert.Run, time.Now()); !errors.Is(err, provenance.ErrNotSigner) {
			t.Errorf("%s: %v", what, err)
		}
	}
	v.Signer, v.Keys = nil, &vault.Keys{}
	if err := provenance.Check(t.Context(), w.d); !errors.Is(err, provenance.ErrNotSigner) {
		t.Error(err)
	}
}

// A certificate is read again by the job that it is for, with the versions that it is for,
// and by nobody else.
func TestSealed(t *testing.T) {
	w := newWorld(t)
	in, old := input("training", w.v2), input("old", w.v1)
	cert := w.certify(w.run("job-1", in, old), time.Hour)
	name, err := cert.Seal(t.Context(), w.v2)
	if err != nil || name != objects.JobFolder(w.d.Name, "job-1")+"signing.vpk" {
		t.Fatal(name, err)
	}
	got, err := provenance.Open(t.Context(), w.v2, name, []provenance.Input{old, in})
	if err != nil || fmt.Sprint(got.Run) != fmt.Sprint(cert.Run) || got.Delegation != cert.Delegation {
		t.Fatal(got, err)
	}
	if err := w.verify(w.files(w.model(got, "algo-1", map[string]string{"m": ""}))); err != nil {
		t.Error(err)
	}
	got.Wipe()
	if err := got.Sign(t.Context(), w.model(cert, "algo-1", map[string]string{"m": ""}), provenance.Made{Host: "algo-1"}); !errors.Is(err, signing.ErrKeyUnusable) {
		t.Errorf("a wiped certificate: %v", err)
	}
	elsewhere := objects.JobFolder(w.d.Name, "job-2") + "signing.vpk"
	moveObject(t, w.d.Vault(), name, elsewhere)
	moveObject(t, w.d.Vault(), w.d.Name+"/index/"+firstIndex(t, w), objects.JobFolder(w.d.Name, "job-3")+"signing.vpk")
	for what, c := range map[string]struct {
		name   string
		inputs []provenance.Input
	}{
		"another job":     {elsewhere, []provenance.Input{in, old}},
		"other versions":  {name, []provenance.Input{old}},
		"other channels":  {name, []provenance.Input{{Channel: "x", Dataset: in.Dataset, Version: in.Version, Digest: in.Digest}, old}},
		"an index part":   {objects.JobFolder(w.d.Name, "job-3") + "signing.vpk", []provenance.Input{in, old}},
		"what is no file": {name + "x", nil},
	} {
		if _, err := provenance.Open(t.Context(), w.v2, c.name, c.inputs); !errors.Is(err, envelope.ErrAuthentication) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, dataset.ErrMissing) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func firstIndex(t *testing.T, w *world) string {
	t.Helper()
	for o, err := range w.d.Vault().List(t.Context(), w.d.Name+"/index/") {
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Base(o.Name)
	}
	t.Fatal("there is no index")
	return ""
}

func moveObject(t *testing.T, v vault.Store, from, to string) {
	t.Helper()
	r, err := v.Get(t.Context(), from, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := v.Put(t.Context(), to, func(w io.Writer) error { _, err := io.Copy(w, r); return err }); err != nil {
		t.Fatal(err)
	}
}

// Every job that was launched with a version is told, and one whose record was changed is
// told too, as not believed.
func TestLaunches(t *testing.T) {
	w := newWorld(t)
	v := w.d.Vault()
	for job, ver := range map[string]*dataset.Version{"a": w.v1, "b": w.v2, "c": w.v2} {
		if _, err := w.certify(w.run(job, input("training", ver)), time.Hour).Record(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.certify(w.run("a", input("training", w.v2)), time.Hour).Record(t.Context(), v); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a record was written over: %v", err)
	}
	put := func(job, text string) {
		if err := v.Put(t.Context(), objects.JobFolder(w.d.Name, job)+"launch.json", func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
			t.Fatal(err)
		}
	}
	moveObject(t, v, objects.JobFolder(w.d.Name, "a")+"launch.json", objects.JobFolder(w.d.Name, "d")+"launch.json")
	put("e", "nothing")
	moveObject(t, v, objects.JobFolder(w.d.Name, "a")+"launch.json", objects.JobFolder(w.d.Name, "f")+"source/sourcedir.tar.gz")
	got := map[string]string{}
	err := w.verifier.Launches(t.Context(), w.d.Name, func(l *provenance.Launch) error {
		got[l.Job] = fmt.Sprintf("%v %v %v", l.Saw(w.d.Name, 1), l.Saw(w.d.Name, 2), l.Err == nil)
		return nil
	})
	want := map[string]string{"a": "true false true", "b": "false true true", "c": "false true true", "d": "true false false", "e": "false false false"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if l, err := w.verifier.Launch(t.Context(), w.d.Name, "d"); err != nil || l.Err == nil || !l.Saw(w.d.Name, 1) {
		t.Errorf("the record of another job: %+v, %v", l, err)
	}
	if _, err := w.verifier.Launch(t.Context(), w.d.Name, "f"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if names, err := provenance.Datasets(t.Context(), v); err != nil || !slices.Equal(names, []string{w.d.Name}) {
		t.Error(names, err)
	}
}

// A model is the same in a folder and in an archive, whoever has made that.
func TestArchives(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "m"), []byte("model"), 0o644), os.Symlink("m", filepath.Join(dir, "link")), os.Mkdir(filepath.Join(dir, "empty"), 0o755)); err != nil {
		t.Fatal(err)
	}
	cert := w.certify(w.run("job-1", input("training", w.v2)), time.Hour)
	if err := cert.Sign(t.Context(), dir, provenance.Made{Host: "algo-1"}); err != nil {
		t.Fatal(err)
	}
	st, err := os.ReadFile(filepath.Join(dir, provenance.Folder, "algo-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		name string
		typ  byte
		text string // the contents, or where a link leads to
	}
	archive := func(zip bool, prefix string, entries ...entry) []byte {
		var b bytes.Buffer
		var out io.WriteCloser = nopCloser{&b}
		if zip {
			out = gzip.NewWriter(&b)
		}
		tw := tar.NewWriter(out)
		for _, e := range append(entries, entry{provenance.Folder + "/algo-1.json", tar.TypeReg, string(st)}) {
			h := &tar.Header{Name: prefix + e.name, Typeflag: e.typ, Mode: 0o644}
			if e.typ == tar.TypeReg {
				h.Size = int64(len(e.text))
			} else {
				h.Linkname = e.text
			}
			if err := tw.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if e.typ == tar.TypeReg {
				io.WriteString(tw, e.text)
			}
		}
		if err := errors.Join(tw.Close(), out.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	m, link := entry{"m", tar.TypeReg, "model"}, entry{"link", tar.TypeSymlink, "m"}
	whole := archive(true, "", m, link)
	for name, c := range map[string]struct {
		archive []byte
		ok      bool
	}{
		"as SageMaker makes it":  {whole, true},
		"links followed":         {archive(true, "./", m, entry{"link", tar.TypeReg, "model"}), true},
		"a hard link":            {archive(false, "./", link, m), true},
		"a link of the other":    {archive(false, "", entry{"link", tar.TypeLink, "m"}, m), true},
		"another file":           {archive(true, "", m, link, entry{"n", tar.TypeReg, ""}), false},
		"a file twice":           {archive(true, "", m, link, entry{"m", tar.TypeReg, "Model"}), false},
		"the right one last":     {archive(true, "", entry{"m", tar.TypeReg, "Model"}, m, link), false},
		"a file twice by a name": {archive(true, "", m, link, entry{"x/../m", tar.TypeReg, "Model"}), false},
		"a file above":           {archive(true, "", m, link, entry{"../n", tar.TypeReg, ""}), false},
		"a link to nothing":      {archive(true, "", m, link, entry{"extra", tar.TypeSymlink, "gone"}), false},
		"a link to itself":       {archive(true, "", m, link, entry{"extra", tar.TypeSymlink, "extra"}), false},
		"a link out of it":       {archive(true, "", m, link, entry{"extra", tar.TypeSymlink, "/etc/passwd"}), false},
		"a device":               {archive(true, "", m, link, entry{"d", tar.TypeChar, ""}), false},
		"cut":                    {whole[:len(whole)-10], false},
		"more behind it":         {append(slices.Clone(archive(false, "", m, link)), archive(false, "", m, link)...), false},
		"empty":                  {nil, false},
		"no archive":             {[]byte("x"), false},
	} {
		f, err := provenance.ReadArchive(t.Context(), bytes.NewReader(c.archive))
		if err == nil {
			err = w.verify(f)
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := provenance.ReadArchive(ctx, bytes.NewReader(whole)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := provenance.ReadFolder(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A new statement takes the place of what a model has brought with it.
	if err := os.WriteFile(filepath.Join(dir, provenance.Folder, "algo-7.json"), st, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := cert.Sign(t.Context(), dir, provenance.Made{Host: "algo-1"}); err != nil {
		t.Fatal(err)
	}
	if f := w.files(dir); len(f.Statements) != 1 || w.verify(f) != nil {
		t.Errorf("%v", slices.Collect(maps.Keys(f.Statements)))
	}
	if err := cert.Sign(t.Context(), t.TempDir(), provenance.Made{Host: "algo-1"}); !errors.Is(err, provenance.ErrNoModel) {
		t.Error(err)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Nothing that is read as a model makes the reader panic or go on for ever, or is believed.
func FuzzReadArchive(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0})
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	tw.WriteHeader(&tar.Header{Name: provenance.Folder + "/a.json", Typeflag: tar.TypeReg, Size: 3, Mode: 0o644})
	io.WriteString(tw, "{}\n")
	tw.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := provenance.ReadArchive(t.Context(), bytes.NewReader(b))
		if err != nil {
			return
		}
		v := provenance.NewVerifier(&vault.Vault{Store: &memstore.Store{}, Keys: &vault.Keys{}})
		defer v.Close()
		if _, _, err := v.Model(t.Context(), files); err == nil {
			t.Error("it is believed")
		}
	})
}
