package serve

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// bucketForm is the form of a general purpose bucket's name, less what it may not begin and
// end with.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var (
	bucketForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	versionForm = regexp.MustCompile(`^(.+)\.v([1-9][0-9]{0,17})$`)
	reserved    = []string{"xn--", "sthree-", "amzn-s3-demo-"}
	reservedEnd = []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an"}
)

// maxStem leaves room for a version behind a bucket's name.
const maxStem = 50

// BucketName returns the name of the bucket that stands for a dataset: the dataset's own,
// where a bucket may be called so. Otherwise it is made of it: in lower case, with hyphens
// for what may not stand in a bucket's name, and with eight digits of the SHA-256 of the
// dataset's name, so that two datasets have two buckets.
func BucketName(dataset string) string {
	if validBucket(dataset) {
		return dataset
	}
	sum := sha256.Sum256([]byte(dataset))
	stem := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, dataset)
	stem = strings.Trim(stem[:min(len(stem), maxStem-9)], "-")
	if reservedName(stem + "-") {
		stem = "d-" + stem
	}
	return stem + "-" + hex.EncodeToString(sum[:4])
}

// VersionBucket returns the name of the bucket that stands for one version of a dataset.
func VersionBucket(dataset string, number int64) string {
	return BucketName(dataset) + ".v" + strconv.FormatInt(number, 10)
}

// validBucket reports whether a dataset's name is that of a bucket, with room for a version
// and not in the form of one with a version.
func validBucket(name string) bool {
	return len(name) <= maxStem && bucketForm.MatchString(name) && !strings.Contains(name, "..") &&
		net.ParseIP(name) == nil && !versionForm.MatchString(name) && !reservedName(name)
}

func reservedName(name string) bool {
	for _, p := range reserved {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	for _, s := range reservedEnd {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// splitBucket takes the version off a bucket's name. It is 0 where there is none.
func splitBucket(bucket string) (stem string, number int64) {
	m := versionForm.FindStringSubmatch(bucket)
	if m == nil {
		return bucket, 0
	}
	number, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return bucket, 0
	}
	return m[1], number
}
