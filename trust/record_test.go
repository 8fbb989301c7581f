package trust

import (
	"strings"
	"testing"
)

// What is remembered is what this package has written, to the last field.
func TestRecordCheck(t *testing.T) {
	sum := strings.Repeat("a", 64)
	good := func() *Record {
		return &Record{Format: fileFormat, Vault: "v", Dataset: "d", Known: Known{Number: 2, Begun: sum,
			Links: []Link{{Digest: sum}, {Digest: sum, After: 2}}, Versions: map[int64]string{1: sum, 2: sum}}}
	}
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Record){
		"another format":         func(r *Record) { r.Format += "0" },
		"no dataset":             func(r *Record) { r.Dataset = "" },
		"a number below zero":    func(r *Record) { r.Number = -1 },
		"a short digest":         func(r *Record) { r.Links[0].Digest = sum[1:] },
		"no digest":              func(r *Record) { r.Versions[1] = "" },
		"a digest in no hex":     func(r *Record) { r.Versions[1] = strings.Repeat("g", 64) },
		"version zero":           func(r *Record) { r.Versions[0] = sum },
		"links out of order":     func(r *Record) { r.Links[0].After = 3 },
		"a link before all":      func(r *Record) { r.Links[0].After = -1 },
		"a beginning of nothing": func(r *Record) { r.Begun = "x" },
	} {
		r := good()
		if change(r); r.Check() == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if (*Record)(nil).Check() == nil {
		t.Error("nothing is taken")
	}
}
