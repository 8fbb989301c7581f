package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/internal/pyjson"
)

// What is here does as the toolkit in AWS's images does (sagemaker-training-toolkit:
// mapping.py, environment.py, process.py, entry_point.py).

// hyperparameters are those of the job as the toolkit reads them: JSON where they are
// some, else strings.
func (j *Job) hyperparameters() *pyjson.Dict {
	d := &pyjson.Dict{Keys: slices.Sorted(maps.Keys(j.Hyperparameters)), Values: map[string]pyjson.Value{}}
	for k, text := range j.Hyperparameters {
		v, err := pyjson.Parse(text)
		if err != nil {
			v = text
		}
		d.Values[k] = v
	}
	return d
}

// userArgs are the hyperparameters as the arguments of a script.
func (j *Job) userArgs() []string {
	hps := j.hyperparameters()
	args := []string{}
	for _, k := range hps.Keys {
		flag := "--" + k
		switch utf8.RuneCountInString(k) {
		case 0:
			flag = ""
		case 1:
			flag = "-" + k
		}
		args = append(args, flag, argument(hps.Values[k]))
	}
	return args
}

func argument(v pyjson.Value) string {
	d, ok := v.(*pyjson.Dict)
	if !ok {
		return pyjson.Str(v)
	}
	var items []string
	for _, k := range slices.Sorted(maps.Keys(d.Values)) {
		text, isText := d.Values[k].(string)
		if !isText {
			text = pyjson.Repr(d.Values[k])
		}
		items = append(items, k+"="+text)
	}
	return strings.Join(items, ",")
}

// variable is a value as it stands in the environment.
func variable(v pyjson.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return pyjson.Dumps(v)
}

// entry is the command line that a source folder is started with, in code: a module where
// there is a setup.py, a script of Python's, or a program that a shell runs.
func (r *run) entry(h *host) ([]string, error) {
	code := filepath.Join(h.base(), "code")
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(code, name))
		return !errors.Is(err, fs.ErrNotExist)
	}
	args, python := r.userArgs(), !strings.HasSuffix(r.Entry, ".sh")
	isPackage := python && has("setup.py")
	python = isPackage || strings.HasSuffix(r.Entry, ".py")
	if python && has("requirements.txt") {
		r.Logf("requirements.txt is not installed here, as it is in SageMaker; to do so: python3 -m pip install -r %s", filepath.Join(r.Source, "requirements.txt"))
	}
	switch {
	case r.Launcher != "":
		if isPackage || !python {
			return nil, fmt.Errorf("the launcher %s starts a script FILE.py, and no package or other program: %s", r.Launcher, r.Entry)
		}
		return r.launcher(h, args), nil
	case isPackage:
		r.Logf("the package of setup.py is not installed here, as it is in SageMaker: it is run from the source folder")
		return append([]string{"python3", "-m", strings.ReplaceAll(r.Entry, ".py", "")}, args...), nil
	case python:
		return append([]string{"python3", r.Entry}, args...), nil
	}
	if err := os.Chmod(filepath.Join(code, r.Entry), 0o777); err != nil {
		return nil, err
	}
	line := "./" + quote(r.Entry)
	for _, a := range args {
		line += " " + quote(a)
	}
	return []string{"/bin/sh", "-c", line}, nil
}

// quote is a word of a shell's command line.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'" }
