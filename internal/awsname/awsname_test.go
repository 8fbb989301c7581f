package awsname_test

import (
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/awsname"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"data": true, "a.b-c": true, "abc": true, strings.Repeat("a", 63): true, "1.2.3": true,
		"ab": false, strings.Repeat("a", 64): false, "A-b": false, "a..b": false, "-ab": false, "ab-": false, "a_b": false,
		"192.168.5.4": false, "": false, "data\n": false, "ünï": false} {
		if awsname.IsBucket(name) != ok {
			t.Errorf("bucket %q: %v", name, !ok)
		}
	}
	for name, ok := range map[string]bool{"a": true, "a--b": true, "Scans-7": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "a_b": false, "a/b": false, "a\n": false, strings.Repeat("a", 64): false} {
		if awsname.IsJob(name) != ok {
			t.Errorf("job %q: %v", name, !ok)
		}
	}
	for id, ok := range map[string]bool{"111122223333": true, "11112222333": false, "1111222233334": false, "11112222333a": false, "": false} {
		if awsname.IsAccount(id) != ok {
			t.Errorf("account %q: %v", id, !ok)
		}
	}
	for tag, ok := range map[[2]string]bool{{"k", "v"}: true, {"k", ""}: true, {"é k_.:/=+@-", "日本"}: true, {strings.Repeat("é", 128), strings.Repeat("é", 256)}: true,
		{"", "v"}: false, {strings.Repeat("é", 129), ""}: false, {"k", strings.Repeat("é", 257)}: false, {"aws:x", ""}: false, {"k", "a&b"}: false, {"k\n", ""}: false} {
		if awsname.IsTag(tag[0], tag[1]) != ok {
			t.Errorf("tag %q: %v", tag, !ok)
		}
	}
}
