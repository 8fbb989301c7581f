package main

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// What the tests' AWS says.
const (
	account = "111122223333"
	region  = "eu-central-1"
	keyUUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
	keyARN  = "arn:aws:kms:" + region + ":" + account + ":key/" + keyUUID
	admin   = "arn:aws:iam::" + account + ":user/ada"
)

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
		out["keyId"], out["arn"] = resource.NewProperty(id), resource.NewProperty(keyARN)
	case "aws:kms/alias:Alias":
		id = text("name")
	case "aws:iam/role:Role":
		id = text("name")
		out["arn"] = resource.NewProperty("arn:aws:iam::" + account + ":role/" + id)
	case "aws:iam/rolePolicy:RolePolicy":
		id = text("role") + ":" + text("name")
	case "aws:s3/bucket:Bucket":
		id = text("bucket")
		out["arn"] = resource.NewProperty("arn:aws:s3:::" + id)
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
