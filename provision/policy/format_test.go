package policy_test

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/vaultpack/vaultpack/provision/policy"
)

// Every format holds the same policy.
func TestFormats(t *testing.T) {
	d := ml.Trainer(policy.Trainer{Datasets: []string{"scans"}})
	var want any
	if err := json.Unmarshal([]byte(d.JSON()), &want); err != nil {
		t.Fatal(err)
	}
	for _, format := range policy.Formats {
		t.Run(format, func(t *testing.T) {
			text, err := d.Format(format, "vaultpack-trainer")
			if err != nil {
				t.Fatal(err)
			}
			var got any
			switch format {
			case "json":
				err = json.Unmarshal([]byte(text), &got)
			case "pulumi":
				var program struct {
					Runtime   string
					Resources map[string]struct {
						Type       string
						Properties struct{ Policy map[string]any }
					}
				}
				err = yaml.Unmarshal([]byte(text), &program)
				r := program.Resources["vaultpack-trainer"]
				got = r.Properties.Policy["fn::toJSON"]
				if program.Runtime != "yaml" || r.Type != "aws:iam:Policy" {
					t.Errorf("it is %+v", program)
				}
			case "cloudformation":
				var template struct {
					Resources struct {
						Policy struct {
							Type       string
							Properties struct{ PolicyDocument any }
						}
					}
				}
				err = json.Unmarshal([]byte(text), &template)
				got = template.Resources.Policy.Properties.PolicyDocument
				if template.Resources.Policy.Type != "AWS::IAM::ManagedPolicy" {
					t.Errorf("it is %+v", template)
				}
			case "terraform":
				m := regexp.MustCompile(`(?s)^resource "aws_iam_policy" "vaultpack-trainer" \{\n  name   = "vaultpack-trainer"\n  policy = jsonencode\((.*)\)\n\}\n$`).FindStringSubmatch(text)
				if m == nil {
					t.Fatalf("it is\n%s", text)
				}
				err = json.Unmarshal([]byte(m[1]), &got)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("it holds another policy:\n%s", text)
			}
			if strings.Contains(text, "\t") {
				t.Error("it has tabs, which YAML refuses")
			}
		})
	}
	if _, err := d.Format("xml", "x"); err == nil {
		t.Error("xml is taken")
	}
}
