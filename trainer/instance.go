package trainer

import (
	"regexp"
	"strings"
)

var instanceType = regexp.MustCompile(`^ml\.([a-z][a-z0-9-]*)\.[a-z0-9-]+$`)

// family returns the family of an instance type: "g5" for "ml.g5.xlarge".
func family(typ string) string {
	if m := instanceType.FindStringSubmatch(typ); m != nil {
		return m[1]
	}
	return ""
}

// Graviton families have a g after their generation, as in g5g, c7g, m6gd and x2gd;
// families with a Grace processor are p6e-gb200 and similar ones.
var armFamily = regexp.MustCompile(`^([a-z]+[0-9]+g[a-z]*|a1|t4g|p[0-9]+e-gb[0-9]+)$`)

// archOf returns the processor architecture of an instance type, as named by Go.
func archOf(typ string) string {
	if armFamily.MatchString(family(typ)) {
		return "arm64"
	}
	return "amd64"
}

// Families with local disks whose names have no d after the generation to show it.
var nvmeFamily = regexp.MustCompile(`^(p[4-9].*|g[5-9]e?|trn[0-9].*|[a-z]+[0-9]+[a-z]*d[a-z]*)$`)

// hasNVMe reports whether the instances have local disks, which SageMaker then uses
// in place of an EBS volume: they encrypt themselves, and accept no KMS key.
// https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html
func hasNVMe(typ string) bool {
	f, _, _ := strings.Cut(family(typ), "-")
	return nvmeFamily.MatchString(f)
}
