package trainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Formats are the ways in which [Plan.Print] writes a request.
var Formats = []string{"json", "boto3", "sdk", "sdk-v3", "pipeline"}

// Print writes the request for other programs to send, once it is staged:
//
//   - json: the body of CreateTrainingJob.
//   - boto3: Python that sends it with boto3.
//   - sdk: Python for version 2 of the SageMaker Python SDK: an Estimator and the arguments of its fit. An error says what the Estimator cannot express.
//   - sdk-v3: Python for version 3: TrainingJob.create of sagemaker.core, which ModelTrainer
//     also calls. ModelTrainer itself does not accept a container entrypoint.
//   - pipeline: the step of a SageMaker Pipelines definition, in JSON. Pipelines name the
//     job.
func (p *Plan) Print(format, region string) ([]byte, error) {
	b, err := p.JSON()
	if err != nil {
		return nil, err
	}
	request := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&request); err != nil {
		return nil, err
	}
	head := fmt.Sprintf("# Training job %s, for data that vaultpack opens in the container. What it needs has to be\n"+
		"# in the vault: vaultpack train --stage. It can be sent once, within a day.\n", p.Name())
	switch format {
	case "json":
		return b, nil
	case "boto3":
		return fmt.Appendf(nil, "%simport boto3\n\nrequest = %s\n\nboto3.client(\"sagemaker\", region_name=%s).create_training_job(**request)\n", head, python(request, 0), jsonString(region)), nil
	case "sdk":
		source, err := estimator(request)
		return append([]byte(head), source...), err
	case "sdk-v3":
		return fmt.Appendf(nil, "%sfrom sagemaker.core.resources import TrainingJob\n\njob = TrainingJob.create(%s)\n", head, pythonArguments(snaked(request).(map[string]any))), nil
	case "pipeline":
		delete(request, "TrainingJobName")
		return indented(map[string]any{"Name": p.Name(), "Type": "Training", "Arguments": request})
	}
	return nil, fmt.Errorf("there is no format %q, but %s", format, strings.Join(Formats, ", "))
}

func indented(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return indent(b)
}

// A raw value is Python source.
type raw string

// python formats a JSON value as Python source, at an indentation depth. JSON strings
// are valid in Python.
func python(v any, depth int) string {
	in, out := strings.Repeat("    ", depth+1), strings.Repeat("    ", depth)
	switch v := v.(type) {
	case raw:
		return string(v)
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return jsonString(v)
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		var b strings.Builder
		for _, e := range v {
			fmt.Fprintf(&b, "%s%s,\n", in, python(e, depth+1))
		}
		return "[\n" + b.String() + out + "]"
	case map[string]any:
		if len(v) == 0 {
			return "{}"
		}
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&b, "%s%s: %s,\n", in, jsonString(k), python(v[k], depth+1))
		}
		return "{\n" + b.String() + out + "}"
	}
	return fmt.Sprint(v) // a number
}

// pythonArguments formats the arguments of a call, by name.
func pythonArguments(args map[string]any) string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, k := range slices.Sorted(maps.Keys(args)) {
		fmt.Fprintf(&b, "    %s=%s,\n", k, python(args[k], 1))
	}
	return b.String()
}

// texts are members whose keys are chosen by the user.
var texts = []string{"HyperParameters", "Environment"}

// snaked renames the members of the API as in sagemaker.core.
func snaked(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = snaked(e)
		}
		return list
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			if !slices.Contains(texts, k) {
				e = snaked(e)
			}
			m[snake(k)] = e
		}
		return m
	}
	return v
}

// snake turns S3DataSource into s3_data_source, and VolumeSizeInGB into volume_size_in_gb.
func snake(name string) string {
	var b strings.Builder
	upper := func(i int) bool { return i >= 0 && i < len(name) && name[i] >= 'A' && name[i] <= 'Z' }
	for i := range len(name) {
		if i > 0 && upper(i) && (!upper(i-1) || i+1 < len(name) && !upper(i+1) && name[i+1] >= 'a') {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(name[i : i+1]))
	}
	return b.String()
}

// errNotInSDK is returned for anything in a request that the Estimator does not support.
var errNotInSDK = errors.New("the Estimator of the SageMaker Python SDK has no argument for it; print it as boto3 or sdk-v3")
