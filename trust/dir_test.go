package trust_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
)

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digest(n int64) string { return fmt.Sprintf("%064x", n) }

func links(n int) (all []trust.Link) {
	for i := range n {
		all = append(all, trust.Link{Digest: digest(int64(i)), After: int64(i)})
	}
	return all
}

// TestWriter is what each process of TestManyProcesses runs.
func TestWriter(t *testing.T) {
	path, n := os.Getenv("TEST_TRUST_DIR"), os.Getenv("TEST_TRUST_N")
	if path == "" { // it was not started by that
		path, n = t.TempDir(), "1"
	}
	first, err := strconv.ParseInt(n, 10, 64)
	check(t, err)
	d := &trust.Dir{Path: path, Vault: "v"}
	if os.Getenv("TEST_TRUST_FOREVER") != "" { // until it is killed; what it has remembered it says
		for i := first; ; i++ {
			check(t, d.Remember(ctx, "d", trust.Known{Links: links(1), Number: i, Versions: map[int64]string{i: digest(i)}}))
			fmt.Printf("remembered %d\n", i)
		}
	}
	for i := range int64(4) {
		check(t, d.Remember(ctx, "d", trust.Known{Links: links(int(first)%5 + 1), Number: first + i, Versions: map[int64]string{first + i: digest(first + i)}}))
	}
}

