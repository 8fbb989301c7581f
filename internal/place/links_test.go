package place

import (
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

func TestLinksThatLeave(t *testing.T) {
	for target, want := range map[string]bool{
		"b": false, "../b": false, "../../b": false, "./../b": false, "x/y": false, "..": false, "../..": false,
		"../../../b": true, "/etc/passwd": true, "/": true, "x/../../b": true, "x/..": true, "../x/../y": true,
	} {
		if got := leaves(&tree.Entry{Path: "one/two/link", Link: target}); got != want {
			t.Errorf("leaves(%q) = %v", target, got)
		}
	}
}
