// Package pyjson reads JSON as Python's json.loads does, and writes the values as Python
// does: SageMaker's training toolkit passes str() and json.dumps() of the values that it
// read to a script. Numbers keep their digits and types.
package pyjson

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// A Value is a Python value: nil, bool, string, *big.Int, float64, []Value or *Dict.
type Value any

// A Dict keeps its keys in the order in which they first appeared.
type Dict struct {
	Keys   []string
	Values map[string]Value
}

var errSyntax = errors.New("not JSON as Python reads it")

// maxDepth bounds nesting, as Python's recursion limit does.
const maxDepth = 900

// Parse parses a text that consists of one value.
func Parse(text string) (Value, error) {
	p := &parser{rest: text}
	v, err := p.value(0)
	if p.space(); err == nil && p.rest != "" {
		err = errSyntax
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

type parser struct{ rest string }

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\n\r") }

func (p *parser) take(s string) bool {
	rest, ok := strings.CutPrefix(p.rest, s)
	p.rest = rest
	return ok
}

func (p *parser) value(depth int) (Value, error) {
	if depth > maxDepth {
		return nil, errSyntax
	}
	p.space()
	switch {
	case p.take("null"):
		return nil, nil
	case p.take("true"):
		return true, nil
	case p.take("false"):
		return false, nil
	case p.take("NaN"):
		return math.NaN(), nil
	case p.take("Infinity"):
		return math.Inf(1), nil
	case p.take("-Infinity"):
		return math.Inf(-1), nil
	case strings.HasPrefix(p.rest, `"`):
		return p.text()
	case p.take("["):
		return p.list(depth)
	case p.take("{"):
		return p.dict(depth)
	}
	return p.number()
}

func (p *parser) list(depth int) (Value, error) {
	list := []Value{}
	if p.space(); p.take("]") {
		return list, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		switch p.space(); {
		case p.take("]"):
			return list, nil
		case !p.take(","):
			return nil, errSyntax
		}
	}
}

func (p *parser) dict(depth int) (Value, error) {
	d := &Dict{Values: map[string]Value{}}
	if p.space(); p.take("}") {
		return d, nil
	}
	for {
		p.space()
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.take(":") {
			return nil, errSyntax
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if _, twice := d.Values[key]; !twice {
			d.Keys = append(d.Keys, key)
		}
		d.Values[key] = v
		switch p.space(); {
		case p.take("}"):
			return d, nil
		case !p.take(","):
			return nil, errSyntax
		}
	}
}

// text reads a string. encoding/json reads it in the same way.
func (p *parser) text() (string, error) {
	if !strings.HasPrefix(p.rest, `"`) {
		return "", errSyntax
	}
	for i := 1; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '\\':
			i++
		case '"':
			var s string
			if json.Unmarshal([]byte(p.rest[:i+1]), &s) != nil {
				return "", errSyntax
			}
			p.rest = p.rest[i+1:]
			return s, nil
		}
	}
	return "", errSyntax
}

func (p *parser) number() (Value, error) {
	n := 0
	for n < len(p.rest) && strings.IndexByte("+-.0123456789eE", p.rest[n]) >= 0 {
		n++
	}
	s := p.rest[:n]
	if s == "" || !json.Valid([]byte(s)) {
		return nil, errSyntax
	}
	p.rest = p.rest[n:]
	if i, ok := new(big.Int).SetString(s, 10); ok {
		return i, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) { // a number that is too large becomes infinity in Python
		return nil, errSyntax
	}
	return f, nil
}

// Str returns str(v), or "" for None, as the toolkit does.
func Str(v Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return Repr(v)
}

// Repr returns repr(v).
func Repr(v Value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return reprText(v)
	case []Value:
		return "[" + joined(v, ", ", Repr) + "]"
	case *Dict:
		return "{" + joined(v.Keys, ", ", func(k string) string { return reprText(k) + ": " + Repr(v.Values[k]) }) + "}"
	case float64:
		switch {
		case math.IsNaN(v):
			return "nan"
		case math.IsInf(v, 1):
			return "inf"
		case math.IsInf(v, -1):
			return "-inf"
		}
	}
	return number(v)
}

// Dumps returns json.dumps(v, sort_keys=True, separators=(",", ":")).
func Dumps(v Value) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case string:
		return dumpText(v)
	case []Value:
		return "[" + joined(v, ",", Dumps) + "]"
	case *Dict:
		return "{" + joined(slices.Sorted(maps.Keys(v.Values)), ",", func(k string) string { return dumpText(k) + ":" + Dumps(v.Values[k]) }) + "}"
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
	}
	return number(v)
}

func joined[T any](list []T, sep string, f func(T) string) string {
	var all []string
	for _, x := range list {
		all = append(all, f(x))
	}
	return strings.Join(all, sep)
}

// number formats an integer, or a finite float as repr does: with the fewest digits that
// identify it, and with an exponent below 1e-4 and from 1e16.
func number(v Value) string {
	f, ok := v.(float64)
	if !ok {
		return v.(*big.Int).String()
	}
	if abs := math.Abs(f); f != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func reprText(s string) string {
	quote := `'`
	if strings.Contains(s, `'`) && !strings.Contains(s, `"`) {
		quote = `"`
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\' || string(r) == quote:
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			b.WriteString(`\x` + hex(r, 2))
		case r <= 0xffff:
			b.WriteString(`\u` + hex(r, 4))
		default:
			b.WriteString(`\U` + hex(r, 8))
		}
	}
	return quote + b.String() + quote
}

// dumpText returns a string as a JSON string in ASCII.
func dumpText(s string) string {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}
	var b strings.Builder
	for _, r := range s {
		switch esc := short[r]; {
		case esc != "":
			b.WriteString(esc)
		case r >= ' ' && r <= '~':
			b.WriteRune(r)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				b.WriteString(`\u` + hex(rune(u), 4))
			}
		}
	}
	return `"` + b.String() + `"`
}

func hex(r rune, width int) string {
	s := strconv.FormatInt(int64(r), 16)
	return strings.Repeat("0", width-len(s)) + s
}
