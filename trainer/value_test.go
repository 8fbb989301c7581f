package trainer_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/trainer"
)

// A hyperparameter is sent as the file has it: numbers with their digits, dates and nulls as
// they were written, also inside of lists and maps.
func TestValues(t *testing.T) {
	for _, c := range []struct{ yaml, text, json string }{
		{"1", "1", "1"}, {"1.0", "1.0", "1.0"}, {"1.10", "1.10", "1.10"}, {"1e-3", "1e-3", "1e-3"}, {".5", "0.5", "0.5"}, {"1.", "1.0", "1.0"}, {"+2.0", "2.0", "2.0"}, {"-0.0", "-0.0", "-0.0"},
		{"+1", "1", "1"}, {"1_000", "1000", "1000"}, {"1_000.0", "1000.0", "1000.0"}, {"010", "8", "8"}, {"0o10", "8", "8"}, {"1:30", "1:30", `"1:30"`},
		{"2026-01-02T03:04:05.60Z", "2026-01-02T03:04:05.60Z", `"2026-01-02T03:04:05.60Z"`}, {"!!str 1.0", "1.0", `"1.0"`}, {"!!str 2026-01-02", "2026-01-02", `"2026-01-02"`}, {"0x10", "16", "16"},
		{"12345678901234567890123", "12345678901234567890123", "12345678901234567890123"},
		{"true", "true", "true"}, {"yes", "yes", `"yes"`}, {"null", "null", "null"}, {"~", "null", "null"}, {"", "null", "null"},
		{`"1.0"`, "1.0", `"1.0"`}, {`"null"`, "null", `"null"`}, {`""`, "", `""`}, {"a b", "a b", `"a b"`}, {`'"'`, `"`, `"\""`},
		{"2026-01-02", "2026-01-02", `"2026-01-02"`}, {"2026-01-02 03:04:05", "2026-01-02 03:04:05", `"2026-01-02 03:04:05"`},
		{"[1.10, 2026-01-02, ~, 'x', 12345678901234567890123]", `[1.10,"2026-01-02",null,"x",12345678901234567890123]`, `[1.10,"2026-01-02",null,"x",12345678901234567890123]`},
		{"{b: 1.0, a: {1: [~]}}", `{"b":1.0,"a":{"1":[null]}}`, `{"b":1.0,"a":{"1":[null]}}`},
		{"[]", "[]", "[]"}, {"{}", "{}", "{}"},
	} {
		j, err := trainer.ParseJob("job.yaml", []byte("hyperparameters:\n  k: "+c.yaml+"\n"))
		if err != nil {
			t.Errorf("%s: %v", c.yaml, err)
			continue
		}
		if v := j.Hyperparameters["k"]; v.Text() != c.text || v.JSON() != c.json {
			t.Errorf("%s: sent as %s, and in script mode %s", c.yaml, v.Text(), v.JSON())
		}
	}
	j, err := trainer.ParseJob("job.yaml", []byte("hyperparameters: {a: &a [1.50], b: *a}\nenvironment: {N: 1.10, D: 2026-01-02, T: true}\n"))
	if err != nil || j.Hyperparameters["b"].JSON() != "[1.50]" || j.Environment["N"] != "1.10" || j.Environment["D"] != "2026-01-02" || j.Environment["T"] != "true" {
		t.Errorf("%+v, %v", j, err)
	}
	for _, bad := range []string{".inf", "{a: .nan}", "&a [*a]", "{a: 1, a: 2}", "{[1]: 2}"} {
		if j, err := trainer.ParseJob("job.yaml", []byte("hyperparameters:\n  k: "+bad+"\n")); err == nil {
			t.Errorf("%s: %q", bad, j.Hyperparameters["k"].JSON())
		}
	}
}

// Of each field it is known whether it has an effect on this machine.
func TestOnlySageMaker(t *testing.T) {
	here := []string{"name", "dataset", "at_least", "allow_incomplete", "channels", "format", "command", "hyperparameters", "environment", "source", "entry", "max_runtime", "no_provenance", "seal_model", "seal_checkpoints", "metrics",
		// These have an effect here, or are refused by CheckHere.
		"instance_count", "instance_groups", "instance_type", "distribution", "network_isolation", "checkpoints", "checkpoint_path", "output",
		"launcher", "launcher_group", "mpi_options", "processes_per_host"}
	j := &trainer.Job{}
	var fields []string
	for f := range reflect.TypeFor[trainer.Job]().Fields() {
		if name := f.Tag.Get("yaml"); name != "" {
			j.Given(name, "x")
			fields = append(fields, name)
		}
	}
	got := slices.Sorted(slices.Values(append(here, j.OnlySageMaker()...)))
	if slices.Sort(fields); !slices.Equal(got, fields) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), strings.Join(fields, " "))
	}
}
