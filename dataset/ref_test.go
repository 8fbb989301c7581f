package dataset_test

import (
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
)

func TestParseRef(t *testing.T) {
	for ref, want := range map[string]struct {
		name   string
		number int64
	}{
		"scans": {"scans", 0}, "scans@latest": {"scans", 0}, "scans@1": {"scans", 1}, "a.b-c_d@9223372036854775807": {"a.b-c_d", 1<<63 - 1},
		"": {}, "@1": {}, "scans@": {}, "scans@0": {}, "scans@-1": {}, "scans@+1": {}, "scans@01": {}, "scans@1.0": {}, "scans@1@2": {},
		"scans@9223372036854775808": {}, "scans@Latest": {}, "../x@1": {}, "scans @1": {}, "scans@ 1": {},
	} {
		name, number, err := dataset.ParseRef(ref)
		if name != want.name || number != want.number || (err == nil) != (want.name != "") {
			t.Errorf("%q is %q, %d, %v", ref, name, number, err)
		}
	}
}
