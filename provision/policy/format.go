package policy

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Formats are the formats that [Document.Format] accepts.
var Formats = []string{"json", "pulumi", "cloudformation", "terraform"}

// Format returns the document in the format of an infrastructure tool: alone
// ("json"), or as a resource with the given name, a managed policy to attach to a
// role: a Pulumi YAML program, a CloudFormation template (JSON), or Terraform.
func (d Document) Format(format, name string) (string, error) {
	switch format {
	case "json":
		return d.indented(), nil
	case "pulumi":
		return fmt.Sprintf("name: %s\nruntime: yaml\nresources:\n  %s:\n    type: aws:iam:Policy\n    properties:\n      name: %s\n      policy:\n        fn::toJSON:\n%s"+
			"outputs:\n  policyArn: ${%s.arn}\n", name, name, name, indent(pulumiText(d.indented()), 10), name), nil
	case "cloudformation":
		template := map[string]any{
			"AWSTemplateFormatVersion": "2010-09-09",
			"Resources": map[string]any{"Policy": map[string]any{
				"Type":       "AWS::IAM::ManagedPolicy",
				"Properties": map[string]any{"ManagedPolicyName": name, "PolicyDocument": json.RawMessage(d.JSON())},
			}},
			"Outputs": map[string]any{"PolicyArn": map[string]any{"Value": map[string]any{"Ref": "Policy"}}},
		}
		b, err := json.MarshalIndent(template, "", "  ")
		return string(b) + "\n", err
	case "terraform":
		// JSON is also a valid Terraform expression, except for templates.
		text := strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strings.TrimSuffix(d.indented(), "\n"))
		return fmt.Sprintf("resource \"aws_iam_policy\" %q {\n  name   = %q\n  policy = jsonencode(%s)\n}\n", name, name, strings.TrimSpace(indent(text, 2))), nil
	}
	return "", fmt.Errorf("the format is %q, but must be one of %s", format, strings.Join(Formats, ", "))
}

// pulumiText escapes text so that Pulumi sees no references in it.
func pulumiText(text string) string { return strings.ReplaceAll(text, "${", "$${") }

func indent(text string, n int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Repeat(" ", n) + line)
	}
	return b.String()
}
