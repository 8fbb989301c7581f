package provision_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/provision"
)

// Another server than AWS has S3 alone at an endpoint of its own, however that is set.
func TestIsAWS(t *testing.T) {
	const url = "http://127.0.0.1:9000"
	own := func(o *s3.Options) { o.BaseEndpoint = aws.String(url) }
	for name, c := range map[string]struct {
		env     map[string]string
		options []func(*s3.Options)
		want    bool
	}{
		"nothing is set":               {nil, nil, true},
		"the setting endpoint":         {nil, []func(*s3.Options){own}, false},
		"the variable of S3":           {map[string]string{"AWS_ENDPOINT_URL_S3": url}, nil, false},
		"that of all services":         {map[string]string{"AWS_ENDPOINT_URL": url}, nil, true},
		"both, and the setting":        {map[string]string{"AWS_ENDPOINT_URL": url}, []func(*s3.Options){own}, true},
		"that of IAM alone":            {map[string]string{"AWS_ENDPOINT_URL_IAM": url}, nil, true},
		"that of KMS, beside S3's own": {map[string]string{"AWS_ENDPOINT_URL_KMS": url, "AWS_ENDPOINT_URL_S3": url}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_KMS"} {
				t.Setenv(v, c.env[v])
			}
			t.Setenv("AWS_CONFIG_FILE", "/dev/null")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
			cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("eu-west-1"))
			if err != nil {
				t.Fatal(err)
			}
			if got := provision.IsAWS(cfg, c.options...); got != c.want {
				t.Error(got)
			}
		})
	}
}
