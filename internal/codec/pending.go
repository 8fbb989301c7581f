package codec

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

type leaseJSON struct {
	Format  string    `json:"format"`
	Started time.Time `json:"started"`
}

const leaseFormat = "vaultpack-lease/1"

// EncodeLease encodes the lease of an upload that began at the given time.
func EncodeLease(started time.Time) ([]byte, error) {
	b, err := json.Marshal(leaseJSON{leaseFormat, started.UTC().Truncate(time.Second)})
	return append(b, '\n'), err
}

// DecodeLease returns when an upload began according to its lease, which is not authenticated.
func DecodeLease(b []byte) (started time.Time, ok bool) {
	var j leaseJSON
	ok = json.Unmarshal(b, &j) == nil && j.Format == leaseFormat
	return j.Started, ok
}

// LeaseSuffix is the suffix of a lease's name.
const LeaseSuffix = ".lease"

// UploadNumber returns the number that an upload will commit: the name of its objects
// below pending/ is that number and 26 random characters.
func UploadNumber(upload string) (int64, bool) {
	number, name, ok := strings.Cut(upload, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	return n, ok && err == nil && n > 0 && fmt.Sprintf("%010d", n) == number && len(name) == 26
}

// A PendingName is the parsed name of an object below pending/.
type PendingName struct {
	Upload string
	Number int64 // the number that the upload will commit
	Lease  bool  // otherwise a record
	Record int64 // its number among the records of the upload
}

// ParsePending parses the name of an object below pending/. If the object is neither a
// lease nor a record, it belongs to someone else, and ok is false.
func ParsePending(name string) (p PendingName, ok bool) {
	dir, base := path.Split(name)
	if p.Upload, p.Lease = strings.CutSuffix(base, LeaseSuffix); !p.Lease {
		n, found := strings.CutSuffix(base, ".vpk")
		number, err := strconv.ParseUint(n, 10, 63)
		if !found || err != nil {
			return p, false
		}
		p.Record = int64(number)
		p.Upload = path.Base(dir)
		dir, _ = path.Split(strings.TrimSuffix(dir, "/"))
	}
	p.Number, ok = UploadNumber(p.Upload)
	return p, ok && path.Base(dir) == "pending"
}
