package kmstest

import (
	"fmt"
	"net/http"
)

// An apiError is one of the errors of the API reference.
type apiError struct {
	status int
	code   string
	msg    string
}

func (e *apiError) Error() string { return e.code + ": " + e.msg }

// fail makes an error. The API reference gives 500 for the three that may be
// retried and 400 for all others, which is what KMS really sends; the service's
// Smithy model names other codes (409, 412), which no SDK looks at.
func fail(code, format string, args ...any) error {
	status := http.StatusBadRequest
	switch code {
	case "KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException":
		status = http.StatusInternalServerError
	}
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return fail("ValidationException", "1 validation error detected: "+format, args...)
}
