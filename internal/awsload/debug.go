package awsload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// DebugVariable is the environment variable that makes every client write a line to
// standard error for each request that it sends, including retries.
const DebugVariable = "VAULTPACK_DEBUG"

// debugging reports whether the environment asks for these lines.
func debugging() (bool, error) {
	value := os.Getenv(DebugVariable)
	if value == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%s is %q: set it to 1, or unset it", DebugVariable, value)
	}
	return on, nil
}

// logRequests returns an SDK option that writes a line to w for each request. A line
// has only the fields listed here, since everything else in a request may hold a
// secret: headers (Authorization, session tokens), the query (presigned requests
// carry their signature there), user names in URLs, and bodies (KMS returns data keys
// in them).
func logRequests(w io.Writer) func(*middleware.Stack) error {
	logger := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	log := middleware.DeserializeMiddlewareFunc("vaultpackDebug", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		began := time.Now()
		out, metadata, err := next.HandleDeserialize(ctx, in)
		req, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return out, metadata, err
		}
		fields := []any{
			"service", awsmiddleware.GetServiceID(ctx),
			"operation", awsmiddleware.GetOperationName(ctx),
			"method", req.Method,
			"host", req.URL.Host,
			"path", req.URL.EscapedPath(),
		}
		if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp != nil {
			fields = append(fields, "status", resp.StatusCode, "request_id", requestID(resp))
		} else if err != nil {
			fields = append(fields, "error", reason(err))
		}
		fields = append(fields, "duration", time.Since(began).Round(time.Millisecond).String(), "attempt", attempt(req))
		logger.DebugContext(ctx, "request", fields...)
		return out, metadata, err
	})
	// This is next to the transport, so that it sees what is sent, once for each attempt.
	return func(stack *middleware.Stack) error { return stack.Deserialize.Add(log, middleware.After) }
}

// requestID returns the ID under which the service has recorded the request.
func requestID(resp *smithyhttp.Response) string {
	for _, name := range []string{"X-Amz-Request-Id", "X-Amzn-Requestid"} {
		if id := resp.Header.Get(name); id != "" {
			return id[:min(len(id), 128)]
		}
	}
	return ""
}

// attempt returns the number of the attempt. The SDK sends "attempt=2; max=6".
func attempt(req *smithyhttp.Request) int {
	first, _, _ := strings.Cut(req.Header.Get("Amz-Sdk-Request"), ";")
	n, err := strconv.Atoi(strings.TrimPrefix(first, "attempt="))
	if err != nil {
		return 1
	}
	return n
}

// reason returns why there was no answer, without the URL that errors of package net/http
// quote.
func reason(err error) string {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		return inURL.Err.Error()
	}
	return fmt.Sprintf("%T", err)
}
