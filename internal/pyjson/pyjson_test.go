package pyjson

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// Each row is a text, str() of what Python reads from it (None is empty), and
// json.dumps(…, sort_keys=True, separators=(",", ":")) of it.
var cases = [][3]string{
	{`null`, ``, `null`},
	{`true`, `True`, `true`},
	{` false `, `False`, `false`},
	{`12345678901234567890`, `12345678901234567890`, `12345678901234567890`},
	{`-0`, `0`, `0`},
	{`-0.0`, `-0.0`, `-0.0`},
	{`1.0`, `1.0`, `1.0`},
	{`1.50`, `1.5`, `1.5`},
	{`1E5`, `100000.0`, `100000.0`},
	{`1e16`, `1e+16`, `1e+16`},
	{`123456789012345678.0`, `1.2345678901234568e+17`, `1.2345678901234568e+17`},
	{`9007199254740993.0`, `9007199254740992.0`, `9007199254740992.0`},
	{`0.0001`, `0.0001`, `0.0001`},
	{`0.00001`, `1e-05`, `1e-05`},
	{`1e400`, `inf`, `Infinity`},
	{`-1e400`, `-inf`, `-Infinity`},
	{`NaN`, `nan`, `NaN`},
	{`-Infinity`, `-inf`, `-Infinity`},
	{`1e-400`, `0.0`, `0.0`},
	{`"q"`, `q`, `"q"`},
	{`"ä\ud83d\ude00\n\u007f"`, "ä😀\n\x7f", `"\u00e4\ud83d\ude00\n\u007f"`},
	{`[]`, `[]`, `[]`},
	{`[1, 2 ,3.0]`, `[1, 2, 3.0]`, `[1,2,3.0]`},
	{`["a","it's","\"'","\t\u0001\u00e4\u00a0\u2028\\"]`, `['a', "it's", '"\'', '\t\x01ä\xa0\u2028\\']`, `["a","it's","\"'","\t\u0001\u00e4\u00a0\u2028\\"]`},
	{`{"b":null,"a":[true],"b":2}`, `{'b': 2, 'a': [True]}`, `{"a":[true],"b":2}`},
	{`{}`, `{}`, `{}`},
}

var notJSON = []string{``, `x`, `'a'`, `01`, `+1`, `.5`, `1.`, `[1,]`, `{"a"}`, `{1:2}`, `"a`, "\"\n\"", `1 2`, `nul`, `True`, `1e`, `"\x41"`, `--1`, `infinity`, strings.Repeat("[", 2000)}

func TestAsPython(t *testing.T) {
	for _, c := range cases {
		v, err := Parse(c[0])
		if err != nil {
			t.Errorf("%s: %v", c[0], err)
			continue
		}
		if got := Str(v); got != c[1] {
			t.Errorf("%s: str %q, want %q", c[0], got, c[1])
		}
		if got := Dumps(v); got != c[2] {
			t.Errorf("%s: dumps %s, want %s", c[0], got, c[2])
		}
	}
	for _, s := range notJSON {
		if v, err := Parse(s); err == nil {
			t.Errorf("%.50q is read as %v", s, v)
		}
	}
}

// The table is what Python says, where there is one.
func TestTableIsPythons(t *testing.T) {
	const script = `import json, sys
cases, bad = json.load(sys.stdin)
for c in cases:
    v = json.loads(c[0])
    got = ["" if v is None else str(v), json.dumps(v, sort_keys=True, separators=(",", ":"))]
    if got != c[1:]: print(c[0], got)
for s in bad:
    try: print("read:", s[:50], json.loads(s))
    except (ValueError, RecursionError): pass
`
	in, err := json.Marshal([]any{cases, notJSON})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "-c", script)
	cmd.Stdin = strings.NewReader(string(in))
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skip(err)
	}
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases {
		f.Add(c[0])
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(Dumps(v))
		if err != nil || Repr(again) != Repr(v) && !strings.Contains(s, "{") {
			t.Errorf("%q: %s becomes %s, %v", s, Repr(v), Repr(again), err)
		}
	})
}
