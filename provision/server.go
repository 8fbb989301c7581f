package provision

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// IsAWS reports whether the S3 that a configuration leads to is AWS, with KMS and IAM,
// and not another server. An endpoint for S3 alone means another server; an endpoint for
// all of AWS (AWS_ENDPOINT_URL) does not.
func IsAWS(cfg aws.Config, s3Options ...func(*s3.Options)) bool {
	return s3.NewFromConfig(cfg, s3Options...).Options().BaseEndpoint == nil || iam.NewFromConfig(cfg).Options().BaseEndpoint != nil
}
