// Package policy writes the policies of a vault in AWS: those of the roles that
// upload, train and read, of the KMS key, and of the bucket. Each is a pure
// function of a small description, so that vaultpack init, vaultpack policy and
// an infrastructure program produce the same policies. It needs only the
// standard library.
//
// Two uses of the KMS key are kept apart throughout. vaultpack itself wraps
// and unwraps data keys, with an encryption context that names the dataset. S3
// uses the key on behalf of callers that read and write objects, with the ARN
// of the bucket (with a bucket key) or of the object as the context. So a
// permission for one use is never a permission for the other.
package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf16"
)

// A Document is an identity policy, a resource policy or a trust policy.
type Document struct {
	Version   string
	Statement []Statement
}

// A Statement is one statement of a [Document].
type Statement struct {
	Sid       string
	Effect    string
	Principal *Principal `json:",omitempty"`
	Action    []string
	Resource  []string   `json:",omitempty"`
	Condition Conditions `json:",omitempty"`
}

// Conditions map condition operators to condition keys and their values.
type Conditions map[string]map[string][]string

// A Principal says whom a statement of a resource policy applies to. The zero
// value means everybody.
type Principal struct {
	AWS     []string `json:",omitempty"`
	Service []string `json:",omitempty"`
}

// MarshalJSON writes "*" for everybody.
func (p *Principal) MarshalJSON() ([]byte, error) {
	if len(p.AWS)+len(p.Service) == 0 {
		return []byte(`"*"`), nil
	}
	type plain Principal
	return json.Marshal((*plain)(p))
}

// JSON returns the document as compact JSON for AWS. The result is always the same.
func (d Document) JSON() string { return string(d.marshal()) }

// indented returns the document as indented JSON, for people.
func (d Document) indented() string {
	var b bytes.Buffer
	if err := json.Indent(&b, d.marshal(), "", "  "); err != nil {
		panic("policy: " + err.Error()) // it was marshalled here
	}
	return b.String() + "\n"
}

func (d Document) marshal() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		panic("policy: " + err.Error()) // strings, and slices and maps of them
	}
	return ascii(bytes.TrimSpace(b.Bytes()))
}

// ascii escapes non-ASCII characters: IAM and KMS accept policies only in Latin-1,
// but understand JSON escapes.
func ascii(text []byte) []byte {
	var out []byte
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r <= 0xffff:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		}
	}
	return out
}

func document(statements ...Statement) Document {
	return Document{Version: "2012-10-17", Statement: statements}
}

func allow(sid string, actions, resources []string, conditions ...Conditions) Statement {
	return Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources, Condition: merge(conditions)}
}

// by returns the statement for only these principals.
func (s Statement) by(principals ...string) Statement {
	s.Principal = &Principal{AWS: principals}
	return s
}

func merge(all []Conditions) Conditions {
	var out Conditions
	for _, c := range all {
		for op, keys := range c {
			for key, values := range keys {
				if out == nil {
					out = Conditions{}
				}
				if out[op] == nil {
					out[op] = map[string][]string{}
				}
				out[op][key] = values
			}
		}
	}
	return out
}

func when(op, key string, values ...string) Conditions {
	return Conditions{op: {key: values}}
}
