package provision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/provision/policy"
)

// ourSid begins the Sids of package policy.
const ourSid = "Vaultpack"

// A parsed policy keeps each statement as it is, in one encoding.
type parsed struct {
	Version   string
	Statement []json.RawMessage
}

// canonical is a policy in one encoding: lists of one, sorted; keys sorted. AWS may
// give a policy back in other clothes than it was put in.
func canonical(text string) string {
	p, err := parse(text)
	if err != nil {
		return text // something else, and so not what is wanted
	}
	slices.SortFunc(p.Statement, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	b, err := json.Marshal(p)
	if err != nil {
		return text
	}
	return string(b)
}

func parse(text string) (*parsed, error) {
	var doc struct {
		Version   string
		Statement any
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	statements, ok := doc.Statement.([]any)
	if !ok {
		statements = []any{doc.Statement}
	}
	p := &parsed{Version: doc.Version}
	for _, s := range statements {
		b, err := json.Marshal(lists("", s))
		if err != nil {
			return nil, err
		}
		p.Statement = append(p.Statement, b)
	}
	return p, nil
}

// lists makes a list of each value of a statement that may be one or several.
func lists(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = lists(k, e)
		}
		return out
	case []any:
		out := slices.Clone(v)
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		return out
	case string, bool, float64:
		if key == "Sid" || key == "Effect" {
			return v
		}
		if v == "*" && key == "Principal" {
			return map[string]any{"AWS": []any{"*"}}
		}
		return []any{fmt.Sprint(v)}
	}
	return v
}

func (p *parsed) sids() map[string]string {
	m := map[string]string{}
	for i, s := range p.Statement {
		var v struct{ Sid string }
		json.Unmarshal(s, &v)
		if v.Sid == "" {
			v.Sid = fmt.Sprintf("number %d", i+1)
		}
		m[v.Sid] = string(s)
	}
	return m
}

// policyDifference names the statements that differ.
func policyDifference(is, want string) string {
	b, err := parse(want)
	if err != nil {
		panic("provision: " + err.Error()) // it was marshalled here
	}
	a, err := parse(is)
	if err != nil {
		a = &parsed{} // none, or none that can be read
	}
	var add, change, remove []string
	old, next := a.sids(), b.sids()
	for sid, text := range next {
		switch {
		case old[sid] == "":
			add = append(add, sid)
		case old[sid] != text:
			change = append(change, sid)
		}
	}
	for sid := range old {
		if next[sid] == "" {
			remove = append(remove, sid)
		}
	}
	var parts []string
	for _, p := range []struct {
		verb string
		sids []string
	}{{"add", add}, {"change", change}, {"remove", remove}} {
		if len(p.sids) > 0 {
			slices.Sort(p.sids)
			verb := p.verb + " "
			if is == "" {
				verb = "" // all of them are new
			}
			parts = append(parts, verb+strings.Join(p.sids, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// withOthers is our policy with the statements of others that are in the old one.
func withOthers(ours policy.Document, old string) string {
	if old == "" {
		return ours.JSON()
	}
	p, err := parse(old)
	if err != nil {
		return ours.JSON()
	}
	mine, err := parse(ours.JSON())
	if err != nil {
		panic("provision: " + err.Error()) // it was marshalled here
	}
	for sid, text := range p.sids() {
		if !strings.HasPrefix(sid, ourSid) {
			mine.Statement = append(mine.Statement, json.RawMessage(text))
		}
	}
	b, err := json.Marshal(mine)
	if err != nil {
		panic("provision: " + err.Error())
	}
	return string(b)
}
