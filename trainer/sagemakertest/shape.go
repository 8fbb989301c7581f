package sagemakertest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A shape describes the allowed values in a request, according to the service's
// model.
type shape struct {
	kind     kind
	min, max int            // of a string's length, a list's or map's size, or a number; max 0 means no limit
	pattern  *regexp.Regexp // of a string
	patText  string         // as in the model
	enum     []string
	members  map[string]*shape // of a structure
	order    []string          // its members, in the order in which errors are reported
	required []string
	elem     *shape // of a list, or a map's values
	key      *shape // a map's keys
}

type kind int

const (
	anything kind = iota
	aString
	aNumber
	aBool
	aStruct
	aList
	aMap
)

// A member is a member of a structure.
type member struct {
	name     string
	required bool
	*shape
}

func must(name string, s *shape) member { return member{name, true, s} }
func may(name string, s *shape) member  { return member{name, false, s} }

func structure(members ...member) *shape {
	s := &shape{kind: aStruct, members: map[string]*shape{}}
	for _, m := range members {
		s.members[m.name] = m.shape
		s.order = append(s.order, m.name)
		if m.required {
			s.required = append(s.required, m.name)
		}
	}
	return s
}

// text describes a string of min to max characters that matches the whole pattern.
// In the models' patterns, which are Java's, a dot does not match a line
// terminator.
func text(min, max int, pattern string) *shape {
	s := &shape{kind: aString, min: min, max: max}
	if pattern != "" {
		const dot = `[^\n\r\x{85}\x{2028}\x{2029}]`
		goPattern := pattern
		if pattern == ".*" || pattern == ".+" {
			goPattern = dot + pattern[1:]
		}
		s.pattern, s.patText = regexp.MustCompile(`\A(?:`+goPattern+`)\z`), pattern
	}
	return s
}

func enum[T interface {
	~string
	Values() []T
}]() *shape {
	s := &shape{kind: aString}
	var zero T
	for _, v := range zero.Values() {
		s.enum = append(s.enum, string(v))
	}
	return s
}

func number(min, max int) *shape { return &shape{kind: aNumber, min: min, max: max} }

func list(min, max int, elem *shape) *shape {
	return &shape{kind: aList, min: min, max: max, elem: elem}
}

func mapOf(max int, key, value *shape) *shape {
	return &shape{kind: aMap, max: max, key: key, elem: value}
}

var (
	boolean = &shape{kind: aBool}
	opaque  = &shape{}
)

// check validates the body of a request. It returns all violations in one
// ValidationException, as the service does, or a SerializationException for a value
// of the wrong type.
func (s *shape) check(body []byte) error {
	var v any
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return fail("SerializationException", "%v", err)
	}
	var c violations
	if err := c.value("", s, v); err != nil {
		return err
	}
	switch len(c) {
	case 0:
		return nil
	case 1:
		return invalid("1 validation error detected: %s", c[0])
	}
	return invalid("%d validation errors detected: %s", len(c), strings.Join(c, "; "))
}

type violations []string

func (c *violations) add(path, value, constraint string) {
	*c = append(*c, fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: %s", value, path, constraint))
}

func (c *violations) value(path string, s *shape, v any) error {
	wrong := func() error {
		return fail("SerializationException", "a value of the wrong type at '%s'", path)
	}
	switch s.kind {
	case aString:
		text, ok := v.(string)
		if !ok {
			return wrong()
		}
		for _, constraint := range s.brokenBy(text) {
			c.add(path, text, constraint)
		}
	case aNumber:
		n, ok := v.(json.Number)
		if !ok {
			return wrong()
		}
		i, err := strconv.ParseInt(n.String(), 10, 64)
		switch {
		case err != nil:
			return wrong()
		case i < int64(s.min):
			c.add(path, n.String(), fmt.Sprintf("Member must have value greater than or equal to %d", s.min))
		case s.max > 0 && i > int64(s.max):
			c.add(path, n.String(), fmt.Sprintf("Member must have value less than or equal to %d", s.max))
		}
	case aBool:
		if _, ok := v.(bool); !ok {
			return wrong()
		}
	case aStruct:
		return c.structure(path, s, v)
	case aList:
		l, ok := v.([]any)
		if !ok {
			return wrong()
		}
		if constraint := s.size(len(l)); constraint != "" {
			c.add(path, fmt.Sprint(l), constraint)
		}
		for i, e := range l {
			if err := c.value(fmt.Sprintf("%s.%d.member", path, i+1), s.elem, e); err != nil {
				return err
			}
		}
	case aMap:
		return c.mapping(path, s, v)
	}
	return nil
}

func (c *violations) structure(path string, s *shape, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fail("SerializationException", "a value of the wrong type at '%s'", path)
	}
	for _, name := range s.order {
		at := strings.ToLower(name[:1]) + name[1:]
		if path != "" {
			at = path + "." + at
		}
		if m[name] == nil {
			if slices.Contains(s.required, name) {
				*c = append(*c, fmt.Sprintf("Value at '%s' failed to satisfy constraint: Member must not be null", at))
			}
			continue
		}
		if err := c.value(at, s.members[name], m[name]); err != nil {
			return err
		}
	}
	return nil
}

func (c *violations) mapping(path string, s *shape, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fail("SerializationException", "a value of the wrong type at '%s'", path)
	}
	shown := func() string {
		b, _ := json.Marshal(m)
		return string(b)
	}
	if constraint := s.size(len(m)); constraint != "" {
		c.add(path, shown(), constraint)
	}
	keysBroken, valuesBroken := false, false
	for k, e := range m {
		value, ok := e.(string)
		if !ok {
			return fail("SerializationException", "a value of the wrong type at '%s'", path)
		}
		keysBroken = keysBroken || s.key.brokenBy(k) != nil
		valuesBroken = valuesBroken || s.elem.brokenBy(value) != nil
	}
	if keysBroken {
		c.add(path, shown(), "Map keys must satisfy constraint: ["+s.key.constraints()+"]")
	}
	if valuesBroken {
		c.add(path, shown(), "Map value must satisfy constraint: ["+s.elem.constraints()+"]")
	}
	return nil
}

func (s *shape) size(n int) string {
	switch {
	case n < s.min:
		return fmt.Sprintf("Member must have length greater than or equal to %d", s.min)
	case s.max > 0 && n > s.max:
		return fmt.Sprintf("Member must have length less than or equal to %d", s.max)
	}
	return ""
}

// brokenBy returns the constraints that the string violates.
func (s *shape) brokenBy(v string) (broken []string) {
	if c := s.size(utf8.RuneCountInString(v)); c != "" {
		broken = append(broken, c)
	}
	if s.pattern != nil && !s.pattern.MatchString(v) {
		broken = append(broken, "Member must satisfy regular expression pattern: "+s.patText)
	}
	if s.enum != nil && !slices.Contains(s.enum, v) {
		broken = append(broken, "Member must satisfy enum value set: ["+strings.Join(s.enum, ", ")+"]")
	}
	return broken
}

// constraints returns all constraints on a map's key or value.
func (s *shape) constraints() string {
	all := []string{
		fmt.Sprintf("Member must have length less than or equal to %d", s.max),
		fmt.Sprintf("Member must have length greater than or equal to %d", s.min),
	}
	if s.pattern != nil {
		all = append(all, "Member must satisfy regular expression pattern: "+s.patText)
	}
	return strings.Join(all, ", ")
}
