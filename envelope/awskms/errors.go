package awskms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode"

	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/awserr"
)

// A Reason says why a call to KMS failed, in as much detail as a caller can act
// on.
type Reason string

// The reasons. An authentication failure has none: its error is
// [envelope.ErrAuthentication].
const (
	NotAllowed      Reason = "not allowed"      // errors.Is(err, fs.ErrPermission) holds
	BadCredentials  Reason = "bad credentials"  // missing, unknown, expired, or the clock is wrong; fs.ErrPermission too
	Disabled        Reason = "disabled"         // an administrator can enable the key
	PendingDeletion Reason = "pending deletion" // an administrator can cancel that, for now
	BadState        Reason = "bad key state"    // importing, creating, unavailable, …
	NotFound        Reason = "not found"        // deleted, misspelt, or in another account or Region
	WrongRegion     Reason = "wrong region"     //
	Unsuitable      Reason = "unsuitable key"   // not a symmetric encryption key
	Throttled       Reason = "throttled"        // after all retries
	Unavailable     Reason = "unavailable"      // KMS failed or could not be reached, after all retries
	WrongAnswer     Reason = "wrong answer"     // the answer is of another key, or malformed
	Refused         Reason = "refused by KMS"   // for a reason that is not one of these
)

// An Error is returned for a failed call to KMS. Its text says what to do next,
// and ends with the message of KMS.
type Error struct {
	Op     string // "Decrypt", …
	KeyARN string // the key, or the name to be resolved; "OLD to NEW" for ReEncrypt
	Reason Reason
	Code   string // the type of KMS's error: "DisabledException"; "" if there is none
	err    error
}

// signs reports whether the operation is one with a key that signs.
func signs(op string) bool { return op == "Sign" || op == "GetPublicKey" }

// permission is what the operation needs.
func permission(op string) string {
	if op == "ReEncrypt" {
		return "kms:ReEncryptFrom on the old key and kms:ReEncryptTo on the new one"
	}
	return "kms:" + op
}

func (e *Error) Error() string {
	var what string
	switch e.Reason {
	case NotAllowed:
		what = fmt.Sprintf("not allowed: the caller needs %s (%s): allow it in the key policy, or in the identity policy where the key policy leaves it to the account, and look for a Deny or an encryption context that is not allowed", permission(e.Op), e.KeyARN)
	case BadCredentials:
		what = "the AWS credentials are missing, unknown or expired, or this machine's clock is wrong: sign in again or refresh them"
	case Disabled:
		what = fmt.Sprintf("the key %s is disabled: enable it (kms:EnableKey), or use another key", e.KeyARN)
	case PendingDeletion:
		if signs(e.Op) {
			what = fmt.Sprintf("the key %s is pending deletion: cancel that (kms:CancelKeyDeletion), then enable the key (kms:EnableKey), before the waiting period ends; after it only another owner can replace it", e.KeyARN)
			break
		}
		what = fmt.Sprintf("the key %s is pending deletion: cancel that (kms:CancelKeyDeletion), then enable the key (kms:EnableKey), before the waiting period ends; after it the data is lost unless another slot opens it", e.KeyARN)
	case BadState:
		what = fmt.Sprintf("the key %s is in a state in which it cannot be used: see its KeyState (kms:DescribeKey)", e.KeyARN)
	case NotFound:
		what = fmt.Sprintf("there is no key %s: look at the spelling, the account and the Region; a deleted key does not come back", e.KeyARN)
	case WrongRegion:
		what = fmt.Sprintf("the key %s is not in the Region that was asked: use an endpoint of its Region (AWS_ENDPOINT_URL_KMS), or add a slot for a key of the other Region", e.KeyARN)
	case Unsuitable:
		if signs(e.Op) {
			what = fmt.Sprintf("the key %s cannot sign versions: it takes an asymmetric key of the spec ECC_NIST_P256 for SIGN_VERIFY", e.KeyARN)
			break
		}
		what = fmt.Sprintf("the key %s cannot wrap data keys: it takes a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)", e.KeyARN)
	case Throttled:
		what = "KMS throttled the calls, retries included: wait, or ask for a higher request quota"
	case Unavailable:
		what = "KMS failed or could not be reached, retries included: try again, and look at network, endpoint and credentials"
	case WrongAnswer:
		what = fmt.Sprintf("what answered for the key %s is not that key in AWS KMS: look at the endpoint", e.KeyARN)
	default:
		what = fmt.Sprintf("KMS refused a call for the key %s", e.KeyARN)
	}
	if e.err == nil { // made by a caller
		return fmt.Sprintf("kms %s: %s", e.Op, what)
	}
	return fmt.Sprintf("kms %s: %s: %s", e.Op, what, printable(e.err.Error()))
}

