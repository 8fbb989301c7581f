// Package keytext reads and writes keys as lines of text: a prefix that says what the key is
// for, followed by its bytes in base64.
package keytext

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// Encode returns a key as one line of text, for a file.
func Encode(prefix string, key []byte) []byte {
	line := make([]byte, len(prefix), len(prefix)+base64.StdEncoding.EncodedLen(len(key))+1)
	copy(line, prefix)
	return append(base64.StdEncoding.AppendEncode(line, key), '\n')
}

// Parse parses the result of Encode. It skips empty lines and lines that begin with #.
// Errors never contain any of the text.
func Parse(text []byte, prefix string, size int) (key []byte, err error) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		enc, ok := bytes.CutPrefix(line, []byte(prefix))
		buf := make([]byte, base64.StdEncoding.DecodedLen(len(enc)))
		n, err := base64.StdEncoding.Strict().Decode(buf, enc)
		if !ok || err != nil || n != size || key != nil {
			clear(buf)
			clear(key)
			return nil, fmt.Errorf("want one line %q and %d bytes in base64", prefix, size)
		}
		key = buf[:n:n]
	}
	if key == nil {
		return nil, errors.New("there is no key in it")
	}
	return key, nil
}
