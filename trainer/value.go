package trainer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A Value is the value of a hyperparameter. The API accepts only strings;
// script mode encodes each value as JSON. The zero Value is null.
type Value struct {
	text string
	json string
}

// ParseValue parses a value from a command line: as JSON if it is JSON, otherwise as a
// string.
func ParseValue(s string) Value {
	if json.Valid([]byte(s)) && !strings.ContainsAny(s, "\r\n") {
		v := Value{text: s, json: s}
		var str string
		if json.Unmarshal([]byte(s), &str) == nil && strings.HasPrefix(s, `"`) {
			v.text = str
		}
		return v
	}
	return Value{text: s, json: jsonString(s)}
}

// Text returns the value as it was written, without the quotes of a string.
func (v Value) Text() string {
	if v == (Value{}) {
		return "null"
	}
	return v.text
}

// JSON returns the value as JSON.
func (v Value) JSON() string {
	if v == (Value{}) {
		return "null"
	}
	return v.json
}

// SentHyperparameters returns the hyperparameters as they are sent to SageMaker: in
// script mode as JSON, and otherwise as they were written.
func (j *Job) SentHyperparameters() map[string]string {
	sent := map[string]string{}
	for name, v := range j.Hyperparameters {
		if j.Source != "" {
			sent[name] = v.JSON()
		} else {
			sent[name] = v.Text()
		}
	}
	return sent
}

// UnmarshalYAML decodes a Value of any type. Numbers and dates stay as they were
// written. It is not called for null, which is the zero Value.
func (v *Value) UnmarshalYAML(n *yaml.Node) error {
	var x any // also detects duplicate keys, and anchors that contain themselves
	if err := n.Decode(&x); err != nil {
		return err
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	text, err := yamlJSON(n)
	if err != nil {
		return err
	}
	*v = Value{text: text, json: text}
	if n.Kind == yaml.ScalarNode && strings.HasPrefix(text, `"`) {
		return json.Unmarshal([]byte(text), &v.text)
	}
	return nil
}

// yamlJSON converts a node to JSON, with each value as written in the file.
func yamlJSON(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return yamlJSON(n.Alias)
	case yaml.SequenceNode:
		var items []string
		for _, e := range n.Content {
			item, err := yamlJSON(e)
			if err != nil {
				return "", err
			}
			items = append(items, item)
		}
		return "[" + strings.Join(items, ",") + "]", nil
	case yaml.MappingNode:
		var items []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			for key.Kind == yaml.AliasNode {
				key = key.Alias
			}
			if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
				return "", fmt.Errorf("line %d: the key cannot be written as JSON", key.Line)
			}
			item, err := yamlJSON(value)
			if err != nil {
				return "", err
			}
			items = append(items, jsonString(key.Value)+":"+item)
		}
		return "{" + strings.Join(items, ",") + "}", nil
	}
	return scalarJSON(n)
}

func scalarJSON(n *yaml.Node) (string, error) {
	var x any
	if err := n.Decode(&x); err != nil {
		return "", err
	}
	switch x := x.(type) {
	case nil:
		return "null", nil
	case string:
		return jsonString(x), nil
	case time.Time:
		return jsonString(n.Value), nil
	}
	if json.Valid([]byte(n.Value)) {
		return n.Value, nil
	}
	b, err := json.Marshal(x)
	if err != nil {
		return "", fmt.Errorf("line %d: %s cannot be written as JSON: %w", n.Line, n.Value, err)
	}
	if _, isFloat := x.(float64); isFloat && !strings.ContainsAny(string(b), ".e") {
		b = append(b, ".0"...) // it stays a float for the script
	}
	return string(b), nil
}

// jsonString returns s as Python's json.dumps writes it, except for non-ASCII letters.
func jsonString(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("trainer: " + err.Error()) // encoding a string never fails
	}
	return strings.TrimSuffix(b.String(), "\n")
}
