package iamtest

import "testing"

const (
	account = "111122223333"
	alice   = "arn:aws:iam::111122223333:user/alice"
	root    = "arn:aws:iam::111122223333:root"
	other   = "arn:aws:iam::444455556666:user/eve"
	bucket  = "arn:aws:s3:::b"
	key     = "arn:aws:kms:eu-central-1:111122223333:key/1"
	role    = "arn:aws:iam::111122223333:role/r"
)

// The rules of AWS that the tests of policies rely on.
func TestDecide(t *testing.T) {
	allow := func(rest string) string { return `{"Sid":"A","Effect":"Allow",` + rest + `}` }
	deny := func(rest string) string { return `{"Sid":"D","Effect":"Deny",` + rest + `}` }
	onKey := Request{Principal: alice, Action: "kms:Decrypt", Resource: key, Context: map[string]string{"kms:EncryptionContext:a": "b"}}
	get := Request{Principal: alice, Action: "s3:GetObject", Resource: bucket + "/x"}
	list := func(prefix string) Request {
		return Request{Principal: alice, Action: "s3:ListBucket", Resource: bucket, Context: map[string]string{"s3:prefix": prefix}}
	}
	as := func(r Request, principal string) Request { r.Principal = principal; return r }
	with := func(r Request, k, v string) Request { r.Context = map[string]string{k: v}; return r }
	tests := map[string]struct {
		identity, resource string
		r                  Request
		want               bool
	}{
		"nothing":                        {"", "", get, false},
		"identity":                       {allow(`"Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"`), "", get, true},
		"actions fold":                   {allow(`"Action":"S3:getobject","Resource":"*"`), "", get, true},
		"resources do not":               {allow(`"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/X"`), "", get, false},
		"the bucket is not its objects":  {allow(`"Action":"s3:*","Resource":"arn:aws:s3:::b"`), "", get, false},
		"another action":                 {allow(`"Action":"s3:GetObjectAcl","Resource":"*"`), "", get, false},
		"bucket policy alone":            {"", allow(`"Principal":{"AWS":"` + alice + `"},"Action":"s3:GetObject","Resource":"*"`), get, true},
		"deny beats":                     {allow(`"Action":"*","Resource":"*"`), deny(`"Principal":"*","Action":"s3:*","Resource":"*"`), get, false},
		"deny under a condition not met": {allow(`"Action":"*","Resource":"*"`), deny(`"Principal":"*","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}`), with(get, "aws:SecureTransport", "true"), true},
		"other account, bucket alone":    {"", allow(`"Principal":{"AWS":"` + other + `"},"Action":"s3:*","Resource":"*"`), as(get, other), false},
		"key: identity alone":            {allow(`"Action":"kms:*","Resource":"*"`), "", onKey, false},
		"key: policy names it":           {"", allow(`"Principal":{"AWS":"` + alice + `"},"Action":"kms:Decrypt","Resource":"*"`), onKey, true},
		"key: the account, no identity":  {"", allow(`"Principal":{"AWS":"` + root + `"},"Action":"kms:*","Resource":"*"`), onKey, false},
		"key: the account, and identity": {allow(`"Action":"kms:*","Resource":"*"`), allow(`"Principal":{"AWS":"` + account + `"},"Action":"kms:*","Resource":"*"`), onKey, true},
		"key: root user only":            {allow(`"Action":"kms:*","Resource":"*"`), allow(`"Principal":{"AWS":"` + root + `"},"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalType":"Account"}}`), onKey, false},
		"key: the root user":             {"", allow(`"Principal":{"AWS":"` + root + `"},"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalType":"Account"}}`), as(onKey, root), true},
		"context equals":                 {"", allow(`"Principal":{"AWS":"` + alice + `"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"KMS:EncryptionContext:a":["c","b"]}}`), onKey, true},
		"context differs":                {"", allow(`"Principal":{"AWS":"` + alice + `"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:a":"B"}}`), onKey, false},
		"context missing":                {"", allow(`"Principal":{"AWS":"` + alice + `"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringLike":{"kms:EncryptionContext:x":"*"}}`), onKey, false},
		"all operators have to hold":     {"", allow(`"Principal":{"AWS":"` + alice + `"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:a":"b"},"Null":{"kms:EncryptionContext:a":"true"}}`), onKey, false},
		"not equals holds if missing":    {allow(`"Action":"*","Resource":"*"`), deny(`"Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"s3:x":"y"}}`), get, false},
		"not like":                       {allow(`"Action":"*","Resource":"*","Condition":{"StringNotLike":{"s3:prefix":["a*","b*"]}}`), "", list("bc"), false},
		"not like what differs":          {allow(`"Action":"*","Resource":"*","Condition":{"StringNotLike":{"s3:prefix":["a*","b*"]}}`), "", list("cb"), true},
		"not like holds if missing":      {allow(`"Action":"*","Resource":"*","Condition":{"StringNotLike":{"s3:prefix":"a*"}}`), "", get, true},
		"null true":                      {allow(`"Action":"*","Resource":"*","Condition":{"Null":{"s3:x":"true"}}`), "", get, true},
		"null false":                     {allow(`"Action":"*","Resource":"*","Condition":{"Null":{"s3:x":"false"}}`), "", get, false},
		"a service and its role":         {"", allow(`"Principal":{"Service":"sagemaker.amazonaws.com"},"Action":"sts:AssumeRole"`), Request{Principal: "sagemaker.amazonaws.com", Action: "sts:AssumeRole", Resource: role}, true},
		"another service":                {"", allow(`"Principal":{"Service":"sagemaker.amazonaws.com"},"Action":"sts:AssumeRole"`), Request{Principal: "ec2.amazonaws.com", Action: "sts:AssumeRole", Resource: role}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := &World{Account: account, Identities: map[string][]*Policy{}, Resources: map[string]*Policy{}}
			parse := func(s string) *Policy {
				p, err := Parse(`{"Version":"2012-10-17","Statement":[` + s + `]}`)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			if test.identity != "" {
				w.Identities[test.r.Principal] = []*Policy{parse(test.identity)}
			}
			if test.resource != "" {
				w.Resources[owner(test.r.Resource)] = parse(test.resource)
			}
			if got, why := w.Decide(test.r); got != test.want {
				t.Errorf("allowed %v (%s), want %v", got, why, test.want)
			}
		})
	}
}

// What is not known is refused, not ignored.
func TestParseRefuses(t *testing.T) {
	for what, text := range map[string]string{
		"operator":     `{"Sid":"A","Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`,
		"NotAction":    `{"Sid":"A","Effect":"Allow","NotAction":"s3:*","Resource":"*"}`,
		"policy var":   `{"Sid":"A","Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"s3:prefix":"${aws:username}/*"}}}`,
		"effect":       `{"Sid":"A","Effect":"allow","Action":"s3:*","Resource":"*"}`,
		"twice a Sid":  `{"Sid":"A","Effect":"Allow","Action":"s3:*","Resource":"*"},{"Sid":"A","Effect":"Deny","Action":"s3:*","Resource":"*"}`,
		"Sid of IAM":   `{"Sid":"A-b","Effect":"Allow","Action":"s3:*","Resource":"*"}`,
		"second value": `{"Sid":"A","Effect":"Allow","Action":"s3:*","Resource":"*"}]} {"x":[`,
	} {
		if p, err := Parse(`{"Version":"2012-10-17","Statement":[` + text + `]}`); err == nil {
			t.Errorf("%s: %+v", what, p.Statement[0])
		}
	}
}
