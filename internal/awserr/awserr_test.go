package awserr_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vaultpack/vaultpack/internal/awserr"
)

// answer is an error as the SDK gives it, of a status, a code and a text.
func answer(status int, code, text string, header ...string) error {
	err := errors.New(text)
	if code != "" {
		err = &smithy.GenericAPIError{Code: code, Message: text}
	}
	r := &http.Response{StatusCode: status, Header: http.Header{}}
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	return fmt.Errorf("operation error: %w", &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: r}, Err: err})
}

func TestReading(t *testing.T) {
	denied := answer(403, "AccessDeniedException", `User: u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:r:1:key/k because no policy allows it`)
	type what struct {
		status      int
		code        string
		credentials awserr.Trouble
		denied      bool
		action, on  string
		throttled   bool
		unknown     bool
		region      string
	}
	for name, c := range map[string]struct {
		err  error
		want what
	}{
		"nothing":            {nil, what{}},
		"another error":      {errors.New("x"), what{}},
		"no answer":          {&smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{}}, Err: errors.New("refused")}, what{}},
		"denied":             {denied, what{status: 403, code: "AccessDeniedException", denied: true, action: "kms:Decrypt", on: "arn:aws:kms:r:1:key/k"}},
		"denied, on what":    {answer(400, "AccessDenied", "is not authorized to perform: iam:PassRole because"), what{status: 400, code: "AccessDenied", denied: true, action: "iam:PassRole"}},
		"HEAD":               {answer(403, "", "Forbidden"), what{status: 403}},
		"expired":            {answer(400, "ExpiredToken", "The provided token has expired."), what{status: 400, code: "ExpiredToken", credentials: awserr.Expired}},
		"expired SSO":        {fmt.Errorf("get identity: get credentials: %w", answer(401, "UnauthorizedException", "the SSO session has expired or is invalid")), what{status: 401, code: "UnauthorizedException", credentials: awserr.Expired}},
		"unknown":            {answer(403, "InvalidAccessKeyId", "x"), what{status: 403, code: "InvalidAccessKeyId", credentials: awserr.Unknown}},
		"none":               {errors.New("get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found"), what{credentials: awserr.None}},
		"throttled":          {answer(400, "ThrottlingException", "Rate exceeded"), what{status: 400, code: "ThrottlingException", throttled: true}},
		"throttled, 429":     {answer(429, "", "x"), what{status: 429, throttled: true}},
		"a quota":            {answer(400, "LimitExceededException", "x"), what{status: 400, code: "LimitExceededException"}},
		"not implemented":    {answer(501, "", "x"), what{status: 501, unknown: true}},
		"no such method":     {answer(405, "MethodNotAllowed", "x"), what{status: 405, code: "MethodNotAllowed", unknown: true}},
		"another Region":     {answer(301, "", "x", "X-Amz-Bucket-Region", "me-south-1"), what{status: 301, region: "me-south-1"}},
		"the bucket is gone": {answer(404, "NoSuchBucket", "x", "X-Amz-Bucket-Region", "me-south-1"), what{status: 404, code: "NoSuchBucket"}},
	} {
		got := what{status: awserr.Status(c.err), code: awserr.Code(c.err), credentials: awserr.Credentials(c.err), denied: awserr.Denied(c.err),
			throttled: awserr.Throttled(c.err), unknown: awserr.Unimplemented(c.err), region: awserr.BucketRegion(c.err)}
		got.action, got.on, _ = awserr.Missing(c.err)
		if got != c.want {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
	}
	if !awserr.Is(denied, "x", "AccessDeniedException") || awserr.Is(denied, "x") || awserr.Is(errors.New("x"), "") || awserr.Message(answer(400, "c", "text")) != "text" {
		t.Error("codes and messages are read wrong")
	}
}
