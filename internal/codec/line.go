package codec

import "bytes"

// quickLine reads a line of a list that looks exactly as EncodeList writes most of them:
// known fields in order, paths in ASCII without escapes, numbers in range. It reports
// whether it succeeded; everything else is left to encoding/json, which takes many times
// as long. j must be zero, except for slices that may be overwritten.
func (j *entryJSON) quickLine(line []byte) bool {
	s := quickScanner{rest: line}
	*j = entryJSON{Extents: j.Extents[:0], Sums: j.Sums[:0], Seen: j.Seen[:0]}
	j.Path = s.lit(`{"path":"`).text()
	if s.has(`,"size":`) {
		j.Size = s.number()
	}
	mode := s.lit(`,"mode":`).number()
	if mode < 0 || mode > 0o7777 {
		return false
	}
	j.Mode = uint32(mode)
	j.ModTime[0] = s.lit(`,"mtime":[`).number()
	j.ModTime[1] = s.lit(`,`).number()
	s.lit(`]`)
	if s.has(`,"sha256":"`) {
		j.Sum = s.text()
	}
	if s.has(`,"extents":[`) {
		for more := true; more && !s.bad; more = s.has(`,`) {
			var x [3]int64
			x[0] = s.lit(`[`).number()
			x[1] = s.lit(`,`).number()
			x[2] = s.lit(`,`).number()
			s.lit(`]`)
			j.Extents = append(j.Extents, x)
		}
		s.lit(`]`)
	}
	if s.has(`,"sums":[`) {
		for more := true; more && !s.bad; more = s.has(`,`) {
			j.Sums = append(j.Sums, s.lit(`"`).text())
		}
		s.lit(`]`)
	}
	if s.has(`,"seen":[`) {
		for more := true; more && !s.bad; more = s.has(`,`) {
			j.Seen = append(j.Seen, s.number())
		}
		s.lit(`]`)
	}
	j.Recent = s.has(`,"recent":true`)
	s.lit(`}`)
	return !s.bad && len(s.rest) == 0
}

// A quickScanner reads a line. After anything unexpected, it fails for good.
type quickScanner struct {
	rest []byte
	bad  bool
}

// has skips the literal if it comes next.
func (s *quickScanner) has(literal string) bool {
	ok := len(s.rest) >= len(literal) && string(s.rest[:len(literal)]) == literal
	if ok {
		s.rest = s.rest[len(literal):]
	}
	return ok
}

func (s *quickScanner) lit(literal string) *quickScanner {
	if !s.has(literal) {
		s.bad = true
	}
	return s
}

// text reads a string up to and including its closing quote.
func (s *quickScanner) text() string {
	n := bytes.IndexByte(s.rest, '"')
	if n < 0 {
		s.bad = true
		return ""
	}
	for _, c := range s.rest[:n] {
		if c < ' ' || c > '~' || c == '\\' {
			s.bad = true
			return ""
		}
	}
	text := string(s.rest[:n])
	s.rest = s.rest[n+1:]
	return text
}

// number reads an integer of at most 18 digits, which cannot overflow.
func (s *quickScanner) number() int64 {
	negative := s.has("-")
	n, v := 0, int64(0)
	for n < len(s.rest) && n < 19 && s.rest[n] >= '0' && s.rest[n] <= '9' {
		v = v*10 + int64(s.rest[n]-'0')
		n++
	}
	// JSON has no leading zeros.
	if n == 0 || n > 18 || n > 1 && s.rest[0] == '0' {
		s.bad = true
		return 0
	}
	s.rest = s.rest[n:]
	if negative {
		return -v
	}
	return v
}
