package s3store

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/vaultpack/vaultpack/internal/awsname"
)

// A Location says where in S3 a vault is.
type Location struct {
	// Bucket is a bucket's name or the ARN of an access point.
	Bucket string
	// Prefix begins the keys of the vault's objects. It is empty or ends in "/".
	Prefix string
}

// IsURL reports whether a vault's location is a URL that [Open] accepts.
func IsURL(url string) bool {
	return len(url) >= 5 && strings.EqualFold(url[:5], "s3://")
}

// pointName matches names of access points.
var pointName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,98}[a-z0-9]$`)

// ParseURL parses s3://BUCKET and s3://BUCKET/PREFIX, and the same with the ARN of an
// access point as the bucket: s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/PREFIX.
func ParseURL(url string) (Location, error) {
	bad := func(why string, args ...any) (Location, error) {
		return Location{}, fmt.Errorf("%s is not an S3 location: %s", url, fmt.Sprintf(why, args...))
	}
	if !IsURL(url) {
		return bad("it does not begin with s3://")
	}
	rest := url[len("s3://"):]
	var l Location
	if strings.HasPrefix(rest, "arn:") {
		var err error
		if l.Bucket, rest, err = cutAccessPoint(rest); err != nil {
			return bad("%v", err)
		}
	} else {
		l.Bucket, rest, _ = strings.Cut(rest, "/")
		if why := checkBucket(l.Bucket); why != "" {
			return bad("%s", why)
		}
	}
	if rest = strings.TrimSuffix(rest, "/"); rest != "" {
		if err := checkKey(rest); err != nil {
			return bad("the prefix %v", err)
		}
		// A query or a fragment is a mistake, not part of a name.
		if strings.ContainsAny(rest, "?#") {
			return bad("the prefix %q holds a ? or #", rest)
		}
		l.Prefix = rest + "/"
	}
	if len(l.Prefix) > 512 {
		return bad("the prefix is longer than 512 bytes")
	}
	return l, nil
}

func checkBucket(name string) string {
	switch {
	case name == "":
		return "the bucket is missing"
	case strings.ContainsAny(name, "@?#:"):
		return fmt.Sprintf("%q cannot name a bucket; credentials, regions and endpoints are settings, no part of the URL", name)
	case !awsname.IsBucket(name):
		return fmt.Sprintf("%q cannot name a bucket: that takes 3 to 63 lower-case letters, digits, hyphens and dots", name)
	case strings.HasSuffix(name, "--x-s3"):
		return fmt.Sprintf("%s is a directory bucket, which vaultpack does not support; use a general purpose bucket", name)
	}
	return ""
}

// cutAccessPoint separates the ARN of an access point from the prefix that follows it.
func cutAccessPoint(s string) (point, prefix string, err error) {
	a, err := arn.Parse(s)
	if err != nil || a.Service != "s3" || !strings.HasPrefix(a.Resource, "accesspoint/") {
		return "", "", fmt.Errorf("of ARNs, those of S3 access points are supported, such as arn:aws:s3:eu-central-1:111122223333:accesspoint/NAME")
	}
	name, prefix, _ := strings.Cut(strings.TrimPrefix(a.Resource, "accesspoint/"), "/")
	if !pointName.MatchString(name) || !awsname.IsAccount(a.AccountID) {
		return "", "", fmt.Errorf("%q with account %q is not an access point", name, a.AccountID)
	}
	a.Resource = "accesspoint/" + name
	return a.String(), prefix, nil
}

// checkKey rejects keys that S3 would accept but that tools and servers treat
// differently.
func checkKey(key string) error {
	if key == "" || len(key) > 1024 || !utf8.ValidString(key) {
		return fmt.Errorf("%q is not 1 to 1024 bytes of UTF-8", key)
	}
	for _, c := range key {
		if c < ' ' || c == 0x7f || c == '\\' {
			return fmt.Errorf("%q holds a control character or a backslash", key)
		}
	}
	for elem := range strings.SplitSeq(key, "/") {
		if elem == "" || elem == "." || elem == ".." {
			return fmt.Errorf("%q has an empty element or one of dots", key)
		}
	}
	return nil
}