// printable keeps a message to one line of a bounded length: anybody may have
// written it.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 1000 {
		s = string(r[:1000]) + "…"
	}
	return s
}

// A RelatedError reports that a slot belongs to the configured multi-Region key in
// another Region, and was not opened because [AcceptRelated] was not given.
// errors.Is finds [envelope.ErrNoSlot] in it.
type RelatedError struct {
	KeyARN  string // the configured key
	SlotARN string // the key of the slot
}

func (e *RelatedError) Error() string {
	return fmt.Sprintf("%s is the same multi-Region key as %s, in another Region, and related keys are not accepted", e.KeyARN, e.SlotARN)
}

// Is reports whether target is [envelope.ErrNoSlot].
func (e *RelatedError) Is(target error) bool { return target == envelope.ErrNoSlot }

// Unwrap returns the SDK's error; also [fs.ErrPermission] for [NotAllowed] and
// [BadCredentials], and [errors.ErrUnsupported] for [WrongRegion] of ReEncrypt, which
// works within one Region.
func (e *Error) Unwrap() []error {
	switch {
	case e.Reason == NotAllowed || e.Reason == BadCredentials:
		return []error{e.err, fs.ErrPermission}
	case e.Reason == WrongRegion && e.Op == "ReEncrypt":
		return []error{e.err, errors.ErrUnsupported}
	}
	return []error{e.err}
}

func cancelled(op string, err error) error { return fmt.Errorf("kms %s: %w", op, err) }

// reasons are by the error's type, from the API reference of KMS and from the
// errors common to all services, but for those of credentials.
var reasons = map[string]Reason{
	"AccessDeniedException":      NotAllowed,
	"AccessDenied":               NotAllowed,
	"InvalidGrantTokenException": NotAllowed,

	"NotAuthorized": NotAllowed,
	"OptInRequired": NotAllowed,

	"DisabledException":             Disabled,
	"KMSInvalidStateException":      BadState,
	"NotFoundException":             NotFound,
	"InvalidArnException":           NotFound,
	"InvalidKeyUsageException":      Unsuitable,
	"UnsupportedOperationException": Unsuitable,

	"LimitExceededException":   Throttled,
	"RequestLimitExceeded":     Throttled,
	"ThrottlingException":      Throttled,
	"Throttling":               Throttled,
	"TooManyRequestsException": Throttled,

	"DependencyTimeoutException": Unavailable,
	"InternalFailure":            Unavailable,
	"KMSInternalException":       Unavailable,
	"KeyUnavailableException":    Unavailable,
	"ServiceUnavailable":         Unavailable,
}

// wrap says what an error of the SDK means.
func wrap(ctx context.Context, op, arn string, err error) error {
	if ctx.Err() != nil {
		return cancelled(op, ctx.Err())
	}
	e := &Error{Op: op, KeyARN: arn, Reason: Unavailable, err: err}
	var api smithy.APIError
	if !errors.As(err, &api) {
		var malformed *smithy.DeserializationError
		if errors.As(err, &malformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			// The text of this may hold some of the answer, and so of a data key.
			e.Reason, e.err = WrongAnswer, errors.New("the answer is malformed")
		} else if awserr.Credentials(err) != "" {
			e.Reason = BadCredentials
		}
		return e
	}
	e.Code = api.ErrorCode()
	if awserr.Credentials(err) != "" { // the code may be of the service that gives them
		e.Reason = BadCredentials
		return e
	}
	switch e.Code {
	case "InvalidCiphertextException", "IncorrectKeyException":
		return envelope.ErrAuthentication
	}
	var known bool
	if e.Reason, known = reasons[e.Code]; !known {
		e.Reason = Refused
		if awserr.Status(err) >= 500 {
			e.Reason = Unavailable
		}
	}
	// The type leaves these open; the table of key states gives the texts.
	msg := strings.ToLower(api.ErrorMessage())
	switch {
	case (e.Reason == Disabled || e.Reason == BadState) && strings.Contains(msg, "pending") && strings.Contains(msg, "deletion"):
		e.Reason = PendingDeletion
	case e.Reason == BadState && strings.Contains(msg, "disabled"):
		e.Reason = Disabled
	case e.Reason == NotFound && strings.HasPrefix(msg, "invalid arn"):
		e.Reason = WrongRegion
	}
	return e
}
