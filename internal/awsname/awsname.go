// Package awsname checks names that people choose against the rules of AWS.
package awsname

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	bucket  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	job     = regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$`)
	account = regexp.MustCompile(`^[0-9]{12}$`)
	tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+@-]*$`)
)

// IsBucket reports whether a general purpose bucket can have the name:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func IsBucket(name string) bool {
	_, err := netip.ParseAddr(name)
	return bucket.MatchString(name) && !strings.Contains(name, "..") && err != nil
}

// IsJob reports whether a job in SageMaker can have the name:
// https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
func IsJob(name string) bool { return job.MatchString(name) }

// IsAccount reports whether s is an AWS account number.
func IsAccount(s string) bool { return account.MatchString(s) }

// IsTag reports whether AWS accepts the tag.
func IsTag(key, value string) bool {
	n := utf8.RuneCountInString(key)
	return n >= 1 && n <= 128 && utf8.RuneCountInString(value) <= 256 && !strings.HasPrefix(key, "aws:") && tagText.MatchString(key+value)
}
