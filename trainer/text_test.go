package trainer

import (
	"strings"
	"testing"
)

func TestOneLine(t *testing.T) {
	long := strings.Repeat("é", 5000)
	for s, want := range map[string]string{
		"plain\ttext":                              "plain\ttext",
		"\x1b[31;1mred\x1b[0m \x1b[Kdone":          "red done",
		"\u009b31mred\u009b0m":                     "red",
		"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b": "ab",
		"\x1b]0;no end":                            "0;no end",
		"\x1bPq#0\x1b\\x":                          "x",
		"\x1b(Bx\x1b=y\x1b7z":                      "xyz",
		"a\x1b":                                    "a",
		"\x1b[":                                    "",
		"\x1b[31\x1b[0mx":                          "31x",
		"10%\r20%\x00\x7f\u2028":                   "10% 20%   ",
		long:                                       long,
	} {
		if got := oneLine(s); got != want {
			t.Errorf("%.40q: %.40q, want %.40q", s, got, want)
		}
	}
	if got := printable(long); len([]rune(got)) != 2001 {
		t.Errorf("%d characters", len([]rune(got)))
	}
}
