// Package arn parses the ARNs that vaultpack uses, following the patterns in the
// services' API references.
package arn

import (
	"regexp"
	"strings"
)

// Lengths are checked separately: a regular expression that counts to 250 takes
// milliseconds to compile, each time a command starts.
const (
	maxKeyID = 128
	maxAlias = 250
)

var (
	key   = regexp.MustCompile(`^arn:(aws[a-z-]*):kms:([a-z0-9-]+):([0-9]{12}):key/([A-Za-z0-9-]+)$`)
	alias = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):([0-9]{12}):alias/([A-Za-z0-9/_-]+)$`)
	name  = regexp.MustCompile(`^alias/[A-Za-z0-9/_-]+$`)
	id    = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	role  = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
	user  = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:user/[\w+=,.@/-]+$`)
	repos = regexp.MustCompile(`^arn:aws[a-z-]*:ecr:[a-z0-9-]+:[0-9]{12}:repository/[a-z0-9*][a-z0-9._/*-]*$`)
	root  = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:root$`)
)

// A Key holds the parts of the ARN of a KMS key.
type Key struct{ Partition, Region, Account, ID string }

// ParseKey parses the ARN of a KMS key. For anything else, such as the ARN of an alias, ok
// is false.
func ParseKey(s string) (k Key, ok bool) {
	m := key.FindStringSubmatch(s)
	if m == nil || len(m[4]) > maxKeyID {
		return Key{}, false
	}
	return Key{m[1], m[2], m[3], m[4]}, true
}

// IsKey reports whether s is the ARN of a KMS key, not of an alias.
func IsKey(s string) bool {
	_, ok := ParseKey(s)
	return ok
}

// ParseAlias returns the Region and the account in the ARN of a KMS alias.
func ParseAlias(s string) (region, account string, ok bool) {
	m := alias.FindStringSubmatch(s)
	if m == nil || len(m[3]) > maxAlias {
		return "", "", false
	}
	return m[1], m[2], true
}

// IsAliasName reports whether s is the name of a KMS alias, alias/NAME.
func IsAliasName(s string) bool { return name.MatchString(s) && len(s) <= len("alias/")+maxAlias }

// IsKeyID reports whether s may be the ID of a KMS key.
func IsKeyID(s string) bool { return id.MatchString(s) && len(s) <= maxKeyID }

// IsRole reports whether s is the ARN of an IAM role.
func IsRole(s string) bool { return role.MatchString(s) && len(s) <= 2048 }

// IsPrincipal reports whether s is the ARN of a role, of a user, or of an account as a
// whole (root).
func IsPrincipal(s string) bool { return IsRole(s) || user.MatchString(s) || root.MatchString(s) }

// IsRepositories reports whether s names repositories of ECR in a policy: a * stands for
// any part of a name.
func IsRepositories(s string) bool { return repos.MatchString(s) }

// Partition returns the partition of AWS that a Region belongs to.
func Partition(region string) string {
	for prefix, partition := range map[string]string{
		"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b",
		"eu-isoe-": "aws-iso-e", "us-isof-": "aws-iso-f", "eusc-": "aws-eusc",
	} {
		if strings.HasPrefix(region, prefix) {
			return partition
		}
	}
	return "aws"
}

// Bucket returns the ARN of a bucket.
func Bucket(partition, name string) string { return "arn:" + partition + ":s3:::" + name }

// Root returns the ARN of an account as a whole.
func Root(partition, account string) string { return "arn:" + partition + ":iam::" + account + ":root" }

// Role returns the ARN of a role with this path and name.
func Role(partition, account, name string) string {
	return "arn:" + partition + ":iam::" + account + ":role/" + name
}
