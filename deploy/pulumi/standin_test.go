package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

const (
	account     = "111122223333"
	keyUUID     = "1234abcd-12ab-34cd-56ef-1234567890ab"
	signingUUID = "eeeeeeee-12ab-34cd-56ef-1234567890ab"
)

// What the tests' AWS says, where inRegion has put it.
var region, partition, keyARN, signingARN, admin string

func init() { put("eu-central-1") }

func put(in string) {
	region, partition = in, "aws"
	switch {
	case strings.HasPrefix(in, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(in, "us-gov-"):
		partition = "aws-us-gov"
	}
	keyARN = "arn:" + partition + ":kms:" + region + ":" + account + ":key/" + keyUUID
	signingARN = strings.Replace(keyARN, keyUUID, signingUUID, 1)
	admin = "arn:" + partition + ":iam::" + account + ":user/ada"
}

// inRegion has the tests' AWS be in another Region until the test ends. Tests that
// use it are not parallel.
func inRegion(t *testing.T, name string) {
	old := region
	t.Cleanup(func() { put(old) })
	put(name)
}

// made is what AWS and its provider make of a resource's inputs: its ID, and the
// outputs that are not inputs.
func made(token string, in resource.PropertyMap) (id string, out resource.PropertyMap) {
	text := func(key resource.PropertyKey) string {
		if v := in[key]; v.IsString() {
			return v.StringValue()
		}
		return ""
	}
	out = in.Copy()
	switch token {
	case "aws:kms/key:Key":
		id = keyUUID
		arn := keyARN
		if text("keyUsage") == "SIGN_VERIFY" {
			id, arn = signingUUID, signingARN
		}
		out["keyId"], out["arn"] = resource.NewProperty(id), resource.NewProperty(arn)
	case "aws:kms/alias:Alias":
		id = text("name")
	case "aws:iam/role:Role":
		id = text("name")
		out["arn"] = resource.NewProperty("arn:" + partition + ":iam::" + account + ":role/" + id)
	case "aws:iam/rolePolicy:RolePolicy":
		id = text("role") + ":" + text("name")
	case "aws:s3/bucket:Bucket":
		id = text("bucket")
		out["arn"] = resource.NewProperty("arn:" + partition + ":s3:::" + id)
	case "aws:ec2/vpcEndpoint:VpcEndpoint":
		id = "vpce-" + text("serviceName")
	default:
		if id = text("bucket"); id == "" || !strings.HasPrefix(token, "aws:s3/") {
			panic("the program makes a " + token + ", which the tests' AWS does not know")
		}
	}
	return id, out
}

// answer is what an invoke gives.
func answer(token, caller string) (resource.PropertyMap, error) {
	switch token {
	case "aws:index/getCallerIdentity:getCallerIdentity":
		return resource.NewPropertyMapFromMap(map[string]any{"accountId": account, "arn": caller, "id": account, "userId": "AIDA"}), nil
	case "aws:index/getRegion:getRegion":
		return resource.NewPropertyMapFromMap(map[string]any{"region": region, "id": region, "description": "", "endpoint": "", "name": region}), nil
	}
	return nil, fmt.Errorf("the tests' AWS knows no %s", token)
}
