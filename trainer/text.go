package trainer

import "strings"

// printable reduces text from others to one line of limited length.
func printable(s string) string {
	s = oneLine(s)
	if r := []rune(s); len(r) > 2000 {
		s = string(r[:2000]) + "…"
	}
	return s
}

// oneLine reduces text from others to one line, without control sequences for terminals.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, withoutEscapes(s))
}

// withoutEscapes removes complete ECMA-48 escape sequences, which are mostly colors. Of an
// unterminated one it removes only the introducer, so that the sequence hides nothing.
func withoutEscapes(s string) string {
	s = strings.NewReplacer("\u009b", "\x1b[", "\u009d", "\x1b]", "\u0090", "\x1bP").Replace(s)
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "\x1b")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		s = rest[escapeLength(rest):]
	}
}

// escapeLength returns how many bytes of s, which follows an ESC, belong to the sequence.
func escapeLength(s string) int {
	if s == "" {
		return 0
	}
	in := func(i int, from, to byte) bool { return i < len(s) && s[i] >= from && s[i] <= to }
	i := 0
	switch s[0] {
	case ']', 'P', 'X', '^', '_': // a text for the terminal, up to BEL or ESC \
		for i = 1; i < len(s); i++ {
			if s[i] == '\a' {
				return i + 1
			}
			if s[i] == '\x1b' {
				if in(i+1, '\\', '\\') {
					return i + 2
				}
				break
			}
		}
		return 1
	case '[':
		i = 1
		for in(i, '0', '?') {
			i++
		}
	}
	for in(i, ' ', '/') {
		i++
	}
	if in(i, '0', '~') {
		return i + 1
	}
	return min(1, i)
}
