package provision

import (
	"strings"
	"testing"
)

// What is wrong with the settings is named before anything is asked of AWS.
func TestSettings(t *testing.T) {
	for want, target := range map[string]Target{
		"access point":       {Bucket: "arn:aws:s3:eu-central-1:111122223333:accesspoint/x"},
		"patterns":           {Bucket: "b", Prefix: "a*/"},
		"name is":            {Bucket: "b", Settings: Settings{Name: "a b"}},
		"admins has \"me\"":  {Bucket: "b", Settings: Settings{Admins: []string{"me"}}},
		"users has arn":      {Bucket: "b", Settings: Settings{Users: []string{"arn:aws:iam::111122223333:root"}}},
		"assume has":         {Bucket: "b", Settings: Settings{Assume: []string{"*"}}},
		"trainers":           {Bucket: "b", Settings: Settings{Trainers: []string{"a*"}}},
		"outputs has":        {Bucket: "b", Settings: Settings{Outputs: []string{"s3://whole-bucket"}}},
		"access_logs is":     {Bucket: "b", Settings: Settings{LogTo: "s3://b/logs"}},
		"cannot be negative": {Bucket: "b", Settings: Settings{ExpireDays: -1}},
	} {
		if err := target.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", target, err, want)
		}
	}
	// Names that are too long are cut, and stay different.
	long := strings.Repeat("x", 63)
	names := map[string]bool{}
	for _, trainer := range []string{long + "1", long + "2"} {
		p := &Provisioner{Target: Target{Bucket: long, Settings: Settings{Trainers: []string{trainer}}}, roleARNs: map[string]string{}}
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
		for _, r := range p.roles() {
			if len(r.name) > 64 {
				t.Errorf("%s has %d characters", r.name, len(r.name))
			}
			names[r.name] = true
		}
	}
	if len(names) != 4 { // uploader, reader, two trainers
		t.Errorf("the roles are %v", names)
	}
}

// AWS may give a policy back in other words.
func TestCanonical(t *testing.T) {
	for a, b := range map[string]string{
		`{"Version":"2012-10-17","Statement":{"Sid":"A","Effect":"Allow","Principal":"*","Action":"s3:Get*","Resource":"*","Condition":{"Bool":{"x":true}}}}`:           `{"Statement":[{"Effect":"Allow","Resource":["*"],"Action":["s3:Get*"],"Sid":"A","Principal":{"AWS":"*"},"Condition":{"Bool":{"x":["true"]}}}],"Version":"2012-10-17"}`,
		`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":["b","a"],"Resource":"r"},{"Sid":"B","Effect":"Deny","Action":"a","Resource":"r"}]}`: `{"Version":"2012-10-17","Statement":[{"Sid":"B","Effect":"Deny","Action":["a"],"Resource":"r"},{"Sid":"A","Effect":"Allow","Action":["a","b"],"Resource":["r"]}]}`,
	} {
		if canonical(a) != canonical(b) {
			t.Errorf("these are taken for different:\n%s\n%s", canonical(a), canonical(b))
		}
	}
	for _, other := range []string{
		`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Deny","Action":"a","Resource":"r"}]}`,
		`{"Version":"2008-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":"a","Resource":"r"}]}`,
		`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","NotAction":"a","Resource":"r"}]}`,
		`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":"a","Resource":"r"},{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		`nonsense`, ``,
	} {
		if canonical(other) == canonical(`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":"a","Resource":"r"}]}`) {
			t.Errorf("this is taken for the same: %s", other)
		}
	}
}
