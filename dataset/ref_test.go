package dataset_test

import (
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
)

func TestParseReference(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	for ref, want := range map[string]dataset.Reference{
		"scans": {Dataset: "scans"}, "scans@latest": {Dataset: "scans"}, "scans@1": {Dataset: "scans", Number: 1},
		"a.b-c_d@9223372036854775807": {Dataset: "a.b-c_d", Number: 1<<63 - 1},
		"scans@approved":              {Dataset: "scans", Tag: "approved"},
		"scans@1#" + digest:           {Dataset: "scans", Number: 1, Digest: digest},
		"scans#" + digest:             {Dataset: "scans", Digest: digest},
		"scans@v1.0#" + digest:        {Dataset: "scans", Tag: "v1.0", Digest: digest},
		"scans@Latest":                {Dataset: "scans", Tag: "Latest"},
		"":                            {}, "@1": {}, "scans@": {}, "scans@0": {}, "scans@-1": {}, "scans@+1": {}, "scans@01": {}, "scans@1.0": {}, "scans@1@2": {},
		"scans@9223372036854775808": {}, "../x@1": {}, "scans @1": {}, "scans@ 1": {}, "scans@1#": {}, "scans#" + digest[1:]: {},
		"scans#" + strings.ToUpper(digest): {}, "scans@a b": {}, "scans#" + digest + "@1": {}, "scans@é": {},
	} {
		got, err := dataset.ParseReference(ref)
		if got != want || (err == nil) != (want.Dataset != "") {
			t.Errorf("%q is %+v, %v", ref, got, err)
		}
		if err == nil && !strings.Contains(ref, "latest") && got.String() != ref {
			t.Errorf("%q is written %q", ref, got)
		}
	}
}
