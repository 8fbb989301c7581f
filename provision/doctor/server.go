package doctor

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/awserr"
)

// bucketChecks returns the checks of a vault in S3 that change nothing.
func (d *doctor) bucketChecks() []check {
	all := []check{
		{name: "endpoint", needs: []string{"credentials"}, run: d.endpoint},
		{name: "clock", needs: []string{"endpoint"}, run: d.clock},
		{name: "region", needs: []string{"endpoint"}, run: d.region},
		{name: "bucket", needs: []string{"endpoint", "clock", "region"}, run: d.bucket},
	}
	for _, c := range []check{
		{name: "default encryption", run: d.encryption}, {name: "public access", run: d.publicAccess},
		{name: "bucket policy", run: d.policy}, {name: "versioning", run: d.versioning},
		{name: "lifecycle", run: d.lifecycle}, {name: "unfinished uploads", run: d.unfinished},
	} {
		c.needs = []string{"bucket"}
		if c.name != "unfinished uploads" {
			c.run = d.ofBucket(c.run)
		}
		all = append(all, c)
	}
	return all
}

func (d *doctor) owner() *string {
	if d.Config.S3.BucketOwner == "" {
		return nil
	}
	return &d.Config.S3.BucketOwner
}

// endpoint sends the first request. It checks only that there is a response.
func (d *doctor) endpoint(ctx context.Context) Finding {
	out, err := d.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &d.loc.Bucket, ExpectedBucketOwner: d.owner()})
	d.headTime, d.headErr = time.Now(), err
	if d.head = awserr.Response(err); err == nil {
		if r, isHTTP := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response); isHTTP {
			d.head = r.Response
		}
	}
	if d.head == nil {
		return failed("check the network, DNS and proxy settings, and endpoint in "+settingsFile(d.Config)+" or AWS_ENDPOINT_URL_S3", "no answer: %v", err)
	}
	if d.head.Request == nil || d.head.Request.URL == nil {
		return ok("it answers")
	}
	u := url.URL{Scheme: d.head.Request.URL.Scheme, Host: d.head.Request.URL.Host}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return warning("use an https endpoint", "%s answers without TLS: eavesdroppers see object names, and can change requests", &u)
	}
	return ok("%s answers", &u)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// S3 refuses requests that are signed with a time more than 15 minutes off
// (RequestTimeTooSkewed).
const (
	skewFailed  = 15 * time.Minute
	skewWarning = time.Minute
)

func (d *doctor) clock(context.Context) Finding {
	date, err := http.ParseTime(d.head.Header.Get("Date"))
	if err != nil {
		return skipped("the server sends no date")
	}
	const fix = "set this machine's clock: timedatectl set-ntp true"
	skew := d.headTime.Sub(date.Add(time.Second / 2)).Round(time.Second) // the header has whole seconds
	direction := "ahead of"
	off := skew
	if skew < 0 {
		off, direction = -skew, "behind"
	}
	switch {
	case off >= skewFailed:
		return failed(fix, "this machine's clock is %v %s the server's; the server refuses requests at 15 minutes and more", off, direction)
	case off >= skewWarning:
		return warning(fix, "this machine's clock is %v %s the server's; at 15 minutes it refuses requests", off, direction)
	}
	return ok("within %v of the server's", max(off, time.Second))
}

// region compares the bucket's Region with those configured for it and for keys.
func (d *doctor) region(context.Context) Finding {
	here := d.s3.Options().Region
	fix := "set region in " + settingsFile(d.Config) + " (section s3)"
	there := d.head.Header.Get("X-Amz-Bucket-Region")
	if there != "" && there != here {
		return failed(fix+" to "+there, "the bucket is in %s, and %s is configured", there, here)
	}
	if code := awserr.Code(d.headErr); code == "AuthorizationHeaderMalformed" || code == "PermanentRedirect" || d.head.StatusCode == http.StatusMovedPermanently {
		return failed(fix+"; aws s3api head-bucket --bucket "+d.loc.Bucket+" tells it", "the bucket is not in %s", here)
	}
	if key := d.sseKey; awskms.IsKeyARN(key) && !d.elsewhere {
		if region := strings.Split(key, ":")[3]; region != here {
			return failed("use a KMS key in "+here+" for s3.kms_key", "the bucket is in %s, and the KMS key for its objects in %s: S3 uses keys of its own region only", here, region)
		}
	}
	return ok("%s", here)
}

// bucket checks whether the bucket exists and may be listed.
func (d *doctor) bucket(ctx context.Context) Finding {
	switch {
	case d.head.StatusCode == http.StatusNotFound:
		return failed("create it with: vaultpack init --vault "+d.Config.Vault.Value, "there is no bucket %s", d.loc.Bucket)
	case d.headErr != nil && d.head.StatusCode != http.StatusForbidden:
		return failed("try again; if it persists, ask the server's operator", "%s", said(d.headErr))
	}
	// The response to a HEAD has no body that would say why it was refused. HEAD
	// also needs permission to list the whole bucket, and roles may be limited to
	// datasets.
	if _, err := d.store.Folders(ctx, d.folder()+"/pending/"); err != nil {
		return broken("check the name, the account and the credentials", err, "s3:ListBucket")
	}
	return ok("%s exists and can be listed", d.Config.Vault.Value)
}
