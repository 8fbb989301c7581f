package walk

import (
	"fmt"
	"strings"
)

// An Order follows the paths of an index in their order, and detects paths that lie below
// a file or a link, or are both a file and a folder. No file tree has such paths.
type Order struct {
	above []string // files and links whose paths are prefixes of the last one
}

func (o *Order) Check(p string) error {
	n := len(o.above)
	for n > 0 && !strings.HasPrefix(p, o.above[n-1]) {
		n--
	}
	o.above = o.above[:n]
	for _, a := range o.above {
		if p[len(a)] == '/' {
			return fmt.Errorf("the index has a file or link %q, so nothing can be below it", a)
		}
	}
	if p != "" && !strings.HasSuffix(p, "/") {
		o.above = append(o.above, p)
	}
	return nil
}