// Whatever many processes learn at once, all of it is remembered.
func TestManyProcesses(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	const processes = 16
	for i := range processes {
		all.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestWriter$")
			cmd.Env = append(os.Environ(), "TEST_TRUST_DIR="+dir, fmt.Sprintf("TEST_TRUST_N=%d", 1+4*i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	all.Wait()
	k, err := (&trust.Dir{Path: dir, Vault: "v"}).Recall(ctx, "d")
	check(t, err)
	want := trust.Known{Links: links(5), Number: 4 * processes, Versions: map[int64]string{}}
	for n := int64(1); n <= 4*processes; n++ {
		want.Versions[n] = digest(n)
	}
	if !reflect.DeepEqual(k, want) {
		t.Errorf("%+v", k)
	}
}

// A process may be killed at any moment: what it had remembered is there, what is there can
// be read, and the next one goes on.
func TestKilledWriters(t *testing.T) {
	dir := t.TempDir()
	d := &trust.Dir{Path: dir, Vault: "v"}
	last, killed := int64(0), 0
	for round := range 40 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWriter$")
		cmd.Env = append(os.Environ(), "TEST_TRUST_DIR="+dir, "TEST_TRUST_FOREVER=1", fmt.Sprintf("TEST_TRUST_N=%d", last+1))
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n < 1+round%7 && lines.Scan(); n++ { // at least one, and then at any moment
			fmt.Sscanf(lines.Text(), "remembered %d", &last)
		}
		time.Sleep(time.Duration(round*37%900) * time.Microsecond)
		check(t, cmd.Process.Kill())
		for lines.Scan() {
			fmt.Sscanf(lines.Text(), "remembered %d", &last)
		}
		if cmd.Wait(); !cmd.ProcessState.Exited() {
			killed++
		}
		k, err := d.Recall(ctx, "d")
		check(t, err)
		if k.Number < last || k.Versions[last] != digest(last) {
			t.Fatalf("round %d: %d was remembered, and %d is the newest there", round, last, k.Number)
		}
		last = k.Number
	}
	if killed < 30 || last < 80 {
		t.Errorf("%d were killed, %d were remembered", killed, last)
	}
	check(t, d.Remember(ctx, "d", trust.Known{Links: links(1), Number: last + 1, Versions: map[int64]string{last + 1: digest(last + 1)}}))
	if all, err := d.List(); err != nil || len(all) != 1 {
		t.Errorf("%d datasets, %v", len(all), err)
	}
}

func TestRemember(t *testing.T) {
	d := &trust.Dir{Path: t.TempDir(), Vault: "v"}
	remember := func(k trust.Known) error { return d.Remember(ctx, "d", k) }
	recall := func() trust.Known {
		k, err := d.Recall(ctx, "d")
		check(t, err)
		return k
	}
	if k := recall(); !reflect.DeepEqual(k, trust.Known{}) {
		t.Errorf("of nothing: %+v", k)
	}
	check(t, remember(trust.Known{Links: links(2), Number: 7, Versions: map[int64]string{7: digest(7)}}))
	check(t, remember(trust.Known{Links: links(1), Number: 3, Versions: map[int64]string{3: digest(3)}}))
	if k := recall(); len(k.Links) != 2 || k.Number != 7 || len(k.Versions) != 2 {
		t.Errorf("less takes the place of more: %+v", k)
	}
	other := links(3)
	other[1].After = 9
	for name, k := range map[string]trust.Known{"another link": {Links: other}, "another digest": {Versions: map[int64]string{7: digest(8)}}} {
		if err := remember(k); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := int64(8); n < 200; n++ {
		check(t, remember(trust.Known{Number: n, Versions: map[int64]string{n: digest(n)}}))
	}
	if k := recall(); len(k.Versions) != 64 || k.Versions[199] == "" || k.Versions[7] != "" {
		t.Errorf("%d versions", len(k.Versions))
	}
	// Another vault, and another dataset, are others.
	for _, o := range []struct{ vault, dataset string }{{"w", "d"}, {"v", "e"}} {
		if k, err := (&trust.Dir{Path: d.Path, Vault: o.vault}).Recall(ctx, o.dataset); err != nil || k.Number != 0 {
			t.Errorf("%v: %+v, %v", o, k, err)
		}
	}
	all, err := d.List()
	if err != nil || len(all) != 1 || all[0].Vault != "v" || all[0].Number != 199 {
		t.Errorf("%v, %v", all, err)
	}
	check(t, d.Forget(ctx, "d"))
	check(t, d.Forget(ctx, "d"))
	if k := recall(); k.Number != 0 {
		t.Errorf("forgotten: %+v", k)
	}
}

// What others may have written, or is damaged, is no memory, and is not taken for none.
func TestStateThatCannotBeUsed(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, file string){
		"writable by others": func(t *testing.T, file string) { check(t, os.Chmod(file, 0o666)) },
		"cut":                func(t *testing.T, file string) { check(t, os.Truncate(file, 40)) },
		"empty":              func(t *testing.T, file string) { check(t, os.Truncate(file, 0)) },
		"of another format":  func(t *testing.T, file string) { check(t, os.WriteFile(file, []byte(`{"format":"x"}`), 0o600)) },
		"a link to another": func(t *testing.T, file string) {
			check(t, os.Rename(file, file+".real"))
			check(t, os.Symlink(file+".real", file))
		},
		"a folder": func(t *testing.T, file string) {
			check(t, os.Remove(file))
			check(t, os.Mkdir(file, 0o700))
		},
		"of another dataset": func(t *testing.T, file string) {
			b, err := os.ReadFile(file)
			check(t, err)
			check(t, os.WriteFile(file, []byte(strings.Replace(string(b), `"dataset": "d"`, `"dataset": "e"`, 1)), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := &trust.Dir{Path: t.TempDir(), Vault: "v"}
			check(t, d.Remember(ctx, "d", trust.Known{Number: 3}))
			files, err := filepath.Glob(filepath.Join(d.Path, "*", "d.json"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			spoil(t, files[0])
			var state *trust.StateError
			if _, err := d.Recall(ctx, "d"); !errors.As(err, &state) || !strings.Contains(err.Error(), "vaultpack trust forget d") {
				t.Errorf("recalled: %v", err)
			}
			if err := d.Remember(ctx, "d", trust.Known{Number: 4}); !errors.As(err, &state) {
				t.Errorf("remembered: %v", err)
			}
			check(t, d.Forget(ctx, "d"))
			if k, err := d.Recall(ctx, "d"); err != nil || k.Number != 0 {
				t.Errorf("forgotten: %+v, %v", k, err)
			}
		})
	}
}

// Where nothing can be written, that is told once, and is no error.
func TestNowhereToWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	told := 0
	d := &trust.Dir{Path: filepath.Join(file, "known"), Vault: "v", Cannot: func(error) { told++ }}
	for range 3 {
		if k, err := d.Recall(ctx, "d"); err != nil || k.Number != 0 {
			t.Fatal(k, err)
		}
		check(t, d.Remember(ctx, "d", trust.Known{Number: 1}))
	}
	if told != 1 {
		t.Errorf("it was told %d times", told)
	}
	if err := d.Learn(ctx, "d", trust.Known{Number: 1}); err == nil {
		t.Error("what was to be learned is not, and nobody says so")
	}
	check(t, d.Forget(ctx, "d"))
}

func TestPins(t *testing.T) {
	key := signing.GenerateKey().Public()
	p := &trust.Pinned{Signers: []signing.PublicKey{key}, Versions: map[string]map[int64]string{"d": {3: digest(3)}}}
	for _, m := range []trust.Memory{nil, &trust.Dir{Path: t.TempDir(), Vault: "v"}} {
		p.Memory = m
		check(t, p.Remember(ctx, "d", trust.Known{Number: 2, Versions: map[int64]string{2: digest(2), 3: digest(9)}}))
		k, err := p.Recall(ctx, "d")
		if err != nil || k.Number != 3 || k.Versions[3] != digest(3) || len(k.Signers) != 1 || k.Signers[0] != key {
			t.Errorf("%+v, %v", k, err)
		}
		if k, err := p.Recall(ctx, "e"); err != nil || k.Number != 0 || len(k.Versions) != 0 {
			t.Errorf("another dataset: %+v, %v", k, err)
		}
		check(t, p.Forget(ctx, "d"))
	}
}
