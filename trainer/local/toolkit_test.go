package local

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a script is given is what the toolkit in AWS's images gives it, as its own code
// does with these hyperparameters.
func TestHyperparametersAsTheToolkit(t *testing.T) {
	j := &Job{Name: "j", Hyperparameters: map[string]string{
		"flag": "true", "n1": "null", "q1": `"q"`, "list": "[1,2,3]", "map": `{"b":null,"a":"x"}`, "k": "v", "seed": "12345678901234567890",
		"lr": "1.0", "eps": "1E-8", "nested": `{"id":9007199254740993}`, "ä": `"ö"`, "sentence": "it's a test",
	}}
	want := strings.Split("--eps|1e-08|--flag|True|-k|v|--list|[1, 2, 3]|--lr|1.0|--map|a=x,b=None|--n1||--nested|id=9007199254740993|--q1|q|--seed|12345678901234567890|--sentence|it's a test|-ä|ö", "|")
	if got := j.userArgs(); !slices.Equal(got, want) {
		t.Errorf("%q\n%q", got, want)
	}
	vars := map[string]string{}
	for _, kv := range newRun(t, j, t.TempDir()).environment(&host{name: "algo-1"}, "/opt/ml") {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	const hps = `{"eps":1e-08,"flag":true,"k":"v","list":[1,2,3],"lr":1.0,"map":{"a":"x","b":null},"n1":null,"nested":{"id":9007199254740993},"q1":"q","seed":12345678901234567890,"sentence":"it's a test","\u00e4":"\u00f6"}`
	for k, want := range map[string]string{"SM_HPS": hps, "SM_HP_SEED": "12345678901234567890", "SM_HP_LR": "1.0", "SM_HP_N1": "", "SM_HP_Q1": "q", "SM_HP_FLAG": "true",
		"SM_HP_LIST": "[1,2,3]", "SM_HP_Ä": "ö", "SM_LOG_LEVEL": "20", "SM_CURRENT_HOST": "algo-1"} {
		if vars[k] != want {
			t.Errorf("%s is %s\n%s", k, vars[k], want)
		}
	}
	if !strings.Contains(vars["SM_TRAINING_ENV"], `"hyperparameters":`+hps) {
		t.Errorf("SM_TRAINING_ENV is %s", vars["SM_TRAINING_ENV"])
	}
}

// A source folder is started as the toolkit starts it.
func TestEntries(t *testing.T) {
	for _, c := range []struct {
		entry string
		also  []string
		want  string
		told  string
	}{
		{"t.py", nil, "python3|t.py|--ab|it's", ""},
		{"t.py", []string{"requirements.txt"}, "python3|t.py|--ab|it's", "requirements.txt is not installed"},
		{"t.py", []string{"setup.py"}, "python3|-m|t|--ab|it's", "setup.py is not installed"},
		{"t.sh", []string{"setup.py", "requirements.txt"}, `/bin/sh|-c|./'t.sh' '--ab' 'it'"'"'s'`, ""},
		{"t", nil, `/bin/sh|-c|./'t' '--ab' 'it'"'"'s'`, ""},
	} {
		dir := t.TempDir()
		code := filepath.Join(dir, "ml", "code")
		for _, name := range append(c.also, c.entry) {
			write(t, filepath.Join(code, name), nil)
		}
		told := ""
		j := &Job{Source: code, Entry: c.entry, Hyperparameters: map[string]string{"ab": "it's"}, Logf: func(format string, args ...any) { told += fmt.Sprintf(format, args...) }}
		r := newRun(t, j, dir)
		argv, err := r.entry(&r.cluster.hosts[0])
		if got := strings.Join(argv, "|"); err != nil || got != c.want || !strings.Contains(told, c.told) || c.told == "" && told != "" {
			t.Errorf("%s, %s: %s, %v\n%s", c.entry, c.also, got, err, told)
		}
	}
}
