package dataset

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseRef reads what people write for a version: NAME, NAME@NUMBER or NAME@latest. The
// number is 0 where the newest version is meant.
func ParseRef(ref string) (name string, number int64, err error) {
	name, v, found := strings.Cut(ref, "@")
	if err := CheckName(name); err != nil {
		return "", 0, err
	}
	if !found || v == "latest" {
		return name, 0, nil
	}
	// There is one way to write a number.
	if number, err = strconv.ParseInt(v, 10, 64); err != nil || number < 1 || strconv.FormatInt(number, 10) != v {
		return "", 0, fmt.Errorf("%q is not a version: write DATASET@NUMBER, such as %s@1", v, name)
	}
	return name, number, nil
}
