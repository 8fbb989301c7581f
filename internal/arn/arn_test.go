package arn_test

import (
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/arn"
)

func TestKinds(t *testing.T) {
	const id = "1234abcd-12ab-34cd-56ef-1234567890ab"
	for s, kinds := range map[string]string{
		"arn:aws:kms:eu-central-1:111122223333:key/" + id:                         "key",
		"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-" + id:             "key",
		"arn:aws:kms:eu-central-1:111122223333:key/" + strings.Repeat("a", 129):   "",
		"arn:aws:kms:eu-central-1:111122223333:key/":                              "",
		"arn:aws:kms:eu-central-1:11112222333:key/" + id:                          "",
		"arn:aws:kms:eu-central-1:111122223333:key/" + id + "\n":                  "",
		" arn:aws:kms:eu-central-1:111122223333:key/" + id:                        "",
		"arn:gcp:kms:eu-central-1:111122223333:key/" + id:                         "",
		"arn:aws:kms:eu-central-1:111122223333:alias/team/ml":                     "alias",
		"arn:aws:iam::111122223333:role/training":                                 "role principal",
		"arn:aws:iam::111122223333:role/path/to/training+=,.@-_":                  "role principal",
		"arn:aws:iam::111122223333:role/" + strings.Repeat("a", 2048):             "",
		"arn:aws:iam::111122223333:roletraining":                                  "",
		"arn:aws:iam::111122223333:role/":                                         "",
		"arn:aws:iam::111122223333:role/a b":                                      "",
		"arn:aws:iam::111122223333:user/me":                                       "principal",
		"arn:aws:iam::111122223333:root":                                          "principal",
		"arn:aws:iam::111122223333:group/us":                                      "",
		"arn:aws:sts::111122223333:assumed-role/training/session":                 "",
		"arn:aws:ecr:eu-central-1:111122223333:repository/team/*":                 "repositories",
		"arn:aws:ecr:eu-central-1:111122223333:repository/":                       "",
		"arn:aws:ecr:eu-central-1:*:repository/team":                              "",
		"arn:aws:kms:eu-central-1:111122223333:alias/" + strings.Repeat("a", 250): "alias",
		"arn:aws:kms:eu-central-1:111122223333:alias/" + strings.Repeat("a", 251): "",
		"alias/ml":                          "alias name",
		"alias/" + strings.Repeat("a", 250): "alias name",
		"alias/" + strings.Repeat("a", 251): "",
		"alias/":                            "",
		id:                                  "key ID",
		strings.Repeat("a", 128):            "key ID",
		strings.Repeat("a", 129):            "",
		"":                                  "",
	} {
		var got []string
		if k, ok := arn.ParseKey(s); ok != arn.IsKey(s) || ok && "arn:"+k.Partition+":kms:"+k.Region+":"+k.Account+":key/"+k.ID != s {
			t.Errorf("%s is read as %+v, %v", s, k, ok)
		} else if ok {
			got = append(got, "key")
		}
		if region, account, ok := arn.ParseAlias(s); ok {
			got = append(got, "alias")
			if region != "eu-central-1" || account != "111122223333" {
				t.Errorf("%s is read as of %s in %s", s, account, region)
			}
		}
		if arn.IsAliasName(s) {
			got = append(got, "alias name")
		}
		if arn.IsKeyID(s) {
			got = append(got, "key ID")
		}
		if arn.IsRole(s) {
			got = append(got, "role")
		}
		if arn.IsPrincipal(s) {
			got = append(got, "principal")
		}
		if arn.IsRepositories(s) {
			got = append(got, "repositories")
		}
		if strings.Join(got, " ") != kinds {
			t.Errorf("%s is %q, want %q", s, got, kinds)
		}
	}
}

func TestPartition(t *testing.T) {
	for region, want := range map[string]string{"eu-central-1": "aws", "cn-north-1": "aws-cn", "us-gov-east-1": "aws-us-gov", "us-iso-east-1": "aws-iso",
		"us-isob-east-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e", "us-isof-south-1": "aws-iso-f", "eusc-de-east-1": "aws-eusc", "us-east-1": "aws", "": "aws"} {
		if got := arn.Partition(region); got != want {
			t.Errorf("%s is in %s, want %s", region, got, want)
		}
	}
	if got := arn.Bucket("aws-cn", "data"); got != "arn:aws-cn:s3:::data" {
		t.Error(got)
	}
}
