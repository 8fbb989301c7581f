package trainer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/internal/awserr"
)

// permissions are the IAM actions of calls, and what else the calls need.
var permissions = map[string]string{
	"CreateTrainingJob":     "sagemaker:CreateTrainingJob (with tags also sagemaker:AddTags), and iam:PassRole on the job's role",
	"DescribeTrainingJob":   "sagemaker:DescribeTrainingJob",
	"StopTrainingJob":       "sagemaker:StopTrainingJob",
	"ListTrainingJobs":      "sagemaker:ListTrainingJobs",
	"CreateProcessingJob":   "sagemaker:CreateProcessingJob (with tags also sagemaker:AddTags), and iam:PassRole on the job's role",
	"DescribeProcessingJob": "sagemaker:DescribeProcessingJob",
	"StopProcessingJob":     "sagemaker:StopProcessingJob",
	"ListProcessingJobs":    "sagemaker:ListProcessingJobs",
	"DescribeLogStreams":    "logs:DescribeLogStreams on the log group " + logGroup + ", and for processing jobs " + ProcessingLogGroup,
	"GetLogEvents":          "logs:GetLogEvents on the log group " + logGroup + ", and for processing jobs " + ProcessingLogGroup,
}

// ErrNoJob is returned if SageMaker has no job with the name.
var ErrNoJob = errors.New("there is no such job in this account and Region")

// An apiError says what failed and what to do. It wraps the errors that callers branch on.
type apiError struct {
	msg   string
	class error // fs.ErrPermission, ErrNoJob or nil
	err   error
}

func (e *apiError) Error() string { return e.msg }

func (e *apiError) Unwrap() []error {
	if e.class == nil {
		return []error{e.err}
	}
	return []error{e.class, e.err}
}

// explain turns an error of the SDK into a readable one. It returns nil for nil.
func explain(op, job string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if explained := (*apiError)(nil); errors.As(err, &explained) {
		return err
	}
	what := op
	if job != "" {
		what += " " + job
	}
	code, said, text := awserr.Code(err), awserr.Message(err), err.Error()
	missing, on, named := awserr.Missing(err)
	trouble := awserr.Credentials(err)
	e := &apiError{err: err}
	var advice string
	switch {
	case awserr.Denied(err) || named:
		e.class = fs.ErrPermission
		switch {
		case on != "":
			advice = fmt.Sprintf("not allowed: the permission %s on %s is missing", missing, on)
		case named:
			advice = "not allowed: the permission " + missing + " is missing"
		default:
			advice = "not allowed: it takes the permission " + permissions[op]
		}
	case trouble == awserr.Expired:
		e.class = fs.ErrPermission
		advice = "the AWS credentials have expired; get new ones (for SSO: aws sso login)"
	case trouble == awserr.Unknown:
		e.class = fs.ErrPermission
		advice = "the service does not know these AWS credentials; check AWS_PROFILE, the keys, and this machine's clock"
	case trouble == awserr.None:
		e.class = fs.ErrPermission
		advice = "no usable AWS credentials were found; log in (aws sso login, aws configure), or set AWS_PROFILE"
	case isNoJob(op, err):
		e.class = ErrNoJob
		advice = ErrNoJob.Error() + "; vaultpack jobs lists them"
	case code == "ResourceLimitExceeded":
		advice = "a quota of the account does not allow it; ask for a higher one (Service Quotas, Amazon SageMaker), use fewer or other instances, or wait for other jobs"
	case code == "ResourceInUse":
		advice = "a job with that name exists, and names can be used only once; choose another with --name"
	case code == "ValidationException" && strings.Contains(said, "assume"):
		advice = "SageMaker cannot assume the role: its trust policy must allow sagemaker.amazonaws.com to call sts:AssumeRole"
	case awserr.Throttled(err):
		advice = "the service throttles the calls, even after retries; try again later"
	}
	if advice == "" {
		e.msg = fmt.Sprintf("%s: %s", what, printable(text))
	} else {
		e.msg = fmt.Sprintf("%s: %s (%s)", what, advice, printable(text))
	}
	return e
}

// isNoJob reports whether the error says that SageMaker does not have the job: a
// ValidationException, not a ResourceNotFound.
func isNoJob(op string, err error) bool {
	if !strings.HasPrefix(op, "Describe") && !strings.HasPrefix(op, "Stop") || !strings.HasSuffix(op, "Job") {
		return false
	}
	return awserr.Is(err, "ResourceNotFound") || awserr.Is(err, "ValidationException") && strings.Contains(strings.ToLower(awserr.Message(err)), "not found")
}

// passes reports whether a later retry may succeed: the service throttles or fails,
// or the network fails.
func passes(err error) bool {
	var api smithy.APIError
	var ne net.Error
	return awserr.Throttled(err) || errors.As(err, &api) && api.ErrorFault() == smithy.FaultServer || errors.As(err, &ne) ||
		retry.RetryableHTTPStatusCode{Codes: retry.DefaultRetryableHTTPStatusCodes}.IsErrorRetryable(err).Bool()
}
