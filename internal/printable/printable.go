// Package printable makes text safe to print. Text from outside (names, targets of links,
// answers of servers) may contain control sequences, or imitate a line of this program.
package printable

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Verbatim is text made by this program, with intended line breaks.
type Verbatim string

// Line formats a message. Only the format itself can start a new line, and
// unprintable characters are escaped.
func Line(format string, args ...any) string {
	safe := make([]any, len(args))
	for i, a := range args {
		safe[i] = argument(a)
	}
	return escape(fmt.Sprintf(format, safe...), "\n\t")
}

// argument returns an argument of a message with its text on one line. Further lines of
// an error are indented, so that none looks like a line of this program.
func argument(a any) any {
	switch a := a.(type) {
	case nil, Verbatim:
		return a
	case error:
		text := strings.ReplaceAll(a.Error(), "\n", "\n ")
		return escape(strings.ReplaceAll(text, "\n  ", "\n "), "\n\t")
	}
	if v := reflect.ValueOf(a); v.Kind() == reflect.String {
		return escape(v.String(), "\t")
	}
	return a
}

// escape writes unprintable characters, except those in keep, as in a Go string literal.
func escape(s, keep string) string {
	if !needsEscape(s, keep) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

func needsEscape(s, keep string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	for _, r := range s {
		if !strconv.IsPrint(r) && !strings.ContainsRune(keep, r) {
			return true
		}
	}
	return false
}

// JSON escapes the unprintable characters in JSON that encoding/json does not: DEL, C1
// controls, direction marks.
func JSON(b []byte) []byte {
	if bytes.IndexFunc(b, unprintable) < 0 {
		return b
	}
	var out bytes.Buffer
	for _, r := range string(b) { // encoding/json writes valid UTF-8
		if !unprintable(r) {
			out.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, u)
		}
	}
	return out.Bytes()
}

func unprintable(r rune) bool { return !strconv.IsPrint(r) }
