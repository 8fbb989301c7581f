package provision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/provision/policy"
)

// A parsed policy holds each statement as written, and in canonical encoding.
type parsed struct {
	Version, ID string
	Statement   []piece
}

// A piece is one statement of a policy.
type piece struct {
	sid   string // empty if it has none
	raw   json.RawMessage
	canon string
}

// canonical returns the canonical encoding of a policy: single values as lists,
// lists sorted, keys sorted. AWS may return a policy in a different encoding from
// the one that was put.
func canonical(text string) string {
	p, err := parse(text)
	if err != nil {
		return text // not a policy, so not what is wanted
	}
	doc := struct {
		Version   string            `json:",omitempty"`
		ID        string            `json:"Id,omitempty"`
		Statement []json.RawMessage `json:"Statement"`
	}{Version: p.Version, ID: p.ID}
	for _, s := range p.Statement {
		doc.Statement = append(doc.Statement, json.RawMessage(s.canon))
	}
	slices.SortFunc(doc.Statement, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	b, err := json.Marshal(doc)
	if err != nil {
		return text
	}
	return string(b)
}

func parse(text string) (*parsed, error) {
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(doc.Statement, &raws); err != nil {
		raws = []json.RawMessage{doc.Statement}
	}
	p := &parsed{Version: doc.Version, ID: doc.ID}
	for _, raw := range raws {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber() // keeps numbers such as 10000000 exact
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		b, err := json.Marshal(lists("", v))
		if err != nil {
			return nil, err
		}
		sid := ""
		if m, ok := v.(map[string]any); ok {
			sid, _ = m["Sid"].(string)
		}
		p.Statement = append(p.Statement, piece{sid, raw, string(b)})
	}
	return p, nil
}

// lists turns each value of a statement that may be single into a list.
func lists(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = lists(k, e)
		}
		return out
	case []any:
		var out []any
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		return out
	case string, bool, json.Number:
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

// name returns what to call a statement: its Sid, or what it says.
func (s piece) name() string {
	if s.sid != "" {
		return s.sid
	}
	var v struct {
		Effect                      string
		Action, NotAction, Resource []string
		Principal                   map[string][]string
	}
	json.Unmarshal([]byte(s.canon), &v) // absent parts are not mentioned
	text := v.Effect + " " + brief(append(v.Action, v.NotAction...))
	var who []string
	for _, kind := range []string{"AWS", "Service", "Federated", "CanonicalUser"} {
		who = append(who, v.Principal[kind]...)
	}
	if len(who) > 0 {
		text += " to " + brief(who)
	}
	return "a statement without Sid (" + text + ")"
}

// called returns the statement's name for use in a sentence.
func (s piece) called() string {
	if s.sid != "" {
		return "the statement " + s.sid
	}
	return s.name()
}

// brief formats a list for people.
func brief(list []string) string {
	if len(list) > 2 {
		return fmt.Sprintf("%s and %d more", list[0], len(list)-1)
	}
	return strings.Join(list, ", ")
}

// policyDifference names the statements that differ.
func policyDifference(is, want string) string {
	b, err := parse(want)
	if err != nil {
		panic("provision: " + err.Error()) // it was marshalled by this package
	}
	a, err := parse(is)
	if err != nil {
		a = &parsed{} // none, or an unreadable one
	}
	old, next := different(a.Statement, b.Statement)
	var add, change, remove []string
	for _, s := range next {
		i := slices.IndexFunc(old, func(o piece) bool { return s.sid != "" && o.sid == s.sid })
		if i < 0 {
			add = append(add, s.name())
			continue
		}
		old = slices.Delete(old, i, i+1)
		change = append(change, s.name())
	}
	for _, s := range old {
		remove = append(remove, s.name())
	}
	if is != "" && err == nil {
		for _, p := range []struct{ name, is, want string }{{"the version", a.Version, b.Version}, {"the Id", a.ID, b.ID}} {
			if p.is != p.want {
				change = append(change, fmt.Sprintf("%s %q to %q", p.name, p.is, p.want))
			}
		}
	}
	var parts []string
	for _, p := range []struct {
		verb  string
		names []string
	}{{"add", add}, {"change", change}, {"remove", remove}} {
		if len(p.names) > 0 {
			slices.Sort(p.names)
			verb := p.verb + " "
			if is == "" {
				verb = "" // all of them are new
			}
			parts = append(parts, verb+strings.Join(p.names, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// different returns the statements that only one side has. A statement that both sides
// have equally often is no difference.
func different(is, want []piece) (old, next []piece) {
	left := map[string]int{}
	for _, s := range is {
		left[s.canon]++
	}
	for _, s := range want {
		if left[s.canon] > 0 {
			left[s.canon]--
			continue
		}
		next = append(next, s)
	}
	for _, s := range is {
		if left[s.canon] > 0 {
			left[s.canon]--
			old = append(old, s)
		}
	}
	return old, next
}

// others returns the statements of a policy that are not ours, judged by their exact Sids.
func (p *parsed) others(ours policy.Document) (all []piece) {
	for _, s := range p.Statement {
		if !slices.ContainsFunc(ours.Statement, func(o policy.Statement) bool { return o.Sid == s.sid }) {
			all = append(all, s)
		}
	}
	return all
}

// withOthers returns our policy with what is not ours in the old one, unchanged:
// its Id, and its statements, under the version of the policy language that they
// were written for.
func withOthers(ours policy.Document, old string) string {
	p, err := parse(old)
	if old == "" || err != nil {
		return ours.JSON()
	}
	doc := map[string]any{"Version": ours.Version}
	if p.ID != "" {
		doc["Id"] = p.ID
	}
	var statements []json.RawMessage
	for _, s := range p.others(ours) {
		statements = append(statements, s.raw)
	}
	if len(statements) > 0 {
		if doc["Version"] = p.Version; p.Version == "" {
			delete(doc, "Version")
		}
	}
	mine, err := parse(ours.JSON())
	if err != nil {
		panic("provision: " + err.Error()) // it was marshalled by this package
	}
	for _, s := range mine.Statement {
		statements = append(statements, s.raw)
	}
	doc["Statement"] = statements
	return marshalled(doc)
}

// withID returns our policy with the Id of the old one.
func withID(ours policy.Document, old string) string {
	p, err := parse(old)
	if old == "" || err != nil || p.ID == "" {
		return ours.JSON()
	}
	return marshalled(map[string]any{"Version": ours.Version, "Id": p.ID, "Statement": ours.Statement})
}

func marshalled(doc map[string]any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		panic("provision: " + err.Error()) // strings and JSON
	}
	return strings.TrimSpace(b.String())
}
